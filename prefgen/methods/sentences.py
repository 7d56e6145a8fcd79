"""Sentence pairs: two next sentences of the policy after the same true beginning, one verified, one hallucinated.

Peng et al., *Mitigating Object Hallucinations via Sentence-Level Early Intervention*, arXiv:2507.12455 (SENTINEL). One
hallucination leads to others later in the answer, so what is to be learned is the first one, in its place. For
i = 1, 2, …, with the context c_1 empty:

    s_1 … s_k ~ π_θ(· | x, c_i), each to the end of its sentence
    verdicts of all s_j by a checker (`prefgen.methods.sentence_checks`)
    a verified y+ and a hallucinated y-: the pair (c_i + y+, c_i + y-)
    c_{i+1} = c_i + y+; where none is verified, a neutral sentence, which names nothing that is looked for

The loss looks at the sentence alone (the paper's C-DPO) with ``prefgen train --loss-mask spans``.

Departures from the paper:

1. The paper's checker is two open-vocabulary detectors that must agree about every object of a scene graph. Here
   objects are found by a list of words, and who says whether they are there can be chosen; for the paper's, give
   ``--check detector`` and two detectors.
2. Among verified sentences the paper prefers those that name an object of the context again; so does this, then the one
   drawn first. Of hallucinated sentences it takes the one drawn first.
3. It ends where no sentence is verified, where the answer ends, or after `sentences`. A sentence that repeats one of
   the context, or does not end within `max_new_tokens`, is no candidate.
4. Every planned row of a prompt is a pair or dropped with a reason: what became of its sentence.
5. Sampling settings: temperature 1.0, `candidates` 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from prefgen import options, seeds
from prefgen.methods import base
from prefgen.methods.base import settings
from prefgen.methods.sentence_checks import Checked, Checker
from prefgen.records import Dropped, Outcome, Pair, Sample, Span
from prefgen.requests import Completion, Flows, Generate, Request, Sampling, generate
from prefgen.text import split_sentences
from prefgen.visibility import View


@dataclass(frozen=True)
class Sentences:
    """The method and its options.

    Attributes:
        checker: who says whether a sentence holds.
        candidates: k: sentences drawn after each context.
        sentences: of an answer at most: rows planned for a prompt.
        temperature, top_p: of the sentences.
        max_new_tokens: limit of a sentence.
        seed: the run's seed.
    """

    name: ClassVar[str] = "sentences"

    checker: Checker
    candidates: int = options.option(5, "--candidates", "-k", help="Sentences drawn after a beginning.", low=2, high=64)
    sentences: int = options.option(6, help="Sentences of an answer, each a pair at most.", low=1, high=64)
    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(128, "Limit of a sentence.")
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            UsageError: naming the option and its value.
        """
        options.check(self)

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """The types of request to the policy and to the checker."""
        return (*self.checker.asks, Generate)

    @property
    def parts(self) -> int:
        """Pairs that a prompt can give."""
        return self.sentences

    def __call__(self, sample: Sample) -> Flows:
        """Draw sentences, check them, make pairs, and continue after the verified one."""
        self.checker.refuse(sample)
        context, named = "", frozenset[str]()
        outcomes: list[Outcome] = []
        tokens = 0
        for round_ in range(1, self.sentences + 1):
            requests = tuple(self._generate(sample, context, round_, number) for number in range(self.candidates))
            drawn = yield from generate(*requests)
            tokens += sum(completion.tokens for completion in drawn)
            texts = _candidates(context, drawn)
            if not texts:
                outcomes.append(self._drop(sample, "SENTENCE_END", "the answer ends here", round_))
                break
            checked = yield from self.checker.check(sample, context, texts, round_)
            true = [place for place, found in enumerate(checked) if found.verdict == "verified"]
            false = [place for place, found in enumerate(checked) if found.verdict == "hallucinated"]
            neutral = [place for place, found in enumerate(checked) if found.verdict == "neutral"]
            true.sort(key=lambda place: not checked[place].named & named)
            if true and false:
                pair = self._pair(sample, context, texts[true[0]], texts[false[0]], round_, drawn[0])
                told = {"context_chars": len(context), "verdicts": _told(texts, checked)}
                outcomes.append(replace(pair, record=told))
            else:
                reason, detail = _reason(true, false, texts, checked)
                outcomes.append(self._drop(sample, reason, detail, round_))
            if not true and not neutral:
                break
            onward = (true or neutral)[0]
            context += texts[onward]
            named |= checked[onward].named
        ended = self._drop(sample, "SENTENCE_END", "nothing was true to go on from, or the answer ended", round_)
        outcomes += [ended] * (self.parts - len(outcomes))
        outcomes[0] = replace(outcomes[0], tokens=tokens)
        return outcomes if self.parts > 1 else outcomes[0]

    def _generate(self, sample: Sample, context: str, round_: int, number: int) -> Generate:
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        seed = seeds.derive(self.seed, sample.id, round_, f"sentence {number}")
        at = len(context)
        return Generate(sample.prompt, sample.loaded_images, View(), context, at, "sentence", "en", sampling, seed)

    def _pair(self, sample: Sample, context: str, true: str, false: str, round_: int, made: Completion) -> Pair:
        chosen, rejected = context + true, context + false
        return Pair(
            sample=sample,
            method=self.name,
            variant=str(self.checker).partition(",")[0],
            chosen=chosen,
            rejected=rejected,
            iteration=round_,
            similarity=None,
            seed=self.seed,
            spans=(Span(len(context), len(rejected)),),
            cuts=(len(context),),
            finish=("stop",),
            image_tokens=made.image_tokens,
            kept_tokens=made.kept_tokens,
            authors=(0, 0),
            params=dict(settings(self)),
        )

    def _drop(self, sample: Sample, reason: str, detail: str, round_: int) -> Dropped:
        return replace(Dropped.of(sample, reason, detail), iteration=round_)

    def explain(self, image_tokens: float) -> tuple[tuple[str, str], ...]:
        """Lines of the plan that describe the draws and the checker."""
        return (
            ("method", f"{self.name}, checked by {self.checker}"),
            ("sentences", f"{self.candidates} after each beginning, {self.sentences} times a prompt at most"),
        )

    def rehearse(self, sample: Sample) -> tuple[str, ...]:
        """Nothing that a prompt does not say."""
        return ()


def _candidates(context: str, drawn: Sequence[Completion]) -> list[str]:
    """The different complete sentences that were drawn, with leading space, without repetitions of earlier ones."""
    said = {sentence.body.strip() for sentence in split_sentences(context)}
    texts = [completion.text.rstrip() for completion in drawn if completion.finish != "length"]
    texts = texts if context else [text.lstrip() for text in texts]
    return [text for text in dict.fromkeys(texts) if text.strip() and text.strip() not in said]


def _reason(true: list[int], false: list[int], texts: list[str], checked: list[Checked]) -> tuple[str, str]:
    """The reason that a beginning made no pair."""
    if true:
        return "SENTENCE_VERIFIED", f"{len(true)} verified, none hallucinated, such as {texts[true[0]].strip()!r}"
    if false:
        found = checked[false[0]].told
        return "SENTENCE_HALLUCINATED", f"none verified, {len(false)} hallucinated: {texts[false[0]].strip()!r} {found}"
    return "SENTENCE_UNCLEAR", f"no verdict on {texts[0].strip()!r} {checked[0].told}"


def _told(texts: list[str], checked: list[Checked]) -> list[dict[str, Any]]:
    """The record of each sentence."""
    return [
        {"sentence": text.strip(), "verdict": found.verdict, "told": found.told}
        for text, found in zip(texts, checked, strict=True)
    ]
