"""Every small random model, by `config.model_type`; Pixtral is a LLaVA with another encoder."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest

from prefgen.engines.hf.loading import LoadedModel
from tests.engines.zoo import ZOO
from tests.engines.zoo_found import FOUND
from tests.engines.zoo_torchvision import TIMM, TORCHVISION

ALL: dict[str, Callable[[], LoadedModel]] = {**ZOO, **FOUND, **TORCHVISION}
NO_EXCEPTION = (*FOUND, *TORCHVISION)
_NEEDS = {
    **dict.fromkeys(("pixtral", "mistral3", *TORCHVISION), ("torchvision",)),
    **dict.fromkeys(TIMM, ("torchvision", "timm")),
}


def missing(name: str) -> str:
    """A package that the model of this name needs and that is not installed; empty if it can be built."""
    return next((package for package in _NEEDS.get(name, ()) if importlib.util.find_spec(package) is None), "")


def make(name: str) -> LoadedModel:
    """The model of this name; the test is skipped if it needs a package that is not installed."""
    if package := missing(name):
        pytest.skip(f"it needs {package}")
    return ALL[name]()
