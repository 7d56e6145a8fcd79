"""Token counts of pairs under a model's processor, and rows that a length limit would cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefgen import images
from prefgen.engines.base import EngineConfig
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.formats import LOADERS
from prefgen.formats.base import Importer
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class Length:
    """Token counts of a pair.

    Attributes:
        image_end: position behind the last image token, or 0 if the prompt has none.
        chosen: of the prompt and the chosen answer; likewise `rejected`.
    """

    image_end: int
    chosen: int
    rejected: int


class Lengths:
    """Counts tokens with a processor.

    Args:
        image_token_id: the placeholder of one image feature.
    """

    def __init__(self, processor: Any, image_token_id: int, model_name: str) -> None:
        self._processor = processor
        self._template = ChatTemplate(processor, model_name)
        self._image_token_id = image_token_id
        self._name = model_name

    @classmethod
    def load(cls, name: str) -> Lengths:
        """Load the processor of a model, a folder or a Hub id.

        Raises:
            UsageError: it is none for pictures, or has no chat template.
            ModelUnreachable: it cannot be read.
        """
        from prefgen.engines.hf import probing  # transformers, only where tokens are counted
        from prefgen.engines.hf.loading import load_processor, read_config

        config = EngineConfig(model=name)
        image_token_id = probing.image_token_id(read_config(config))
        if image_token_id is None:
            raise UsageError(f"{name} has no image token; lengths cannot be counted with its processor")
        return cls(load_processor(config), image_token_id, name)

    def measure(self, pair: Pair) -> Length:
        """Token counts of a pair with loaded pictures, rendered by the model's own chat template.

        Raises:
            RowError: the chat template refuses the conversation.
            ModelUnreachable: the chat template or the processor fails, or no image token comes of a picture.
        """
        from prefgen.engines import model_files

        messages = [{"role": turn.role, "content": [_part(part) for part in turn.parts]} for turn in pair.sample.prompt]
        text = self._template.render(messages, add_generation_prompt=True)
        pictures = [images.decode(image) for image in pair.sample.loaded_images]
        with model_files.reading(f"the processor of model {self._name} fails at a row"):
            ids = self._processor(text=[text], images=pictures, return_tensors="pt")["input_ids"][0].tolist()
        tokenizer = self._processor.tokenizer
        places = [place for place, token in enumerate(ids) if token == self._image_token_id]
        if pictures and not places:
            raise ModelUnreachable(
                f"the processor of model {self._name} puts no image token into a prompt with a picture "
                f"({self._image_token_id} in its config.json), so that lengths cannot be counted with it"
            )
        answers = (
            len(tokenizer(f" {answer}{tokenizer.eos_token or ''}", add_special_tokens=False)["input_ids"])
            for answer in (pair.chosen, pair.rejected)
        )
        chosen, rejected = (len(ids) + length for length in answers)
        return Length(places[-1] + 1 if places else 0, chosen, rejected)


def _part(part: object) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


@dataclass(frozen=True)
class CutRow:
    """A row that would be cut."""

    row: str
    detail: str


def limit(trainer: str, max_length: int | None) -> int:
    """The length limit that applies.

    Raises:
        UsageError: the trainer has no default.
    """
    found = max_length or LOADERS[trainer].max_length
    if found is None:
        raise UsageError(f"{trainer} has no length limit of its own: give --max-length")
    return found


def cuts(src: Path, importer: Importer, max_length: int, measure: Callable[[Pair], Length]) -> Iterator[CutRow]:
    """Rows above the limit; rows that are no pair are left to `prefgen.formats.checking`."""
    root = SourceOptions().root(str(src))
    for outcome in importer(str(src)):
        if isinstance(outcome, Dropped):
            continue
        sample = images.load_images(outcome.sample, root, None)
        name = outcome.sample.source_id
        if isinstance(sample, Dropped):
            yield CutRow(name, f"{sample.reason}: {sample.detail}")
            continue
        try:
            length = measure(replace(outcome, sample=sample))
        except RowError as error:
            yield CutRow(name, str(error))
            continue
        if length.image_end > max_length:
            yield CutRow(name, f"image tokens up to {length.image_end:,}: {max_length:,} cut into the picture")
        for side, tokens in (("chosen", length.chosen), ("rejected", length.rejected)):
            if length.image_end <= max_length < tokens:
                yield CutRow(name, f"{side} ends at token {tokens:,}: {max_length:,} cut it off")
