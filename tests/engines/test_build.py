from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefgen.engines import build
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading
from prefgen.engines.vllm import engine as vllm_
from prefgen.errors import UsageError
from prefgen.requests import Contrast, Generate, Request, Score
from prefgen.visibility import View

MODEL = str(Path(__file__).parents[2] / "examples" / "scenes" / "model")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "resolve_device", lambda device: "cuda" if device == "auto" else device)


def test_an_engine_that_was_named_stays() -> None:
    config = EngineConfig(MODEL)
    assert build.resolve(config, [Generate]) == (config, "")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("vllm", "settings", "engine", "why"),
    [
        (True, {}, "vllm", "there is a GPU"),
        (False, {}, "transformers", "not installed"),
        (True, {"device": "cpu"}, "transformers", "this runs on the CPU"),
        (True, {"attention": "mask"}, "transformers", "a mask per request"),
        (True, {"positions": "preserve"}, "transformers", "gaps between positions"),
    ],
)
def test_auto_takes_vllm_where_it_can_and_says_why(
    monkeypatch: pytest.MonkeyPatch, vllm: bool, settings: dict[str, Any], engine: str, why: str
) -> None:
    monkeypatch.setattr(vllm_, "is_installed", lambda: vllm)
    config, reason = build.resolve(EngineConfig(MODEL, "auto", **settings), [Generate])
    assert config.engine == engine
    assert why in reason


def test_auto_takes_transformers_for_a_model_that_vllm_was_not_tested_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vllm_, "is_installed", lambda: True)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_vl"}))
    config, reason = build.resolve(EngineConfig(str(tmp_path), "auto"), [Generate])
    assert config.engine == "transformers"
    assert "type 'qwen2_vl' have not been tested with vLLM" in reason


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", [Score, Contrast])
def test_logits_are_read_by_transformers_alone(monkeypatch: pytest.MonkeyPatch, kind: type[Request]) -> None:
    monkeypatch.setattr(vllm_, "is_installed", lambda: True)
    assert build.resolve(EngineConfig(MODEL, "auto"), [kind])[0].engine == "transformers"
    with pytest.raises(UsageError, match="reads given answers"):
        build.identify(EngineConfig(MODEL, "vllm"), [kind])


def test_a_view_is_refused_only_where_it_cannot_be_had() -> None:
    served, own = EngineConfig("m", "openai", base_url="http://localhost"), EngineConfig("m")
    for view in (View(rho=0.5), View(keep_tokens=3), View(noise_steps=100)):
        build.check_view(own, view)
        with pytest.raises(UsageError, match="--noise-space pixel-clamp"):
            build.check_view(served, view)
    build.check_view(served, View())
    build.check_view(served, View(noise_steps=100, noise_space="pixel-wrap"))
