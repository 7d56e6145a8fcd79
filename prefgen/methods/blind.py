"""Blind: the model answers the question without the image, from its language prior.

The plainest picture of a model's language prior, and the limit of what Pi et al., *Strengthening Multimodal Large
Language Model with Bootstrapped Preference Optimization* (BPO), arXiv:2403.08730, reach by weakening the image. In
terms of BDHS (arXiv:2407.02477) it is rho = 1 without guidance, the image's places taken out of the prompt instead of
masked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from prefgen import options
from prefgen.methods import base
from prefgen.methods.continuing import continued
from prefgen.records import Sample
from prefgen.requests import Embed, Flow, Generate, Request, Sampling


@dataclass(frozen=True)
class Blind:
    """Options of the method.

    Attributes:
        temperature, top_p, max_new_tokens: as in `prefgen.requests.Sampling`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "blind"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Generate)
    records_similarity: ClassVar[bool] = True

    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(512)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)

    def __call__(self, sample: Sample) -> Flow:
        """Answer without the image."""
        return (yield from continued(self, sample, Sampling(self.temperature, self.top_p, self.max_new_tokens)))

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """The line of the plan that describes the method."""
        yield "method", f"{self.name}: the whole answer is written without the image"

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """Nothing: no prefix is given."""
        return iter(())
