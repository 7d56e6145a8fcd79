"""Checks of a model: architecture, prompt, memory, and the proof of its engine."""

from __future__ import annotations

from prefgen.doctor import Diagnosis
from prefgen.engines import adapters
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import devices, inspect, loading
from prefgen.engines.hf import proof as proof_
from prefgen.engines.hf.architectures import remarks
from prefgen.engines.hf.inspect import Architecture, Prompting
from prefgen.engines.vllm import engine
from prefgen.errors import PrefgenError

_NEW_TOKENS = 256
_USABLE = 0.9  # of the free memory; activations need some


def findings(config: EngineConfig, width: int, height: int, rho: float) -> list[Diagnosis]:
    """Check a model step by step; its weights are loaded only if all before is in order.

    Args:
        width, height: Of a typical picture, in pixels. rho: Share of its image tokens that a run would mask.
    """
    found: list[Diagnosis] = []
    try:
        built = inspect.architecture(config)
        found += [*_architecture(built), *_adapter(config)]
        prompt = inspect.prompting(config, width, height)
        found += [*_prompting(prompt, width, height, rho), *_memory(built, prompt, rho), _vllm(config)]
        if all(finding.level != "broken" for finding in found):
            found += _proof(config, width, height)
    except PrefgenError as error:
        found.append(Diagnosis("broken", "model", str(error)))
    return found


def _architecture(built: Architecture) -> list[Diagnosis]:
    text = f"{built.family.title} ({built.name}), {built.parameters / 1e6:,.1f} million parameters"
    found = [Diagnosis("ok", "architecture", text)]
    if note := remarks(built.family):
        found.append(Diagnosis("note", "", note))
    return found


def _adapter(config: EngineConfig) -> list[Diagnosis]:
    adapter = adapters.find(config)
    if adapter is None:
        return []
    rank = f" of rank {adapter.rank}" if adapter.rank else ""
    return [Diagnosis("ok", "adapter", f"{adapter.kind}{rank}, merged into {adapter.base}")]


def _prompting(prompt: Prompting, width: int, height: int, rho: float) -> list[Diagnosis]:
    kept = (1 - rho) * prompt.image_tokens
    blind = rho**prompt.image_tokens
    text = (
        f"{prompt.image_tokens:,} at {width}x{height}, in a prompt of {prompt.tokens:,}; rho = {rho:g} leaves "
        f"{kept:.1f} visible, none at all in {blind:.0%} of the draws"
    )
    few = "the paper's model keeps about 29: --keep-tokens, or a lower --rho, does so here" if blind > 0.05 else ""
    found = [Diagnosis("warning" if few else "ok", "image tokens", text, few)]
    ends = f"an answer starts after {prompt.opening!r}, a given beginning is continued after {prompt.continuing!r}"
    if prompt.continues:
        found.append(Diagnosis("ok", "chat template", ends))
    else:
        advice = "look at the prompt that `prefgen bdhs --dry-run` shows; if it is wrong, give --chat-template FILE"
        found.append(Diagnosis("warning", "chat template", f"{ends}: these do not agree with transformers'", advice))
    text = "left" if prompt.padding_side == "left" else f"{prompt.padding_side} in the checkpoint, left in prefgen"
    found.append(Diagnosis("ok", "padding", text))
    return found


def _memory(built: Architecture, prompt: Prompting, rho: float) -> list[Diagnosis]:
    free = devices.free_bytes(built.device)
    text = (
        f"weights {_size(built.weight_bytes)} in {built.dtype}, of {_size(free)} free on {built.device}; "
        f"{_size(built.kv_bytes)} of keys and values a token"
    )
    if built.weight_bytes > _USABLE * free:
        advice = "use a larger device, --dtype bfloat16, or a smaller model"
        return [Diagnosis("broken", "memory", f"{text}: they do not fit", advice)]
    left = _USABLE * free - built.weight_bytes
    whole = prompt.tokens + _NEW_TOKENS
    kept = whole - rho * prompt.image_tokens
    fit, fit_whole = (int(left / (built.kv_bytes * tokens)) for tokens in (kept, whole))
    text += (
        f"; at most {fit:,} rows of {kept:,.0f} tokens at rho = {rho:g}, "
        f"{fit_whole:,} of {whole:,} with the image whole"
    )
    return [Diagnosis("ok", "memory", text, "both limits of a batch are options: --batch-size and --batch-tokens")]


def _vllm(config: EngineConfig) -> Diagnosis:
    reason = engine.why_not(config)
    return Diagnosis("note" if reason else "ok", "vLLM", reason or "can run it", "" if reason else "use --engine vllm")


def _proof(config: EngineConfig, width: int, height: int) -> list[Diagnosis]:
    """The proof that a run makes before its first row, on a picture of this size."""
    loaded = loading.load(config)
    proof = proof_.prove(loaded, config, width, height)
    if proof.tolerance < 0:
        return [Diagnosis("broken", "proof", proof.refused, "tell us")]
    whole = f"with the picture whole, logits differ from stock transformers' by {proof.stock:.1e}"
    found = [Diagnosis("ok", "stock", f"{whole}, tolerance {proof.tolerance:.1e}")]
    effect = f"hiding all but {proof.kept} image tokens changes them by {proof.effect:.2g}"
    if loaded.family.state:
        kinds = ", ".join(loaded.family.state)
        text = f"{kinds} layers carry a running state: a hidden token is removed, a mask is refused; {effect}"
        return [*found, Diagnosis("note", "restriction", text)]
    text = f"largest difference of logits {proof.drop:.1e}, tolerance {proof.tolerance:.1e}; {effect}"
    if proof.refused:
        return [Diagnosis("broken", "proof", proof.refused, "tell us")]
    if proof.drops:
        return [*found, Diagnosis("ok", "drop = mask", text)]
    if proof.outgrown:
        advice = "such rows are masked by themselves, which is slow; a smaller picture is faster"
        text = f"the prompt outgrows the model's sliding window: {text}"
    else:
        advice = f"a run masks by itself, which is slow and was shown to hide (difference {proof.mask:.1e})"
        text = f"not here: {text}"
    return [*found, Diagnosis("warning", "drop = mask", text, advice)]


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}"
        count /= 1024
    return f"{count:,.1f} GiB"
