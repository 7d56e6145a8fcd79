"""Adapters as models: merged into their base, refused where they do not fit it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import peft
import pytest
import torch
import transformers

from prefgen.engines import adapters
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import decoding, loading
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.vllm import engine
from prefgen.errors import ModelUnreachable, PackageMissing, UsageError
from tests.engines import tiny
from tests.engines.test_equivalence import requests, rows
from tests.engines.test_loading import save


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tiny.llava(), tmp_path_factory.mktemp("base"))


def adapted(base: Path, to: Path, **changes: object) -> Path:
    """An adapter with an effect, of the decoder and of the whole projector, in PEFT's layout; no processor."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(base)
    settings = {
        "target_modules": r".*language_model.*\.(q_proj|down_proj)",
        "modules_to_save": ["multi_modal_projector"],
    }
    torch.manual_seed(5)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, init_lora_weights=False, **{**settings, **changes}))
    for name, weight in wrapped.named_parameters():
        if "modules_to_save" in name:
            weight.data += 0.05 * torch.randn_like(weight)
    wrapped.save_pretrained(to)
    return to


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapted(base, tmp_path_factory.mktemp("adapter"))


def config(folder: Path, **settings: object) -> EngineConfig:
    return EngineConfig(str(folder), device="cpu", **settings)  # type: ignore[arg-type]


def logits(loaded: LoadedModel) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = loaded.model(
            **decoding.masked_inputs(loaded, rows(loaded, requests())[:1], preserve=False)
        ).logits
    return found


@pytest.mark.parametrize("changes", [{}, {"use_dora": True}, {"use_rslora": True, "lora_alpha": 32}], ids=str)
def test_a_loaded_adapter_has_the_logits_of_pefts_own(base: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    folder = adapted(base, tmp_path / "adapter", **changes)
    plain, ours = loading.load(config(base)), loading.load(config(folder))
    before = logits(plain)
    theirs = peft.PeftModel.from_pretrained(plain.model, folder).eval()
    expected = logits(plain)  # whose layers PEFT has changed
    assert isinstance(theirs, peft.PeftModel)
    torch.testing.assert_close(logits(ours), expected, atol=1e-4, rtol=1e-4)
    assert float((before - expected).abs().max()) > 0.1
    assert not any("lora" in name for name, _ in ours.model.named_parameters())


def test_the_base_can_be_named_when_its_folder_has_moved(base: Path, adapter: Path, tmp_path: Path) -> None:
    moved, own = shutil.copytree(base, tmp_path / "moved"), shutil.copytree(adapter, tmp_path / "own")
    settings = json.loads((own / "adapter_config.json").read_text())
    (own / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "/gone/away"}))
    with pytest.raises(ModelUnreachable, match=r"/gone/away, the base of adapter .* \(another one: --base-model\)"):
        loading.load(config(own))
    there = loading.load(config(own, base_model=str(moved)))
    assert torch.equal(logits(there), logits(loading.load(config(adapter))))
    (own / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    with pytest.raises(UsageError, match="give it by --base-model"):
        loading.load(config(own))


def test_a_base_of_another_shape_is_refused_in_words(adapter: Path, tmp_path: Path) -> None:
    wide = tiny.llava()
    settings = wide.model.config
    settings.text_config.hidden_size = 96
    other = tiny.loaded(transformers.LlavaForConditionalGeneration, settings, wide.processor, 0)
    folder = save(other, tmp_path / "wide")
    with pytest.raises(
        ModelUnreachable, match=r"does not fit its base .*wide \(another one: --base-model\): .*size mismatch"
    ):
        loading.load(config(adapter, base_model=str(folder)))


def test_an_adapter_of_other_layers_is_refused_in_words(base: Path, adapter: Path, tmp_path: Path) -> None:
    own = shutil.copytree(adapter, tmp_path / "own")
    settings = json.loads((own / "adapter_config.json").read_text())
    few = {**settings, "target_modules": r".*language_model.*\.q_proj"}
    (own / "adapter_config.json").write_text(json.dumps(few))
    with pytest.raises(ModelUnreachable, match=r"no place or no weights for .*down_proj"):
        loading.load(config(own))
    (own / "adapter_config.json").write_text(json.dumps({**settings, "target_modules": ["c_attn"]}))
    with pytest.raises(ModelUnreachable, match="does not fit its base"):
        loading.load(config(own))


def test_what_is_no_adapter_or_cannot_be_merged_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--base-model is for a PEFT adapter"):
        loading.load(config(base, base_model=str(base)))
    with pytest.raises(UsageError, match="is an adapter itself"):
        loading.load(config(adapter, base_model=str(adapter)))
    pickled = shutil.copytree(adapter, tmp_path / "pickled")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(ModelUnreachable, match="pickled weights are not read"):
        loading.load(config(pickled))
    own = shutil.copytree(adapter, tmp_path / "own")
    prompt = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4, "base_model_name_or_path": str(base)}
    (own / "adapter_config.json").write_text(json.dumps(prompt))
    with pytest.raises(UsageError, match="of PEFT's kind PROMPT_TUNING"):
        loading.load(config(own))


def test_without_peft_the_pip_line_is_named(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert loading.read_config(config(adapter)).model_type == "llava"  # which needs none
    with pytest.raises(PackageMissing, match=r"needs peft: pip install 'prefgen\[train\]'"):
        loading.load(config(adapter))


def test_a_revision_pins_the_adapter_and_its_base(base: Path, adapter: Path, tmp_path: Path) -> None:
    pinned = loading.pin(config(adapter))
    own, _, of_base = pinned.partition(" on ")
    assert (own, of_base) == (loading.revision_of(str(adapter)), loading.revision_of(str(base)))
    assert loading.load(config(adapter)).revision == pinned
    other = save(tiny.llava(seed=1), tmp_path / "other")
    assert loading.pin(config(adapter, base_model=str(other))).startswith(f"{own} on ")
    assert loading.pin(config(adapter, base_model=str(other))) != pinned


def test_vllm_reads_the_merged_model_from_a_folder_that_goes(base: Path, adapter: Path) -> None:
    with engine._whole(config(adapter)) as folder:
        assert torch.equal(logits(loading.load(config(Path(folder)))), logits(loading.load(config(adapter))))
    assert not Path(folder).exists()
    with engine._whole(config(base)) as folder:
        assert folder == ""


def test_an_adapter_with_a_processor_brings_it(base: Path, adapter: Path, tmp_path: Path) -> None:
    own = shutil.copytree(adapter, tmp_path / "own")
    assert adapters.processor_source(config(own)).model == str(base)
    processor = tiny.llava().processor
    processor.chat_template = "{{ 'its own' }}"
    processor.save_pretrained(own)
    assert loading.load(config(own)).processor.chat_template == "{{ 'its own' }}"
