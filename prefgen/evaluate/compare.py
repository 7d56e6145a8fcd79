"""Comparison of runs over the same samples: the same measures for each method's rejected answers.

Figures of answers are taken over the samples of which every run has a pair, so that no method shines by dropping what
is hard; what it yields and costs is that of the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from rich.table import Table
from rich.text import Text

from prefgen.engines.base import Engine
from prefgen.errors import UsageError
from prefgen.linting.pairs import edit_share
from prefgen.requests import Score, Scored
from prefgen.rundir.layout import Layout
from prefgen.rundir.reader import Stored, asked, loaded_images
from prefgen.visibility import View

_COLUMNS = ("id", "method", "variant", "chosen_response", "rejected_response", "similarity")
_AT_ONCE = 64  # samples whose images are held in memory


@dataclass(frozen=True)
class Compared:
    """Measures of one run; None where they could not be computed.

    Attributes:
        run: its folder's name.
        method: the methods of its rows, with their variants.
        planned, pairs: rows of the whole run.
        non_similar: of the rows that the model answered, the share that gave a pair below the threshold.
        edit_share: median share of words of the rejected answer that are not the chosen one's.
        length_ratio: mean length of the rejected answer by that of the chosen one, in characters.
        fluency: mean log-probability of a token of the rejected answer under the policy that sees the clean image, in
            nats, averaged over answers.
        tokens, seconds: spent per pair of the whole run.
    """

    run: str
    method: str
    planned: int
    pairs: int
    non_similar: float | None
    edit_share: float
    length_ratio: float
    fluency: float | None
    tokens: float
    seconds: float


@dataclass(frozen=True)
class RunComparison:
    """Runs in the order given.

    Attributes:
        samples: how many they have in common.
        chosen_fluency: as in `Compared`, of the chosen answers of these.
    """

    samples: int
    chosen_fluency: float | None
    runs: tuple[Compared, ...]


def compare(runs: Sequence[Path], policy: Engine | None = None, threshold: float = 0.97) -> RunComparison:
    """Measure finished runs.

    Args:
        policy: answers `Score`; None leaves fluency out.
        threshold: answers are similar from here on.

    Raises:
        UsageError: if there are less than two runs, one is not finished, or they share no sample.
    """
    if len(runs) < 2:
        raise UsageError("give at least two runs to compare")
    stored = [Stored(run) for run in runs]
    rows = [{row["id"]: row for row in each.scan(_COLUMNS)} for each in stored]
    common = [name for name in rows[0] if all(name in others for others in rows[1:])]
    if not common:
        raise UsageError("these runs have no sample in common: make them from the same input")
    chosen, *rejected = _fluency(stored[0], rows, common, policy) if policy else [None] * (1 + len(runs))
    return RunComparison(
        len(common),
        chosen,
        tuple(
            _compared(run, list(each.values()), [each[name] for name in common], fluency, threshold)
            for run, each, fluency in zip(runs, rows, rejected, strict=True)
        ),
    )


def _compared(
    run: Path, rows: list[dict[str, Any]], common: list[dict[str, Any]], fluency: float | None, threshold: float
) -> Compared:
    """Measure one run: `rows` are all of its pairs, `common` those of samples that every run has."""
    at = Layout(run)
    commits = at.read_commits()
    refused = sum(
        count for commit in commits for reason, count in commit.dropped.items() if reason.startswith("REJECTED")
    )
    similarities = [row["similarity"] for row in rows if row["similarity"] is not None]
    below = sum(similarity < threshold for similarity in similarities)
    answers = [(row["chosen_response"], row["rejected_response"]) for row in common]
    return Compared(
        run=run.resolve().name,
        method=", ".join(dict.fromkeys(f"{row['method']} {row['variant']}".strip() for row in rows)),
        planned=at.read_plan().rows,
        pairs=len(rows),
        non_similar=below / (len(similarities) + refused) if similarities else None,
        edit_share=median(edit_share(chosen, rejected, ()) for chosen, rejected in answers),
        length_ratio=mean(len(rejected) for _, rejected in answers) / mean(len(chosen) for chosen, _ in answers),
        fluency=fluency,
        tokens=sum(commit.tokens for commit in commits) / len(rows),
        seconds=sum(commit.seconds for commit in commits) / len(rows),
    )


def _fluency(
    stored: Stored, rows: Sequence[Mapping[str, Mapping[str, Any]]], common: Sequence[str], policy: Engine
) -> list[float | None]:
    """Mean log-probability per token, averaged over answers: of the chosen ones, then of each run's rejected ones."""
    answers = [{name: rows[0][name]["chosen_response"] for name in common}]
    answers += [{name: each[name]["rejected_response"] for name in common} for each in rows]
    found: list[list[float]] = [[] for _ in answers]
    numbers = {name: number for number, name in enumerate(rows[0])}
    for start in range(0, len(common), _AT_ONCE):
        some = common[start : start + _AT_ONCE]
        tickets = 0
        for row in stored.take([numbers[name] for name in some]).to_pylist():
            prompt, images = asked(row), loaded_images(row)
            for column in answers:
                policy.submit(tickets, Score(prompt, images, View(), column[row["id"]]))
                tickets += 1
        replies: dict[int, object] = {}
        while len(replies) < tickets:
            replies.update(policy.collect())
        for ticket, reply in replies.items():
            if isinstance(reply, Scored):  # a row that does not fit into memory has none
                found[ticket % len(answers)].append(mean(reply.logps))
    return [mean(column) if column else None for column in found]


def render(comparison: RunComparison) -> Table:
    """The comparison as a table for the terminal."""
    table = Table(box=None)
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in HEADINGS[:2] else "right")
    for row in cells(comparison):
        table.add_row(*map(Text, row))
    return table


HEADINGS = ("run", "method", "pairs", "non-similar", "edited", "length", "log-prob", "tokens", "seconds")


def cells(comparison: RunComparison) -> list[tuple[str, ...]]:
    """A row of strings for each run, under `HEADINGS`."""

    def figure(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return [
        (
            run.run,
            run.method,
            f"{run.pairs:,} of {run.planned:,}",
            figure(run.non_similar, ".1%"),
            f"{run.edit_share:.0%}",
            f"{run.length_ratio:.2f}",
            figure(run.fluency, ".2f"),
            f"{run.tokens:.1f}",
            f"{run.seconds:.2f}",
        )
        for run in comparison.runs
    ]
