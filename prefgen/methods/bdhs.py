r"""Bias-Driven Hallucination Sampling (BDHS): rejected answers from SFT data alone.

Amirloo et al., *Understanding Alignment in Multimodal LLMs: A Comprehensive Study*, arXiv:2407.02477, section 3.4,
appendix E, algorithm 1. Three parts:

1. Restricted access to the image. Attention masks, eq. 6: ``m_i = 1 if rho_i >= rho_th else 0``, ``rho_i ~ U(0, 1)``
   for each of the k image tokens; tokens with ``m_i = 0`` cannot be attended to. Or diffusion noise, eq. 8 and 9:
   ``x(N) = sqrt(abar_N) x + sqrt(1 - abar_N) eps``. Or both.
2. Reference-guided generation, eq. 7: each sentence of y+ is cut at a random position and completed,
   ``y-_{k,2} ~ pi(. | x, y+_{<k}, y+_{k,1})``, up to a full stop or the end of sequence. The context is always the
   reference, so all sentences are independent.
3. Semantic rejection: an answer whose similarity phi to y+ is not below ``eps_s`` is thrown away and made again with
   new draws, ``N_BDHS`` times at most; the last time without guidance.

Departures from the paper (numbers of holes in it that needed a decision; ``fidelity="paper"`` takes back 2, 3 and 4):

1. Sampling settings are not given: temperature 1.0, top-p 1.0.
2. "A random position" is a word boundary, uniformly among those that keep a word and re-generate a word (every cut that
   the paper's figures show is one); in scripts without spaces a boundary between characters. Of a one-word sentence
   nothing is kept, unless it is a swapped yes/no.
3. The yes/no pattern matches whole words only: as printed, it would make "Yesthing" of "Nothing".
4. "Until the first full stop" is until the sentence ends: not at a decimal point or an abbreviation, closing quotes and
   brackets included; "!", "?", their counterparts in other scripts and a line break end it as well.
5. The mask is drawn once per iteration and shared by all sentences (algorithm 1, line 2).
6. The white space between sentences is the reference's, so paragraphs and lists survive.
7. The last, unguided answer is taken unchecked as in the paper, but its similarity is recorded and, when it is not
   below the threshold, flagged ``similar``; ``drop_similar`` drops it.
8. An empty answer, or one equal to y+, is no preference: the sample is dropped.
9. Without guidance (the ablation "attention masking" of table 15) every iteration generates the full answer.
10. Noise is added to the raw picture and wraps around, as in POVID's public code: of the spaces of `prefgen.visibility`
    the one that fits figures 3 and 11 (``examples/noise_spaces.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from prefgen import options, seeds, text
from prefgen.methods import base
from prefgen.methods.base import cosine, explain_view
from prefgen.records import Dropped, Outcome, Pair, Sample, Span
from prefgen.requests import Completion, Embed, Flow, Generate, Reply, Request, Sampling, embed, generate
from prefgen.text import Cut, Sentence, Splitter
from prefgen.visibility import NoiseSpace, Schedule, View

Variant = Literal["attn", "noise", "both"]
Fidelity = Literal["fixed", "paper"]


@dataclass(frozen=True)
class Rewrite:
    """A rejected answer of one iteration, with its cuts, swaps and generated spans."""

    answer: str
    completions: tuple[Completion, ...]
    spans: tuple[Span, ...]
    swaps: tuple[Span, ...] = ()
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class BDHS:
    """Options of the method; the defaults are the paper's.

    Attributes:
        variant: ``attn`` masks image tokens, ``noise`` noises the image, ``both`` does both.
        rho: rho_th, the expected share of image tokens that are masked. 0.99 was chosen for LLaVA-1.6 and its 2,000 and
            more image tokens; what carries over to other models is the number of tokens left visible.
        keep_tokens: exactly this many image tokens stay visible, in place of `rho`.
        noise_steps: N of eq. 9, 0..1000.
        noise_space: where the noise is added, see `prefgen.visibility`.
        schedule: eq. 8 as printed, or as in the public code.
        iterations: N_BDHS.
        similarity_threshold: eps_s.
        guidance: complete the reference sentence by sentence; without it every answer is generated whole.
        drop_similar: drop a sample whose last answer is not below the threshold.
        fidelity: ``paper`` reads algorithm 1 literally where the default repairs it (departures 2, 3 and 4).
        splitter: where sentences are split.
        language: ISO 639-1 code for its abbreviations.
        temperature: of the token draws; 0 is greedy.
        top_p: nucleus of the token draws.
        max_sentence_tokens: limit of one completed sentence.
        max_new_tokens: limit of an answer generated whole.
        seed: the run's seed.
    """

    name: ClassVar[str] = "bdhs"
    asks: ClassVar[tuple[type[Request], ...]] = (Embed, Generate)

    variant: Variant = options.option("attn", help="Mask image tokens, noise the image")
    rho: float = base.rho(0.99)
    keep_tokens: int | None = options.option(None, help="Exactly N image tokens stay visible.", low=0)
    noise_steps: int = base.noise_steps(500)
    noise_space: NoiseSpace = base.noise_space("pixel-wrap")
    schedule: Schedule = base.schedule("paper")
    iterations: int = options.option(5, help="Attempts per sample.", low=1, high=1000)
    similarity_threshold: float = options.option(0.97, help="Similar from here on: made again.", low=-1.0, high=2.0)
    guidance: bool = options.option(True, "--guidance/--no-guidance", help="Complete the reference by sentences.")
    drop_similar: bool = options.option(False, help="Drop what stays similar to the end.")
    fidelity: Fidelity = options.option("fixed", help="Algorithm 1 repaired, or literally")
    splitter: Splitter = options.option("sentencex", help="Sentence splitter", panel=options.TEXT)
    language: str = options.option("en", help="Language, for abbreviations.", panel=options.TEXT)
    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p()
    max_sentence_tokens: int = options.option(128, help="Limit of a completed sentence.", panel=options.TEXT, low=1)
    max_new_tokens: int = base.max_new_tokens(512, "Limit of a whole answer.")
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        base.check_noise(self)

    def __call__(self, sample: Sample) -> Flow:
        """Algorithm 1 for one sample."""
        if sample.answer is None or not sample.answer.strip():
            return Dropped.of(sample, "ANSWER_EMPTY", "BDHS needs a reference answer")
        chosen = sample.answer
        sentences = text.split_sentences(chosen, self.splitter, self.language)
        (reference,) = yield from embed(chosen)
        tokens = 0
        for i in range(1, self.iterations + 1):  # line 1
            view = self.view(sample.id, i)  # lines 2-4
            last = i == self.iterations
            if not self.guidance or (last and self.iterations > 1):  # line 5
                draft = yield from self._unguided(sample, view, i)  # line 6
            else:
                draft = yield from self._guided(sample, sentences, view, i)  # lines 8-17
            tokens += sum(completion.tokens for completion in draft.completions)
            (vector,) = yield from embed(draft.answer)
            similarity = cosine(vector, reference)  # line 18
            if similarity < self.similarity_threshold or last:  # lines 7, 19-21
                return self._outcome(sample, draft, i, similarity, tokens, vector.truncated or reference.truncated)
        raise AssertionError("the last iteration returns")

    def view(self, sample_id: str, iteration: int) -> View:
        """Algorithm 1, lines 2 to 4: a fresh mask and fresh noise for every (sample, iteration)."""
        masked, noised = self.variant in ("attn", "both"), self.variant in ("noise", "both")
        return View(
            rho=self.rho if masked else 0.0,
            keep_tokens=self.keep_tokens if masked else None,
            mask_seed=self._seed(sample_id, iteration, "mask"),
            noise_steps=self.noise_steps if noised else 0,
            noise_space=self.noise_space,
            schedule=self.schedule,
            noise_seed=self._seed(sample_id, iteration, "noise"),
        )

    def cut(self, sentence: Sentence, sample_id: str, iteration: int, k: int) -> Cut:
        """Algorithm 1, lines 11 to 14, for sentence `k` (0-based)."""
        swap_draw, cut_draw = seeds.generator(self._seed(sample_id, iteration, f"cut {k}")).random(2)
        return text.cut_sentence(sentence.body, swap_draw, cut_draw, literal=self.fidelity == "paper")

    def explain(self, image_tokens: float) -> Iterator[tuple[str, str]]:
        """Lines of the plan that describe the view, the rejection and the iterations."""
        yield "method", f"{self.name} {self.variant}, {'guided' if self.guidance else 'unguided'}"
        yield from explain_view(self.view("", 1), image_tokens)
        yield "rejection", f"answers from similarity {self.similarity_threshold} on are made again"
        yield "iterations", f"at most {self.iterations}"

    def rehearse(self, sample: Sample) -> Iterator[str]:
        """The prefixes that iteration 1 has the model complete."""
        if not self.guidance:
            return
        yield "its reference, cut for iteration 1 (what stands behind the bar is re-generated)"
        for k, sentence in enumerate(text.split_sentences(sample.answer or "", self.splitter, self.language)):
            cut = self.cut(sentence, sample.id, 1, k)
            swapped = " (yes/no swapped)" if cut.swap else ""
            yield f"{cut.prefix} ▏{sentence.body[cut.offset :].strip()}{swapped}"

    def _guided(
        self, sample: Sample, sentences: tuple[Sentence, ...], view: View, i: int
    ) -> Generator[tuple[Request, ...], tuple[Reply, ...], Rewrite]:
        """Algorithm 1, lines 8 to 17: complete every sentence of the reference, all at once."""
        chosen = cast(str, sample.answer)
        cuts = [self.cut(sentence, sample.id, i, k) for k, sentence in enumerate(sentences)]
        requests = tuple(
            Generate(
                prompt=sample.prompt,
                images=sample.loaded_images,
                view=view,
                prefix=chosen[: sentence.start] + cut.prefix,  # eq. 7: y+_{<k}, y+_{k,1}
                open_at=sentence.start,
                stop="full-stop" if self.fidelity == "paper" else "sentence",
                language=self.language,
                sampling=Sampling(self.temperature, self.top_p, self.max_sentence_tokens),
                seed=self._seed(sample.id, i, f"tokens {k}"),
            )
            for k, (sentence, cut) in enumerate(zip(sentences, cuts, strict=True))
        )
        replies = yield from generate(*requests)  # line 15
        return join(sentences, cuts, replies)

    def _unguided(
        self, sample: Sample, view: View, i: int
    ) -> Generator[tuple[Request, ...], tuple[Reply, ...], Rewrite]:
        """Algorithm 1, line 6: the full answer from the restricted prompt."""
        request = Generate(
            prompt=sample.prompt,
            images=sample.loaded_images,
            view=view,
            prefix="",
            open_at=0,
            stop="end",
            language=self.language,
            sampling=Sampling(self.temperature, self.top_p, self.max_new_tokens),
            seed=self._seed(sample.id, i, "tokens"),
        )
        (reply,) = yield from generate(request)
        answer = reply.text.strip()
        return Rewrite(answer, (reply,), (Span(0, len(answer)),))

    def _outcome(
        self, sample: Sample, draft: Rewrite, iteration: int, similarity: float, tokens: int, embedder_truncated: bool
    ) -> Outcome:
        """The pair, or a `Dropped` with the reason why this answer makes none."""
        similar = similarity >= self.similarity_threshold
        reason = ""
        if not draft.answer.strip():
            reason = "REJECTED_EMPTY"
        elif draft.answer.strip() == cast(str, sample.answer).strip():
            reason = "REJECTED_EQUALS_CHOSEN"
        elif similar and self.drop_similar:
            reason = "REJECTED_SIMILAR"
        if reason:
            return dataclasses.replace(
                Dropped.of(sample, reason, f"after {iteration} iterations"),
                iteration=iteration,
                similarity=similarity,
                tokens=tokens,
            )
        first = draft.completions[0]
        flags = {
            "similar": similar,
            "length": any(completion.finish == "length" for completion in draft.completions),
            "unguided": not draft.cuts,
            "blind": first.kept_tokens == 0 < first.image_tokens,
            "embedder-truncated": embedder_truncated,
        }
        return Pair(
            sample=sample,
            method=self.name,
            variant=self.variant,
            chosen=cast(str, sample.answer),
            rejected=draft.answer,
            iteration=iteration,
            similarity=similarity,
            seed=self.seed,
            spans=draft.spans,
            swaps=draft.swaps,
            cuts=draft.cuts,
            finish=tuple(completion.finish for completion in draft.completions),
            image_tokens=first.image_tokens,
            kept_tokens=first.kept_tokens,
            tokens=tokens,
            flags=tuple(flag for flag, is_set in flags.items() if is_set),
            params=dict(vars(self)),
        )

    def _seed(self, sample_id: str, iteration: int, purpose: str) -> int:
        return seeds.derive(self.seed, sample_id, iteration, purpose)


def join(sentences: tuple[Sentence, ...], cuts: list[Cut], completions: tuple[Completion, ...]) -> Rewrite:
    """Algorithm 1, lines 16 and 17: y-_k = y+_{k,1} + y-_{k,2}, concatenated with the reference's white space."""
    answer, spans, swaps, offsets = "", [], [], []
    for sentence, cut, completion in zip(sentences, cuts, completions, strict=True):
        start = len(answer)
        # Without a prefix the leading space that the tokenizer puts before a word would stand twice.
        generated = (completion.text if cut.prefix else completion.text.lstrip()).rstrip()
        answer += cut.prefix + generated + sentence.tail
        spans.append(Span(start + len(cut.prefix), start + len(cut.prefix) + len(generated)))
        offsets.append(sentence.start + cut.offset)
        if cut.swap:
            swaps.append(Span(start + cut.swap.start, start + cut.swap.end))
    return Rewrite(answer, completions, tuple(spans), tuple(swaps), tuple(offsets))


PRESETS: dict[str, BDHS] = {
    "bdhs-attn": BDHS(),
    "bdhs-attn-0.00": BDHS(rho=0.0),
    "bdhs-attn-0.98": BDHS(rho=0.98),
    "bdhs-attn-1.00": BDHS(rho=1.0),
    "bdhs-noise-100": BDHS(variant="noise", noise_steps=100),
    "bdhs-noise-200": BDHS(variant="noise", noise_steps=200),
    "bdhs-noise-300": BDHS(variant="noise", noise_steps=300),
    "bdhs-noise-400": BDHS(variant="noise", noise_steps=400),
    "bdhs-noise": BDHS(variant="noise"),
    "attention-masking-0.98": BDHS(rho=0.98, guidance=False, iterations=1),
    "attention-masking-0.99": BDHS(guidance=False, iterations=1),
}
"""Every row of the paper's tables 6 and 15 about offline BDHS, and figure 10's rho = 0."""
