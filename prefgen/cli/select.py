"""Commands that select rows of finished runs; each makes one library call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import command, only
from prefgen.errors import UsageError
from prefgen.options import check, option

if TYPE_CHECKING:
    from prefgen.rundir.layout import Scalar
    from prefgen.select import Excluded, Selection

Run = Annotated[
    Path, typer.Argument(help="Folder, address or Hub id of a finished run.", metavar="RUN", parser=o.run_folder)
]
Output = Annotated[o.InputOutput, o.folder("Folder to write; resumed if unfinished.")]
Writing = Annotated[o.RunOptions, only("shard_size", "json", "quiet")]
Drawing = Annotated[o.RunOptions, only("seed", "shard_size", "json", "quiet")]


@dataclass(frozen=True)
class SelectionOptions(o.Exclusion):
    """Options of the commands that write rows of runs as another run.

    Attributes:
        license: of the rows, for the dataset card; None for the strictest that a row is under.
    """

    license: str | None = option(None, help="Licence to state; default: the strictest that a row is under.", panel=None)


@command
def mix(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="RUN (folder, address, Hub id), RUN:0.5 (a share) or RUN:5000 (rows).", metavar="RUN[:AMOUNT]…"
        ),
    ],
    files: Output,
    rest: SelectionOptions,
    writing: Drawing,
) -> None:
    """Mix runs: a share or number of rows of each, interleaved.

    Example: prefgen mix povid:5000 bdhs:0.5 --seed 1 --output mixture
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    amounts = [(o.run_folder(path), amount) for path, amount in map(select.parse_amount, runs)]
    excluded = rest.excluded()
    settings: dict[str, Scalar] = {"seed": writing.seed}
    for number, (_, amount) in enumerate(amounts):
        settings[f"input.{number}.amount"] = amount.share if amount.rows is None else amount.rows
    chosen = select.mix([(Stored(path), amount) for path, amount in amounts], writing.seed, excluded)
    _write(ctx, "mix", settings, chosen, excluded, files.output, rest, writing)


@dataclass(frozen=True)
class SampleOptions:
    """Size of a sample."""

    rows: int = option(0, "--rows", "-n", help="Number of rows.", panel=None, required=True, low=1)

    def __post_init__(self) -> None:
        check(self)


@command
def sample(
    ctx: typer.Context, run: Run, size: SampleOptions, files: Output, rest: SelectionOptions, writing: Drawing
) -> None:
    """Draw rows of a run at random, kept in their order."""
    from prefgen import select
    from prefgen.rundir.reader import Stored

    excluded = rest.excluded()
    chosen = select.mix([(Stored(run), select.Amount(rows=size.rows))], writing.seed, excluded)
    _write(ctx, "sample", {"seed": writing.seed, "sample": size.rows}, chosen, excluded, files.output, rest, writing)


