"""Assumptions of an estimate without data, model or machine: the options of `prefgen plan`."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods.base import Method
from prefgen.options import DATA, MODELS, check, option


@dataclass(frozen=True)
class Outlook:
    """The assumed sizes and device.

    Attributes:
        image_tokens: of the one picture that each sample has.
        answer_tokens: of its reference answer.
        model: name of a model whose configuration is read; empty to go by `model_size` alone, such as ``7b``.
        gpu: name of `prefgen.estimate.hardware.known`; `gpus` of them share the samples.
        price_per_hour: dollars of one GPU, if they are known.
        judge: asked by methods that ask a chat model.
    """

    method: Method
    samples: int = option(5000, help="Answers to make pairs of.", panel=DATA, low=1)
    image_tokens: int = option(2340, help="Of a picture; LLaVA-1.6 at 640 x 480: 2340.", panel=DATA, low=1, high=1e6)
    answer_tokens: int = option(100, help="Of a reference answer.", panel=DATA, low=1, high=1e5)
    model_size: str = option("7b", help="Parameters of the language model: 7b, 500m.", panel=MODELS)
    model: str = option(
        "", "--model", "-m", help="Folder or Hub id; its configuration instead of a size.", panel=MODELS
    )
    gpu: str = option("h100", help="h100, a100-80gb, l40s …; an unknown name lists all.", panel=MODELS)
    gpus: int = option(1, help="How many share the samples.", panel=MODELS, low=1, high=1e6)
    price_per_hour: float | None = option(None, help="Dollars of one GPU.", panel=MODELS, low=0, high=1e6)
    judge: JudgeConfig = field(default_factory=JudgeConfig)

    def __post_init__(self) -> None:
        check(self)
