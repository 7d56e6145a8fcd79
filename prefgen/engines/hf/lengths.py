"""How many tokens a pair takes under a model's processor, its pictures expanded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefgen import images
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import probing
from prefgen.engines.hf.loading import load_processor, read_config
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import UsageError
from prefgen.records import Pair


@dataclass(frozen=True)
class Length:
    """Tokens of a pair.

    Attributes:
        image_end: position behind the last image token, or 0 if the prompt has none.
        chosen: of the prompt and the chosen answer; likewise `rejected`.
    """

    image_end: int
    chosen: int
    rejected: int


class Lengths:
    """Counts tokens with one processor.

    Args:
        image_token_id: the placeholder that stands for one image feature.
    """

    def __init__(self, processor: Any, image_token_id: int, model_name: str) -> None:
        self._processor = processor
        self._template = ChatTemplate(processor, model_name)
        self._image_token_id = image_token_id

    @classmethod
    def load(cls, name: str) -> Lengths:
        """With the processor of a model, a folder or a Hub id.

        Raises:
            UsageError: it is none for pictures, or has no chat template.
            ModelUnreachable: it cannot be read.
        """
        config = EngineConfig(model=name)
        image_token_id = probing.image_token_id(read_config(config))
        if image_token_id is None:
            raise UsageError(f"{name} has no image token; lengths cannot be counted with its processor")
        return cls(load_processor(config), image_token_id, name)

    def measure(self, pair: Pair) -> Length:
        """Tokens of a pair whose pictures are loaded; texts as the model's own chat template renders them.

        Raises:
            RowError: the chat template refuses the conversation.
            ModelUnreachable: the chat template fails.
        """
        messages = [{"role": turn.role, "content": [_part(part) for part in turn.parts]} for turn in pair.sample.prompt]
        text = self._template.render(messages, add_generation_prompt=True)
        pictures = [images.decode(image) for image in pair.sample.loaded_images]
        ids = self._processor(text=[text], images=pictures, return_tensors="pt")["input_ids"][0].tolist()
        tokenizer = self._processor.tokenizer
        places = [place for place, token in enumerate(ids) if token == self._image_token_id]
        answers = (
            len(tokenizer(f" {answer}{tokenizer.eos_token or ''}", add_special_tokens=False)["input_ids"])
            for answer in (pair.chosen, pair.rejected)
        )
        chosen, rejected = (len(ids) + length for length in answers)
        return Length(places[-1] + 1 if places else 0, chosen, rejected)


def _part(part: object) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