@command
def filter_(
    ctx: typer.Context,
    run: Run,
    condition: Annotated[str, typer.Argument(help="Rows that meet it are kept.", metavar="CONDITION")],
    files: Output,
    rest: SelectionOptions,
    writing: Writing,
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
    rows, wanted = Stored(run), expressions.parse(condition)
    chosen = select.keep(rows, wanted, excluded)
    if not len(chosen) and (seen := filtering.values(rows, wanted.columns)):
        raise UsageError(f"filter leaves no row of {len(rows):,}; they have\n{seen}")
    _write(ctx, "filter", {"condition": condition}, chosen, excluded, files.output, rest, writing)


@dataclass(frozen=True)
class DedupOptions:
    """Criteria by which rows are duplicates."""

    by: Literal["pair", "answer", "prompt", "image"] = option(
        "pair", help="pair, answer (prompt and chosen), prompt or image.", panel=None, metavar="TEXT"
    )
    near: bool = option(
        False, help="Also rows whose pictures look alike and whose words are nearly the same.", panel=None
    )

    def __post_init__(self) -> None:
        check(self)


@command
def dedup(
    ctx: typer.Context, run: Run, files: Output, rest: SelectionOptions, options: DedupOptions, writing: Writing
) -> None:
    """Drop rows with the same, or nearly the same, texts and pictures."""
    from prefgen import select
    from prefgen.rundir.reader import Stored

    excluded = rest.excluded()
    find = select.dedup_near if options.near else select.dedup
    chosen = find(Stored(run), options.by, excluded)
    _write(ctx, "dedup", {"by": options.by, "near": options.near}, chosen, excluded, files.output, rest, writing)


@command
def split(
    ctx: typer.Context,
    run: Run,
    shares: Annotated[
        list[str], typer.Argument(help="Names and shares, such as train:0.9 val:0.1.", metavar="NAME:SHARE…")
    ],
    files: Output,
    rest: SelectionOptions,
    writing: Drawing,
) -> None:
    """Split a run by pictures, so that none is in two splits.

    Each split becomes a folder of OUTPUT. Rows that share a picture stay together, so shares are met on average.

    Example: prefgen split out train:0.9 val:0.1 --output splits
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    wanted = dict(map(select.parse_share, shares))
    excluded = rest.excluded()
    for name, chosen in select.split(Stored(run), wanted, writing.seed, excluded).items():
        settings: dict[str, Scalar] = {"seed": writing.seed, "split": name}
        settings |= {f"share.{other}": share for other, share in wanted.items()}
        _write(ctx, "split", settings, chosen, excluded, files.output / name, rest, writing)


@command
def join(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Folders of two finished runs or more.", metavar="RUN…")],
    files: Output,
    rest: SelectionOptions,
    writing: Writing,
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
    _write(ctx, "join", {}, select.join(list(map(Stored, runs)), excluded), excluded, files.output, rest, writing)


@dataclass(frozen=True)
class RelabelOptions:
    """The run that answers are taken from, as one side of the pairs."""

    chosen_from: Path | None = option(None, help="Run to take chosen answers from.", panel=None)
    rejected_from: Path | None = option(None, help="Run to take rejected answers from.", panel=None)


@command
def relabel(
    ctx: typer.Context, run: Run, files: Output, rest: SelectionOptions, options: RelabelOptions, writing: Writing
) -> None:
    """Replace chosen or rejected answers by another run's.

    Rows are matched by prompt and pictures; those without a counterpart are left out.

    Example: prefgen relabel vlfeedback --rejected-from corrupted --output table-4
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    other = options.chosen_from or options.rejected_from
    if other is None or (options.chosen_from and options.rejected_from):
        raise UsageError("give either --chosen-from or --rejected-from")
    excluded = rest.excluded()
    side: Any = "chosen" if options.chosen_from else "rejected"
    chosen = select.relabel(Stored(run), Stored(other), side, excluded)
    _write(ctx, "relabel", {"side": side}, chosen, excluded, files.output, rest, writing)


def _write(
    ctx: typer.Context,
    operation: str,
    settings: dict[str, Scalar],
    chosen: Selection,
    excluded: Excluded,
    output: Path,
    rest: SelectionOptions,
    writing: o.RunOptions,
) -> None:
    """Write a selection, with the options common to these commands."""
    from prefgen import select
    from prefgen.cli import terminal
    from prefgen.runner.finishing import complete, stoppable
    from prefgen.runner.reporter import Terminal

    settings |= {"exclude_images_sha256": excluded.digest} if excluded.digest else {}
    job = select.SelectJob(operation, settings, chosen, output, writing.shard_size, config.lock(ctx))
    reporter = Terminal(quiet=writing.quiet)
    for reason, count in chosen.left_out.items():
        reporter.console.print(f"left out, {reason}: {count:,} rows", highlight=False)
    with stoppable(output):
        card = terminal.card(rest.license)
        result = complete(output, job.plan(), card, reporter, lambda directory, rows, done: select.fill(job, directory))
    terminal.finish(output, result, reporter.console, json=writing.json)
