"""Answers to a weakened image: the image is noised, and the model answers freely.

Zhu et al., *Self-Supervised Visual Preference Alignment* (SeVa), arXiv:2404.10501, with N of 500 and 800 and greedy
answers, and Pi et al., *Strengthening Multimodal Large Language Model with Bootstrapped Preference Optimization* (BPO),
arXiv:2403.08730, with N of 900. Nothing keeps the answer near the reference, and no similarity is asked for: both only
leave out what is equal. In terms of BDHS it is ``--variant noise --no-guidance --iterations 1``.

Departures: SeVa's chosen answer is the model's own to the clean image; here it is the reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from prefgen import options
from prefgen.methods import base
from prefgen.methods.base import explain_view, noised_view
from prefgen.methods.continuing import continued
from prefgen.records import Sample
from prefgen.requests import Embed, Flow, Generate, Request, Sampling
from prefgen.visibility import NoiseSpace, Schedule, View


@dataclass(frozen=True)
class Weakened:
    """Options of the method; the defaults are SeVa's.

    Attributes:
        noise_steps: N, 0..1000.
        noise_space, schedule: as in `prefgen.visibility`.
        temperature, top_p, max_new_tokens: as in `prefgen.requests.Sampling`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "weakened"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Generate)
    records_similarity: ClassVar[bool] = True

    noise_steps: int = base.noise_steps(500)
    noise_space: NoiseSpace = base.noise_space("encoder")
    schedule: Schedule = base.schedule("code")
    temperature: float = base.temperature(0.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(512)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        base.check_noise(self)

    def __call__(self, sample: Sample) -> Flow:
        """Answer the noised image."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        return (yield from continued(self, sample, sampling, view=self.view(sample.id, 1)))

    def view(self, sample_id: str, iteration: int) -> View:
        """All image tokens of a noised image."""
        return noised_view(self, sample_id, iteration)

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """Lines of the plan that describe the noise."""
        yield "method", f"{self.name}: the whole answer is written to a noised image"
        yield from explain_view(self.view("", 1), image_tokens)

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """Nothing: no prefix is given."""
        return iter(())
