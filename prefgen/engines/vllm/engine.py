"""The vLLM engine: vLLM runs the language model, transformers makes its input from pictures and ids.

A request goes in as the embeddings of its kept tokens (`prompt_embeds`), so that dropping needs nothing of vLLM, and
requests that begin alike share their blocks in its prefix cache, which knows embeddings by their digest. Handing over
image embeddings (`image_embeds`) takes as long, but vLLM 0.32's LLaVA refuses a batch in which pictures keep different
numbers of tokens. Tokens are drawn as the transformers engine draws them (`vllm_draw`), and `Continuation` says where a
sentence ends: then the request is aborted, at that token.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import importlib.util
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from prefgen.engines import adapters, model_files
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import decoding, loading, probing, vision
from prefgen.engines.hf.decoding import BatchRow
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Vocabulary
from prefgen.engines.vllm import engine_args
from prefgen.errors import EnvironmentFault, RowError, UsageError
from prefgen.requests import Reply, Request

TESTED = (
    *("llava", "llava_next", "llava_next_video", "llava_onevision", "internvl", "idefics3", "smolvlm", "mistral3"),
    *("aria", "exaone4_5"),
)
"""`config.model_type`s whose texts equal the transformers engine's, shown by tests/engines/test_vllm.py."""

# vLLM's default of 0.92 leaves no room for the vision tower and the sentence embedder; a CPU's memory is everybody's.
_MEMORY_SHARE = {"cuda": 0.8, "cpu": 0.25}
_SLIDING = ("sliding_attention",)  # what layers are where a configuration has a window and does not say
_SETTINGS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its steps are ours: a finished sentence costs no further token
    "VLLM_USE_V2_MODEL_RUNNER": "0",  # whose logits processors have another interface
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def prepare_environment() -> None:
    """Set the environment variables that vLLM reads at import; those already set stay."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def is_installed() -> bool:
    """True if vLLM can be imported, under any distribution name."""
    return importlib.util.find_spec("vllm") is not None


def why_not(config: EngineConfig) -> str:
    """The reason that vLLM cannot run this model as configured; empty if it can. Reads only its configuration.

    Raises:
        ModelUnreachable: if it cannot be read.
    """
    if config.also:
        return "several policies answer (--also), and each vLLM takes a device for itself"
    if config.attention != "drop":
        return f"--attention {config.attention} needs a mask per request, which vLLM has not"
    if config.positions != "compact":
        return f"--positions {config.positions} needs gaps between positions, which vLLM has not"
    if not is_installed():
        return "vLLM is not installed (pip install 'prefgen[vllm]')"
    found = loading.read_config(config)
    if found.model_type not in TESTED:
        return f"models of type {found.model_type!r} have not been tested with vLLM ({', '.join(TESTED)} have)"
    text = found.get_text_config()
    if getattr(text, "sliding_window", None) and "sliding_attention" in (
        getattr(text, "layer_types", None) or _SLIDING
    ):
        return "a sliding window counts hidden tokens too, so they cannot be dropped"
    return ""


def check(config: EngineConfig) -> None:
    """Refuse configurations that cannot work, before weights are loaded.

    Raises:
        UsageError: naming the option and what to use instead.
    """
    reason = why_not(config)
    if reason:
        raise UsageError(f"--engine vllm: {reason}; use --engine transformers")
    prepare_environment()
    from vllm import EngineArgs
    from vllm.platforms import current_platform

    if config.device not in ("auto", current_platform.device_type):
        raise UsageError(
            f"--device {config.device}: this vLLM runs on {current_platform.device_type}, "
            "on which of its devices CUDA_VISIBLE_DEVICES says"
        )
    known = [field.name for field in dataclasses.fields(EngineArgs)]
    for name in engine_args.parse(config.engine_args):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "`vllm serve --help=all` lists them"
            raise UsageError(f"--engine-arg {name} is none of vLLM's; {hint}")


def load_front(config: EngineConfig) -> LoadedModel:
    """Load vision tower, projector and input embeddings, without the layers of the language model.

    Raises:
        UsageError: if the checkpoint stores one of these in a form that transformers does not read.
        ModelUnreachable: if it cannot be read.
    """
    device = loading.resolve_device(config.device)
    dtype = getattr(torch, loading.torch_dtype(config.dtype, device))
    source: dict[str, Any] = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    settings = loading.read_config(config)
    shallow = copy.deepcopy(settings)
    family = probing.listed(shallow, config.model)
    shallow.get_text_config().num_hidden_layers = 0
    if hasattr(shallow, "quantization_config"):  # concerns the layers, which vLLM reads
        del shallow.quantization_config
    with model_files.loading(f"model {config.model} cannot be loaded"):
        model, found = transformers.AutoModelForImageTextToText.from_pretrained(
            config.model, config=shallow, dtype=dtype, use_safetensors=True, output_loading_info=True, **source
        )
    missing = sorted(found["missing_keys"])
    if missing:
        raise UsageError(f"{config.model} has no plain weights for {', '.join(missing[:3])}; use --engine transformers")
    model.set_output_embeddings(torch.nn.Identity())  # vLLM has them
    return LoadedModel(
        model.to(device).eval(),
        loading.load_processor(config, settings),
        family,
        config.model,
        loading.pin(config, settings),
        torch.device(device),
        dtype,
    )


def start(config: EngineConfig, front: LoadedModel) -> Any:
    """Start vLLM with the language model of a checkpoint.

    Raises:
        UsageError: for an `--engine-arg` that vLLM refuses.
        EnvironmentFault: if it cannot start, for want of memory for one.
    """
    prepare_environment()
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    from prefgen.engines.vllm.draw import FORBIDDEN

    own = {} if front.device.type == "cuda" else {"block_size": 32}  # what is shared is shared by whole blocks
    settings = {
        **own,
        "max_num_seqs": config.batch_size,
        "enable_prefix_caching": True,
        "gpu_memory_utilization": _MEMORY_SHARE.get(front.device.type, 0.8),
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **engine_args.parse(config.engine_args),
        "model": config.model,
        "revision": config.revision,
        "dtype": str(front.dtype).removeprefix("torch."),
        "trust_remote_code": config.trust_remote_code,
        "skip_tokenizer_init": False,
        "generation_config": "vllm",
        "enable_prompt_embeds": True,
        "limit_mm_per_prompt": {"image": 0},
        "logits_processors": ["prefgen.engines.vllm.draw:Draw"],
        "additional_config": {FORBIDDEN: vocabulary_of(front).forbidden_ids},
    }
    try:
        arguments = EngineArgs(**settings)
        arguments.create_engine_config()
    except (ValueError, TypeError) as error:
        raise UsageError(f"vLLM refuses the settings: {error}") from error
    try:
        return LLMEngine.from_engine_args(arguments)
    except (ValueError, RuntimeError, OSError) as error:
        raise EnvironmentFault(f"vLLM cannot start: {error}") from error


def vocabulary_of(front: LoadedModel) -> Vocabulary:
    """The vocabulary of a model whose layers are in vLLM."""
    size = front.model.config.get_text_config().vocab_size
    return Vocabulary(front.processor.tokenizer, size, front.eos_ids, front.image_token_id)


class VllmEngine:
    """Answers `Generate` requests.

    Attributes:
        cached_tokens: prompt tokens that were taken from the prefix cache so far, out of `prompt_tokens`.
    """

    def __init__(self, front: LoadedModel, core: Any, config: EngineConfig) -> None:
        self.prompt_tokens = self.cached_tokens = 0
        self._front = front
        # For its queue, encoded pictures and tokenised prompts; its own batch stays empty.
        self._rows = TransformersEngine(front, dataclasses.replace(config, batch_tokens=1))
        self._core = core
        self._lora = _lora(config)
        self._longest = core.model_config.max_model_len - 1
        self._limit = core.vllm_config.scheduler_config.max_num_seqs
        self._submitted = 0  # requests that have not been prepared
        self._prepared: deque[BatchRow] = deque()
        self._running: dict[str, BatchRow] = {}

    @classmethod
    def load(cls, config: EngineConfig) -> VllmEngine:
        """Load both parts of a model.

        Raises:
            UsageError: for a model or setting that this engine cannot take.
            ModelUnreachable: if the model cannot be read.
            EnvironmentFault: if vLLM cannot start.
        """
        check(config)
        with _whole(config) as folder:
            whole = dataclasses.replace(config, model=folder, revision=None, base_model="") if folder else config
            front = load_front(whole)
            core = start(whole, front)
        if folder:
            front = dataclasses.replace(front, name=config.model, revision=loading.pin(config))
        return cls(front, core, config)

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        self._rows.submit(ticket, request)
        self._submitted += 1

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Step until some requests are finished; the others continue at the next call."""
        replies = self._refill()
        while self._running and not replies:
            replies = self._step() + self._refill()
        return replies

    def forget(self) -> None:
        """Free the features that are kept for further requests about the same images."""
        self._rows.forget()

    def _refill(self) -> list[tuple[int, Reply | RowError]]:
        """Pass rows to vLLM up to its limit; rows that it cannot take are answered with an error."""
        refused: list[tuple[int, Reply | RowError]] = []
        while len(self._running) < self._limit and (self._prepared or self._submitted):
            if not self._prepared:
                self._prepared.extend(self._rows.prepare())
                self._submitted -= len(self._prepared) + len(self._rows.refused)
                refused += self._rows.refused
                self._rows.refused = []
                continue
            row = self._prepared.popleft()
            if row.length > self._longest:
                detail = f"{row.length} prompt tokens, of which the model takes {self._longest}"
                refused.append((row.ticket, RowError("TEXT_TOO_LONG", detail)))
            else:
                self._add(row)
            self._rows.release(row.continuation.request)
        return refused

    def _add(self, row: BatchRow) -> None:
        from prefgen.engines.vllm.draw import params

        request = row.continuation.request
        self._core.add_request(
            str(row.ticket),
            {"prompt_embeds": _embeds(self._front, row).cpu()},
            params(request.seed, request.sampling, self._front.eos_ids),
            lora_request=self._lora if row.features is not None else None,
        )
        self._running[str(row.ticket)] = row

    def _step(self) -> list[tuple[int, Reply | RowError]]:
        """Decode one token for every running request; returns the replies of those that finish."""
        replies: list[tuple[int, Reply | RowError]] = []
        ended: list[str] = []
        for output in self._core.step():
            row = self._running[output.request_id]
            done = any(row.continuation.push(token) for token in output.outputs[0].token_ids)
            if not (done or output.finished):
                continue
            if not output.finished:
                ended.append(output.request_id)
            del self._running[output.request_id]
            self.prompt_tokens += row.length
            self.cached_tokens += output.num_cached_tokens or 0
            seen, visible = len(row.visible), int(row.visible.sum())
            replies.append((row.ticket, row.continuation.completion(seen, visible)))
        if ended:
            self._core.abort_request(ended)
        return replies


