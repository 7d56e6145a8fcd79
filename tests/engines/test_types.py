"""The guide's table of model types: measured of the small models, and compared with the page.

To write the page anew: ``python -m tests.engines.test_types``. What cannot be measured where it runs (types that need
torchvision, timm or a newer transformers) is kept as it was.
"""

from __future__ import annotations

import dataclasses
import re
import sys

import pytest
import torch
import transformers
from packaging.version import Version
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from prefgen import guide
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import architectures, probing, proof
from prefgen.engines.hf.architectures import FAMILIES, TITLES
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.vllm.engine import TESTED
from prefgen.training.logprobs import why_not_packed
from tests.engines.small_models import ALL, BROKEN, NO_EXCEPTION, SINCE, make, missing
from tests.engines.test_architectures import wanted
from tests.engines.test_equivalence import answers
from tests.train.pairs import item, row

PAGE = guide.FOLDER / "architectures.md"
HEAD = ("architecture", "`model_type`", "drop", "mask", "preserve", "packed", "vLLM", "note")
TYPES = [name for name in ALL if name != "pixtral"]

# What stopped an attempt to build a small model, or to ask it; of what a configuration alone tells, see `finding`.
_HALTED = {
    "cosmos3_edge": "its code takes three coordinates a token, and no place in the text beside them",
    "deepseek_ocr2": "its processor and a small encoder did not come to the same number of image tokens",
    "evolla": "it reads proteins, and no pictures",
    "diffusion_gemma": "it fills blocks of an answer at once, so that there is no next token whose logits are compared",
    "fuyu": "its processor adds images itself, and fails where a prompt has a place for one",
    "got_ocr2": "its processor refuses the pictures of a conversation (nested images)",
    "hunyuan_vl": "its processor takes an image between tokens of its template only, and its positions have four parts",
    "minicpmv4_7": "its positions are those of a canvas, which its code computes of more than the picture's grid",
    "minimax_m3_vl": "its layers of kind minimax_m3_sparse choose blocks of places, which hiding tokens moves",
    "mistral4": "it is a decoder alone, which models of type mistral3 may have behind their encoder",
    "pp_chart2table": "its processor neither adds image tokens nor says how many an image has",
    "qwen2_5_omni_thinker": "its forward pass takes no encoded images",
    "qwen3_omni_moe_thinker": "its forward pass takes no encoded images",
    "shieldgemma2": "its processor writes the prompt itself and takes no text: it judges pictures",
    "vision-encoder-decoder": "it sees images by the cross-attention of a decoder: there are no image tokens to hide",
}

# What an attempt with vLLM 0.32 ended with.
_OTHERS = "no: vLLM has no code of its own for it"
_NEWER = "no: vLLM 0.32 goes with transformers 5.19"
_ON_VLLM = {
    **dict.fromkeys(("deepseek_vl", "deepseek_vl_hybrid", "fast_vlm", "hyperclovax_vision_v2", "idefics2"), _OTHERS),
    **dict.fromkeys(("janus", "kimi_k25", "lighton_ocr", "ovis2", "perception_lm", "video_llama_3"), _OTHERS),
    **dict.fromkeys(("video_llava", "vipllava"), _OTHERS),
    "lfm2_vl": "no: vLLM's code reads settings that its configuration in transformers has not",
    "minicpmv4_6": "no: vLLM's code fails at a small model",
    "qianfan_ocr": "no: vLLM's code fails at its configuration in transformers",
}


def finding(name: str) -> str:
    """Why a type that no small model stands for cannot be used."""
    if name in FAMILIES:
        return FAMILIES[name].refused
    return _HALTED.get(name) or probing.why_not(transformers.AutoConfig.for_model(name))


def measured(name: str, loaded: LoadedModel) -> list[str]:
    """The row of a type."""
    family = loaded.family
    found, kept = (proof.prove(loaded, EngineConfig("tiny", positions=each)) for each in ("compact", "preserve"))
    for each in (found, kept):
        assert not each.refused, f"{name}: {each.refused}"
        assert 0 <= each.stock <= each.tolerance < 1e-3
        assert each.effect > 10 * each.tolerance
    drop = {True: "removed", False: "yes" if found.drops else "no"}[bool(family.state)]
    requests = wanted()[:3]
    dropped = answers(loaded, requests, "drop", "compact")
    mask = "yes" if not family.state and answers(loaded, requests, "mask", "compact") == dropped else "no"
    preserve = "the only kind" if family.mrope else "yes" if kept.drops or family.state else "no"
    notes = [architectures.remarks(dataclasses.replace(family, mrope=False, state=()))]
    if loaded.window is not None and not family.state:
        notes.append("a window: rows that are longer are masked, and answers read apart")
    if name in BROKEN:
        notes.append(f"not under transformers {BROKEN[name]}, whose own code for it fails")
    if name in SINCE:
        notes.append(f"from transformers {SINCE[name]} on")
    cells = [drop, mask, preserve, packed(loaded), on_vllm(name, loaded), "; ".join(filter(None, notes))]
    return [family.title, f"`{name}`", *cells]


