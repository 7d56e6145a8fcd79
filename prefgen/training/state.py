"""The job of a training run and its prepared state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.vision import Pixels
from prefgen.errors import UsageError
from prefgen.records import Dropped
from prefgen.requests import Request
from prefgen.rundir.reader import Stored, loaded_images, rejected_images
from prefgen.sources import SourceOptions
from prefgen.training import saved
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.reference import Logps
from prefgen.training.references import References, opened
from prefgen.training.rows import Item, Reader, TrainingSample


@dataclass(frozen=True)
class TrainingJob:
    """Data, model and settings of a training run.

    Attributes:
        runs: folders of finished runs; with purely online answers also SFT data, by path, address or Hub id.
        source: how that is read.
        config: the command's options, as TOML.
        command: for the model card.
        report_to: ``none``, or a logger of transformers: tensorboard, wandb, trackio …
        online: answers that the policy makes meanwhile; None trains on the stored ones.
        judge: a served annotator.
        reference: folder of the reference; None: that of the records. Runs may share one.
        engines: makers of engines from packages above this one, see `prefgen.engines.build.build`.
    """

    runs: tuple[Path | str, ...]
    output: Path
    engine: EngineConfig
    objective: Objective
    optimisation: Optimisation
    source: SourceOptions = field(default_factory=SourceOptions)
    config: str = ""
    command: str = ""
    report_to: str = "none"
    online: Online | None = None
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    reference: Path | None = None
    engines: Mapping[type[Request], Callable[[EngineConfig], Engine]] = field(default_factory=dict)

    def opened(self) -> list[Stored | References]:
        """The opened runs or SFT input.

        Raises:
            UsageError: it cannot be, or only with options that take no stored pairs.
        """
        if self.online is None:
            return list(opened(self.runs, None))
        found = opened(self.runs, self.source)
        bare = [run.name for run in found if isinstance(run, References)]
        if bare and not self.online.is_pure:
            raise UsageError(
                f"{bare[0]} is SFT data, without pairs that --mix, --with-stored (which povid means without "
                "--without-stored) or --fallback stored could take"
            )
        return found

    @property
    def records(self) -> Path:
        """Folder of everything but the model."""
        return saved.records(self.output)


@dataclass(frozen=True)
class Prepared:
    """A run before its first step: model and tokenized samples.

    Attributes:
        samples: all of them.
        held_out: numbers of those that are not trained on.
        dropped: rows that are in no sample.
        separate: why answers are read in separate sequences; empty where they stand behind one prompt.
        steps: optimizer steps.
    """

    loaded: LoadedModel
    samples: tuple[TrainingSample, ...]
    held_out: tuple[int, ...]
    dropped: tuple[Dropped, ...]
    separate: str
    steps: int
    dataset: Items

    @property
    def trained_on(self) -> list[int]:
        """Indices of the training samples."""
        return sorted(set(range(len(self.samples))) - set(self.held_out))


class Items(torch.utils.data.Dataset[Item]):
    """Samples with their pixels, prepared on access; reference log-probabilities are added when known."""

    def __init__(self, runs: Sequence[Stored | References], reader: Reader, samples: Sequence[TrainingSample]) -> None:
        self.runs = runs
        self.digests = [run.digest for run in runs]
        self.reader = reader
        self._samples = samples
        self.reference: Sequence[Logps] = ()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Item:
        """A sample by its index."""
        return self.shown(number, number)

    def rows(self, sample: TrainingSample) -> list[dict[str, Any]]:
        """The stored rows of a sample."""
        run, row = sample.place
        return list(self.runs[run].take(range(row, row + max(1, len(sample.answers) - 1))).to_pylist())

    def shown(self, number: int, other: int) -> Item:
        """A sample with the pictures of another one."""
        sample, row = self._samples[number], self._row(other)
        own = row if number == other or not sample.rejected_prompt else self._row(number)
        return Item(
            sample,
            self.reader.pixels(loaded_images(row)),
            self.reference[number] if self.reference else (),
            self.reader.pixels(rejected_images(own)) if sample.rejected_prompt else None,
        )

    def _row(self, number: int) -> dict[str, Any]:
        """The first stored row of a sample."""
        run, row = self._samples[number].place
        (stored,) = self.runs[run].take([row]).to_pylist()
        return dict(stored)

    def spare(self) -> Pixels | None:
        """The pictures of the first sample with any."""
        pixels = (self[number].pixels for number in range(len(self)))
        return next((own for own in pixels if own.expansions), None)
