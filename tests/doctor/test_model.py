from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

from prefgen.doctor import Diagnosis, model
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import inspect
from tests.cli.runs import called
from tests.engines import zoo

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


def examine(folder: Path, size: int = 64, rho: float = 0.99) -> dict[str, Diagnosis]:
    found = model.findings(EngineConfig(str(folder), device="cpu"), size, size, rho)
    return {finding.about: finding for finding in found}


def test_a_model_that_works_is_measured(tmp_path: Path) -> None:
    found = examine(zoo.save(zoo.internvl(), tmp_path))
    assert {finding.level for finding in found.values()} <= {"ok", "note", "warning"}
    assert "InternVLForConditionalGeneration" in found["architecture"].text
    assert found["image tokens"].text.startswith("20 at 64x64, in a prompt of ")
    assert "82% of the draws" in found["image tokens"].text  # 0.99 ** 20
    assert found["drop = mask"].level == found["chat template"].level == "ok"


@pytest.mark.parametrize(("rho", "level"), [(0.99, "warning"), (0.95, "ok")])
def test_a_masking_that_leaves_some_tokens_in_nearly_every_draw_is_no_warning(rho: float, level: str) -> None:
    """The second is that of the main job of the README."""
    tokens = examine(SCENES / "model", 144, rho)["image tokens"]
    assert tokens.level == level
    assert f"rho = {rho} leaves {144 * (1 - rho):.1f} visible" in tokens.text


def test_image_tokens_are_counted_at_the_size_that_was_asked_for() -> None:
    square, wide = (
        inspect.prompting(EngineConfig(str(SCENES / "model-anyres")), 640, height).image_tokens for height in (640, 320)
    )
    assert (square, wide) == (144 + 24 * 25, 144 + 12 * 25)


def test_memory_is_that_of_the_model() -> None:
    built = inspect.architecture(EngineConfig(str(SCENES / "model"), device="cpu"))
    with safe_open(SCENES / "model" / "model.safetensors", "numpy") as weights:
        elements = sum(weights.get_tensor(name).size for name in weights.keys())  # noqa: SIM118  # it is no dict
    assert (built.parameters, built.weight_bytes) == (elements, 4 * elements)
    settings = json.loads((SCENES / "model" / "config.json").read_text())["text_config"]
    width = settings["hidden_size"] // settings["num_attention_heads"] * settings["num_key_value_heads"]
    assert built.kv_bytes == 2 * settings["num_hidden_layers"] * width * 4


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model_type": "llama"}, "has no image-text-to-text model of type 'llama'"),
        ({"model_type": "paligemma"}, "PaliGemma is refused: it reads its prompt in both directions"),
        ({"model_type": "mllama"}, "is refused: it sees images by cross-attention"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(tmp_path: Path, settings: dict[str, str], text: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (found,) = examine(tmp_path).values()
    assert found.level == "broken"
    assert text in found.text


@pytest.mark.parametrize(
    ("spoil", "about", "level"),
    [
        (lambda template: template.replace("<IMG_CONTEXT>", ""), "model", "broken"),
        (lambda template: template.replace("assistant\n", "assistant\n<think>"), "chat template", "warning"),
    ],
)
def test_a_chat_template_that_does_not_fit_is_found(
    tmp_path: Path, spoil: Callable[[str], str], about: str, level: str
) -> None:
    folder = zoo.save(zoo.internvl(), tmp_path)
    template = folder / "chat_template.jinja"
    template.write_text(spoil(template.read_text()))
    assert examine(folder)[about].level == level


def test_a_prompt_that_outgrows_the_sliding_window_is_not_called_equal(tmp_path: Path) -> None:
    found = examine(zoo.save(zoo.gemma3(window=8), tmp_path))["drop = mask"]
    assert found.level == "warning"
    assert "outgrows the model's sliding window" in found.text


def test_the_command_ends_with_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    works = called("doctor", SCENES / "model", "--image-size", "144x144", "--json", "-o", tmp_path)
    assert works.returncode == 0, works.stderr
    found = {finding["about"]: finding for finding in json.loads(works.stdout)}
    assert found["drop = mask"]["level"] == found["output"]["level"] == "ok"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    broken = called("doctor", "-o", tmp_path / "file" / "out")
    assert broken.returncode == 8
    assert "cannot be written" in " ".join(broken.stdout.split())
    refused = called("doctor", tmp_path, "--image-size", "64")
    assert refused.returncode == 2
    assert "--image-size '64' is no size; write it like 640x480" in refused.stderr
