"""The Python API: make pairs, open a run, import a set, inspect it, train on it.

```python
import prefgen

run = prefgen.build(prefgen.BDHS(rho=0.9), input="llava_instruct.json", model="llava-hf/llava-1.5-7b-hf", output="out")
for pair in run:
    print(pair.question, pair.chosen, pair.rejected)
```

What a command does, these do: the same run directories, promises and errors. Messages and progress go to the terminal
or notebook that runs them; `reporter` says otherwise: `Terminal`, `Notebook`, `Silent` or one of your own.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefgen import linting
from prefgen.card import summary
from prefgen.card.summary import Summary
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.linting import Lint
from prefgen.linting.thresholds import TRUNCATED_CHARS
from prefgen.methods.base import Method
from prefgen.options import SHARD_SIZE
from prefgen.records import Turn
from prefgen.rundir.reader import Stored, asked
from prefgen.runner import reporter as reporters
from prefgen.runner.distribution import Distribution
from prefgen.runner.finishing import Card, check_dropped
from prefgen.runner.import_job import ImportJob, import_pairs
from prefgen.runner.launch import Job
from prefgen.runner.make import make_pairs
from prefgen.runner.reporter import Reporter
from prefgen.select import Excluded
from prefgen.sources import SourceOptions

if TYPE_CHECKING:
    import datasets
    import PIL.Image

    from prefgen.training.config import Objective, Optimisation


@dataclass(frozen=True)
class StoredPair:
    """A pair of a finished run.

    Attributes:
        prompt: the conversation before the answers.
        method: that made the rejected answer; `variant` of it.
        similarity: cosine of both answers' embeddings; None where the method has none.
        flags: what is odd about it, such as ``blind``.
        columns: all that the run stores, pictures included.
    """

    id: str
    prompt: tuple[Turn, ...]
    chosen: str
    rejected: str
    method: str
    variant: str
    similarity: float | None
    flags: tuple[str, ...]
    columns: Mapping[str, Any] = field(repr=False)

    @property
    def question(self) -> str:
        """Text of the last turn."""
        return self.prompt[-1].text

    @property
    def meta(self) -> dict[str, Any]:
        """The column `meta`, decoded: how the pair was made, and further columns of the source's row."""
        found: dict[str, Any] = json.loads(self.columns["meta"])
        return found

    def images(self) -> list[PIL.Image.Image]:
        """The pictures of the prompt, decoded."""
        import PIL.Image

        return [PIL.Image.open(io.BytesIO(image["bytes"])) for image in self.columns["images"]]


