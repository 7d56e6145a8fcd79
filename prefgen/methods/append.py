"""Append: the reference answer with one more sentence, which the model writes while the image is masked.

Sentence-guided pairs of BDHS (arXiv:2407.02477) can only replace something within a sentence, so they never show a
model its commonest error: a further sentence about something that is not there. This is prefgen's own supplement to
them. The image is masked as in BDHS, eq. 6, the model continues the whole reference, and may not end at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from prefgen import options, seeds
from prefgen.methods import base
from prefgen.methods.base import explain_view, reference
from prefgen.methods.continuing import continued
from prefgen.records import Sample
from prefgen.requests import Embed, Flow, Generate, Request, Sampling
from prefgen.visibility import View


@dataclass(frozen=True)
class Append:
    """Options of the method; the defaults are those of BDHS.

    Attributes:
        rho: expected share of image tokens that are masked.
        keep_tokens: exactly so many stay visible instead.
        temperature, top_p, max_new_tokens: as in `prefgen.requests.Sampling`.
        seed: the run's seed.
    """

    name: ClassVar[str] = "append"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Generate)
    records_similarity: ClassVar[bool] = True

    rho: float = base.rho(0.99)
    keep_tokens: int | None = options.option(None, help="Exactly N image tokens stay visible.", low=0)
    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(128)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)

    def __call__(self, sample: Sample) -> Flow:
        """Continue the whole reference by a sentence."""
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens, min_new_tokens=1)
        whole = reference(sample).rstrip()
        view = self.view(sample.id, 1)
        return (yield from continued(self, sample, sampling, prefix=whole, view=view, stop="sentence"))

    def view(self, sample_id: str, iteration: int) -> View:
        """The masked image."""
        seed = seeds.derive(self.seed, sample_id, iteration, "mask")
        return View(rho=self.rho, keep_tokens=self.keep_tokens, mask_seed=seed)

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """Lines of the plan that describe the mask."""
        yield "method", f"{self.name}: the reference and one sentence more"
        yield from explain_view(self.view("", 1), image_tokens)

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """The answer that the model continues."""
        yield "its reference; what stands behind the bar is imagined"
        yield f"{(sample.answer or '').rstrip()} ▏"
