"""Expansion of images in prompts: the tokens that a processor inserts, stated by it or read from its output."""

from __future__ import annotations

import copy
from typing import Any

import PIL.Image
from transformers import ProcessorMixin

_APART = "\ue004"  # a private-use character between images, so that their expansions are not joined


def placeholder_of(processor: Any) -> str:
    """The placeholder of an image in a rendered prompt: the token of a feature, or in some processors another one."""
    return str(getattr(processor, "image_placeholder_token", None) or processor.image_token)


def prepared(processor: Any, pictures: list[PIL.Image.Image]) -> tuple[Any, tuple[str, ...]]:
    """Pictures as a processor prepares them: its whole output, and what each becomes in a prompt."""
    placeholder = placeholder_of(processor)
    if _says(processor):
        text = placeholder * len(pictures)
        output = processor(text=[text], images=[pictures], return_tensors="pt", return_text_replacement_offsets=True)
        if "text_replacement_offsets" in output:  # Nemotron's processor is asked for them and does not return them
            return output, tuple(found["replacement"] for found in output["text_replacement_offsets"][0])
    recording, texts = _recording(processor)
    output = recording(text=[(placeholder + _APART) * len(pictures)], images=[pictures], return_tensors="pt")
    return output, tuple(texts[-1].split(_APART)[: len(pictures)])


def rewrites(processor: Any) -> bool:
    """True if a processor expands images in a text without their pictures, and by what stands beside them."""
    if _says(processor):
        return False
    try:
        text = rewritten(processor, placeholder_of(processor))
    except ValueError:  # it wants the picture as well
        return False
    return text.count(processor.image_token) > 1


def rewritten(processor: Any, text: str) -> str:
    """A rendered prompt as such a processor expands it."""
    recording, texts = _recording(processor)
    recording(text=[text])
    return texts[-1]


def _says(processor: Any) -> bool:
    return type(processor).replace_image_token is not ProcessorMixin.replace_image_token


def _recording(processor: Any) -> tuple[Any, list[str]]:
    """A copy of a processor, and the list to which it appends every text that it tokenises."""
    texts: list[str] = []
    recording = copy.copy(processor)
    recording.tokenizer = _RecordingTokenizer(processor.tokenizer, texts)
    return recording, texts


class _RecordingTokenizer:
    """A tokenizer that keeps the texts it is given."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self._tokenizer = tokenizer
        self._texts = texts

    def __call__(self, text: list[str], *arguments: Any, **settings: Any) -> Any:
        self._texts += text
        return self._tokenizer(text, *arguments, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)
