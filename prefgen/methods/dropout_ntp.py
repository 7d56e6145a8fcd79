"""Dropout next-token prediction: the second half of the answer is written without the image.

Wang et al., *Enhancing the Reasoning Ability of Multimodal Large Language Models via Mixed Preference Optimization*,
arXiv:2411.10442, the data pipeline of InternVL's MMPR for answers that cannot be checked. The reference is cut after
half of its words, the image is taken out of the prompt, and the model continues to the end of the answer. In terms of
BDHS: nothing is visible, there is one cut, and the answer never rejoins the reference.

Departures: the source also keeps to the 50 most likely tokens at each step (top-k); here top-p does that work. In
scripts without spaces characters stand for words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from prefgen import options
from prefgen.methods import base
from prefgen.methods.base import reference
from prefgen.methods.continuing import continued
from prefgen.records import Sample
from prefgen.requests import Embed, Flow, Generate, Request, Sampling
from prefgen.text import cut_points


@dataclass(frozen=True)
class DropoutNTP:
    """Options of the method; the defaults are the source's.

    Attributes:
        keep_share: of the answer's words that are kept, in [0, 1).
        temperature, top_p, max_new_tokens: as in `prefgen.requests.Sampling`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "dropout-ntp"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Generate)
    records_similarity: ClassVar[bool] = True

    keep_share: float = options.option(0.5, help="Share of words kept.", low=0.0, high=0.999)
    temperature: float = base.temperature(0.7)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(512)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)

    def __call__(self, sample: Sample) -> Flow:
        """Continue the first half without the image."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        return (yield from continued(self, sample, sampling, prefix=self.kept(reference(sample))))

    def kept(self, answer: str) -> str:
        """The first part of an answer, which is kept."""
        points = (0, *cut_points(answer))  # as many as there are words
        return answer[: points[int(self.keep_share * len(points))]]

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """The line of the plan that says how much is kept."""
        yield "method", f"{self.name}: {self.keep_share:.0%} of the words are kept, the rest is written without image"

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """The prefix that the model continues."""
        answer = sample.answer or ""
        kept = self.kept(answer)
        yield "its reference; what stands behind the bar is written without the image"
        yield f"{kept} ▏{answer[len(kept) :].strip()}"
