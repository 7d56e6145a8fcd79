"""Building engines from an `EngineConfig`. Only what a method asks for is imported and loaded."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefgen.engines.base import NO_SIMILARITY, Engine, EngineConfig, EngineName, Engines
from prefgen.engines.fake import FakeEngine
from prefgen.engines.policies import Panel
from prefgen.engines.unmeasured import Unmeasured
from prefgen.errors import ModelUnreachable, UsageError
from prefgen.requests import (
    Annotate,
    AnnotatorScore,
    Contrast,
    Embed,
    Generate,
    Request,
    Score,
    of_annotator,
    of_policy,
)
from prefgen.visibility import View

if TYPE_CHECKING:
    from prefgen.engines.hf.loading import LoadedModel

_READS = "the method reads given answers or contrasts two views, which only the transformers engine does"


@dataclass(frozen=True)
class Identity:
    """Names, revisions and settings of a run's models, known before weights are loaded; empty without a model.

    Attributes:
        also_revisions: of the further policies.
        device: kind of device, never its index.
    """

    model_revision: str = ""
    similarity_revision: str = ""
    annotator_revision: str = ""
    also_revisions: tuple[str, ...] = ()
    dtype: str = ""
    device: str = ""


def resolve(config: EngineConfig, asks: Sequence[type[Request]]) -> tuple[EngineConfig, str]:
    """Choose the engine that ``auto`` stands for; also gives the reason, empty if another engine was named.

    Args:
        asks: what the run's method asks for.

    Raises:
        ModelUnreachable: if the model cannot be found.
    """
    if config.engine != "auto":
        return config, ""
    from prefgen.engines.hf import loading
    from prefgen.engines.vllm import engine

    device = loading.resolve_device(config.device)
    chosen: EngineName = "transformers"
    reason = _READS if _reads_logits(asks) else engine.why_not(config)
    if not reason and config.gpus_per_worker > 1:
        reason = "--gpus-per-worker spreads a model of this engine; vLLM has --engine-arg tensor_parallel_size=N"
    if not reason and not device.startswith("cuda"):
        reason = f"vLLM is made for NVIDIA's GPUs, and this runs on {'the CPU' if device == 'cpu' else device}"
    if not reason:
        chosen = "vllm"
        reason = "it is installed, there is a GPU, and its answers for this type of model have been tested"
    return dataclasses.replace(config, engine=chosen), reason


def settle_similarity(
    config: EngineConfig, asks: Sequence[type[Request]], recorded: bool, resumed: Mapping[str, object] | None = None
) -> tuple[EngineConfig, str]:
    """Decide whether a run has a similarity model; also gives the reason if it has none although one was asked for.

    Args:
        asks: what the run's method asks for.
        recorded: the method records similarity and decides nothing by it, so that the default model may be missing.
        resumed: the settings of the run to go on with, which keeps what it began with.

    Raises:
        UsageError: for ``none`` where the method decides by similarity.
    """
    if Embed not in asks or config.engine == "fake":
        return config, ""
    if config.similarity_model == NO_SIMILARITY and not recorded:
        raise UsageError(f"--similarity-model {NO_SIMILARITY}: answers are accepted by their similarity here")
    if not recorded or config.similarity_model != EngineConfig.similarity_model:
        return config, ""
    without = dataclasses.replace(config, similarity_model=NO_SIMILARITY)
    if resumed is not None:
        return (config, "") if "similarity_model" in resumed else (without, "")
    from prefgen.engines import embedder

    try:
        embedder.pin(config.similarity_model)
    except ModelUnreachable as error:
        return without, f"not recorded: {str(error).splitlines()[0]}"
    return config, ""


def _reads_logits(asks: Sequence[type[Request]]) -> bool:
    return not {Score, AnnotatorScore, Contrast}.isdisjoint(asks)


def check_asks(config: EngineConfig, asks: Sequence[type[Request]]) -> None:
    """Refuse requests that the engine cannot answer.

    Raises:
        UsageError: naming the engine that can.
    """
    if _reads_logits(asks) and config.engine not in ("transformers", "fake"):
        raise UsageError(f"--engine {config.engine} cannot be used: {_READS}; use --engine transformers")


def check_view(config: EngineConfig, view: View) -> None:
    """Refuse a view that the engine cannot give a model.

    Raises:
        UsageError: naming what can be done instead.
    """
    if config.engine == "openai":
        from prefgen.engines import openai_

        openai_.refuse(view)


def identify(config: EngineConfig, asks: Sequence[type[Request]]) -> Identity:
    """Resolve revisions, data type and device, and refuse what the engine cannot do.

    Args:
        asks: what the run's method asks for.

    Raises:
        UsageError: if a model is asked for and none is named, or it or a setting is not for this engine.
        ModelUnreachable: if a model cannot be found.
    """
    policy = of_policy(asks)
    if policy and not config.model:
        raise UsageError("--model is missing: the policy that generates")
    if not _is_local(config, asks):
        return Identity()
    from prefgen.engines import embedder
    from prefgen.engines.hf import loading

    check_asks(config, asks)
    embeds = Embed in asks and config.similarity_model != NO_SIMILARITY
    if config.engine == "openai":
        return Identity(similarity_revision=embedder.pin(config.similarity_model) if embeds else "")
    if config.engine == "vllm":
        from prefgen.engines.vllm import engine

        engine.check(config)
    if policy:
        loading.placement(config)
    device = loading.resolve_device(config.device)
    other = annotator(config)
    return Identity(
        loading.pin(config) if policy else "",
        embedder.pin(config.similarity_model) if embeds else "",
        loading.pin(other) if of_annotator(asks) else "",
        tuple(loading.pin(each) for each in further(config)),
        loading.torch_dtype(config.dtype, device) if policy else "",
        loading.device_kind(device),
    )


def _is_local(config: EngineConfig, asks: Sequence[type[Request]]) -> bool:
    """True if a model runs in this process."""
    return config.engine != "fake" and (of_policy(asks) or Embed in asks)


def build(
    config: EngineConfig,
    asks: Sequence[type[Request]],
    policy: Engine | None = None,
    others: Mapping[type[Request], Callable[[EngineConfig], Engine]] | None = None,
) -> Engines:
    """Load the models for these types of request, in this order. `Chat` requests have an engine of their own.

    Args:
        policy: answers for the policy, where its model is loaded already. The annotator is another one all the same.
        others: makers of engines for further types of request, from packages above this one.

    Raises:
        UsageError: for an architecture that is not supported.
        ModelUnreachable: if a model cannot be read.
        EnvironmentFault: if vLLM cannot start.
    """
    makers: dict[type[Request], Callable[[EngineConfig], Engine]] = {
        Embed: _embedder,
        Generate: _policy,
        Contrast: _policy,
        Score: _policy,
    }
    if config.engine == "fake":
        fake = FakeEngine(config.batch_size)
        makers = dict.fromkeys(makers, lambda _: fake)
    loads = makers[Generate]
    if policy is not None:
        makers |= dict.fromkeys((Generate, Contrast, Score), lambda _: policy)
    makers |= others or {}
    asked = [kind for kind in asks if kind in makers]
    made = {maker: maker(config) for maker in dict.fromkeys(makers[kind] for kind in asked)}  # one model, loaded once
    engines = {kind: made[makers[kind]] for kind in asked}
    if of_annotator(asks):
        other = annotator(config)
        engine = engines[Generate] if other == config and policy is None else loads(other)
        engines |= {kind: engine for kind in (Annotate, AnnotatorScore) if kind in asks}
    if config.also:
        engines[Generate] = Panel([engines[Generate], *map(loads, further(config))])
    return engines


def annotator(config: EngineConfig) -> EngineConfig:
    """The configuration of the model that compares answers or checks claims; by default that of the policy."""
    if not config.annotator:
        return config
    return _another(config, config.annotator, config.annotator_revision)


def further(config: EngineConfig) -> list[EngineConfig]:
    """The configurations of the further policies."""
    named = [each.partition("@") for each in config.also]
    return [_another(config, name, revision or None) for name, _, revision in named]


def _another(config: EngineConfig, model: str, revision: str | None) -> EngineConfig:
    """The same configuration of another model, without what describes `EngineConfig.model` alone."""
    return dataclasses.replace(config, model=model, revision=revision, base_model="", chat_template=None)


def _embedder(config: EngineConfig) -> Engine:
    if config.similarity_model == NO_SIMILARITY:
        return Unmeasured()
    from prefgen.engines.embedder import Embedder

    return Embedder.load(config.similarity_model, config.device, config.similarity_dtype)


def _policy(config: EngineConfig) -> Engine:
    if config.engine == "openai":
        from prefgen.engines.openai_ import OpenAIEngine

        return OpenAIEngine.connect(config)
    if config.engine == "vllm":
        from prefgen.engines.vllm.engine import VllmEngine

        return VllmEngine.load(config)
    from prefgen.engines.hf import loading, proof
    from prefgen.engines.hf.engine import TransformersEngine

    loaded = _kept.pop(_unproven(config), None) or loading.load(config)
    return TransformersEngine(loaded, dataclasses.replace(config, attention=proof.ensure(loaded, config).attention))


_kept: dict[EngineConfig, LoadedModel] = {}  # loaded for a proof, and wanted again by the engine


def _unproven(config: EngineConfig) -> EngineConfig:
    """The configuration as far as it decides what is loaded, hashable: a proof changes the attention setting alone."""
    return dataclasses.replace(config, attention="drop", also=tuple(config.also), engine_args=tuple(config.engine_args))


def proven(config: EngineConfig, asks: Sequence[type[Request]], keep: bool = False) -> tuple[EngineConfig, str]:
    """The configuration with the attention setting that was proven for the model; also gives a message if it differs.

    Loads the model, unless its proof is remembered.

    Args:
        asks: what the run's method asks for.
        keep: hold a model that was loaded until `build` wants it or `release` is called: this process will run it.

    Raises:
        UsageError: the model cannot be used. ModelUnreachable: it cannot be read.
    """
    if config.engine != "transformers" or not of_policy(asks) or config.attention == "mask":
        return config, ""
    from prefgen.engines.hf import proof

    found = proof.remembered(config)
    if found is None:
        from prefgen.engines.hf import loading

        loaded = loading.load(config)
        found = proof.ensure(loaded, config)
        if keep:
            _kept[_unproven(config)] = loaded
    if found.attention == config.attention:
        return config, ""
    words = f"dropping its hidden tokens changes its logits by {found.drop:.1e} against a mask, so they are masked"
    return dataclasses.replace(config, attention=found.attention), words


def release() -> None:
    """Free a model that was kept by `proven` and that nothing wanted."""
    _kept.clear()


def hush(config: EngineConfig, asks: Sequence[type[Request]]) -> None:
    """Silence the progress bars and hints of transformers; errors are raised all the same."""
    if _is_local(config, asks):
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()


def versions(config: EngineConfig) -> dict[str, str]:
    """Versions of the packages that affect generated text."""
    names = ("prefgen", "torch", "transformers", "sentence-transformers", "sentencex", "numpy", "pillow")
    found = {name: version for name in names if (version := _version(name)) is not None}
    if config.engine == "vllm":
        import vllm  # its distribution has several names

        found["vllm"] = vllm.__version__
    return found


def _version(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
