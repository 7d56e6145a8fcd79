"""Commands that select rows of finished runs; each makes one library call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.cli import config
from prefgen.cli.options import on_disk, run_folder
from prefgen.cli.params import command
from prefgen.errors import UsageError
from prefgen.options import SHARD_SIZE, check, option

if TYPE_CHECKING:
    from prefgen.rundir.layout import Scalar
    from prefgen.select import Excluded, Selection


Run = Annotated[
    Path, typer.Argument(help="Folder, address or Hub id of a finished run.", metavar="RUN", parser=run_folder)
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write; resumed if unfinished.", callback=on_disk)
]
Seed = Annotated[int, typer.Option("--seed", help="Seeds every draw.")]
EXCLUDE = "Evaluation pictures that no row may have: a folder, or a file with a name, SHA-256 or JSON a line."


@dataclass(frozen=True)
class SelectionOptions:
    """Options of the commands that write rows of runs as another run.

    Attributes:
        license: of the rows, for the dataset card; None for the strictest that a row is under.
    """

    exclude_images: Path | None = option(None, help=EXCLUDE, panel=None)
    shard_size: int = option(SHARD_SIZE, help="Rows of a shard: the unit of commit.", panel=None, low=1)
    license: str | None = option(None, help="Licence to state; default: the strictest that a row is under.", panel=None)
    json: bool = option(False, help="Print the final figures as JSON.", panel=None)
    quiet: bool = option(False, "--quiet", "-q", help="Only errors and the final figures.", panel=None)

    def __post_init__(self) -> None:
        check(self)

    def excluded(self) -> Excluded:
        """The pictures that no row may have."""
        from prefgen.select import Excluded

        return Excluded.read(self.exclude_images) if self.exclude_images else Excluded()


@command
def mix(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="RUN (folder, address, Hub id), RUN:0.5 (a share) or RUN:5000 (rows).", metavar="RUN[:AMOUNT]…"
        ),
    ],
    output: Output,
    rest: SelectionOptions,
    seed: Seed = 0,
) -> None:
    """Mix runs: a share or number of rows of each, interleaved.

    Example: prefgen mix povid:5000 bdhs:0.5 --seed 1 --output mixture
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    amounts = [(run_folder(path), amount) for path, amount in map(select.parse_amount, runs)]
    excluded = rest.excluded()
    settings: dict[str, Scalar] = {"seed": seed}
    for number, (_, amount) in enumerate(amounts):
        settings[f"input.{number}.amount"] = amount.share if amount.rows is None else amount.rows
    chosen = select.mix([(Stored(path), amount) for path, amount in amounts], seed, excluded)
    _write(ctx, "mix", settings, chosen, excluded, output, rest)


@command
def sample(
    ctx: typer.Context,
    run: Run,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of rows.")],
    output: Output,
    rest: SelectionOptions,
    seed: Seed = 0,
) -> None:
    """Draw rows of a run at random, kept in their order."""
    from prefgen import select
    from prefgen.rundir.reader import Stored

    excluded = rest.excluded()
    chosen = select.mix([(Stored(run), select.Amount(rows=rows))], seed, excluded)
    _write(ctx, "sample", {"seed": seed, "sample": rows}, chosen, excluded, output, rest)


