"""What a model is proven to do before a run: types that nobody listed, and models that are wrong on purpose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import transformers

from prefgen.engines import build
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading, probing, proof
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import UsageError
from prefgen.requests import Embed, Generate
from tests.cli.runs import called, write_input
from tests.engines import tiny, zoo_found
from tests.engines.test_architectures import wanted
from tests.engines.test_equivalence import answers
from tests.engines.test_loading import save


class UnheardConfig(transformers.LlavaConfig):  # type: ignore[misc]  # transformers has no types
    model_type = "unheard_of"


class UnheardModel(transformers.LlavaForConditionalGeneration):  # type: ignore[misc]
    config_class = UnheardConfig


class MixingConfig(transformers.LlavaConfig):  # type: ignore[misc]
    model_type = "mixing_tokens"


class MixingModel(transformers.LlavaForConditionalGeneration):  # type: ignore[misc]
    """Every token's embedding has half of its left neighbour's in it."""

    config_class = MixingConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.language_model.register_forward_pre_hook(_mix, with_kwargs=True)


def _mix(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    embeds = kwargs["inputs_embeds"]
    if embeds.shape[1] > 1:
        kwargs["inputs_embeds"] = embeds + 0.5 * torch.nn.functional.pad(embeds, (0, 0, 1, 0))[:, :-1]
    return args, kwargs


class CountingConfig(transformers.LlavaConfig):  # type: ignore[misc]
    model_type = "counting_slots"


class CountingModel(transformers.LlavaForConditionalGeneration):  # type: ignore[misc]
    """Positions are places in the sequence, whatever positions it is given."""

    config_class = CountingConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.language_model.register_forward_pre_hook(_count, with_kwargs=True)


def _count(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    cache, length = kwargs.get("past_key_values"), kwargs["inputs_embeds"].shape[1]
    start = int(cache.get_seq_length()) if cache is not None else 0
    kwargs["position_ids"] = torch.arange(start, start + length)[None]
    return args, kwargs


for _config, _model in (
    (UnheardConfig, UnheardModel),
    (MixingConfig, MixingModel),
    (CountingConfig, CountingModel),
):
    transformers.AutoConfig.register(_config.model_type, _config)
    transformers.AutoModelForImageTextToText.register(_config, _model)


def renamed(config: type[Any], model: type[Any], folder: Path) -> Path:
    """A LLaVA checkpoint under another type."""
    original = tiny.llava()
    settings = {name: value for name, value in original.model.config.to_dict().items() if name != "model_type"}
    other = model(config(**settings)).eval()
    other.load_state_dict(original.model.state_dict())
    other.generation_config.eos_token_id = original.processor.tokenizer.eos_token_id
    other.save_pretrained(folder)
    original.processor.save_pretrained(folder)
    return folder


def config(folder: Path, **settings: Any) -> EngineConfig:
    return EngineConfig(str(folder), device="cpu", **settings)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_type_that_nobody_listed_is_proven_when_it_is_loaded(cache: Path, tmp_path: Path) -> None:
    folder = renamed(UnheardConfig, UnheardModel, tmp_path / "model")
    assert build.proven(config(folder), (Generate,)) == (config(folder), "")
    loaded = loading.load(config(folder))
    assert (loaded.family.title, loaded.family.is_listed) == ("unheard_of", False)
    assert answers(loaded, wanted(), "drop", "compact") == answers(tiny.llava(), wanted(), "drop", "compact")


def test_a_model_that_mixes_tokens_before_its_attention_is_caught(cache: Path, tmp_path: Path) -> None:
    folder = renamed(MixingConfig, MixingModel, tmp_path / "model")
    for _ in range(2):  # found, and remembered
        with pytest.raises(UsageError, match="it mixes tokens before or outside its attention"):
            build.build(config(folder), (Generate,))


def test_a_model_whose_code_takes_no_encoded_images_is_refused(cache: Path, tmp_path: Path) -> None:
    folder = renamed(UnheardConfig, UnheardModel, tmp_path / "model")
    loaded = loading.load(config(folder))
    loaded.model.model.get_placeholder_mask = lambda *args, **kwargs: 1 / 0
    found = proof.prove(loaded, config(folder))
    assert "its code does not take what this version feeds it (ZeroDivisionError" in found.refused


def test_a_prompt_that_its_processor_makes_otherwise_is_refused() -> None:
    loaded = tiny.llava()
    loaded.processor.tokenizer.add_special_tokens({"additional_special_tokens": ["star"]})
    own = loaded.processor.replace_image_token
    seen: list[int] = []

    def shorter(*args: Any, **settings: Any) -> str:
        seen.append(1)
        return str(own(*args, **settings)) if len(seen) < 2 else "<image>"

    loaded.processor.replace_image_token = shorter
    found = proof.prove(loaded, EngineConfig("tiny"))
    assert "tokens long, other than its own processor makes it" in found.refused


def test_where_dropping_is_not_masking_tokens_are_masked_and_the_run_says_so(cache: Path, tmp_path: Path) -> None:
    folder = renamed(CountingConfig, CountingModel, tmp_path / "model")
    found, words = build.proven(config(folder), (Generate,))
    assert found.attention == "mask"
    assert "so they are masked" in words
    out = tmp_path / "out"
    done = called(
        *("bdhs", "--input", write_input(tmp_path, 4), "--model", folder, "--output", out, "--device", "cpu"),
        *("--similarity-model", "minilm", "--max-new-tokens", "12", "--max-dropped", "1"),
    )
    assert done.returncode in (0, 3), done.stderr
    assert "attention mask: dropping its hidden tokens changes its logits" in " ".join(done.stderr.split())
    rows = [row for file in (out / "data").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert rows
    assert {row["attention"] for row in rows} == {"mask"}
    plan = json.loads((out / ".prefgen" / "plan.json").read_text())
    assert '"attention": "mask"' in json.dumps(plan)


def test_a_proof_is_remembered_for_the_same_weights_numbers_and_versions(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tiny.llava(), tmp_path / "model")
    made: list[object] = []
    plain = proof.prove

    def prove(loaded: LoadedModel, config: EngineConfig) -> proof.Proof:
        made.append(config)
        return plain(loaded, config)

    monkeypatch.setattr(proof, "prove", prove)
    for settings in ({}, {}, {"dtype": "bfloat16"}, {"positions": "preserve"}, {}):
        build.proven(config(folder, **settings), (Generate,))
    assert len(made) == 3
    monkeypatch.setattr("prefgen.__version__", "99")
    build.proven(config(folder), (Generate,))
    assert len(made) == 4
    monkeypatch.setenv("PREFGEN_CACHE", str(folder / "config.json"))  # no folder can be made there
    build.proven(config(folder), (Generate,))
    assert len(made) == 5


def test_nothing_is_loaded_for_a_run_without_a_policy_here() -> None:
    for settings in (config(Path("/nowhere"), engine="fake"), config(Path("/nowhere"))):
        asks = (Generate,) if settings.engine == "fake" else (Embed,)
        assert build.proven(settings, asks) == (settings, "")


def test_a_mask_over_a_running_state_is_refused() -> None:
    loaded = zoo_found.qwen3_5()
    with pytest.raises(UsageError, match="its layers of kind linear_attention carry a running state"):
        answers(loaded, wanted(), "mask", "compact")


def test_a_model_that_was_loaded_for_its_proof_is_not_loaded_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(save(tiny.llava(), tmp_path / "model"))
    loads: list[EngineConfig] = []
    plain = loading.load

    def load(config: EngineConfig) -> LoadedModel:
        loads.append(config)
        return plain(config)

    monkeypatch.setattr(loading, "load", load)
    for times, keep in ((1, True), (2, True), (3, False)):  # the second finds its proof and loads for the engine
        found, _ = build.proven(settings, (Generate,), keep)
        build.build(found, (Generate,))
        assert len(loads) == times
    assert not build._kept


def test_a_model_that_nothing_wanted_after_its_proof_is_freed(cache: Path, tmp_path: Path) -> None:
    folder = save(tiny.llava(), tmp_path / "model")
    command = ("bdhs", "--input", write_input(tmp_path, 2), "--model", folder, "--output", tmp_path / "out")
    options = ("--device", "cpu", "--similarity-model", "minilm", "--max-new-tokens", "4", "--max-dropped", "1")
    assert called(*command, *options).returncode in (0, 3)
    shutil.rmtree(cache)  # so that the finished run proves its model again
    done = called(*command, *options)
    assert "nothing to do" in done.stderr
    assert list(cache.rglob("*.json"))
    assert not build._kept


def test_an_encoder_that_reads_other_patches_where_pictures_are_behind_each_other_is_not_given_them_so() -> None:
    def encode(pixels: torch.Tensor, places: torch.Tensor, return_dict: bool) -> dict[str, torch.Tensor]:
        return {"pooler_output": pixels.flatten()[places.flatten()][:, None]}  # as Molmo 2 numbers patches

    one, other = ({"pixels": torch.rand(1, 4), "places": torch.arange(4)[None]} for _ in range(2))
    assert not probing._joins(encode, one, other, "pooler_output")

    def apart(pixels: torch.Tensor, places: torch.Tensor, return_dict: bool) -> dict[str, torch.Tensor]:
        return {"pooler_output": pixels.gather(1, places).flatten()[:, None]}

    assert probing._joins(apart, one, other, "pooler_output")
