"""Commands that select rows of finished runs; each makes one library call."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.addresses import redact
from prefgen.cli import config
from prefgen.cli.options import on_disk, run_folder
from prefgen.errors import UsageError

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
Exclude = Annotated[
    Path | None,
    typer.Option(
        "--exclude-images",
        help="Evaluation pictures that no row may have: a folder, or a file with a name, SHA-256 or JSON a line.",
    ),
]
ShardSize = Annotated[int, typer.Option("--shard-size", help="Rows of a shard: the unit of commit.")]
License = Annotated[
    str | None, typer.Option("--license", help="Licence to state; default: the strictest that a row is under.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the final figures as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors and the final figures.")]


def mix(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="RUN (folder, address, Hub id), RUN:0.5 (a share) or RUN:5000 (rows).", metavar="RUN[:AMOUNT]…"
        ),
    ],
    output: Output,
    seed: Seed = 0,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Mix runs: a share or number of rows of each, interleaved.

    Example: prefgen mix povid:5000 bdhs:0.5 --seed 1 --output mixture
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    amounts = [(run_folder(path), amount) for path, amount in map(select.parse_amount, runs)]
    excluded = _excluded(exclude_images)
    settings: dict[str, Scalar] = {"seed": seed}
    for number, (_, amount) in enumerate(amounts):
        settings[f"input.{number}.amount"] = amount.share if amount.rows is None else amount.rows
    chosen = select.mix([(Stored(path), amount) for path, amount in amounts], seed, excluded)
    _write(ctx, "mix", settings, chosen, excluded, output)


def sample(
    ctx: typer.Context,
    run: Run,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of rows.")],
    output: Output,
    seed: Seed = 0,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Draw rows of a run at random, kept in their order."""
    from prefgen import select
    from prefgen.rundir.reader import Stored

    excluded = _excluded(exclude_images)
    chosen = select.mix([(Stored(run), select.Amount(rows=rows))], seed, excluded)
    _write(ctx, "sample", {"seed": seed, "sample": rows}, chosen, excluded, output)


def filter_(
    ctx: typer.Context,
    run: Run,
    condition: Annotated[str, typer.Argument(help="Rows that meet it are kept.", metavar="CONDITION")],
    output: Output,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
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

    excluded = _excluded(exclude_images)
    stored, wanted = Stored(run), expressions.parse(condition)
    chosen = select.keep(stored, wanted, excluded)
    if not len(chosen) and (seen := filtering.values(stored, wanted.columns)):
        raise UsageError(f"filter leaves no row of {len(stored):,}; they have\n{seen}")
    _write(ctx, "filter", {"condition": condition}, chosen, excluded, output)


def dedup(
    ctx: typer.Context,
    run: Run,
    output: Output,
    by: Annotated[str, typer.Option("--by", help="pair, answer (prompt and chosen), prompt or image.")] = "pair",
    near: Annotated[
        bool, typer.Option("--near", help="Also rows whose pictures look alike and whose words are nearly the same.")
    ] = False,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Drop rows with the same, or nearly the same, texts and pictures."""
    from prefgen import select
    from prefgen.rundir.reader import Stored
    from prefgen.select.keys import BY

    kind = next((name for name in BY if name == by), None)
    if kind is None:
        raise UsageError(f"--by is {by!r}; give one of {', '.join(BY)}")
    excluded = _excluded(exclude_images)
    find = select.dedup_near if near else select.dedup
    _write(ctx, "dedup", {"by": by, "near": near}, find(Stored(run), kind, excluded), excluded, output)


def split(
    ctx: typer.Context,
    run: Run,
    shares: Annotated[
        list[str], typer.Argument(help="Names and shares, such as train:0.9 val:0.1.", metavar="NAME:SHARE…")
    ],
    output: Output,
    seed: Seed = 0,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Split a run by pictures, so that none is in two splits.

    Each split becomes a folder of OUTPUT. Rows that share a picture stay together, so shares are met on average.

    Example: prefgen split out train:0.9 val:0.1 --output splits
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    wanted = dict(_share(text) for text in shares)
    excluded = _excluded(exclude_images)
    for name, chosen in select.split(Stored(run), wanted, seed, excluded).items():
        settings: dict[str, Scalar] = {"seed": seed, "split": name}
        settings |= {f"share.{other}": share for other, share in wanted.items()}
        _write(ctx, "split", settings, chosen, excluded, output / name)


def join(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Folders of two finished runs or more.", metavar="RUN…")],
    output: Output,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Join runs: several rejected answers for one chosen, side by side.

    Takes the rows of several runs with the same pictures, prompt and chosen answer, one of each run.

    Example: prefgen join povid bdhs --output povid-and-bdhs
    """
    from prefgen import select
    from prefgen.rundir.reader import Stored

    if len(runs) < 2:
        raise UsageError(f"join takes two runs or more, found {len(runs)}")
    excluded = _excluded(exclude_images)
    _write(ctx, "join", {}, select.join([Stored(run) for run in runs], excluded), excluded, output)


def relabel(
    ctx: typer.Context,
    run: Run,
    output: Output,
    chosen_from: Annotated[Path | None, typer.Option("--chosen-from", help="Run to take chosen answers from.")] = None,
    rejected_from: Annotated[
        Path | None, typer.Option("--rejected-from", help="Run to take rejected answers from.")
    ] = None,
    exclude_images: Exclude = None,
    shard_size: ShardSize = config.SHARD_SIZE,
    license: License = None,
    json: Json = False,
    quiet: Quiet = False,
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
    excluded = _excluded(exclude_images)
    side: Any = "chosen" if chosen_from else "rejected"
    chosen = select.relabel(Stored(run), Stored(other), side, excluded)
    _write(ctx, "relabel", {"side": side}, chosen, excluded, output)


def _excluded(path: Path | None) -> Excluded:
    from prefgen.select import Excluded

    return Excluded.read(path) if path else Excluded()


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
) -> None:
    """Write a selection, with the options common to these commands."""
    from prefgen.cli import transfer
    from prefgen.cli.ending import Manner
    from prefgen.select import SelectJob

    options = ctx.params
    settings |= {"exclude_images_sha256": excluded.digest} if excluded.digest else {}
    transfer.run_selection(
        SelectJob(operation, settings, chosen, output, options["shard_size"], config.lock(ctx)),
        Manner(
            command=redact(shlex.join(["prefgen", *sys.argv[1:]])),
            licence=options["license"] or "",
            max_dropped=1.0,
            json=options["json"],
            quiet=options["quiet"],
        ),
    )