class Run:
    """A finished run: a sequence of its pairs, in order.

    Attributes:
        path: its folder, which `datasets.load_dataset` and the trainers read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stored = Stored(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {len(self):,} pairs)"

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[StoredPair]:
        for table in self._stored.tables():
            yield from map(_pair, table.to_pylist())

    def __getitem__(self, number: int) -> StoredPair:
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self!r} has no pair {number}")
        (row,) = self._stored.take([number % len(self)]).to_pylist()
        return _pair(row)

    @property
    def figures(self) -> summary.Summary:
        """Counts of pairs and dropped rows, lengths, similarity, speed."""
        return summary.summarise(self.path)

    def to_dataset(self) -> datasets.Dataset:
        """The rows as a `datasets.Dataset`; pictures are decoded on access."""
        import datasets

        return datasets.load_dataset(str(self.path), split="train")


def build(
    method: Method,
    *,
    input: str | Sequence[str],
    output: str | Path,
    model: str | EngineConfig = "",
    source: SourceOptions | None = None,
    judge: JudgeConfig | None = None,
    shard_size: int = SHARD_SIZE,
    licence: str = "other",
    workers: int = 1,
    reporter: Reporter | None = None,
) -> Run:
    """Make pairs by a method, or resume a stopped run.

    Args:
        method: such as ``BDHS(rho=0.9)``; all are in `METHODS`.
        input: SFT rows: a file, several, a folder, an address or a Hub id.
        model: folder or Hub id; an `EngineConfig` says more, such as ``EngineConfig("m", "vllm")``.
        source: which rows to take and where their pictures are.
        judge: for methods that ask one.
        shard_size: rows of a shard, the unit of commit and resume.
        workers: processes of this machine.

    Raises:
        PrefgenError: as the command would; a run without any pair raises `TooManyDropped`.
    """
    inputs = (input,) if isinstance(input, str) else tuple(input)
    engine = EngineConfig(model) if isinstance(model, str) else model
    job = Job(method, inputs, source or SourceOptions(), engine, Path(output), shard_size, judge=judge)
    shown = reporter or reporters.default()
    return _checked(output, make_pairs(job, Card("prefgen.build(…)", licence), shown, Distribution(workers=workers)))


def open(path: str | Path) -> Run:  # named as in PIL.Image.open and its like; the builtin is not used here
    """Open a finished run.

    Raises:
        UsageError: there is none. CorruptRun: it is damaged.
    """
    return Run(path)


def import_set(
    name: str,
    input: str,
    *,
    output: str | Path,
    source: SourceOptions | None = None,
    shard_size: int = SHARD_SIZE,
    reporter: Reporter | None = None,
    **options: Any,
) -> Run:
    """Import a published set, or preference data in a trainer's format, as a run.

    Args:
        name: one of `prefgen.formats.IMPORTERS`, or of its presets.
        options: of that importer.

    Raises:
        UsageError: the name or an option is unknown, or `input` cannot be read.
    """
    job = ImportJob.of(name, options, input, source or SourceOptions(), Path(output), shard_size)
    card = Card("prefgen.import_set(…)", job.importer.licence)
    return _checked(output, import_pairs(job, card, reporter or reporters.default()))


def lint(run: Run | str | Path, *, truncated_chars: int = TRUNCATED_CHARS, exclude_images: Path | None = None) -> Lint:
    """Check a run for shortcuts, duplicates and other flaws.

    Args:
        truncated_chars: pairs are also compared after this many characters, where a trainer may cut them off.
        exclude_images: pictures of an evaluation, which no row should have: a folder, or a file that lists them.

    Raises:
        UsageError: there are no pairs.
    """
    excluded = Excluded.read(exclude_images) if exclude_images else Excluded()
    return linting.lint(_path(run), truncated_chars=truncated_chars, excluded=excluded)


def train(
    runs: Run | str | Path | Sequence[Run | str | Path],
    *,
    output: str | Path,
    model: str | EngineConfig,
    objective: Objective | None = None,
    optimisation: Optimisation | None = None,
    reporter: Reporter | None = None,
) -> dict[str, float]:
    """Train a model on the pairs of runs, or resume a stopped training run.

    Args:
        model: folder or Hub id; it becomes the trained model's base.
        objective: the loss, DPO without one.
        optimisation: learning rate, LoRA and the like.

    Returns:
        Metrics of the last step, and of the held-out samples.

    Raises:
        UsageError, CorruptRun, Locked: as `prefgen train` would.
    """
    from prefgen.training import report
    from prefgen.training import run as training
    from prefgen.training.config import Objective, Optimisation
    from prefgen.training.state import TrainingJob

    engine = EngineConfig(model) if isinstance(model, str) else model
    given = (runs,) if isinstance(runs, (Run, str, Path)) else runs
    job = TrainingJob(
        tuple(map(_path, given)), Path(output), engine, objective or Objective("dpo"), optimisation or Optimisation()
    )
    shown = reporter or reporters.default()
    return dict(report.train(job, training.prepare(job), shown.console))


def _path(run: Run | str | Path) -> Path:
    return run.path if isinstance(run, Run) else Path(run)


def _checked(output: str | Path, result: Summary | None) -> Run:
    """The run, after checking that it has a pair."""
    if result is not None:
        check_dropped(Path(output), result)
    return Run(output)


def _pair(row: Mapping[str, Any]) -> StoredPair:
    return StoredPair(
        id=row["id"],
        prompt=asked(row),
        chosen=row["chosen_response"],
        rejected=row["rejected_response"],
        method=row["method"],
        variant=row["variant"],
        similarity=row["similarity"],
        flags=tuple(row["flags"]),
        columns=row,
    )
