"""Checkers of sentences from options: word lists, COCO's files and names of detectors are read here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.fake import FakeEngine
from prefgen.errors import UsageError
from prefgen.evaluate.benchmarks import chair, coco_objects
from prefgen.evaluate.benchmarks.coco_objects import ObjectWords
from prefgen.methods import prompts
from prefgen.methods.sentence_checks import ByDetectors, ByGain, ByJudge, ByObjects, Checker, ObjectLists
from prefgen.options import check, option, shared

_COCO_PREFIX = re.compile(r"\ACOCO_\w+?\d{4}_")


@dataclass(frozen=True)
class Checking:
    """Options of the checker of sentences.

    Attributes:
        check: kind of checker, see `prefgen.methods.sentence_checks`.
        objects: column of the rows with a list of names, or a file of COCO's instances.
        detector: open-vocabulary detectors, see `prefgen.engines.detectors.Detector`.
        words: file of words for objects, a line for each: its name, other words behind it, separated by commas.
    """

    check: Literal["objects", "detector", "judge", "image-gain"] = option("objects", help="Who checks a sentence")
    objects: str = option(
        "objects", help="objects: column with a picture's objects, or a file of COCO's instances (.json)."
    )
    words: Path | None = option(
        None, help="objects, detector: words for objects, a line each, commas between; else COCO's 80."
    )
    detector: Sequence[str] = option(
        (), help="detector: owlv2, grounding-dino, folder or Hub id, with =THRESHOLD; repeat it: all must agree."
    )
    verified_from: float = option(
        ByGain.verified_from, help="image-gain: nats per token from which on a sentence is verified."
    )
    hallucinated_to: float = option(
        ByGain.hallucinated_to, help="image-gain: nats per token up to which it is hallucinated."
    )
    seed: int = shared(0)

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UsageError: naming the option and its value.
        """
        check(self)
        if (self.check == "detector") != bool(self.detector):
            raise UsageError("--detector and --check detector go together: owlv2, grounding-dino, folder or Hub id")

    def checker(self, prompt: Path | None, engine: EngineConfig) -> Checker:
        """The checker, its files read.

        Raises:
            UsageError: a file cannot be read, or is none of its kind.
            ModelUnreachable: there is no such detector.
        """
        if self.check == "judge":
            return ByJudge(prompts.load("sentence", prompt), self.seed)
        if self.check == "image-gain":
            return ByGain(self.verified_from, self.hallucinated_to)
        words = _Words(coco_objects.read(self.words) if self.words else coco_objects.own(), _digest(self.words))
        if self.check == "detector":
            return ByDetectors(words, " and ".join(self.detector if engine.engine == "fake" else self._pinned()))
        lists = _listed(Path(self.objects), words) if self.objects.endswith(".json") else ObjectLists(self.objects)
        return ByObjects(words, lists)

    def _pinned(self) -> list[str]:
        from prefgen.engines.detectors import Detector

        return [Detector.parse(each).pinned() for each in self.detector]

    def load(self, engine: EngineConfig) -> Engine:
        """The engine that answers `Detect` requests."""
        if engine.engine == "fake":
            return FakeEngine()
        from prefgen.engines.detectors import Detector, Detectors

        return Detectors.load([Detector.parse(each) for each in self.detector], engine.device)


@dataclass(frozen=True)
class _Words:
    vocabulary: ObjectWords
    digest: str

    def __str__(self) -> str:
        return f"{self.vocabulary.name}{self.digest}"

    def mentions(self, text: str) -> list[str]:
        """The objects that a text names."""
        return self.vocabulary.mentions(text)


def _listed(path: Path, words: _Words) -> ObjectLists:
    """The objects of the pictures in a file of COCO's instances."""
    truth = chair.truth([path], [], words.vocabulary)
    by_picture = {name: frozenset(truth.objects[number]) for number, name in truth.names.items()}
    # The pictures of 2014 are called COCO_train2014_000000000009.jpg there, and without that elsewhere.
    by_picture |= {_COCO_PREFIX.sub("", name): objects for name, objects in by_picture.items()}
    return ObjectLists("", f"{path.name}{_digest(path)}", by_picture)


def _digest(path: Path | None) -> str:
    return f" sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}" if path else ""
