r"""POVID-style distortion: rejected answers by teacher forcing on a noised image.

Zhou et al., *Aligning Modalities in Vision Large Language Models via Preference Fine-tuning*, arXiv:2402.11411, as
described in Amirloo et al., arXiv:2407.02477, section 3.3. The image is noised by forward diffusion (eq. 8 and 9 there,
N = 500), then every token of the rejected answer is predicted after the *reference* text,

    y-_t = argmax pi(. | x_text, x~_img, y+_{<t}),

so one forward pass over the chosen answer gives all tokens at once. What the image decides comes out wrong, everything
else as in the reference. Its known weakness: each token is chosen as if the others were the reference's, so words may
come out that are none ("blallameter").

Departures (``fidelity="paper"`` takes back 1):

1. The rejected answer has as many tokens as the chosen one. The published examples also decode the prediction in the
   place where the chosen answer ends, which leaves a word of a next sentence at the end ("… of a road. The").
2. Image, padding and other special tokens are never taken; a predicted end of sequence leaves no text.
3. The image is noised once per sample, and the text is stored, so that policy and reference model score the same
   answer. The public code draws noise in every epoch and makes no text: it scores the predicted tokens after the chosen
   ones, under the clean image, and its reference model predicts tokens of its own. The token ids that this would need
   are stored with every pair (``record.rejected_token_ids``, place by place beside ``record.chosen_token_ids``).
4. The papers do not say what is noised. The default is POVID's public code, which adds noise to the raw picture and
   converts to bytes without clipping (``pixel-wrap``): only so is N = 500 the unrecognisable picture of figures 3 and
   11, and N = 300 one in which things can still be named (``examples/noise_spaces.py``). Visual contrastive decoding
   (arXiv:2311.16922) noises what the vision encoder receives (``encoder``), which is far weaker at the same N.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from prefgen import options, seeds
from prefgen.methods import base
from prefgen.methods.base import explain_view, judged, noised_view, reference
from prefgen.methods.bdhs import Fidelity
from prefgen.records import Pair, Sample
from prefgen.requests import Embed, Flow, Request, Score, score
from prefgen.visibility import NoiseSpace, Schedule, View


@dataclass(frozen=True)
class Povid:
    """Options of the method; the defaults are those of arXiv:2407.02477.

    Attributes:
        noise_steps: N of eq. 9, 0..1000.
        noise_space: where the noise is added, see `prefgen.visibility`.
        schedule: eq. 8 as printed, or as in the public code.
        fidelity: ``paper`` keeps the word predicted behind the end (departure 1).
        temperature: of the token draws; 0 takes the most likely token.
        top_p: nucleus of the token draws.
        seed: the run's seed.
    """

    name: ClassVar[str] = "povid-style"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Score)
    records_similarity: ClassVar[bool] = True

    noise_steps: int = base.noise_steps(500)
    noise_space: NoiseSpace = base.noise_space("pixel-wrap")
    schedule: Schedule = base.schedule("paper")
    fidelity: Fidelity = options.option("fixed", help="End with the reference, or a word later as published")
    temperature: float = base.temperature(0.0)
    top_p: float = base.top_p()
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        base.check_noise(self)

    def __call__(self, sample: Sample) -> Flow:
        """One forward pass over the reference answer."""
        chosen = reference(sample)
        request = Score(
            prompt=sample.prompt,
            images=sample.loaded_images,
            view=self.view(sample.id, 1),
            answer=chosen,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=seeds.derive(self.seed, sample.id, 1, "tokens"),
        )
        (scored,) = yield from score(request)
        beyond = self.fidelity == "paper"
        pair = Pair(
            sample=sample,
            method=self.name,
            variant="noise",
            chosen=chosen,
            rejected=(scored.text + (scored.end if beyond else "")).strip(),
            iteration=1,
            similarity=None,
            seed=self.seed,
            image_tokens=scored.image_tokens,
            kept_tokens=scored.kept_tokens,
            tokens=len(scored.ids) + beyond,
            params=dict(vars(self)),
            record={
                "chosen_token_ids": list(scored.ids),
                "rejected_token_ids": list(scored.drawn if beyond else scored.drawn[:-1]),
            },
        )
        return (yield from judged(pair))

    def view(self, sample_id: str, iteration: int) -> View:
        """All image tokens of a noised image."""
        return noised_view(self, sample_id, iteration)

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """Lines of the plan that describe the noise."""
        drawn = f"drawn at temperature {self.temperature:g}" if self.temperature else "the most likely one"
        yield "method", f"{self.name}: each token of the reference gives way to {drawn} after the reference before it"
        yield from explain_view(self.view("", 1), image_tokens)

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """The answer that the model reads."""
        yield "its reference, each token of which is predicted anew"
        yield sample.answer or ""
