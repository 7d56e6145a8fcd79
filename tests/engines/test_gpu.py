"""What only a GPU can show: recorded steps draw what stock `generate` draws. Run with ``pytest -m gpu``."""

from __future__ import annotations

import dataclasses
import importlib.util

import pytest
import torch

from prefgen.engines.hf import engine
from tests.engines import zoo
from tests.engines.test_architectures import wanted
from tests.engines.test_equivalence import answers

pytestmark = pytest.mark.gpu
_NEEDS = {"pixtral": "torchvision", "mistral3": "torchvision", "smolvlm": "num2words"}


@pytest.mark.parametrize("name", zoo.ZOO)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_recorded_steps_give_the_texts_of_stock_generate(
    name: str, temperature: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if name in _NEEDS and importlib.util.find_spec(_NEEDS[name]) is None:
        pytest.skip(f"needs {_NEEDS[name]}")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(engine, "default_workers", lambda device: 0)
    built, device = zoo.ZOO[name](), torch.device("cuda")
    loaded = dataclasses.replace(built, model=built.model.to(device), device=device)
    requests = wanted(temperature)
    assert answers(loaded, requests, "drop", "compact") == answers(loaded, requests, "mask", "compact")
    assert "cannot be recorded" not in caplog.text
