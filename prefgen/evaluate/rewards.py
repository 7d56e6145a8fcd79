"""Accuracy of rewards on pairs that none was trained on: the matrix of table 7, with baselines.

A column's pairs are the same for all rows: those of a run none of whose pictures any of the models was trained on.
A reward that knows no picture is no reward of pictures, so two baselines stand beside the models: the rule that the
longer answer is the better one, and a classifier of words and word pairs, cross-validated on the run itself
(`prefgen.linting.shortcuts`). A third is DPO's implicit reward, log π(y|x) - log π_ref(y|x).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefgen.engines import adapters
from prefgen.engines.base import EngineConfig
from prefgen.errors import RowError, UsageError
from prefgen.evaluate.benchmarks.intervals import by_picture, drawn, intervals, share
from prefgen.linting.shortcuts import separate
from prefgen.linting.thresholds import CLASSIFIER_PAIRS
from prefgen.rundir.reader import Stored, asked, loaded_images
from prefgen.select.keys import digests

if TYPE_CHECKING:
    from prefgen.training.rows import Item, Reader

LONGER, WORDS = "longer answer", "words"
_BATCH = 8  # pairs of a forward pass

Row = Mapping[str, Any]
Margins = dict[int, float]
"""Reward of the chosen answer minus that of the rejected one, by number of the row."""


@dataclass(frozen=True)
class Cell:
    """Accuracy of one reward on one run.

    Attributes:
        accuracy: share of pairs whose chosen answer has the higher reward; equal ones count one half. None of no pairs.
        interval: its 95% interval by a bootstrap over pictures.
        pairs: that were rated.
    """

    accuracy: float | None
    interval: tuple[float, float] | None
    pairs: int


@dataclass(frozen=True)
class Matrix:
    """Accuracies of rewards by run.

    Attributes:
        cells: by reward and run.
        seen: of each run, rows left out since a model was trained on one of their pictures.
        dropped: reasons, counted.
        unrecorded: models of which nothing says what they were trained on.
    """

    cells: dict[str, dict[str, Cell]]
    seen: dict[str, int]
    dropped: dict[str, int]
    unrecorded: tuple[str, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)


def matrix(
    models: Sequence[Path],
    runs: Sequence[Path],
    implicit: Sequence[tuple[str, str]],
    engine: EngineConfig,
    limit: int | None = None,
    seed: int = 0,
) -> Matrix:
    """Score the pairs of every run with every model and baseline.

    Args:
        models: folders of reward models.
        implicit: policies and the references that they were trained against.
        limit: use the first rows of each run that none was trained on.

    Raises:
        UsageError: nothing is left of a run, or two models or runs have one name.
    """
    from prefgen.training import saved

    policies = [Path(policy) for policy, _ in implicit]
    for kind, paths in (("models", [*models, *policies]), ("runs", list(runs))):
        if len({path.resolve().name for path in paths}) < len(paths):
            raise UsageError(f"two of the {kind} have the same name: {', '.join(map(str, paths))}")
    known = {path: saved.pictures(path) for path in [*models, *policies]}
    seen = frozenset[str]().union(*(pictures for pictures in known.values() if pictures))
    stored = {path.resolve().name: Stored(path) for path in runs}
    rows, left_out = {}, {}
    for name, run in stored.items():
        free = _free(run, seen)
        left_out[name] = len(run) - len(free)
        rows[name] = free[:limit]
        if not free:
            raise UsageError(f"{name} has no pair whose pictures no model was trained on: hold some out (--validation)")
    dropped: Counter[str] = Counter()
    table: dict[str, dict[str, Cell]] = {}

    def add(reward: str, margins: Callable[[Stored, list[int]], Margins]) -> None:
        table[reward] = {
            name: _cell(stored[name], margins(stored[name], numbers), seed) for name, numbers in rows.items()
        }

    for path in models:
        add(path.resolve().name, _rewards(path, engine, dropped))
    for policy, reference in implicit:
        add(f"{Path(policy).resolve().name}, implicit", _implicit(policy, reference, engine, dropped))
    add(LONGER, _longer)
    table[WORDS] = {name: _words(run) for name, run in stored.items()}
    unrecorded = tuple(path.resolve().name for path, pictures in known.items() if pictures is None)
    return Matrix(table, left_out, dict(dropped), unrecorded, {name: len(own) for name, own in rows.items()})


def reference_of(policy: str, given: str) -> str:
    """The model that a policy was trained from: the given one, or the base of an adapter.

    Raises:
        UsageError: nothing tells.
    """
    adapter = adapters.find(EngineConfig(model=policy))
    if given or adapter is None:
        if not given:
            raise UsageError(f"{policy} is no adapter: name by --reference what it was trained from")
        return given
    return f"{adapter.base}@{adapter.base_revision}" if adapter.base_revision else adapter.base


def _free(run: Stored, seen: frozenset[str]) -> list[int]:
    """Indices of the rows with none of these pictures."""
    scanned = enumerate(run.scan(("id", "meta")))
    return [number for number, row in scanned if not seen.intersection(digests(row) or [row["id"]])]


def _pairs(run: Stored, numbers: Sequence[int]) -> Iterator[tuple[int, Row]]:
    for start in range(0, len(numbers), _BATCH):
        batch = numbers[start : start + _BATCH]
        yield from zip(batch, run.take(batch).to_pylist(), strict=True)


def _items(
    run: Stored, numbers: Sequence[int], reader: Reader, dropped: Counter[str]
) -> Iterator[list[tuple[int, Item]]]:
    """Batches of pairs, each one prompt with both answers; unreadable rows are counted."""
    batch: list[tuple[int, Item]] = []
    for number, row in _pairs(run, numbers):
        try:
            if row["rejected_images"]:
                raise RowError("REJECTED_BY_IMAGE", "")
            texts = [row["chosen_response"], row["rejected_response"]]
            batch.append((number, reader.item(asked(row), loaded_images(row), texts)))
        except RowError as error:
            dropped[error.reason] += 1
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _rewards(path: Path, engine: EngineConfig, dropped: Counter[str]) -> Callable[[Stored, list[int]], Margins]:
    from prefgen.training.reward import RewardModel

    model = RewardModel(path, engine)

    def margins(run: Stored, numbers: list[int]) -> Margins:
        found: Margins = {}
        for batch in _items(run, numbers, model.reader, dropped):
            rated = model.rate([item for _, item in batch])
            found |= {number: chosen - rejected for (number, _), (chosen, rejected) in zip(batch, rated, strict=True)}
        return found

    return margins


def _implicit(
    policy: str, reference: str, engine: EngineConfig, dropped: Counter[str]
) -> Callable[[Stored, list[int]], Margins]:
    import dataclasses

    import torch

    from prefgen.engines.hf.loading import load
    from prefgen.training.logprobs import packs, token_logps
    from prefgen.training.rows import Reader

    name, _, revision = reference.partition("@") if not Path(reference).exists() else (reference, "", "")
    loaded = [
        load(dataclasses.replace(engine, model=model, revision=commit, base_model=""))
        for model, commit in ((policy, None), (name, revision or None))
    ]
    packed = packs(loaded[0])
    reader = Reader(loaded[0], "all", 2**31)

    @torch.no_grad()
    def margins(run: Stored, numbers: list[int]) -> Margins:
        found: Margins = {}
        for batch in _items(run, numbers, reader, dropped):
            items = [item for _, item in batch]
            sums = [
                [[float(logps.sum()) for logps in answers] for answers in token_logps(each, items, packed=packed)]
                for each in loaded
            ]
            for (number, _), own, before in zip(batch, *sums, strict=True):
                found[number] = (own[0] - before[0]) - (own[1] - before[1])
        return found

    return margins


def _longer(run: Stored, numbers: list[int]) -> Margins:
    return {
        number: float(len(row["chosen_response"].split()) - len(row["rejected_response"].split()))
        for number, row in _pairs(run, numbers)
    }


def _words(run: Stored) -> Cell:
    rows = islice(run.scan(("chosen_response", "rejected_response")), CLASSIFIER_PAIRS)
    pairs = [(row["chosen_response"], row["rejected_response"]) for row in rows]
    found = separate(pairs)
    return Cell(None, None, 0) if found is None else Cell(found.pairs_right, None, len(pairs))


def _cell(run: Stored, margins: Margins, seed: int) -> Cell:
    if not margins:
        return Cell(None, None, 0)
    names = {number: _picture(row) for number, row in enumerate(run.scan(("id", "meta"))) if number in margins}
    right = {number: 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for number, margin in margins.items()}
    _, counts = by_picture([(names[number], (right[number], 1.0)) for number in margins])
    bounds = intervals(counts, lambda sums: {"accuracy": share(sums[0], sums[1])}, drawn(len(counts), seed))
    return Cell(sum(right.values()) / len(right), bounds["accuracy"], len(right))


def _picture(row: Row) -> str:
    return json.dumps(digests(row) or [row["id"]])
