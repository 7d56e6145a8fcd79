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

from prefgen.methods.base import check_ranges, check_sampling, reference
from prefgen.methods.continuing import continued
from prefgen.records import Sample
from prefgen.requests import Embed, Flow, Generate, Request, Sampling
from prefgen.text import cut_points


@dataclass(frozen=True)
class DropoutNTP:
    """The method and its constants; the defaults are the source's.

    Attributes:
        keep_share: of the answer's words that are kept, in [0, 1).
        temperature, top_p, max_new_tokens: as in `prefgen.requests.Sampling`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "dropout-ntp"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Generate)

    keep_share: float = 0.5
    temperature: float = 0.7
    top_p: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every constant.

        Raises:
            UsageError: naming the option, its value and its range.
        """
        check_ranges(keep_share=(self.keep_share, 0.0, 0.999))
        check_sampling(self)

    def __call__(self, sample: Sample) -> Flow:
        """Continue the first half without the image."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        return (yield from continued(self, sample, sampling, prefix=self.kept(reference(sample))))

    def kept(self, answer: str) -> str:
        """The beginning of an answer that is kept."""
        points = (0, *cut_points(answer))  # as many as there are words
        return answer[: points[int(self.keep_share * len(points))]]

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """What is kept."""
        yield "method", f"{self.name}: {self.keep_share:.0%} of the words are kept, the rest is written without image"

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """The cut."""
        answer = sample.answer or ""
        kept = self.kept(answer)
        yield "its reference; what stands behind the bar is written without the image"
        yield f"{kept} ▏{answer[len(kept) :].strip()}"
