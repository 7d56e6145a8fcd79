"""PEFT adapters: how to find their base model, and how to load or merge them.

Wherever a model is named, an adapter is one: its base is loaded and the adapter merged into it. Training with LoRA
keeps it apart and goes on with it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import safe_open
from transformers.utils.hub import cached_file, extract_commit_hash

from prefgen.engines import model_files
from prefgen.engines.base import EngineConfig
from prefgen.errors import ModelUnreachable, PackageMissing, UsageError

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Adapter:
    """Locations of an adapter and its base model.

    Attributes:
        name: folder or Hub id.
        revision: what was asked for of the Hub.
        commit: what that is; empty for a folder.
        base: folder or Hub id of the model that it changes;
        base_revision: likewise.
        kind: PEFT's name of it.
        rank, alpha: LoRA's; 0 for another kind.
    """

    name: str
    revision: str | None
    commit: str
    base: str
    base_revision: str | None
    kind: str
    rank: int
    alpha: int


def find(config: EngineConfig) -> Adapter | None:
    """The adapter that a configuration names; None for a whole model.

    Raises:
        UsageError: a base is given and there is no adapter, or the other way round.
        ModelUnreachable: the adapter's configuration cannot be read.
    """
    path = _file(config.model, config.revision, _CONFIG)
    if path is None:
        if config.base_model:
            raise UsageError(f"--base-model is for a PEFT adapter, and {config.model} has no {_CONFIG}")
        return None
    with model_files.reading(f"adapter {config.model} cannot be loaded"):
        settings = json.loads(path.read_text(encoding="utf-8"))
        named, revision = settings.get("base_model_name_or_path"), settings.get("revision")
        rank, alpha = int(settings.get("r") or 0), int(settings.get("lora_alpha") or 0)
    if config.base_model:
        named, revision = config.base_model, None
        if not Path(named).exists():
            named, _, revision = named.partition("@")
    if not named:
        raise UsageError(f"adapter {config.model} does not name the model that it changes; give it by --base-model")
    commit = "" if Path(config.model).is_dir() else extract_commit_hash(str(path), None) or ""
    return Adapter(
        config.model,
        config.revision,
        commit,
        named,
        revision or None,
        str(settings.get("peft_type")),
        rank,
        alpha,
    )


def base_of(config: EngineConfig) -> EngineConfig:
    """The configuration of the model whose weights are loaded first: an adapter's base, or the model itself.

    Raises:
        UsageError: the base is an adapter itself, or as for `find`. ModelUnreachable: as for `find`.
    """
    adapter = find(config)
    if adapter is None:
        return config
    base = dataclasses.replace(config, model=adapter.base, revision=adapter.base_revision, base_model="")
    if find(base) is not None:
        raise UsageError(
            f"{adapter.base}, the base of adapter {adapter.name}, is an adapter itself: merge it, or give --base-model"
        )
    return base


def processor_source(config: EngineConfig) -> EngineConfig:
    """The location of the processor: an adapter's own if it has one, else its base's."""
    if any(_file(config.model, config.revision, name) is not None for name in _PROCESSORS):
        return config
    return base_of(config)


def _file(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a folder or of the Hub; None if it does not exist or the Hub does not answer."""
    if not name or Path(name).is_dir():
        return Path(name, file) if name and Path(name, file).is_file() else None
    try:
        found = cached_file(
            name,
            file,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # there is no such model, which is said where its configuration is read
        return None
    return None if found is None else Path(found)


def merged(model: Any, adapter: Adapter) -> Any:
    """The base model with the adapter merged into its weights."""
    return attach(model, adapter, trains=False).merge_and_unload()


def attach(model: Any, adapter: Adapter, *, trains: bool, beside: Sequence[str] = ()) -> Any:
    """The base model wrapped by PEFT, with the adapter's weights loaded.

    Args:
        trains: whether its weights are to be trained.
        beside: modules that are trained whole, beside the adapter's own.

    Raises:
        PackageMissing: PEFT is not installed.
        UsageError: its kind cannot be merged. ModelUnreachable: it cannot be read, or does not fit the model.
    """
    peft = _peft(adapter)
    if _file(adapter.name, adapter.revision, _WEIGHTS) is None:
        raise ModelUnreachable(f"adapter {adapter.name} has no {_WEIGHTS}; pickled weights are not read")
    with model_files.reading(_unfit(adapter)):
        settings = peft.PeftConfig.from_pretrained(adapter.name, revision=adapter.revision)
        if settings.is_prompt_learning:
            raise UsageError(
                f"adapter {adapter.name} is of PEFT's kind {adapter.kind}, which puts tokens of its own before the "
                "prompt; adapters that change weights can be used, such as LoRA"
            )
        settings.inference_mode = not trains
        settings.base_model_name_or_path = None  # PEFT puts in the one that it gets, and warns of another
        if beside:
            settings.modules_to_save = sorted({*(settings.modules_to_save or ()), *beside})
        wrapped = peft.get_peft_model(model, settings)
        device = str(next(model.parameters()).device)
        found = wrapped.load_adapter(
            adapter.name, "default", is_trainable=trains, torch_device=device, revision=adapter.revision
        )
    strange = [*found.missing_keys, *found.unexpected_keys]
    if strange:
        raise ModelUnreachable(f"{_unfit(adapter)}: it has no place or no weights for {', '.join(strange[:3])}")
    return wrapped


def _unfit(adapter: Adapter) -> str:
    return f"adapter {adapter.name} does not fit its base {adapter.base} (another one: --base-model)"


def _peft(adapter: Adapter) -> ModuleType:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise PackageMissing(
            f"{adapter.name} is a PEFT adapter, which needs {error.name}: pip install 'prefgen[train]'"
        ) from error
    module: ModuleType = peft
    return module


def weights(adapter: Adapter) -> list[str]:
    """Names of the adapter's weights; empty without a safetensors file."""
    path = _file(adapter.name, adapter.revision, _WEIGHTS)
    if path is None:
        return []
    with safe_open(path, "pt") as file:
        return list(file.keys())