def on_vllm(name: str, loaded: LoadedModel) -> str:
    """What tests/engines/test_vllm.py shows of a type, or what stands against it."""
    family = loaded.family
    if name in TESTED:
        return "yes"
    if family.mrope:
        return "no: prompt embeddings have no coordinates"
    if family.image_blocks:
        return "no: it reads prompt embeddings in one direction"
    if family.deepstack:
        return "no: prompt embeddings enter one layer"
    if loaded.window is not None:
        return "no: its windows count hidden tokens"
    return _NEWER if name in SINCE else _ON_VLLM.get(name, "not tried")


def packed(loaded: LoadedModel) -> str:
    """Whether answers are read behind one prompt; where layers have a window, whether they would be without it."""
    unlisted = dataclasses.replace(loaded, family=dataclasses.replace(loaded.family, is_listed=False))  # so it is tried
    unlisted.__dict__["window"] = None
    reason = why_not_packed(unlisted, item(unlisted, row()))
    return f"no: {reason}" if reason else "yes" if loaded.window is None else "without a window"


def rows() -> dict[str, list[str]]:
    """The rows of the page's table, by type."""
    lines = re.findall(r"^\| (.* `\w+` .*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")] for line in lines]
    return {row[1].strip("`"): row for row in cells if row[0] != HEAD[0]}


def findings() -> dict[str, str]:
    """Reasons for which types cannot be used, by type, as on the page."""
    listed = PAGE.read_text(encoding="utf-8").partition("<!-- refused -->")[2].partition("<!-- end of refused -->")[0]
    lines = re.findall(r"^- (.*?): (.*)$", listed, re.MULTILINE)
    return {name: words for names, words in lines for name in re.findall(r"`(.*?)`", names)}


def page(table: dict[str, list[str]], refused: list[str]) -> str:
    """The page with this table and this list."""
    lines = [f"| {' | '.join(cells)} |" for cells in (HEAD, ["---"] * len(HEAD), *table.values())]
    text = PAGE.read_text(encoding="utf-8")
    text = re.sub(r"(?s)(?<=<!-- table -->\n).*(?=\n<!-- end of table -->)", lambda _: "\n".join(lines), text)
    return re.sub(r"(?s)(?<=<!-- refused -->\n).*(?=\n<!-- end of refused -->)", lambda _: "\n".join(refused), text)


def refused() -> list[str]:
    """The list of types that cannot be used, those with one finding together; of newer types as the page says it."""
    here = {name: finding(name) for name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES if name not in ALL}
    by_finding: dict[str, list[str]] = {}
    for name, words in sorted({**findings(), **here}.items()):
        since = f" ({SINCE[name]})" if name in SINCE else ""
        by_finding.setdefault(words, []).append(f"`{name}`{since}")
    return [f"- {', '.join(names)}: {words}" for words, names in by_finding.items()]


@pytest.mark.parametrize("name", TYPES)
def test_the_table_says_what_is_measured(name: str) -> None:
    assert rows()[name] == measured(name, make(name))


@pytest.mark.parametrize("name", BROKEN)
def test_a_type_is_left_out_where_its_own_forward_pass_fails(name: str) -> None:
    if not transformers.__version__.startswith(f"{BROKEN[name]}."):
        pytest.skip("it does not")
    with pytest.raises(AttributeError):
        ALL[name]().model(input_ids=torch.arange(8)[None])


def test_every_type_is_in_the_table_or_has_a_finding() -> None:
    assert list(rows()) == TYPES
    assert len(TYPES) >= 40
    assert set(TITLES) == set(NO_EXCEPTION)
    assert set(FAMILIES) == {name for name in TYPES if name not in TITLES} | {"paligemma", "mllama"}
    assert page(rows(), refused()) == PAGE.read_text(encoding="utf-8")
    assert all(findings().values())
    installed = Version(Version(transformers.__version__).base_version)
    newer = {name for name, version in SINCE.items() if installed < Version(version)}
    if installed < Version("5.25"):
        stock = {*MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, *newer}
        assert stock - {*TYPES, *findings()} == set()
        assert {*findings()} - stock == set()


if __name__ == "__main__":
    before = rows()
    table = {}
    for name in TYPES:
        table[name] = before.get(name, list(HEAD))
        if package := missing(name):
            sys.stderr.write(f"{name} is kept, since {package} is not installed\n")
            continue
        table[name] = measured(name, ALL[name]())
    PAGE.write_text(page(table, refused()), encoding="utf-8")
