"""`--engine-arg k=v`: parsing of vLLM's own arguments, without importing vLLM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from prefgen.errors import UsageError

# What prefgen decides, and what to use instead.
OWNED = {
    "model": "--model",
    "revision": "--revision",
    "dtype": "--dtype",
    "trust_remote_code": "--trust-remote-code",
    "hf_token": "the environment variable HF_TOKEN",
    "tokenizer": "the model's own",
    "skip_tokenizer_init": "nothing: prefgen tokenises",
    "enable_prompt_embeds": "nothing: always on",
    "limit_mm_per_prompt": "nothing: vLLM never sees a picture",
    "logits_processors": "nothing: prefgen draws the tokens",
    "additional_config": "nothing: prefgen passes its forbidden tokens by it",
    "generation_config": "--temperature and its like",
    "speculative_config": "nothing: vLLM 0.32 takes no logits processors with it",
    "data_parallel_size": "one process per GPU",
}
# What cannot change a run's output but for rounding: where and in which portions vLLM computes.
_HARMLESS = {
    "async_scheduling",
    "block_size",
    "compilation_config",
    "cpu_offload_gb",
    "device_ids",
    "disable_log_stats",
    "distributed_executor_backend",
    "download_dir",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_cpu_loras",
    "max_loras",
    "max_num_batched_tokens",
    "max_num_seqs",
    "max_parallel_loading_workers",
    "num_gpu_blocks_override",
    "optimization_level",
    "pipeline_parallel_size",
    "prefix_caching_hash_algo",
    "stream_interval",
    "tensor_parallel_size",
    "use_tqdm_on_load",
}


def parse(given: Sequence[str]) -> dict[str, Any]:
    """``tensor_parallel_size=2`` to ``{"tensor_parallel_size": 2}``; a value that is no JSON is a string.

    Raises:
        UsageError: for a thing without ``=``, a name given twice, and one that is prefgen's to set.
    """
    parsed: dict[str, Any] = {}
    for argument in given:
        name, equals, value = argument.partition("=")
        name = name.strip().replace("-", "_")
        if not (name and equals):
            raise UsageError(f"--engine-arg {argument!r} has no value; write it as name=value")
        if name in parsed:
            raise UsageError(f"--engine-arg {name} is given twice")
        if name in OWNED:
            raise UsageError(f"--engine-arg {name} is not yours to set; use {OWNED[name]}")
        parsed[name] = _value(value.strip())
    return parsed


def _value(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(written, written)


def recorded(given: Sequence[str]) -> dict[str, str]:
    """The arguments that can change output, as canonical JSON, for the run's fingerprint."""
    parsed = parse(given)
    return {name: json.dumps(parsed[name], sort_keys=True) for name in sorted(parsed) if name not in _HARMLESS}
