"""Proof on a model's own weights that the engine's inputs are right; made before the first row, and cached.

Three claims, each against a forward pass of stock transformers, within what rounding explains in the data type:

- *stock*: a prompt with its picture whole gives the logits of the model's own processor and forward pass;
- *drop*: a prompt without its hidden image tokens gives the logits of the whole prompt under a mask;
- *mask*: under a mask, what the hidden tokens hold has no effect. It follows from *drop*; where that fails it
  is shown.

Where *drop* fails and *mask* holds, tokens are masked. Where layers carry a running state there is nothing to compare
with: hiding a token is removing it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import torch
import transformers

import prefgen
from prefgen import images
from prefgen.engines.base import Attention, EngineConfig
from prefgen.engines.hf import decoding, loading, vision
from prefgen.engines.hf.decoding import BatchRow
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import RowError, UsageError
from prefgen.records import Image, Slot, Turn
from prefgen.requests import Generate, Sampling
from prefgen.visibility import View

PROMPT = (Turn("user", (Slot.IMAGE, "What is in the image?")),)
# Largest difference that rounding explains, as a share of the largest logit.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
WIDTH, HEIGHT = 96, 64  # of the picture before a run
_HIDDEN = View(rho=0.9, mask_seed=1)
# What code of a model or processor raises when it is given what it does not expect.
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Proof:
    """Result of the comparison for a model.

    Attributes:
        attention: how image tokens are hidden: as asked for, or ``mask`` where dropping is not masking.
        refused: why it cannot be used; empty if it can.
        stock: largest difference of the logits of a whole prompt.
        drop: of dropping and masking.
        mask: of a mask over other content. -1.0 where it was not measured.
        effect: largest difference that hiding makes at all.
        tolerance: what rounding explains.
        kept: image tokens that stayed visible.
        outgrown: the prompt is longer than a sliding window of the model, where rows are masked anyway.
    """

    attention: Attention
    refused: str = ""
    stock: float = -1.0
    drop: float = -1.0
    mask: float = -1.0
    effect: float = -1.0
    tolerance: float = -1.0
    kept: int = 0
    outgrown: bool = False

    @property
    def drops(self) -> bool:
        """True if dropping equals masking."""
        return 0 <= self.drop <= self.tolerance


def ensure(loaded: LoadedModel, config: EngineConfig) -> Proof:
    """The proof for a model, from the cache or made now.

    Raises:
        UsageError: the model cannot be used, with what was found.
    """
    file = _file(config, loaded.revision)
    proof = _read(file)
    if proof is None:
        proof = prove(loaded, config)
        _write(file, proof)
    return _usable(proof, config)


def remembered(config: EngineConfig) -> Proof | None:
    """The cached proof of a model; no weight is loaded.

    Raises:
        UsageError: the model cannot be used. ModelUnreachable: there is no such model.
    """
    proof = _read(_file(config, loading.pin(config)))
    return None if proof is None else _usable(proof, config)


def _usable(proof: Proof, config: EngineConfig) -> Proof:
    if proof.refused:
        raise UsageError(f"model {config.model} cannot be used: {proof.refused}")
    return proof


def prove(loaded: LoadedModel, config: EngineConfig, width: int = WIDTH, height: int = HEIGHT) -> Proof:
    """Compare this engine's forward passes with those of stock transformers, on a drawn picture of this size."""
    try:
        return _prove(loaded, config, picture(width, height))
    except FAULTS as error:
        words = " ".join(str(error).split())[:300]
        refused = f"its code does not take what this version feeds it ({type(error).__name__}: {words})"
        return Proof(config.attention, refused)


@torch.inference_mode()
def _prove(loaded: LoadedModel, config: EngineConfig, shown: Image) -> Proof:
    engine = TransformersEngine(loaded, dataclasses.replace(config, attention="drop", image_workers=0))
    for ticket, view in enumerate((_HIDDEN, View())):
        engine.submit(ticket, Generate(PROMPT, (shown,), view, "", 0, "end", "en", Sampling(0.0, 1.0, 1), 0))
    prepared = engine.prepare()
    for _, reply in engine.refused:
        return Proof(config.attention, reply.detail if isinstance(reply, RowError) else str(reply))
    hidden, whole = prepared
    stock = _stock_inputs(loaded, shown)
    ids = stock["input_ids"][0].tolist()
    if whole.ids != ids:
        return Proof(config.attention, f"its prompt is {_difference(whole.ids, ids)} than its own processor makes it")
    preserve = config.positions == "preserve"
    expected = _last(loaded, stock)[0]
    dropped, seen = _last(loaded, decoding.prefill_inputs(loaded, [hidden, whole], preserve=preserve))  # padded, too
    found = Proof(
        "drop",
        stock=_largest(seen - expected),
        tolerance=TOLERANCE[loaded.dtype] * max(1.0, float(expected.abs().max())),
        effect=_largest(dropped - expected),
        kept=int(hidden.visible.sum()),
        outgrown=loaded.window is not None and len(hidden.ids) > loaded.window,
    )
    if found.stock > found.tolerance:
        refused = f"with its picture whole, its logits differ from its own forward pass by {found.stock:.1e}"
        return dataclasses.replace(found, refused=f"{refused}, and rounding explains {found.tolerance:.1e}")
    if loaded.family.state:
        return found
    masked = _last(loaded, decoding.masked_inputs(loaded, [hidden], preserve=preserve))[0]
    found = dataclasses.replace(found, drop=_largest(dropped - masked), effect=_largest(masked - expected))
    if found.drops or found.outgrown:
        return dataclasses.replace(found, attention=config.attention)
    return _fallen_back(loaded, hidden, whole, found, preserve=preserve)