@command
def filter_(
    ctx: typer.Context,
    run: Run,
    condition: Annotated[str, typer.Argument(help="Rows that meet it are kept.", metavar="CONDITION")],
    output: Output,
    rest: SelectionOptions,
) -> None:
    r"""Keep the rows that meet a condition.

    Example: prefgen filter out "similarity < 0.9 and length_ratio > 0.5 and 'similar' not in flags" -o close

    Known are the columns with one value or a list of texts, length_ratio (rejected over chosen, in characters) and
    meta\["source"]\["..."]; and, or, not, comparisons, in, is None, + - * / %. A comparison with a missing value is
    false.
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored
    from prefgen.select import expressions, filtering

    excluded = rest.excluded()
    stored, wanted = Stored(run), expressions.parse(condition)
    chosen = select.keep(stored, wanted, excluded)
    if not len(chosen) and (seen := filtering.values(stored, wanted.columns)):
        raise UsageError(f"filter leaves no row of {len(stored):,}; they have\n{seen}")
    _write(ctx, "filter", {"condition": condition}, chosen, excluded, output, rest)


@command
def dedup(
    ctx: typer.Context,
    run: Run,
    output: Output,
    rest: SelectionOptions,
    by: Annotated[str, typer.Option("--by", help="pair, answer (prompt and chosen), prompt or image.")] = "pair",
    near: Annotated[
        bool, typer.Option("--near", help="Also rows whose pictures look alike and whose words are nearly the same.")
    ] = False,
) -> None:
    """Drop rows with the same, or nearly the same, texts and pictures."""
    from prefgen import select
    from prefgen.rundir.reader import Stored
    from prefgen.select.keys import BY

    kind = next((name for name in BY if name == by), None)
    if kind is None:
        raise UsageError(f"--by is {by!r}; give one of {', '.join(BY)}")
    excluded = rest.excluded()
    find = select.dedup_near if near else select.dedup
    _write(ctx, "dedup", {"by": by, "near": near}, find(Stored(run), kind, excluded), excluded, output, rest)


@command
def split(
    ctx: typer.Context,
    run: Run,
    shares: Annotated[
        list[str], typer.Argument(help="Names and shares, such as train:0.9 val:0.1.", metavar="NAME:SHARE…")
    ],
    output: Output,
    rest: SelectionOptions,
    seed: Seed = 0,
) -> None:
    """Split a run by pictures, so that none is in two splits.

    Each split becomes a folder of OUTPUT. Rows that share a picture stay together, so shares are met on average.

    Example: prefgen split out train:0.9 val:0.1 --output splits
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    wanted = dict(_share(text) for text in shares)
    excluded = rest.excluded()
    for name, chosen in select.split(Stored(run), wanted, seed, excluded).items():
        settings: dict[str, Scalar] = {"seed": seed, "split": name}
        settings |= {f"share.{other}": share for other, share in wanted.items()}
        _write(ctx, "split", settings, chosen, excluded, output / name, rest)


@command
def join(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Folders of two finished runs or more.", metavar="RUN…")],
    output: Output,
    rest: SelectionOptions,
) -> None:
    """Join runs: several rejected answers for one chosen, side by side.

    Takes the rows of several runs with the same pictures, prompt and chosen answer, one of each run.

    Example: prefgen join povid bdhs --output povid-and-bdhs
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    if len(runs) < 2:
        raise UsageError(f"join takes two runs or more, found {len(runs)}")
    excluded = rest.excluded()
    _write(ctx, "join", {}, select.join([Stored(run) for run in runs], excluded), excluded, output, rest)


@command
def relabel(
    ctx: typer.Context,
    run: Run,
    output: Output,
    rest: SelectionOptions,
    chosen_from: Annotated[Path | None, typer.Option("--chosen-from", help="Run to take chosen answers from.")] = None,
    rejected_from: Annotated[
        Path | None, typer.Option("--rejected-from", help="Run to take rejected answers from.")
    ] = None,
) -> None:
    """Replace chosen or rejected answers by another run's.

    Rows are matched by prompt and pictures; those without a counterpart are left out.

    Example: prefgen relabel vlfeedback --rejected-from corrupted --output table-4
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    other = chosen_from or rejected_from
    if other is None or (chosen_from and rejected_from):
        raise UsageError("give either --chosen-from or --rejected-from")
    excluded = rest.excluded()
    side: Any = "chosen" if chosen_from else "rejected"
    chosen = select.relabel(Stored(run), Stored(other), side, excluded)
    _write(ctx, "relabel", {"side": side}, chosen, excluded, output, rest)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition(":")
    if not name.replace("-", "").replace("_", "").isalnum() or not number.replace(".", "", 1).isdigit():
        raise UsageError(f"{text!r} is no split: give a name and a share, such as train:0.9")
    return name, float(number)


def _write(
    ctx: typer.Context,
    operation: str,
    settings: dict[str, Scalar],
    chosen: Selection,
    excluded: Excluded,
    output: Path,
    rest: SelectionOptions,
) -> None:
    """Write a selection, with the options common to these commands."""
    from prefgen import select
    from prefgen.cli import terminal
    from prefgen.runner.finishing import complete, stoppable
    from prefgen.runner.reporter import Terminal

    settings |= {"exclude_images_sha256": excluded.digest} if excluded.digest else {}
    job = select.SelectJob(operation, settings, chosen, output, rest.shard_size, config.lock(ctx))
    reporter = Terminal(quiet=rest.quiet)
    for reason, count in chosen.left_out.items():
        reporter.console.print(f"left out, {reason}: {count:,} rows", highlight=False)
    with stoppable(output):
        card = terminal.card(rest.license)
        result = complete(output, job.plan(), card, reporter, lambda directory, rows, done: select.fill(job, directory))
    terminal.finish(output, result, reporter.console, json=rest.json)
