from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from prefgen.engines.base import Dtype, EngineConfig
from prefgen.engines.hf import loading
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import ModelUnreachable, UsageError
from prefgen.records import Slot, Turn
from prefgen.requests import Completion, Generate, Sampling
from prefgen.visibility import View
from tests.engines import tiny


def save(loaded: LoadedModel, folder: Path) -> Path:
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.llava(), tmp_path_factory.mktemp("llava"))


def generate(loaded: LoadedModel) -> Completion:
    engine = TransformersEngine(loaded, EngineConfig(loaded.name))
    prompt = (Turn("user", (Slot.IMAGE, "Is there a star?")),)
    view = View(rho=0.5, mask_seed=1)
    engine.submit(0, Generate(prompt, (tiny.picture(3),), view, "There", 0, "end", "en", Sampling(0.0, 1.0, 8), 0))
    ((_, reply),) = engine.collect()
    assert isinstance(reply, Completion)
    return reply


@pytest.mark.parametrize("build", [tiny.llava, tiny.llava_next])
def test_a_saved_model_answers_as_before(build: Callable[[], LoadedModel], tmp_path: Path) -> None:
    original = build()
    folder = save(original, tmp_path / "model")
    loaded = loading.load(EngineConfig(str(folder), device="cpu"))
    assert loaded.processor.tokenizer.padding_side == "left"
    assert loaded.dtype == torch.float32
    assert generate(loaded) == generate(original)


def test_a_configuration_is_read_once(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[EngineConfig] = []
    plain = loading.read_config

    def read_config(config: EngineConfig) -> Any:
        read.append(config)
        return plain(config)

    monkeypatch.setattr(loading, "read_config", read_config)
    config = EngineConfig(str(checkpoint), device="cpu")
    loading.load(config)
    assert read == [config]


def test_threads_load_models_one_after_the_other(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since transformers replaces functions of torch.nn.init meanwhile, for all threads."""
    plain = transformers.AutoModelForImageTextToText.from_pretrained
    inside: list[object] = []
    together: list[int] = []

    def from_pretrained(*arguments: Any, **settings: Any) -> Any:
        inside.append(settings)
        time.sleep(0.05)
        together.append(len(inside))
        try:
            return plain(*arguments, **settings)
        finally:
            inside.pop()

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    before = torch.nn.init.normal_
    with ThreadPoolExecutor(3) as threads:
        loads = [threads.submit(loading.load, EngineConfig(str(checkpoint), device="cpu")) for _ in range(3)]
    assert len({generate(load.result()) for load in loads}) == 1
    assert together == [1, 1, 1]
    assert torch.nn.init.normal_ is before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs(checkpoint: Path, dtype: Dtype) -> None:
    loaded = loading.load(EngineConfig(str(checkpoint), device="cpu", dtype=dtype))
    assert next(loaded.model.parameters()).dtype == getattr(torch, dtype)
    assert generate(loaded).tokens == 8


def test_a_revision_changes_with_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    revision = loading.revision_of(str(checkpoint))
    assert revision == loading.load(EngineConfig(str(checkpoint), device="cpu")).revision
    assert revision.startswith("sha256:")
    (checkpoint / "model_card.md").write_text("words do not count")
    assert loading.revision_of(str(checkpoint)) == revision
    assert loading.revision_of(str(save(tiny.llava(seed=1), tmp_path / "other"))) != revision


def test_an_unknown_architecture_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip"}))
    with pytest.raises(UsageError, match="blip is refused: its configuration names no image token"):
        loading.load(EngineConfig(str(tmp_path)))


def test_pickled_weights_are_not_read(checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelUnreachable, match="safetensors"):
        loading.load(EngineConfig(str(tmp_path), device="cpu"))


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').write('x')\nclass Evil: pass\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}))
    with pytest.raises(ModelUnreachable):
        loading.load(EngineConfig(str(tmp_path)))
    assert not marker.exists()


def test_a_missing_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreachable, match="nowhere"):
        loading.load(EngineConfig(str(tmp_path / "nowhere")))


def test_a_chat_template_that_loses_the_image_is_refused() -> None:
    loaded = tiny.llava()
    loaded.processor.chat_template = loaded.processor.chat_template.replace("<image>", "")
    with pytest.raises(UsageError, match="makes 0 image placeholders of 1 images"):
        generate(loaded)


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    loaded = tiny.llava()
    loaded.processor.chat_template = None
    folder = save(loaded, tmp_path / "model")
    with pytest.raises(UsageError, match="has no chat template"):
        TransformersEngine(loading.load(EngineConfig(str(folder), device="cpu")), EngineConfig(str(folder)))
