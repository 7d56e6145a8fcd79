"""Loading a vision-language model with transformers: safetensors only, no remote code, its revision pinned."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from prefgen.engines.families import FAMILIES, Family
from prefgen.errors import ModelUnreachable, UsageError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("auto", "float32", "bfloat16", "float16")
# A weight file larger than this is known by its size, its beginning and its end.
_HASH_WHOLE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LoadedModel:
    """A model and all that belongs to it.

    Attributes:
        model: an image-text-to-text model in eval mode.
        revision: commit of the Hub, or ``sha256:`` and a digest of the local files.
    """

    model: Any
    processor: Any
    family: Family
    name: str
    revision: str
    device: torch.device
    dtype: torch.dtype

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder that stands for one image feature."""
        return int(self.model.config.image_token_id)

    @property
    def eos_ids(self) -> set[int]:
        """Every token that ends an answer, by the generation configuration and the tokenizer."""
        configured = self.model.generation_config.eos_token_id
        ids = set(configured) if isinstance(configured, list) else {configured}
        return {int(token) for token in {*ids, self.processor.tokenizer.eos_token_id} if token is not None}


def load(name: str, revision: str | None, device: str, dtype: Dtype, *, trust_remote_code: bool = False) -> LoadedModel:
    """Load a model from a folder or the Hub.

    Args:
        name: folder or Hub id. revision: branch, tag or commit, for the Hub.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …
        dtype: ``auto`` is bfloat16 on a GPU and float32 on a CPU.

    Raises:
        UsageError: for an architecture that is not supported.
        ModelUnreachable: if it cannot be read.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch_dtype = _torch_dtype(dtype, device)
    common: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(name, **common)
        family = FAMILIES.get(config.model_type)
        if family is None:
            raise UsageError(
                f"model {name} is of type {config.model_type!r}, which this version does not support; "
                f"supported: {', '.join(FAMILIES)}"
            )
        processor = transformers.AutoProcessor.from_pretrained(name, **common)
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            name, dtype=torch_dtype, use_safetensors=True, **common
        )
    except (OSError, ValueError) as error:
        raise ModelUnreachable(f"model {name} cannot be loaded: {error}") from error
    processor.tokenizer.padding_side = "left"  # right padding gives LLaVA-NeXT garbage in batches
    pinned = f"sha256:{digest_folder(Path(name))}" if Path(name).is_dir() else str(config._commit_hash)  # noqa: SLF001
    return LoadedModel(
        model.to(device).eval(), processor, family, name, pinned, torch.device(device), torch_dtype
    )


def _torch_dtype(dtype: Dtype, device: str) -> torch.dtype:
    if dtype == "auto":
        return torch.float32 if device == "cpu" else torch.bfloat16
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r} is unknown; choose from {', '.join(DTYPES)}")
    resolved: torch.dtype = getattr(torch, dtype)
    return resolved


def digest_folder(folder: Path) -> str:
    """SHA-256 over names and contents of a model's files; of a huge file its size, first and last 64 MiB."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md"):
        size = path.stat().st_size
        digest.update(f"{path.name}\x1f{size}\x1f".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HASH_WHOLE_BYTES))
            if size > _HASH_WHOLE_BYTES:
                file.seek(max(_HASH_WHOLE_BYTES, size - _HASH_WHOLE_BYTES))
                digest.update(file.read())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that decide what is generated."""
    names = ("prefgen", "torch", "transformers", "sentence-transformers", "sentencex", "numpy", "pillow")
    return {name: importlib.metadata.version(name) for name in names}
