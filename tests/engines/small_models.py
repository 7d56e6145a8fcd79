"""Every small random model, by `config.model_type`; Pixtral is a LLaVA with another encoder."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from prefgen.engines.hf.loading import LoadedModel
from tests.engines.zoo import ZOO
from tests.engines.zoo_found import FOUND
from tests.engines.zoo_newest import NEWEST
from tests.engines.zoo_torchvision import TIMM, TORCHVISION

ALL: dict[str, Callable[[], LoadedModel]] = {**ZOO, **FOUND, **TORCHVISION, **NEWEST}
NO_EXCEPTION = (*FOUND, *TORCHVISION, *(name for name in NEWEST if name != "molmo2"))
SINCE = {
    **dict.fromkeys(("molmo2", "muse_spark", "unlimited_ocr"), "5.20"),
    "minicpm_ocr": "5.21",
    "mistral_large4": "5.22",
    **dict.fromkeys(("dots3_note", "granite_docling", "inkling2", "lfm3_vl"), "5.23"),
    **dict.fromkeys(("apertus1p5", "hy_v4_vl", "inkling2_loop"), "5.24"),
}
"""Types that the lowest declared transformers, 5.19, has not, and the version that brought each."""
BROKEN = {"llama4": "5.24"}
"""Types whose own forward pass fails in a version of transformers, and that version."""
_NEEDS = {
    **dict.fromkeys(("pixtral", "mistral3", *TORCHVISION), ("torchvision",)),
    **dict.fromkeys(("apertus1p5", "minicpm_ocr", "molmo2", "muse_spark"), ("torchvision",)),
    **dict.fromkeys(TIMM, ("torchvision", "timm")),
}


def missing(name: str) -> str:
    """A package that the model of this name needs and that is not installed; empty if it can be built."""
    if name in SINCE and name not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return f"transformers {SINCE[name]}"
    if name in BROKEN and transformers.__version__.startswith(f"{BROKEN[name]}."):
        return f"another transformers than {BROKEN[name]}"
    return next((package for package in _NEEDS.get(name, ()) if importlib.util.find_spec(package) is None), "")


def make(name: str) -> LoadedModel:
    """The model of this name; the test is skipped if it needs a package that is not installed."""
    if package := missing(name):
        pytest.skip(f"it needs {package}")
    return ALL[name]()
