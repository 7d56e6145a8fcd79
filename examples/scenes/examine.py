"""Asks a model everything about the held-out scenes, and keeps what it said, so that figures can be made of it later.

A picture is read once and all questions about it are answered behind it, which is what makes 50 models affordable. The
replies are those of the stock ``generate`` of evaluate.py (tests/scenes/test_prove.py).

Shapes: N questions, P tokens up to the end of a picture, Q tokens behind it (padded on the left), V tokens known.
"""

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from prefgen.engines.templates import ChatTemplate
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, Heldout
from prefgen.evaluate.scenes.language import detail
from prefgen.evaluate.scenes.measure import ANSWER_TOKENS, CAPTION_TOKENS, prompt
from prefgen.evaluate.scenes.truth import TEXT_STREAM

SCENES_AT_ONCE = 100


@dataclass
class Answers:
    """What a model said, in the order of the scenes and their questions.

    Attributes:
        captions: one for each scene.
        ends: probability of the end token behind a true caption, one for each scene that yes and no are asked about.
        probes: the first token of each yes/no answer, as text. margins: log p(yes) - log p(no) there, in nats.
        attributes: replies to the other questions.
    """

    captions: list[str]
    ends: list[float]
    probes: list[str]
    margins: list[float]
    attributes: list[str]


class Examiner:
    """Questions to one model."""

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin) -> None:
        self._model = model
        self._processor = processor
        self._template = ChatTemplate(processor, str(model.name_or_path))
        self._tokenizer = processor.tokenizer
        self._eos = int(self._tokenizer.eos_token_id)

    @torch.inference_mode()
    def examine(self, items: Sequence[Heldout], probed: int, described: int) -> Answers:
        """Captions of these scenes, yes and no about the first `probed` and attributes of the first `described`."""
        captions, ends = [""] * len(items), [0.0] * probed
        probes: dict[int, list[tuple[str, float]]] = {}
        attributes: dict[int, list[str]] = {}
        # Scenes with as many things have captions of about the same length, so that few wait for the longest.
        order = sorted(range(len(items)), key=lambda number: len(items[number].scene.things))
        for start in range(0, len(items), SCENES_AT_ONCE):
            numbers = order[start : start + SCENES_AT_ONCE]
            cache = self._read([items[number] for number in numbers])
            told = self._replies(cache, list(range(len(numbers))), [CAPTION_QUESTION] * len(numbers), CAPTION_TOKENS)
            for number, text in zip(numbers, told, strict=True):
                captions[number] = text
            if asked := _first(numbers, probed, items):
                truths = [detail(item.scene, item.scene.rng(TEXT_STREAM)) for _, item in asked]
                for (place, _), end in zip(
                    asked, self._ends(cache, [place for place, _ in asked], truths), strict=True
                ):
                    ends[numbers[place]] = end
                owners = [place for place, item in asked for _ in item.probes]
                found = iter(
                    self._yes_or_no(cache, owners, [probe.question for _, item in asked for probe in item.probes])
                )
                probes |= {numbers[place]: [next(found) for _ in item.probes] for place, item in asked}
            if asked := _first(numbers, described, items):
                owners = [place for place, item in asked for _ in item.attributes]
                questions = [attribute.question for _, item in asked for attribute in item.attributes]
                replies = iter(self._replies(cache, owners, questions, ANSWER_TOKENS))
                attributes |= {numbers[place]: [next(replies) for _ in item.attributes] for place, item in asked}
        return Answers(
            captions,
            ends,
            [word for number in sorted(probes) for word, _ in probes[number]],
            [margin for number in sorted(probes) for _, margin in probes[number]],
            [reply for number in sorted(attributes) for reply in attributes[number]],
        )

    def _read(self, items: Sequence[Heldout]) -> Any:
        """Keys and values of the pictures and what stands before them."""
        pictures = [_picture(item) for item in items]
        texts = [prompt(self._template, CAPTION_QUESTION)] * len(items)
        inputs = self._processor(images=pictures, text=texts, padding=True, return_tensors="pt")
        last = int((inputs["input_ids"][0] == self._model.config.image_token_id).nonzero().max())
        self._head = inputs["input_ids"][0, : last + 1]
        ids = inputs["input_ids"][:, : last + 1]
        return self._model(input_ids=ids, pixel_values=inputs["pixel_values"], use_cache=True).past_key_values

    def _behind(self, cache: Any, owners: Sequence[int], texts: Sequence[str]) -> tuple[Any, dict[str, torch.Tensor]]:
        """The pictures of these questions, and ids (N, P + Q) with their attention mask."""
        placeholder, image = self._processor.image_token, self._model.config.image_token_id
        tails = []
        for text in texts:
            ids = self._tokenizer(text)["input_ids"]
            assert ids.count(image) == 1, f"one {placeholder} in a prompt"
            tails.append(ids[ids.index(image) + 1 :])
        width = max(map(len, tails))
        pad = torch.full((len(tails), len(self._head) + width), int(self._tokenizer.pad_token_id))
        mask = torch.zeros_like(pad)
        for row, tail in enumerate(tails):
            pad[row, : len(self._head)], mask[row, : len(self._head)] = self._head, 1
            pad[row, -len(tail) :], mask[row, -len(tail) :] = torch.tensor(tail), 1
        own = copy.deepcopy(cache)
        own.batch_select_indices(torch.tensor(owners))
        return own, {"input_ids": pad, "attention_mask": mask}

    def _replies(self, cache: Any, owners: Sequence[int], questions: Sequence[str], most: int) -> list[str]:
        own, inputs = self._behind(cache, owners, [prompt(self._template, question) for question in questions])
        output = self._model.generate(**inputs, past_key_values=own, max_new_tokens=most, do_sample=False)
        texts = self._tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _next(self, cache: Any, owners: Sequence[int], texts: Sequence[str]) -> torch.Tensor:
        """Log-probabilities of the token behind each text, (N, V)."""
        own, inputs = self._behind(cache, owners, texts)
        positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)[:, len(self._head) :]
        logits = self._model(
            input_ids=inputs["input_ids"][:, len(self._head) :],
            attention_mask=inputs["attention_mask"],
            position_ids=positions,
            past_key_values=own,
            logits_to_keep=1,
        ).logits
        logps: torch.Tensor = logits[:, -1].float().log_softmax(-1)
        return logps

    def _ends(self, cache: Any, owners: Sequence[int], captions: Sequence[str]) -> list[float]:
        texts = [f"{prompt(self._template, CAPTION_QUESTION)} {text}" for text in captions]
        return [float(row[self._eos].exp()) for row in self._next(cache, owners, texts)]

    def _yes_or_no(self, cache: Any, owners: Sequence[int], questions: Sequence[str]) -> list[tuple[str, float]]:
        """The first token of each answer, and how much likelier yes is than no."""
        yes, no = self._tokenizer.convert_tokens_to_ids(["▁Yes", "▁No"])
        logps = self._next(cache, owners, [prompt(self._template, question) for question in questions])
        words = self._tokenizer.batch_decode(logps.argmax(-1)[:, None])
        return [(word.strip(), float(row[yes] - row[no])) for word, row in zip(words, logps, strict=True)]


@functools.cache
def _picture(item: Heldout) -> Image.Image:
    """The picture of a scene, drawn once for all models."""
    return item.picture()


def _first(numbers: Sequence[int], limit: int, items: Sequence[Heldout]) -> list[tuple[int, Heldout]]:
    """Those of a batch of scenes whose number is below the limit, with their places in the batch."""
    return [(place, items[number]) for place, number in enumerate(numbers) if number < limit]
