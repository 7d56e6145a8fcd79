"""The committed models, as a user loads them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scenes
import torch
from anyres import build_anyres
from evaluate import blindfolded
from PIL import Image
from safetensors import safe_open
from scene_model import IMAGE_TOKENS, answer_labels, chat_text, messages, save
from tower import pixel_values
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from prefgen.evaluate.scenes.heldout import heldout
from prefgen.evaluate.scenes.language import SceneTurn
from prefgen.evaluate.scenes.measure import evaluate, responder
from prefgen.evaluate.scenes.render import photo

FOLDER = Path(scenes.__file__).parent
MODEL, ANYRES = FOLDER / "model", FOLDER / "model-anyres"
TURNS = [SceneTurn("brief", "What is it?", "A red ball."), SceneTurn("yes", "Is it red?", "Yes.")]
PREFIXES = (
    "vision_tower.vision_model.",
    "multi_modal_projector.linear_1.",
    "multi_modal_projector.linear_2.",
    "language_model.model.",
    "language_model.lm_head.weight",
)


@pytest.fixture(scope="module")
def processor() -> ProcessorMixin:
    return AutoProcessor.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return AutoModelForImageTextToText.from_pretrained(MODEL).eval()


def names(folder: Path) -> list[str]:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        return list(weights.keys())


@pytest.mark.parametrize(("folder", "extra"), [(MODEL, ()), (ANYRES, ("image_newline",))])
def test_weights_are_named_as_published_and_load_without_a_gap(folder: Path, extra: tuple[str, ...]) -> None:
    found = names(folder)
    assert all(name.startswith(PREFIXES + extra) for name in found)
    assert all(any(name.startswith(prefix) for name in found) for prefix in PREFIXES + extra)
    _, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert (folder / "model.safetensors").stat().st_size <= 10_000_000


def test_saving_again_keeps_the_published_names(
    model: PreTrainedModel, processor: ProcessorMixin, tmp_path: Path
) -> None:
    save(model, processor, tmp_path)
    assert sorted(names(tmp_path)) == sorted(names(MODEL))


def test_chat_has_the_llava_layout_and_several_turns(processor: ProcessorMixin) -> None:
    expected = "USER: <image>\nWhat is it? ASSISTANT: A red ball.</s>USER: Is it red? ASSISTANT: Yes.</s>"
    assert processor.apply_chat_template(messages(TURNS)) == expected
    assert chat_text(processor.tokenizer, TURNS, image_tokens=1) == expected
    asked = messages(TURNS)[:3]
    assert processor.apply_chat_template(asked, add_generation_prompt=True).endswith("Is it red? ASSISTANT:")
    begun = [*asked, {"role": "assistant", "content": [{"type": "text", "text": "Yes, the"}]}]
    assert processor.apply_chat_template(begun, continue_final_message=True).endswith("ASSISTANT: Yes, the")


def test_the_processor_expands_the_image_to_the_tokens_the_model_makes(processor: ProcessorMixin) -> None:
    picture = heldout(1)[0].picture()
    inputs = processor(images=picture, text="USER: <image>\nHi ASSISTANT:", return_tensors="pt")
    assert (inputs["input_ids"] == processor.image_token_id).sum() == IMAGE_TOKENS == 144
    pixels = np.array(picture)[None]
    assert torch.equal(inputs["pixel_values"], pixel_values(pixels))  # training takes the same pixels by a shortcut


def test_any_text_survives_the_tokenizer(processor: ProcessorMixin) -> None:
    tokenizer = processor.tokenizer
    text = "Zwölf boats?! 漢字 🙂"
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.decode(tokenizer(" a cup", add_special_tokens=False)["input_ids"]) == "a cup"
    assert len(tokenizer) <= 1024
    assert tokenizer.padding_side == "left"


def test_labels_are_the_answers_with_their_end(processor: ProcessorMixin) -> None:
    tokenizer = processor.tokenizer
    input_ids = tokenizer([chat_text(tokenizer, TURNS)], return_tensors="pt")["input_ids"]
    labels = answer_labels(tokenizer, input_ids)
    assert tokenizer.decode(labels[labels >= 0]) == "A red ball.</s> Yes.</s>"


def test_the_model_sees_most_objects_and_knows_yes_from_no(model: PreTrainedModel, processor: ProcessorMixin) -> None:
    figures = evaluate(responder(model, processor), heldout(16))
    assert figures["object_recall"].value > 0.75
    assert figures["yes_no/accuracy"].value > 0.7
    assert 1 <= figures["caption_sentences"].value <= 8  # it stops by itself


@pytest.mark.parametrize("scale", [1, 2])
def test_anyres_takes_an_overview_and_four_tiles_of_a_picture_of_either_size(scale: int) -> None:
    model, processor = build_anyres(MODEL)
    picture = photo(heldout(1)[0].scene, scale=scale)
    inputs = processor(images=picture, text="USER: <image>\nHi ASSISTANT:", return_tensors="pt")
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 144 + 576 + 24
    assert torch.isfinite(model(**inputs).logits).all()


def test_the_anyres_model_captions() -> None:
    processor = AutoProcessor.from_pretrained(ANYRES)
    model = AutoModelForImageTextToText.from_pretrained(ANYRES)
    assert evaluate(responder(model, processor), heldout(8))["object_recall"].value > 0.6


def test_a_blindfolded_model_is_shown_grey_pictures_of_the_same_size() -> None:
    shown: list[tuple[tuple[int, int], object]] = []

    def respond(pictures: Sequence[Image.Image], questions: Sequence[str], max_new_tokens: int) -> list[str]:
        shown.extend((picture.size, picture.getcolors()) for picture in pictures)
        return [f"{question} {max_new_tokens}" for question in questions]

    pictures = [heldout(1)[0].picture(), Image.new("RGB", (3, 2), "red")]
    assert blindfolded(respond)(pictures, ["a", "b"], 7) == ["a 7", "b 7"]
    sizes = [picture.size for picture in pictures]
    assert shown == [(size, [(size[0] * size[1], (128, 128, 128))]) for size in sizes]