@contextmanager
def _whole(config: EngineConfig) -> Iterator[str]:
    """A folder with the adapter merged into its base, which vLLM loads; empty for a whole model.

    vLLM would take LoRA as it is, but no projector that was trained beside it, and no other kind of adapter.
    """
    if adapters.find(config) is None:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="prefgen-") as folder:
        loading.save_merged(config, Path(folder))
        yield folder


@torch.no_grad()
def _embeds(front: LoadedModel, row: BatchRow) -> torch.Tensor:
    """The language model's input for a row: (kept tokens, hidden)."""
    ids = torch.from_numpy(decoding.kept_sequence(row, front.image_token_id, preserve=False).ids).to(front.device)
    if row.features is not None and not front.family.encoder_outputs:
        merged: torch.Tensor = vision.merged(front, ids[None], row.features)["inputs_embeds"][0]
        return merged
    embeds_LH: torch.Tensor = front.model.get_input_embeddings()(ids)
    if row.features is not None:
        embeds_LH[ids == front.image_token_id] = row.features.to(embeds_LH)
    return embeds_LH


def _lora(config: EngineConfig) -> Any:
    """The adapter that `default_mm_loras` names for pictures, set per request since vLLM sees no pictures."""
    path = (engine_args.parse(config.engine_args).get("default_mm_loras") or {}).get("image")
    if path is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("image", 1, path)
