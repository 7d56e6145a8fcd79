"""Choice of the trained weights, LoRA, and saving of the trained model."""

from __future__ import annotations

import dataclasses
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from prefgen.engines import adapters
from prefgen.engines.adapters import Adapter
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf.loading import LoadedModel, load, read_config, resolve_device, torch_dtype, unweighted
from prefgen.errors import UsageError
from prefgen.training import activations, lora, processes
from prefgen.training.config import Optimisation

PROJECTORS = ("multi_modal_projector", "connector", "merger")
"""What the modules between vision encoder and language model are called."""


def is_projector(name: str) -> bool:
    """True if a module or parameter belongs to the projector, by its name."""
    return any(part in PROJECTORS for part in name.split("."))


def loaded_for(engine: EngineConfig, how: Optimisation) -> LoadedModel:
    """Load the model to train; for QLoRA with the decoder's linear layers in 4 bit (NF4, double quantization).

    Raises:
        UsageError: bitsandbytes is missing, or weights are to be shared out, for which those in 4 bit are not made.
    """
    if not how.qlora:
        return load(engine, merge=not how.lora)
    if not find_spec("bitsandbytes"):
        raise UsageError("--qlora needs bitsandbytes, which is missing: pip install 'prefgen[qlora]'")
    if processes.sharding():
        raise UsageError("--qlora works in one process or several, but not with FSDP or DeepSpeed")
    model = unweighted(read_config(engine))
    decoder = set(model.model.get_decoder().modules())
    linear = [(name, part) for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch_dtype(engine.dtype, resolve_device(engine.device)),
        llm_int8_skip_modules=[name for name, part in linear if part not in decoder],
    )
    loaded = load(engine, settings, merge=False)
    for part in loaded.model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):  # a kernel for inference, with other numbers than training's
            part.support_avx512bf16_for_cpu = False
    return loaded


def attach(loaded: LoadedModel, optimisation: Optimisation) -> Any:
    """Choose the trained weights, in float32, and attach LoRA to the language model's linear layers.

    The vision encoder stays frozen; with LoRA, so does the output layer.
    """
    model = loaded.model
    decoder = model.model.get_decoder()
    (name,) = (name for name, module in model.named_modules() if module is decoder)
    trains_projector = optimisation.projector_lr > 0
    if optimisation.lora:
        layers = {key.rsplit(".", 1)[-1] for key, part in decoder.named_modules() if isinstance(part, torch.nn.Linear)}
        found = [part for part in PROJECTORS if any(key.split(".")[-1] == part for key, _ in model.named_modules())]
        torch.manual_seed(optimisation.seed)  # LoRA's first matrices are drawn
        beside = found if trains_projector else []
        if loaded.adapter:
            model = _continued(model, loaded.adapter, beside)
        else:
            settings = peft.LoraConfig(
                r=optimisation.lora_r,
                lora_alpha=optimisation.lora_alpha,
                target_modules=rf"{re.escape(name)}\..*\.({'|'.join(sorted(layers))})",
                modules_to_save=beside or None,
            )
            model = peft.get_peft_model(model, settings)
    else:
        model.requires_grad_(False)
        decoder.requires_grad_(True)
        model.get_output_embeddings().requires_grad_(True)
        for key, parameter in model.named_parameters():
            if is_projector(key):
                parameter.requires_grad_(trains_projector)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if optimisation.lora:
        lora.install(model)
    if optimisation.gradient_checkpointing:
        activations.checkpoint(loaded.model, loaded.device)
    return model


def _continued(model: Any, adapter: Adapter, projectors: list[str]) -> Any:
    """The base with an adapter to train further, and with the adapter's projector if it has one.

    Args:
        projectors: modules that are trained; none: an adapter's own projector stays as it is.
    """
    has_own = any(map(is_projector, adapters.weights(adapter)))
    wrapped = adapters.attach(model, adapter, trains=True, beside=() if has_own else projectors)
    for key, parameter in wrapped.named_parameters():
        if is_projector(key) and not projectors:
            parameter.requires_grad_(False)
    return wrapped


def save(
    model: Any,
    loaded: LoadedModel,
    trained: dict[str, torch.Tensor] | None,
    engine: EngineConfig,
    how: Optimisation,
    to: Path,
) -> None:
    """Save the model, or its adapter in PEFT's layout, with the processor.

    Args:
        trained: its trained weights if processes share weights out: they go into a copy of the model that has all.
        engine: where such a copy is loaded from.
    """
    if trained is not None:
        dtype: Any = str(loaded.dtype).removeprefix("torch.")
        unset_hf_deepspeed_config()  # lest the copy be shared out too
        model = attach(load(dataclasses.replace(engine, device="cpu", dtype=dtype), merge=not how.lora), how)
        weights = dict(model.named_parameters())
        for name, value in trained.items():
            weights[name].data.copy_(value)
    if how.lora and how.save == "merged":
        model = model.merge_and_unload()
    if how.save == "merged":
        model.to(loaded.dtype)
    else:
        _name_base(model.peft_config["default"], loaded)
    model.save_pretrained(to)
    loaded.processor.save_pretrained(to)


def _name_base(settings: Any, loaded: LoadedModel) -> None:
    """Record an adapter's base so that it is found from any folder, at the trained commit."""
    named = Path(settings.base_model_name_or_path)
    if named.is_dir():
        settings.base_model_name_or_path = str(named.resolve())
    else:
        settings.revision = loaded.weights_revision
