"""Accuracy of a judge on pairs whose better answer is known, as in the paper's table 10."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from prefgen.driver import Asking, drive
from prefgen.engines.base import Engines
from prefgen.evaluate.benchmarks.intervals import drawn, intervals, share
from prefgen.images import ImageRoot, load_images
from prefgen.methods.verdicts import SWAPPED, Comparer, Comparison, Verdict
from prefgen.records import Dropped, ImageRef, Sample, Slot, Turn
from prefgen.rundir.reader import Stored

_COLUMNS = ("id", "images", "prompt", "chosen_response", "rejected_response", "source", "source_id", "turn")
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Judged:
    """Both verdicts on a pair; in `comparison` the chosen answer is the first."""

    id: str
    comparison: Comparison


@dataclass(frozen=True)
class Accuracy:
    """Accuracy figures of a judge; None without verdicts.

    Attributes:
        pairs: that were judged and have a label other than a tie.
        failed: that could not be judged.
        accuracy: share of single verdicts that are right; ties and unclear ones are not. This is table 10's figure.
        interval: 95% interval of the accuracy, by a bootstrap over pairs.
        agreed: share of pairs with the same clear verdict in both orders.
        agreed_accuracy: share of these that are right.
        first: share of clear single verdicts for the answer that stood first; 0.5 where the order does not matter.
        ties: share of single verdicts that are ties; likewise `unclear`, that cannot be read.
    """

    pairs: int
    failed: Mapping[str, int]
    accuracy: float | None
    interval: tuple[float, float] | None
    agreed: float | None
    agreed_accuracy: float | None
    first: float | None
    ties: float | None
    unclear: float | None


def judge(
    stored: Stored,
    comparer: Comparer,
    engines: Engines,
    limit: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Judged | Dropped]:
    """Have the pairs of a run judged in both orders.

    Args:
        engines: answer `Annotate` or `Chat`, whichever the comparer asks.
        check: called while waiting; may raise.
    """
    rows = islice(_rows(stored), limit)
    while batch := list(islice(rows, _ROWS_AT_ONCE)):
        answers = {row["id"]: (row["chosen_response"], row["rejected_response"]) for row in batch}

        def ask(sample: Sample, answers: Mapping[str, tuple[str, str]] = answers) -> Asking[Judged]:
            replies = yield comparer.requests(sample, *answers[sample.id], "judge")
            return Judged(sample.id, comparer.read(*replies))

        samples = [_sample(row) for row in batch]
        yield from (row for row in samples if isinstance(row, Dropped))
        shown = [row for row in samples if isinstance(row, Sample)]
        done = dict(drive(shown, ask, engines, check))
        yield from (done[index] for index in range(len(shown)))


def tally(judged: Iterable[Judged | Dropped], labels: Mapping[str, str] | None = None) -> Accuracy:
    """The accuracy of these verdicts.

    Args:
        labels: by id, ``good`` where the chosen answer is the better one, ``bad`` where it is not; others are left out.
            None takes every pair at its word.
    """
    failed: Counter[str] = Counter()
    single: Counter[Verdict] = Counter()  # with the right answer first
    places: Counter[Verdict] = Counter()
    agreed = agreed_right = 0
    hits: list[int] = []  # right verdicts of each pair's two
    for one in judged:
        if isinstance(one, Dropped):
            failed[one.reason] += 1
            continue
        label = "good" if labels is None else labels.get(one.id)
        if label not in ("good", "bad"):
            continue
        right = 0 if label == "good" else 1
        places.update([one.comparison.forth, one.comparison.back])
        straight = [one.comparison.forth, SWAPPED.get(one.comparison.back, one.comparison.back)]
        verdicts = straight if right == 0 else [SWAPPED.get(verdict, verdict) for verdict in straight]
        single.update(verdicts)
        hits.append(verdicts.count("first"))
        agreed += one.comparison.winner is not None
        agreed_right += one.comparison.winner == right
    pairs = len(hits)
    clear = places["first"] + places["second"]
    return Accuracy(
        pairs=pairs,
        failed=dict(failed.most_common()),
        accuracy=share(single["first"], 2 * pairs),
        interval=_interval(hits),
        agreed=share(agreed, pairs),
        agreed_accuracy=share(agreed_right, agreed),
        first=share(places["first"], clear),
        ties=share(places["tie"], 2 * pairs),
        unclear=share(places["unclear"], 2 * pairs),
    )


def _interval(hits: Sequence[int]) -> tuple[float, float] | None:
    if not hits:
        return None
    counts = np.array([(right, 2) for right in hits], dtype=np.float64)
    return intervals(counts, lambda sums: {"accuracy": share(*sums)}, drawn(len(hits), seed=0))["accuracy"]


def _rows(stored: Stored) -> Iterator[dict[str, Any]]:
    for table in stored.tables():
        yield from table.select(_COLUMNS).to_pylist()


def _sample(row: Mapping[str, Any]) -> Sample | Dropped:
    """The sample of a row's answers, or why a picture cannot be shown."""
    prompt = tuple(
        Turn(turn["role"], tuple(part["text"] if part["type"] == "text" else Slot.IMAGE for part in turn["content"]))
        for turn in row["prompt"]
    )
    pictures = tuple(ImageRef(data=image["bytes"]) for image in row["images"])
    sample = Sample(row["id"], prompt, pictures, None, row["source"], row["source_id"], row["turn"])
    return load_images(sample, ImageRoot(()), None)


def render(found: Accuracy) -> Table:
    """A judge's accuracy as a table for the terminal."""
    table = Table(show_header=False)
    table.add_row("pairs judged", f"{found.pairs:,}")
    for reason, count in found.failed.items():
        table.add_row(Text(f"not judged, {reason}"), f"{count:,}")
    if found.accuracy is not None and found.interval is not None:
        low, high = found.interval
        table.add_row("accuracy of a verdict, 95% interval", Text(f"{found.accuracy:.1%} [{low:.1%}, {high:.1%}]"))
    for name, part in (
        ("same verdict in both orders", found.agreed),
        ("accuracy of these", found.agreed_accuracy),
        ("verdicts for the first answer", found.first),
        ("ties", found.ties),
        ("unclear", found.unclear),
    ):
        if part is not None:
            table.add_row(name, f"{part:.1%}")
    return table
