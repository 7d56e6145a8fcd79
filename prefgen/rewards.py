"""A reward model as a function, in the form that TRL's RLOO and GRPO trainers take.

    from prefgen.rewards import Reward
    trainer = trl.RLOOTrainer(model, reward_funcs=Reward("RM"), args=config, train_dataset=dataset)

TRL hands pictures to functions alone, never to models.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefgen.engines.base import EngineConfig
from prefgen.errors import RowError, UsageError
from prefgen.images import ImageRoot, load
from prefgen.records import Image, ImageRef, Slot, Turn
from prefgen.requests import Rate, Rated
from prefgen.training.reward import RewardEngine, RewardModel


class Reward:
    """Rewards of answers by a model that `prefgen train rm` made.

    Attributes:
        figures: mean and spread of its rewards of the answers that it was trained on.

    Args:
        folder: of the reward model.
        device, dtype: as of every command.
        normalise: give rewards with mean 0 and spread 1, by `figures`.
    """

    def __init__(
        self, folder: str | Path, *, device: str = "auto", dtype: Any = "auto", normalise: bool = False
    ) -> None:
        model = RewardModel(Path(folder), EngineConfig(device=device, dtype=dtype))
        self.figures = model.figures
        self.__name__ = Path(folder).resolve().name  # under which TRL logs it
        self._engine = RewardEngine(model)
        self._normalise = normalise

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        images: Sequence[Any] | None = None,
        **columns: Any,
    ) -> list[float]:
        """Rewards of completions.

        Args:
            prompts: texts, or conversations of TRL's kind.
            completions: texts, or the assistant's message in a list.
            images: of each prompt a PIL image or a list of them, bytes or paths; None: of TRL's column ``image``.
            columns: all others are of no use.

        Raises:
            UsageError: a prompt has other than so many places for pictures.
            ValueError: an answer cannot be rated, or its reward is not a number.
        """
        shown = images if images is not None else columns.get("image") or [None] * len(prompts)
        known: dict[int, tuple[Image, ...]] = {}
        for number, (prompt, completion, pictures) in enumerate(zip(prompts, completions, shown, strict=True)):
            own = known.setdefault(id(pictures), _pictures(pictures)) if pictures is not None else ()
            self._engine.submit(number, Rate(_turns(prompt, len(own)), own, _text(completion)))
        found = dict(self._engine.collect())
        for number, reply in found.items():
            if isinstance(reply, RowError) or (isinstance(reply, Rated) and not math.isfinite(reply.reward)):
                raise ValueError(f"completion {number} has no reward: {reply}")
        rewards = [reply.reward for _, reply in sorted(found.items()) if isinstance(reply, Rated)]
        return [self.figures.normalised(reward) for reward in rewards] if self._normalise else rewards


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else _content(completion[-1]["content"])


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _turns(prompt: Any, pictures: int) -> tuple[Turn, ...]:
    """A prompt as turns; pictures that it has no place for come first, as TRL puts them."""
    messages: Sequence[Any] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    turns: list[Turn] = []
    for message in messages:
        content = message["content"]
        parts = [content] if isinstance(content, str) else [_part(part) for part in content]
        turns.append(Turn(message["role"], tuple(part for part in parts if part != "")))
    places = sum(part is Slot.IMAGE for turn in turns for part in turn.parts)
    if not places and pictures:
        first = next(number for number, turn in enumerate(turns) if turn.role == "user")
        turns[first] = Turn("user", (*(Slot.IMAGE for _ in range(pictures)), *turns[first].parts))
    elif places != pictures:
        raise UsageError(f"a prompt has places for {places} pictures, and {pictures} are given")
    return tuple(turns)


def _part(part: Any) -> str | Slot:
    return Slot.IMAGE if part["type"] == "image" else str(part["text"])


def _pictures(given: Any) -> tuple[Image, ...]:
    each = list(given) if isinstance(given, list | tuple) else [given]
    return tuple(load(ImageRef(data=_encoded(picture)), ImageRoot(())) for picture in each)


def _encoded(picture: Any) -> bytes:
    """A picture as encoded bytes; PIL's losslessly."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    if isinstance(picture, dict):  # as `datasets` stores it
        return bytes(picture["bytes"]) if picture.get("bytes") else Path(picture["path"]).read_bytes()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
