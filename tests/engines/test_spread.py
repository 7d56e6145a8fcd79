"""Models on several devices, as a map over memory and disk stands for one over GPUs; and Apple's GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen.engines import build
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import devices, loading
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Chooser, Continuation, Vocabulary
from prefgen.errors import UsageError
from prefgen.requests import Generate
from tests.engines import tiny, zoo
from tests.engines.test_architectures import wanted
from tests.engines.test_equivalence import answers, requests

MODEL = str(Path(__file__).parents[2] / "examples" / "scenes" / "model")


def spread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """A saved model with its second decoder layer on disk, from where it is read for every step."""
    config = EngineConfig(str(folder), device="cpu")
    whole = loading.load(config).model
    decoder = next(name for name, part in whole.named_modules() if part is whole.model.get_decoder())
    parts = [f"model.{name}" for name, _ in whole.model.named_children() if f"model.{name}" != decoder]
    inner = [f"{decoder}.{name}" for name, _ in whole.get_submodule(decoder).named_children() if name != "layers"]
    layers = {f"{decoder}.layers.0": "cpu", f"{decoder}.layers.1": "disk"}
    placed = {**dict.fromkeys(("lm_head", *parts, *inner), "cpu"), **layers}
    given = {"device_map": placed, "offload_folder": str(folder / "offloaded")}
    monkeypatch.setattr(loading, "placement", lambda _: given)
    return loading.load(config)


@pytest.mark.parametrize("build", [tiny.llava, zoo.qwen3_vl], ids=["llava", "qwen3_vl"])
def test_a_running_batch_is_the_same_on_several_devices(
    build: Callable[[], LoadedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = zoo.save(build(), tmp_path / "model")
    plain = loading.load(EngineConfig(str(folder), device="cpu"))
    loaded = spread(folder, monkeypatch)
    assert loaded.is_spread
    assert not plain.is_spread
    assert any(weight.is_meta for weight in loaded.model.parameters())  # the layer is not in memory
    for batch_size in (3, 64):  # rows leave and enter, and share their beginning
        asked = wanted(1.0)
        assert answers(loaded, asked, "drop", "compact", batch_size) == answers(plain, asked, "drop", "compact")


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of which the second has less room."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: ((80, 40)[index] * 2**30, 80 * 2**30))


@pytest.mark.usefixtures("gpus")
def test_a_model_is_spread_over_the_first_gpus_by_their_free_memory() -> None:
    assert loading.placement(EngineConfig("m")) == {}
    found = loading.placement(EngineConfig("m", gpus_per_worker=2))
    assert found == {"device_map": "balanced", "max_memory": {0: 72 * 2**30, 1: 36 * 2**30}}
    too_many = EngineConfig(MODEL, gpus_per_worker=3), "there are 2 GPUs here"
    elsewhere = EngineConfig(MODEL, gpus_per_worker=2, device="cuda:1"), "is one device"
    for config, message in (too_many, elsewhere):
        with pytest.raises(UsageError, match=message):
            build.identify(config, (Generate,))


def test_other_engines_spread_models_themselves() -> None:
    with pytest.raises(UsageError, match=r"--gpus-per-worker .* tensor_parallel_size=N"):
        EngineConfig("m", "vllm", gpus_per_worker=2)


def test_workers_have_as_many_gpus_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,8")
    shares = devices.shares(2, "cuda", 2)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4,5", "6,7"]
    with pytest.raises(UsageError, match="2 processes cannot have 3 GPUs each: there are 5 here"):
        devices.shares(2, "cuda", 3)


@pytest.mark.parametrize(("newer", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_apples_gpu(newer: bool, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda *_: newer)
    device = loading.resolve_device("auto")
    assert (device, loading.torch_dtype("auto", device), loading.device_kind(device)) == ("mps", dtype, "mps")
    assert loading.torch_dtype("float16", device) == "float16"
    assert build.resolve(EngineConfig(MODEL, "auto"), (Generate,))[0].engine == "transformers"
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 3 * 2**30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2**30)
    assert devices.free_bytes(device) == 2 * 2**30
    assert devices.describe()[-1] == "mps: Apple's GPU, 2.0 GiB free"


def test_tokens_are_drawn_where_float64_is_known() -> None:
    """A chooser for an Apple GPU, which has none, makes no buffer of float64 there."""
    loaded = tiny.llava()
    size = loaded.model.config.get_text_config().vocab_size
    vocabulary = Vocabulary(loaded.processor.tokenizer, size, loaded.eos_ids, loaded.image_token_id)
    rows = [Continuation(request, "", [1, 2], vocabulary) for request in requests(1.0)[:3]]
    made: list[Any] = []

    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if torch.device(kwargs.get("device") or "cpu").type == "mps":
                made.append(kwargs.get("dtype"))
                kwargs["device"] = "cpu"
            return function(*args, **kwargs)

    logits = torch.randn(3, size)
    with Watched():
        chosen = Chooser(vocabulary, rows, torch.device("mps")).choose(logits)
    assert made
    assert torch.float64 not in made
    assert torch.equal(chosen, Chooser(vocabulary, rows, torch.device("cpu")).choose(logits))
