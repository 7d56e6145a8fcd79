"""Rendering of a conversation and an answer's prefix to token ids, with the model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import regex

from prefgen.engines.hf import expansion
from prefgen.engines.templates import ChatTemplate
from prefgen.errors import UsageError
from prefgen.records import Turn

# Private-use characters: they stand for something in the rendered prompt and cannot be mistaken for data.
_ANSWER = "\ue000answer\ue001"
_REMEMBERED = 256  # beginnings of prompts, thousands of image tokens each
_LITERAL = regex.compile("\ue002(\\d+)\ue003")


@dataclass(frozen=True)
class Header:
    """A rendered prompt up to the answer, and the text that follows an answer.

    Attributes:
        opening: ends where a model starts to answer (``ASSISTANT:``).
        continuing: ends where the text of a given answer starts (``ASSISTANT: ``).
        closing: what the template puts behind a whole answer (``</s>``).
    """

    opening: str
    continuing: str
    closing: str


class Prompts:
    """Renders and tokenizes prompts.

    Text of the data that spells a special token (``<image>``, ``</s>`` …) is encoded as the plain characters it is.
    """

    def __init__(self, processor: Any, model_name: str) -> None:
        self._processor = processor
        self._model_name = model_name
        self._placeholder = expansion.placeholder_of(processor)
        self.tokenizer = processor.tokenizer
        specials = {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}
        self._specials = sorted(specials, key=len, reverse=True)
        self._special = regex.compile("|".join(map(regex.escape, self._specials)))
        self._before = lru_cache(_REMEMBERED)(lambda text: self._tokens(text, start=True))
        self._template = ChatTemplate(processor, model_name)
        self._rewrites = expansion.rewrites(processor)

    def header(self, prompt: tuple[Turn, ...]) -> Header:
        """Render a conversation whose last turn is the user's.

        Raises:
            RowError: if the chat template refuses it.
            ModelUnreachable: if the chat template fails.
        """
        messages: list[dict[str, Any]] = [
            {"role": turn.role, "content": [self._part(part) for part in turn.parts]} for turn in prompt
        ]
        opening = self._template.render(messages, add_generation_prompt=True)
        answered = [*messages, {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}]
        with_answer = self._template.render(answered)
        continuing, _, closing = with_answer.rpartition(_ANSWER)
        return Header(opening, continuing, closing)

    def _part(self, part: object) -> dict[str, str]:
        return {"type": "text", "text": self._escape(part)} if isinstance(part, str) else {"type": "image"}

    def _escape(self, data: str) -> str:
        """Replace special tokens in user text by placeholders."""
        return self._special.sub(lambda match: f"\ue002{self._specials.index(match.group())}\ue003", data)

    def encode(self, header: Header, prefix: str, expansions: Sequence[str] = ()) -> list[int]:
        """Token ids of the prompt and the answer's prefix.

        Args:
            prefix: what the answer already says; if empty, the model starts the answer.
            expansions: what stands in the text for each image, see `vision.Pixels`.

        Raises:
            UsageError: if the chat template does not give every image a place.
        """
        rendered = header.continuing + self._escape(prefix) if prefix else header.opening
        return self._expanded(header, rendered, expansions)

    def encode_whole(self, header: Header, answer: str, expansions: Sequence[str] = ()) -> list[int]:
        """Token ids of the prompt, a whole answer and the template's text after it. Arguments as for `encode`."""
        return self._expanded(header, header.continuing + self._escape(answer) + header.closing, expansions)

    def _expanded(self, header: Header, rendered: str, expansions: Sequence[str]) -> list[int]:
        """Token ids of a rendered conversation with every image expanded."""
        parts = rendered.split(self._placeholder)
        if len(parts) != len(expansions) + 1:
            raise UsageError(
                f"the chat template of {self._model_name} makes {len(parts) - 1} image placeholders of "
                f"{len(expansions)} images; its prompt: {header.opening[:200]!r}"
            )
        whole = "".join(text for pair in zip(parts, [*expansions, ""], strict=True) for text in pair)
        if self._rewrites and expansions:
            whole = expansion.rewritten(self._processor, rendered)
        seen = whole.rpartition(self._processor.image_token)[0]
        if not seen:
            return self._tokens(whole, start=True)
        # No token reaches across an image token, so all before the last one is the same for every prefix.
        return [*self._before(seen), *self._tokens(whole[len(seen) :], start=False)]

    def _tokens(self, rendered: str, *, start: bool) -> list[int]:
        """Token ids of a part of a prompt, the first or a later one."""
        bos = self.tokenizer.bos_token
        add_special = start and not (bos and rendered.startswith(bos))
        pieces = _LITERAL.split(rendered)
        ids: list[int] = list(self.tokenizer(pieces[0], add_special_tokens=add_special)["input_ids"])
        for index, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            literal = self._specials[int(index)]
            ids += self.tokenizer(literal, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            ids += self.tokenizer(piece, add_special_tokens=False)["input_ids"] if piece else []
        return ids
