"""Contrastive decoding reversed: amplifies what the model expects and subtracts what it sees.

Leng et al., *Mitigating Object Hallucinations in Large Vision-Language Models through Visual Contrastive Decoding*
(VCD), arXiv:2311.16922, subtract what a model says to a noised image v' from what it says to the image v, which
weakens its language prior. Here the two change places, which amplifies it. With the question x and the tokens y before
the next one y_t::

    logits(y_t) = (1 + alpha) * logits(y_t | v', x, y) - alpha * logits(y_t | v, x, y)
    p(y_t) = 0  unless  p(y_t | v', x, y) >= beta * max_w p(w | v', x, y)

Defaults are those of its public code: alpha 1, beta 0.1, 500 noise steps on the encoder's input, sampling at
temperature 1. Temperature and top-p apply to the combined logits.

Departures, besides the exchange:

1. The likeliest token w is sought among those that may be drawn; special tokens may not.
2. Noise is drawn by sample and seed; VCD's is drawn anew in every call.
3. BPO (arXiv:2403.08730) also made rejected answers with VCD's code, in its own direction and with the clean image in
   front, which takes hallucination away; that is not imitated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from prefgen import options
from prefgen.methods import base
from prefgen.methods.base import explain_view, noised_view
from prefgen.methods.continuing import continued
from prefgen.records import Sample
from prefgen.requests import Contrast, Embed, Flow, Request, Sampling
from prefgen.visibility import NoiseSpace, Schedule, View


@dataclass(frozen=True)
class Contrastive:
    """Options of the method; the defaults are VCD's.

    Attributes:
        alpha: weight of the contrast; 0 answers the noised image.
        plausibility: beta, 0 … 1.
        noise_steps: N, 0..1000.
        noise_space, schedule: as in `prefgen.visibility`.
        temperature, top_p, max_new_tokens: as in `prefgen.requests.Sampling`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "contrastive"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Contrast)
    records_similarity: ClassVar[bool] = True

    alpha: float = options.option(1.0, help="How much of what is seen is taken.", low=0.0, high=100.0)
    plausibility: float = options.option(
        0.1, help="Least share of the likeliest token's probability.", low=0.0, high=1.0
    )
    noise_steps: int = base.noise_steps(500)
    noise_space: NoiseSpace = base.noise_space("encoder")
    schedule: Schedule = base.schedule("code")
    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(512)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        base.check_noise(self)

    def __call__(self, sample: Sample) -> Flow:
        """Answer the noised image, away from what the clean one shows."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        ask = functools.partial(Contrast, against=View(), alpha=self.alpha, plausibility=self.plausibility)
        return (yield from continued(self, sample, sampling, view=self.view(sample.id, 1), ask=ask))

    def view(self, sample_id: str, iteration: int) -> View:
        """All image tokens of a noised image."""
        return noised_view(self, sample_id, iteration)

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """Lines of the plan that describe contrast and noise."""
        yield "method", f"{self.name}: the whole answer is written to a noised image, away from the clean one"
        yield "contrast", f"alpha {self.alpha:g}, among tokens {self.plausibility:g} times as likely as the likeliest"
        yield from explain_view(self.view("", 1), image_tokens)

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """Nothing: no prefix is given."""
        return iter(())
