"""The steps common to all runs: open the directory, fill it, finalize the data set, check the figures."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prefgen.card import readme, samples, summary
from prefgen.card.summary import Summary
from prefgen.errors import CorruptRun, ExitCode, Stopped, TooManyDropped, UsageError
from prefgen.rundir import verify
from prefgen.rundir.layout import Layout, Plan
from prefgen.rundir.licences import strictest
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.writers import WHOLE, Part
from prefgen.runner.reporter import Reporter
from prefgen.signals import STOPPED
from prefgen.sources.reasons import Reasons, listed
from prefgen.view import page

_MOSTLY = 0.8  # of the rows: what went wrong with them went wrong with the run


REPEAT = "repeat with: "
"""Stands in the first line of a run's configuration, before the command."""
Fill = Callable[[RunDirectory, int, int], None]


@dataclass(frozen=True)
class Card:
    """Values of the data-set card that the rows do not hold.

    Attributes:
        command: that makes the run.
        licence: of the data; empty for the strictest that a row is under.
    """

    command: str
    licence: str = ""


def complete(
    output: Path, planned: Plan, card: Card, reporter: Reporter, fill: Fill, part: Part = WHOLE
) -> Summary | None:
    """Open a run directory, fill its pending shards, and finalize the data set.

    Args:
        fill: fills the pending shards; is also given the rows of this part and how many of them are done.
        part: of the shards, that are filled from here.

    Returns:
        Figures of the run; None if shards are left to other parts.

    Raises:
        CorruptRun, Locked: as `RunDirectory.open`. Stopped: by a signal.
    """
    console = reporter.console
    with RunDirectory.open(output, planned, part) as directory:
        pending = sum(len(planned.shards[shard]) for shard in directory.pending())
        own = sum(len(rows) for shard, rows in enumerate(planned.shards) if part.holds(shard))
        if pending:
            if pending < own:
                console.print(f"resuming {output}: {pending:,} of {own:,} rows to do")
            fill(directory, own, own - pending)
        elif directory.finished:
            console.print(f"{output} is finished already; nothing to do", soft_wrap=True)
        if left := directory.remaining():
            console.print(
                f"part {part} is done; {left:,} of {len(planned.shards):,} shards are left to other parts. The "
                f"last one makes the data set; should one have died, so does the same command without its part"
            )
            return None
        if not part.whole:  # of which this command made a part
            card = replace(card, command=repeating(Layout(output).config))
        return finalize(directory, card)


def finalize(directory: RunDirectory, card: Card) -> Summary:
    """Finalize the data set; the card states the given licence, or the strictest of the rows.

    Returns:
        Figures of the run, for which its texts are read once.
    """
    found: Summary | None = None

    def render(out: Path) -> str:
        nonlocal found
        found = summary.summarise(out)
        return readme.render(out, card.command, card.licence or strictest(found.licences), summary=found)

    directory.finalize(render, page.preview, samples.pictures)
    return found or summary.summarise(directory.out)


def finalize_run(out: Path, card: Card, reporter: Reporter) -> Summary:
    """Finalize the data set of a run whose shards are all committed.

    Raises:
        UsageError: there is no run, or shards are pending.
        CorruptRun: the run is damaged.
    """
    directory = RunDirectory.join(out)
    if left := directory.remaining():
        shards = f"{left:,} of {len(directory.plan.shards):,} shards of {out}"
        raise UsageError(f"{shards} are pending: finish it with {card.command} -o {out}")
    if directory.finished and (mended := readme.without_configs(out)) is not None:
        if problems := verify.verify(out).problems:  # a new manifest must not vouch for damage
            raise CorruptRun(f"{out} has {len(problems)} problems, see `prefgen verify`; its card is left as it is")
        directory.replace_card(mended)
        message = f"{out}/README.md: the `configs` block, which made load_dataset return older rows, is gone"
        reporter.console.print(message)
    return finalize(directory, card)


def check_dropped(out: Path, result: Summary, max_dropped: float = 1.0) -> None:
    """Raise if a run has no pair, or too many dropped rows.

    Args:
        max_dropped: largest share of rows that may be dropped, in [0, 1].

    Raises:
        TooManyDropped: with the reasons.
    """
    share = 1 - result.pairs / result.planned
    if not result.pairs or share > max_dropped:
        raise TooManyDropped(
            f"{result.planned - result.pairs:,} of {result.planned:,} rows were dropped ({share:.1%}):\n"
            f"{listed(_reasons(out))}\nall of them are in {out}/.prefgen/dropped{_of_comparisons(result)}"
        )


def repeating(path: Path) -> str:
    """The command that repeats the run of this configuration file."""
    heading = path.read_text(encoding="utf-8").partition("\n")[0]
    words, _, _ = heading.partition(REPEAT)[2].rpartition("FILE")
    return words + shlex.quote(str(path)) if words else ""


def _of_comparisons(result: Summary) -> str:
    """Advice where hardly any answers could be distinguished."""
    ties, unclear = result.dropped.get("ANSWER_TIE", 0), result.dropped.get("ANSWER_UNCLEAR", 0)
    if ties >= _MOSTLY * result.planned:
        return (
            f"\n{ties:,} of {result.planned:,} are ties: the judge cannot distinguish these answers. `prefgen judge` "
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
        message = (
            "" if str(stopped) == STOPPED else f"{stopped}\n"
        )  # why else: a judge that asks to wait, answers to fetch
        raise Stopped(message + _kept(out, "stopped"), stopped.exit_code) from None


def _kept(out: Path, how: str) -> str:
    at = Layout(out)
    if not at.plan.exists():
        return f"{how} before anything was written"
    done = sum(commit.stop - commit.start for commit in at.read_commits())
    planned = at.read_plan().rows
    return f"{how}: {done:,} of {planned:,} rows are done and kept in {out}; the same command continues from there"