def _fallen_back(loaded: LoadedModel, hidden: BatchRow, whole: BatchRow, found: Proof, *, preserve: bool) -> Proof:
    """True if masking is exact where dropping is not: the content of hidden tokens must have no effect."""
    assert whole.features is not None
    known = torch.from_numpy(hidden.visible).to(whole.features.device)
    other = torch.where(known[:, None], whole.features, whole.features.flip(0) + whole.features.std())
    inputs = decoding.masked_inputs(loaded, [hidden], preserve=preserve)
    for name in hidden.pixels.inputs:
        inputs.pop(name)
    ids = inputs.pop("input_ids")
    one, two = (
        _last(loaded, {**inputs, **vision.merged(loaded, ids, features)})[0] for features in (whole.features, other)
    )
    found = dataclasses.replace(found, attention="mask", mask=_largest(one - two))
    if found.mask > found.tolerance:
        words = (
            f"dropping hidden image tokens changes its logits by {found.drop:.1e} against a mask, and under the mask "
            f"what they hold changes them by {found.mask:.1e}: it mixes tokens before or outside its attention"
        )
        return dataclasses.replace(found, refused=words)
    return found


def _stock_inputs(loaded: LoadedModel, shown: Image) -> dict[str, Any]:
    """The prompt as the model's own processor makes it, without any code of this engine."""
    content = [{"type": "image"}, {"type": "text", "text": PROMPT[0].text}]
    template = ChatTemplate(loaded.processor, loaded.name)
    text = template.render([{"role": "user", "content": content}], add_generation_prompt=True)
    bos = loaded.processor.tokenizer.bos_token
    made = loaded.processor(
        text=[text],
        images=[[images.decode(shown)]],
        add_special_tokens=not (bos and text.startswith(bos)),  # as `apply_chat_template` has it
        return_tensors="pt",
        **({"return_mm_token_type_ids": True} if "mm_token_type_ids" in loaded.family.token_types else {}),
    )
    return {
        name: values.to(loaded.device, loaded.dtype if values.is_floating_point() else values.dtype)
        for name, values in made.items()
        if isinstance(values, torch.Tensor)
    }


def _last(loaded: LoadedModel, inputs: dict[str, Any]) -> torch.Tensor:
    """Next-token logits after each row, (B, V), in float32."""
    logits: torch.Tensor = loaded.model(**inputs, use_cache=False).logits[:, -1]
    return logits.float()


def _largest(difference: torch.Tensor) -> float:
    """Largest absolute value; NaN counts as infinite."""
    return float(difference.abs().nan_to_num(nan=float("inf")).max())


def _difference(ours: list[int], theirs: list[int]) -> str:
    if len(ours) != len(theirs):
        return f"{len(ours)} tokens long, other"
    place = next(place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    return f"different from token {place} on, other"


def picture(width: int, height: int) -> Image:
    """A drawn picture: shapes on a gradient."""
    drawn = PIL.Image.linear_gradient("L").resize((width, height)).convert("RGB")
    pen = PIL.ImageDraw.Draw(drawn)
    pen.ellipse((width // 8, height // 8, width // 2, height // 2), fill=(200, 30, 30))
    pen.rectangle((width // 2, height // 2, width * 7 // 8, height * 7 // 8), fill=(30, 60, 200))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return Image(buffer.getvalue(), "drawn.png", width, height)


def _folder() -> Path:
    """The folder of cached proofs."""
    named = os.environ.get("PREFGEN_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(named) if named else cache / "prefgen") / "proofs"


def _file(config: EngineConfig, revision: str) -> Path:
    """The cache file of a proof, named by weights, data type, versions and settings."""
    device = loading.resolve_device(config.device)
    made_by = (prefgen.__version__, transformers.__version__, torch.__version__)
    numbers = (loading.torch_dtype(config.dtype, device), loading.device_kind(device))
    key = json.dumps([revision, *numbers, config.attention, config.positions, config.gpus_per_worker, *made_by])
    return _folder() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(file: Path) -> Proof | None:
    try:
        return Proof(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none there, or of another version
        return None


def _write(file: Path, proof: Proof) -> None:
    """Cache the proof, if the folder can be written."""
    part = file.with_suffix(f".{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(dataclasses.asdict(proof)), encoding="utf-8")
        part.replace(file)
    except OSError:  # it is made again
        with suppress(OSError):
            part.unlink()
