"""From a configuration to running engines. What a method does not ask for is neither loaded nor imported."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefgen.engines.base import Engine, EngineConfig, Engines
from prefgen.engines.fake import FakeEngine
from prefgen.errors import UsageError
from prefgen.requests import Annotate, Embed, Generate, Request


@dataclass(frozen=True)
class Identity:
    """What pins the models of a run, known before any weight is read. Empty where no model is asked for.

    Attributes:
        device: kind of device, never its index.
    """

    model_revision: str = ""
    similarity_revision: str = ""
    annotator_revision: str = ""
    dtype: str = ""
    device: str = ""


def identify(config: EngineConfig, asks: Sequence[type[Request]]) -> Identity:
    """Resolve revisions, data type and device.

    Args:
        asks: what the run's method asks for.

    Raises:
        UsageError: if a model is asked for and none is named.
        ModelUnreachable: if a model cannot be found.
    """
    if Generate in asks and not config.model:
        raise UsageError("--model is missing: the policy that generates")
    if not _is_local(config, asks):
        return Identity()
    from prefgen.engines import embedder, loading

    device = loading.resolve_device(config.device)
    other = annotator(config)
    return Identity(
        loading.revision_of(config.model, config.revision) if Generate in asks else "",
        embedder.pin(config.similarity_model) if Embed in asks else "",
        loading.revision_of(other.model, other.revision) if Annotate in asks else "",
        loading.torch_dtype(config.dtype, device) if Generate in asks else "",
        loading.device_kind(device),
    )


def _is_local(config: EngineConfig, asks: Sequence[type[Request]]) -> bool:
    """Whether a model is run here."""
    return config.engine != "fake" and not {Embed, Generate}.isdisjoint(asks)


def build(config: EngineConfig, asks: Sequence[type[Request]]) -> Engines:
    """Load the models that answer these types of request, in this order; `Chat` is answered elsewhere.

    Raises:
        UsageError: for an architecture that is not supported.
        ModelUnreachable: if a model cannot be read.
    """
    makers: dict[type[Request], Callable[[EngineConfig], Engine]] = {Embed: _embedder, Generate: _generator}
    if config.engine == "fake":
        fake = FakeEngine(config.batch_size)
        makers = dict.fromkeys(makers, lambda _: fake)
    engines = {kind: makers[kind](config) for kind in asks if kind in makers}
    if Annotate in asks:
        other = annotator(config)
        engines[Annotate] = engines[Generate] if other == config else makers[Generate](other)
    return engines


def annotator(config: EngineConfig) -> EngineConfig:
    """The configuration of the model that compares answers; the policy's own where no other is named."""
    if not config.annotator:
        return config
    return dataclasses.replace(config, model=config.annotator, revision=config.annotator_revision)


def _embedder(config: EngineConfig) -> Engine:
    from prefgen.engines.embedder import Embedder

    return Embedder.load(config.similarity_model, config.device)


def _generator(config: EngineConfig) -> Engine:
    from prefgen.engines import loading
    from prefgen.engines.transformers_ import TransformersEngine

    return TransformersEngine(loading.load(config), config)


def hush(config: EngineConfig, asks: Sequence[type[Request]]) -> None:
    """Keep transformers' own progress bars and hints out of what a command prints; its errors are raised anyway."""
    if _is_local(config, asks):
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()


def versions() -> dict[str, str]:
    """Versions of the packages that decide what is generated."""
    names = ("prefgen", "torch", "transformers", "sentence-transformers", "sentencex", "numpy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}
