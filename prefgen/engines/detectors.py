"""Open-vocabulary detectors of transformers: whether an object is in a picture, by one or by several that agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import transformers

from prefgen import images
from prefgen.engines import model_files
from prefgen.engines.hf.loading import resolve_device, revision_of
from prefgen.errors import RowError, UsageError
from prefgen.records import Image
from prefgen.requests import Detect, Detected, Reply, Request

ALIASES = {
    "owlv2": "google/owlv2-base-patch16-ensemble",
    "grounding-dino": "IDEA-Research/grounding-dino-base",
}
_THRESHOLDS = {"grounding-dino": 0.4, "owlv2": 0.1, "owlvit": 0.1}  # by type of model, as their model cards have them
_THRESHOLD = 0.3  # of other types
_ASKED = {"grounding-dino": "{}."}  # how an object is asked for
_ASKED_OTHERS = "a photo of a {}"


@dataclass(frozen=True)
class Detector:
    """A detector, as ``--detector`` names it.

    Attributes:
        name: alias, folder or Hub id. revision: of the Hub; None for the newest.
        threshold: least score, in [0, 1], of an object that is there; None for that of its type.
    """

    name: str
    revision: str | None = None
    threshold: float | None = None

    @staticmethod
    def parse(text: str) -> Detector:
        """``NAME``, ``NAME@REVISION`` or either with ``=THRESHOLD``.

        Raises:
            UsageError: the threshold is no number in [0, 1].
        """
        named, _, threshold = text.partition("=")
        name, _, revision = named.partition("@")
        try:
            value = float(threshold) if threshold else None
        except ValueError:
            value = -1.0
        if not name or (value is not None and not 0 <= value <= 1):
            raise UsageError(f"--detector {text!r}: give NAME, NAME@REVISION or NAME=THRESHOLD, from 0 to 1")
        return Detector(ALIASES.get(name, name), revision or None, value)

    def pinned(self) -> str:
        """All that its findings depend on.

        Raises:
            ModelUnreachable: there is no such model.
        """
        threshold = "" if self.threshold is None else f"={self.threshold:g}"
        return f"{self.name}@{revision_of(self.name, self.revision)}{threshold}"


class Detectors:
    """Answers `Detect` requests. An object is there, or not, where all detectors say so."""

    def __init__(self, models: Sequence[_Model], batch_size: int = 8) -> None:
        self._models = models
        self._batch_size = batch_size
        self._pending: dict[int, Detect] = {}
        self._known: dict[tuple[str, str], Detected] = {}

    @classmethod
    def load(cls, detectors: Iterable[Detector], device: str) -> Detectors:
        """Load the models.

        Raises:
            ModelUnreachable: one cannot be read, or is no detector.
        """
        return cls([_Model.load(detector, device) for detector in detectors])

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        if not isinstance(request, Detect):
            raise TypeError(f"this engine answers Detect requests, not {type(request).__name__}")
        self._pending[ticket] = request

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Look for everything that is pending; what was looked for in a picture before is remembered."""
        keys = {ticket: (request.image.sha256, request.name) for ticket, request in self._pending.items()}
        new = {keys[ticket]: request for ticket, request in self._pending.items() if keys[ticket] not in self._known}
        requests = list(new.values())
        scores = [list(model.scores(requests, self._batch_size)) for model in self._models]
        for key, each in zip(new, zip(*scores, strict=True), strict=True):
            said = {score >= model.threshold for score, model in zip(each, self._models, strict=True)}
            self._known[key] = Detected(each, said.pop() if len(said) == 1 else None)
        self._pending = {}
        return [(ticket, self._known[key]) for ticket, key in keys.items()]


@dataclass(frozen=True)
class _Model:
    model: Any
    processor: Any
    threshold: float
    asked: str

    @classmethod
    def load(cls, detector: Detector, device: str) -> _Model:
        model_files.find(detector.name)
        settings = {"revision": detector.revision, "trust_remote_code": False}
        with model_files.loading(f"detector {detector.name} cannot be loaded"):
            processor = transformers.AutoProcessor.from_pretrained(detector.name, **settings)
            model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(
                detector.name, use_safetensors=True, **settings
            )
        kind = model.config.model_type
        threshold = _THRESHOLDS.get(kind, _THRESHOLD) if detector.threshold is None else detector.threshold
        return cls(model.eval().to(resolve_device(device)), processor, threshold, _ASKED.get(kind, _ASKED_OTHERS))

    @torch.inference_mode()
    def scores(self, requests: Sequence[Detect], batch_size: int) -> Iterator[float]:
        """The score of the best box for each request, in [0, 1]."""
        waiting = iter(requests)
        while batch := list(islice(waiting, batch_size)):
            inputs = self.processor(
                images=[_picture(request.image) for request in batch],
                text=[self.asked.format(request.name) for request in batch],
                padding=True,
                return_tensors="pt",
            )
            logits = self.model(**inputs.to(self.model.device)).logits  # (B, boxes, texts or tokens of the text)
            yield from logits.float().sigmoid().flatten(1).amax(1).tolist()


def _picture(image: Image) -> Any:
    return images.decode(image).convert("RGB")
