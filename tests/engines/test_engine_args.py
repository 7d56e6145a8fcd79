from __future__ import annotations

import pytest

from prefgen.engines.base import EngineConfig
from prefgen.engines.vllm import engine_args
from prefgen.errors import UsageError


def test_values_are_json_or_else_text() -> None:
    given = (
        "tensor_parallel_size=2",
        "quantization=awq",
        "enforce-eager=true",
        'default_mm_loras={"image": "/adapter"}',
        "load_format=dummy=1",
    )
    assert engine_args.parse(given) == {
        "tensor_parallel_size": 2,
        "quantization": "awq",
        "enforce_eager": True,
        "default_mm_loras": {"image": "/adapter"},
        "load_format": "dummy=1",
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("quantization",), "write it as name=value"),
        (("=awq",), "write it as name=value"),
        (("max_num_seqs=1", "max-num-seqs=2"), "max_num_seqs is given twice"),
        (("dtype=half",), "use --dtype"),
        (("hf_token=secret",), "HF_TOKEN"),
    ],
)
def test_what_is_not_understood_or_not_the_users_to_set_is_refused(given: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        engine_args.parse(given)


def test_a_run_is_pinned_to_what_can_change_its_output() -> None:
    given = ("quantization=awq", "tensor_parallel_size=4", "max_model_len=4096", "gpu_memory_utilization=0.5")
    assert engine_args.recorded(given) == {"max_model_len": "4096", "quantization": '"awq"'}


def test_an_option_of_another_engine_is_refused() -> None:
    with pytest.raises(UsageError, match="--engine-arg a=1 is for --engine vllm, not transformers"):
        EngineConfig("m", engine_args=("a=1",))
    for settings in ({"engine": "openai"}, {"base_url": "http://localhost"}):
        with pytest.raises(UsageError, match="--base-url and --engine openai go together"):
            EngineConfig("m", **settings)  # type: ignore[arg-type]
