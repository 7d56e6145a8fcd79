"""Final figures, messages and exit code of commands that write a run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefgen.card import readme, samples, summary
from prefgen.console import Console
from prefgen.errors import ExitCode, Stopped, TooManyDropped
from prefgen.rundir.layout import Layout
from prefgen.rundir.licences import strictest
from prefgen.rundir.shards import RunDirectory
from prefgen.signals import STOPPED
from prefgen.sources.reasons import Reasons, listed
from prefgen.view import page

_MOSTLY = 0.8  # of the rows: what went wrong with them went wrong with the run


@dataclass(frozen=True)
class Manner:
    """Output options of a command: format, verbosity, limits.

    Attributes:
        command: the command line, for the dataset card.
        licence: of the data, likewise.
        max_dropped: largest share of rows that may be dropped, in [0, 1].
        figures: whether they are printed at the end.
    """

    command: str
    licence: str
    max_dropped: float
    json: bool
    quiet: bool
    dry_run: bool = False
    figures: bool = True


def finalize(directory: RunDirectory, manner: Manner) -> None:
    """Finalize the data set; the card states the given licence, or the strictest of the rows."""

    def render(out: Path) -> str:
        return readme.render(out, manner.command, manner.licence or strictest(summary.summarise(out).licences))

    directory.finalize(render, page.preview, samples.pictures)


def finish(out: Path, manner: Manner, talk: Console) -> None:
    """Print the figures of a finished run.

    Raises:
        TooManyDropped: if more rows were dropped than allowed, or there is no pair.
    """
    data = Console()
    result, shown = summary.summarise(out), shlex.quote(str(out))
    if manner.json:
        data.print_json(summary.to_json(result))
    elif manner.figures:
        data.print(summary.render(result))
    if result.pairs:
        for line in (
            f"data set in {out}: datasets.load_dataset({str(out)!r})",
            f"next: prefgen lint {shown}; prefgen view {shown}; prefgen export {shown} …; prefgen train dpo {shown} …",
        ):
            talk.print(line, markup=False, highlight=False, soft_wrap=True)
    share = 1 - result.pairs / result.planned
    if not result.pairs or share > manner.max_dropped:
        raise TooManyDropped(
            f"{result.planned - result.pairs:,} of {result.planned:,} rows were dropped ({share:.1%}):\n"
            f"{listed(_reasons(out))}\nall of them are in {out}/.prefgen/dropped{_of_comparisons(result)}"
        )


def _of_comparisons(result: summary.Summary) -> str:
    """Advice where hardly any answers could be distinguished."""
    ties, unclear = result.dropped.get("ANSWER_TIE", 0), result.dropped.get("ANSWER_UNCLEAR", 0)
    if ties >= _MOSTLY * result.planned:
        return (
            f"\n{ties:,} of {result.planned:,} are ties: the judge cannot tell these answers apart. `prefgen judge` "
            "tests it on pairs whose better answer is known; name another --annotator, or raise --temperature"
        )
    if unclear >= _MOSTLY * result.planned:
        return (
            f"\n{unclear:,} of {result.planned:,} have no verdict: what compares the answers does not name the better "
            "one. Name another --annotator, or give it words that it follows by --prompt"
        )
    return ""


def _reasons(out: Path) -> Reasons:
    """Reasons of dropped rows with counts and an example each."""
    reasons: Reasons = {}
    for row in Layout(out).read_dropped():
        count, example = reasons.get(row["reason"], (0, row["detail"]))
        reasons[row["reason"]] = count + 1, example
    return reasons


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Report what is kept of a run that a signal stopped.

    Raises:
        Stopped: by a signal.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(_kept(out, "interrupted"), ExitCode.INTERRUPTED) from None
    except Stopped as stopped:
        told = (
            "" if str(stopped) == STOPPED else f"{stopped}\n"
        )  # why else: a judge that asks to wait, answers to fetch
        raise Stopped(told + _kept(out, "stopped"), stopped.exit_code) from None


def _kept(out: Path, how: str) -> str:
    at = Layout(out)
    if not at.plan.exists():
        return f"{how} before anything was written"
    done = sum(commit.stop - commit.start for commit in at.read_commits())
    planned = at.read_plan().rows
    return f"{how}: {done:,} of {planned:,} rows are done and kept in {out}; the same command goes on from there"
