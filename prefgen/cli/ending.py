"""How a command that filled a run directory talks and ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefgen.card import readme, samples, summary
from prefgen.cli.console import Console
from prefgen.errors import TooManyDropped
from prefgen.rundir.licences import strictest
from prefgen.rundir.shards import RunDirectory
from prefgen.view import page

_MOSTLY = 0.8  # of the rows: what went wrong with them went wrong with the run


@dataclass(frozen=True)
class Manner:
    """How a run talks and ends.

    Attributes:
        command: the command line, for the dataset card. licence: of the data, likewise.
        max_dropped: largest share of rows that may be dropped, in [0, 1].
    """

    command: str
    licence: str
    max_dropped: float
    json: bool
    quiet: bool
    dry_run: bool = False


def finalize(directory: RunDirectory, manner: Manner) -> None:
    """Make the data set; its card states the licence asked for, or the strictest that a row is under."""

    def render(out: Path) -> str:
        return readme.render(out, manner.command, manner.licence or strictest(summary.summarise(out).licences))

    directory.finalize(render, page.preview, samples.pictures)


def finish(out: Path, manner: Manner, talk: Console) -> None:
    """Print the figures of a finished run.

    Raises:
        TooManyDropped: if more rows were dropped than allowed, or there is no pair.
    """
    data = Console()
    result = summary.summarise(out)
    if manner.json:
        data.print_json(summary.to_json(result))
    else:
        data.print(summary.render(result))
    talk.print(f"data set in {out}: datasets.load_dataset({str(out)!r})")
    share = 1 - result.pairs / result.planned
    if not result.pairs or share > manner.max_dropped:
        raise TooManyDropped(
            f"{result.planned - result.pairs:,} of {result.planned:,} rows were dropped ({share:.1%}); "
            f"reasons are in {out}/.prefgen/dropped{_of_ties(result)}"
        )


def _of_ties(result: summary.Summary) -> str:
    """What to do where hardly any two answers could be told apart."""
    ties = result.dropped.get("ANSWER_TIE", 0)
    if ties < _MOSTLY * result.planned:
        return ""
    return (
        f"\n{ties:,} of {result.planned:,} are ties: the judge cannot tell these answers apart. `prefgen judge` tests "
        "it on pairs whose better answer is known; name another --annotator, or raise --temperature"
    )
