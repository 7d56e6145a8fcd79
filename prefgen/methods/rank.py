"""Ranking: scores several answers of the policy to one prompt and pairs the best with a worse one.

Amirloo et al., *Understanding Alignment in Multimodal LLMs: A Comprehensive Study*, arXiv:2407.02477, section 3 (the
ranking signal), tables 4 and 14. VLFeedback has GPT-4V rank answers of many models; online DPO has an annotator compare
two of the policy's own.

What tells answers apart, `by`:

- ``annotator`` or ``api``: every two answers are compared in both orders (`prefgen.methods.verdicts`). A win is 1, a
  tie 1/2; an answer's score is its mean over the others, in [0, 1].
- ``similarity``: the cosine between an answer's and the reference's sentence embeddings.
- ``reward``: the reward of a model that `prefgen train rm` made.
- ``image-gain``: how much likelier the policy itself finds an answer with the image than without, in nats per token.
- ``correctness``: whether an answer's final answer is the reference's, by a rule (`prefgen.methods.final_answers`): a
  right answer, 1, stands against a wrong one, 0. Wang et al., *Enhancing the Reasoning Ability of Multimodal Large
  Language Models via Mixed Preference Optimization*, arXiv:2411.10442, section 3.1 (MMPR).
- ``claims``: how many of its statements do not hold, by an annotator that sees the picture; RLAIF-V, arXiv:2405.17220,
  with the departures of `prefgen.methods.claims`.

Departures from the paper:

1. Both orders are asked instead of a random one (``order="random"`` asks one); where they disagree, or a verdict cannot
   be read, it is a tie.
2. Equal answers count once, empty ones not at all. A sample whose answers are all alike (``ANSWER_ALIKE``) or not apart
   by more than `min_margin` is dropped: a preference that nobody has teaches nothing. The reason of the latter is
   ``ANSWER_UNCLEAR`` if a verdict could not be read, else ``ANSWER_TIE``.
3. ``pairs="all"`` plans a row for every pair that a sample's answers can make; those that are ties are dropped as such.

Departures from MMPR:

1. An answer in which no final answer can be read is neither right nor wrong, as in its authors' code;
   ``unparsed="wrong"`` rejects it, as their paper has it.
2. Where all answers are right, all wrong or all unparsed, the sample is dropped with that reason.
3. A wrong answer whose text holds the right one ("black cat", "cat") makes no pair. The code compares characters, of
   all kinds of answers, so that 13 holds 3; here it is whole words, of texts alone.
4. Numbers may differ by `tolerance`. A sample makes one pair, or with ``pairs="all"`` all of them; there it makes 15 at
   most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar, Literal

from prefgen import options, seeds
from prefgen.errors import RowError, UsageError
from prefgen.methods import base
from prefgen.methods.base import cosine, settings
from prefgen.methods.claims import CheckedClaim, Claims, Counting, Splitter
from prefgen.methods.final_answers import Final, FinalAnswers, KindOption, contains
from prefgen.methods.prompts import Template
from prefgen.methods.verdicts import Comparer, said, verdict
from prefgen.records import Dropped, Outcome, Pair, Sample, Span
from prefgen.requests import (
    Annotate,
    Chat,
    Completion,
    Embed,
    Flows,
    Generate,
    Rate,
    Reply,
    Request,
    Sampling,
    Score,
    embed,
    generate,
    rate,
    score,
)
from prefgen.visibility import View

By = Literal["annotator", "api", "similarity", "reward", "image-gain", "correctness", "claims"]
Pairing = Literal["best-worst", "best-random", "all"]
Chosen = Literal["best", "reference"]
Order = Literal["both", "random"]
Unparsed = Literal["drop", "wrong"]
_SHOWN = 120  # characters of a reply in which no verdict can be read
_ASKS: dict[By, tuple[type[Request], ...]] = {
    "annotator": (Annotate, Generate),
    "api": (Chat, Generate),
    "similarity": (Embed, Generate),
    "reward": (Rate, Generate),
    "image-gain": (Score, Generate),
    "correctness": (Generate,),
}


@dataclass(frozen=True)
class _Ranked:
    """Scores of a sample's answers, and how they came about.

    Attributes:
        apart: places of (better, worse) answers, the best first; None is the reference.
        scores: of each answer, higher is better.
        unread: beginnings of replies without a verdict that can be read.
        finals: the final answers where those decide, of the reference and then of each answer.
        claims: the checked claims of each answer where those decide.
    """

    apart: list[tuple[int | None, int]]
    scores: list[float]
    unread: list[str] = field(default_factory=list)
    finals: list[Final | None] = field(default_factory=list)
    claims: list[list[CheckedClaim]] = field(default_factory=list)

    def flags(self, loser: int) -> tuple[str, ...]:
        """Flags of the pair with this rejected answer."""
        if self.unread:
            return ("unclear-verdict",)
        return ("unparsed",) if self.finals and self.finals[1 + loser] is None else ()

    def record(self, winner: int | None, loser: int) -> dict[str, object]:
        """The pair's record of the final answers or claims that decided; the winner is None for the reference."""
        if self.claims:
            of = {"chosen": winner, "rejected": loser}
            return {
                "claims": {
                    side: [each.record() for each in self.claims[place]]
                    for side, place in of.items()
                    if place is not None
                }
            }
        if not self.finals or (true := self.finals[0]) is None:
            return {}
        return {
            "answer_kind": true.kind,
            "final_answers": {"right": true.value, "wrong": _value(self.finals[1 + loser])},
        }


@dataclass(frozen=True)
class Sampled:
    """Answers of a policy to one prompt, and what each scored.

    Attributes:
        ids: their tokens. cut: whether the limit of tokens ended them. scores: higher is better.
    """

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    cut: tuple[bool, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Rank:
    """Options of the method.

    Attributes:
        prompt: of the annotator or judge, see `prefgen.methods.verdicts.Comparer` and `prefgen.methods.claims.Claims`.
        by: what tells answers apart.
        candidates: answers per prompt of each policy, each with draws of its own.
        policies: how many there are.
        pairs: the best against the worst, or against any worse one, or every answer against every worse one.
        chosen: ``best``, or ``reference``: the sample's own answer against the worst.
        min_margin: scores must be further apart than this.
        answer_kind, answer_pattern, tolerance: as in `prefgen.methods.final_answers.FinalAnswers`.
        unparsed: what becomes of an answer in which no final answer can be read: it is left out, or counts as wrong.
        claims_from, claim_score, claim_penalty, claim_suffix, claim_tokens: as in `prefgen.methods.claims.Claims`.
        order: which of two answers the annotator or judge reads first: each in turn, or one drawn at random.
        with_image: show an API judge the picture.
        reward_model: folder of the reward model.
        reward_revision: what pins it.
        temperature, top_p: of the answers.
        max_new_tokens: limit of an answer.
        verdict_tokens: limit of a verdict.
        seed: the run's seed.
    """

    name: ClassVar[str] = "rank"

    prompt: Template
    by: By = options.option("annotator", help="What tells answers apart")
    candidates: int = options.option(4, "--candidates", "-k", help="Answers per prompt and policy.", low=1, high=64)
    policies: int = 1
    pairs: Pairing = options.option("best-worst", help="What stands against the best")
    chosen: Chosen = options.option("best", help="What is preferred")
    min_margin: float = options.option(0.0, help="Scores are further apart.", low=0.0, high=100.0)
    answer_kind: KindOption = options.option("auto", help="correctness: what final answers are")
    answer_pattern: str = options.option(
        "", help="correctness: regular expression whose one group, in its last match, is the final answer."
    )
    tolerance: float = options.option(
        0.0, help="correctness: share of the reference by which a number may be off.", low=0.0, high=1.0
    )
    unparsed: Unparsed = options.option("drop", help="correctness: answers without a final answer")
    claims_from: Splitter = options.option("annotator", help="claims: what splits an answer into claims")
    claim_score: Counting = options.option(
        "rejected", help="claims: minus those that do not hold, share of those that do, or balance."
    )
    claim_penalty: float = options.option(1.0, help="claims: what one that does not hold counts in a balance.", low=0.0)
    claim_suffix: str = options.option(" Please answer yes or no.", help="claims: added to every question.")
    claim_tokens: int = options.option(1024, help="claims: limit of a list of claims.", panel=options.TEXT, low=1)
    order: Order = options.option("both", help="Orders that a judge is asked in")
    with_image: bool = options.option(True, "--with-image/--no-image", help="Show an API judge the picture.")
    reward_model: str = options.option("", help="reward: folder that prefgen train rm made.")
    reward_revision: str = ""
    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(512, "Limit of a whole answer.")
    verdict_tokens: int = options.option(256, help="Limit of a verdict.", panel=options.TEXT, low=1)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        options.check(self)
        if self.policies == 1:
            options.check_range("--candidates", self.candidates, 2, 64)
        if self.pairs == "all" and self.chosen == "reference":
            raise UsageError(
                "--pairs all are pairs of the policy's own answers; it does not go with --chosen reference"
            )
        if self.by in ("annotator", "api"):
            self.comparer()
        if (self.by == "reward") != bool(self.reward_model):
            raise UsageError("--by reward and --reward-model go together: the folder of a reward model")
        self.final_answers()
        if self.by == "claims":
            self.claims()

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """The types of request to the policy and to the judge or annotator."""
        return (*self.claims().asks, Generate) if self.by == "claims" else _ASKS[self.by]

    @property
    def answers(self) -> int:
        """Number of answers per prompt."""
        return self.candidates * self.policies

    @property
    def parts(self) -> int:
        """Most pairs that a sample can give. Right against wrong answers give most where half are right."""
        if self.pairs != "all":
            return 1
        return self.answers**2 // 4 if self.by == "correctness" else self.answers * (self.answers - 1) // 2

    def comparer(self) -> Comparer:
        """The comparer of two answers, for `by` annotator or api."""
        by: Literal["annotator", "api"] = "api" if self.by == "api" else "annotator"
        return Comparer(by, self.prompt, self.with_image, max_new_tokens=self.verdict_tokens, seed=self.seed)

    def final_answers(self) -> FinalAnswers:
        """Rules that find and compare final answers."""
        return FinalAnswers(self.answer_kind, self.answer_pattern, self.tolerance)

    def claims(self) -> Claims:
        """The splitter and checker of claims."""
        return Claims(
            self.claims_from,
            self.prompt,
            self.claim_score,
            self.claim_suffix,
            self.claim_tokens,
            self.seed,
            penalty=self.claim_penalty,
        )

    def __call__(self, sample: Sample) -> Flows:
        """Generate answers, score them, and return pairs."""
        reference = (sample.answer or "").strip()
        if not reference and (self.by in ("similarity", "correctness") or self.chosen == "reference"):
            return Dropped.of(sample, "ANSWER_EMPTY", "there is no reference to compare with")
        if self.by == "correctness" and self.final_answers().of_reference(reference) is None:
            kind = "" if self.answer_kind == "auto" else f" of kind {self.answer_kind}"
            return Dropped.of(sample, "ANSWER_REFERENCE_UNPARSED", f"no final answer{kind} in {reference[:_SHOWN]!r}")
        requests = tuple(self._generate(sample, number) for number in range(self.answers))
        completions = yield from generate(*requests)
        texts = [completion.text.strip() for completion in completions]
        answers = [text for text in dict.fromkeys(texts) if text]
        tokens = sum(completion.tokens for completion in completions)
        try:
            if self.by == "correctness":
                ranked = self._checked(reference, answers)
            else:
                ranked = yield from self._judged(sample, answers)
        except RowError as error:
            return self._drop(sample, error.reason, error.detail, tokens)
        apart = ranked.apart
        if self.pairs != "all":
            worse = [other for one, other in apart if one == apart[0][0]]
            apart = [(apart[0][0], worse[-1 if self.pairs == "best-worst" else self._draw(sample, len(worse))])]
        if self.chosen == "reference" and answers[apart[0][1]] == reference:
            return self._drop(sample, "ANSWER_TIE", "the worst answer is the reference", tokens)
        outcomes: list[Outcome] = []
        for winner, loser in apart:
            second = texts.index(answers[loser])
            chosen, author = reference, None
            if winner is not None and self.chosen == "best":
                chosen, author = answers[winner], texts.index(answers[winner]) // self.candidates
            pair = self._pair(sample, chosen, texts[second], completions[second])
            scores = [1.0 if winner is None else ranked.scores[winner], ranked.scores[loser]]
            outcomes.append(
                replace(
                    pair,
                    authors=(author, second // self.candidates),
                    tokens=0 if outcomes else tokens,
                    flags=(*ranked.flags(loser), *pair.flags),
                    params={**pair.params, "scores": [round(score, 4) for score in scores]},
                    record=ranked.record(winner if self.chosen == "best" else None, loser),
                )
            )
        outcomes += [self._drop(sample, "ANSWER_TIE", "fewer answers are apart", 0)] * (self.parts - len(outcomes))
        return outcomes if self.parts > 1 else outcomes[0]

    def _judged(self, sample: Sample, answers: list[str]) -> Generator[tuple[Request, ...], tuple[Reply, ...], _Ranked]:
        """The answers with their scores.

        Raises:
            RowError: ``ANSWER_ALIKE``, ``ANSWER_UNCLEAR``, ``ANSWER_TIE``, ``ANSWER_NO_CLAIMS``.
        """
        if len(answers) < 2:
            raise RowError("ANSWER_ALIKE", f"{self.answers} answers, all of them alike or empty")
        claims, unread = list[list[CheckedClaim]](), list[str]()
        if self.by == "claims":
            claims = yield from self.claims().check(sample, answers)
            scores = [self.claims().value(checked) for checked in claims]
        else:
            scores, unread = yield from self._scores(sample, answers)
        known = [place for place in range(len(answers)) if not math.isnan(scores[place])]
        if len(known) < 2:
            raise RowError("ANSWER_NO_CLAIMS", f"of {len(answers)} answers, {len(known)} have claims that can be read")
        order = sorted(known, key=lambda place: (-scores[place], place))
        apart = [(one, other) for one, other in combinations(order, 2) if scores[one] - scores[other] > self.min_margin]
        if not apart and unread:
            raise RowError("ANSWER_UNCLEAR", f"no verdict can be read in {unread[0]!r}")
        if not apart:
            raise RowError("ANSWER_TIE", f"scores from {scores[order[-1]]:.3f} to {scores[order[0]]:.3f}")
        return _Ranked([*apart], scores, unread, claims=claims)

    def _checked(self, reference: str, answers: list[str]) -> _Ranked:
        """Right answers, or the reference, against wrong ones.

        Raises:
            RowError: ``ANSWER_UNPARSED``, ``ANSWER_ALL_RIGHT``, ``ANSWER_ALL_WRONG``, ``ANSWER_CONTAINED``.
        """
        rule = self.final_answers()
        true = rule.of_reference(reference)
        assert true is not None  # or nothing was generated
        finals = [rule.read(text, true.kind) for text in answers]
        right = [place for place, final in enumerate(finals) if final and rule.agree(final, true)]
        wrong = [
            place for place, final in enumerate(finals) if place not in right and (final or self.unparsed == "wrong")
        ]
        if not right and not wrong:
            raise RowError("ANSWER_UNPARSED", f"no final answer, {true.kind}, in {(answers or [''])[0][:_SHOWN]!r}")
        if not wrong:
            raise RowError("ANSWER_ALL_RIGHT", f"every answer that can be read is {true.value!r}")
        if not right and self.chosen != "reference":
            raise RowError("ANSWER_ALL_WRONG", f"none is {true.value!r}; the first says {_value(finals[wrong[0]])!r}")
        apart = [place for place in wrong if not ((final := finals[place]) and contains(final, true))]
        if not apart:
            raise RowError("ANSWER_CONTAINED", f"{true.value!r} stands in {_value(finals[wrong[0]])!r}")
        winners = [None] if self.chosen == "reference" else right
        scores = [float(place in right) for place in range(len(answers))]
        return _Ranked([(one, other) for one in winners for other in apart], scores, finals=[true, *finals])

    def sampled(self, sample: Sample) -> Generator[tuple[Request, ...], tuple[Reply, ...], Sampled]:
        """All answers with their scores, not paired: what reinforcement learning takes."""
        if self.by == "similarity":
            base.reference(sample)
        completions = yield from generate(*(self._generate(sample, number) for number in range(self.answers)))
        texts = tuple(completion.text.strip() for completion in completions)
        answers = list(dict.fromkeys(texts))
        compares = self.by in ("annotator", "api")
        scores = [0.5] if compares and len(answers) == 1 else (yield from self._scores(sample, answers))[0]
        known = dict(zip(answers, scores, strict=True))
        return Sampled(
            texts,
            tuple(completion.ids for completion in completions),
            tuple(completion.finish == "length" for completion in completions),
            tuple(known[text] for text in texts),
        )

    def _pair(self, sample: Sample, chosen: str, rejected: str, made: Completion) -> Pair:
        """A pair of two answers, without the record of how they were ranked."""
        return Pair(
            sample=sample,
            method=self.name,
            variant=self.by,
            chosen=chosen,
            rejected=rejected,
            iteration=1,
            similarity=None,
            seed=self.seed,
            spans=(Span(0, len(rejected)),),
            finish=(made.finish,),
            image_tokens=made.image_tokens,
            kept_tokens=made.kept_tokens,
            flags=("length",) if made.finish == "length" else (),
            params=dict(settings(self)),
        )

    def _scores(
        self, sample: Sample, answers: list[str]
    ) -> Generator[tuple[Request, ...], tuple[Reply, ...], tuple[list[float], list[str]]]:
        """A score for each answer, higher is better; and the first characters of replies without a readable verdict."""
        if self.by == "similarity":
            texts = [(sample.answer or "").strip(), *answers]
            reference, *vectors = yield from embed(*texts)
            return [cosine(vector, reference) for vector in vectors], []
        if self.by == "reward":
            rates = tuple(
                Rate(sample.prompt, sample.loaded_images, answer, (sample.answer or "").strip()) for answer in answers
            )
            rewards = [rated.reward for rated in (yield from rate(*rates))]
            if wrong := [reward for reward in rewards if not math.isfinite(reward)]:
                raise RowError("ANSWER_UNRATED", f"the reward is {wrong[0]}")
            return rewards, []
        if self.by == "image-gain":
            views = (View(), View(rho=1.0))
            readings = (Score(sample.prompt, sample.loaded_images, view, text) for text in answers for view in views)
            read = yield from score(*readings)
            if not all(scored.logps for scored in read):  # sampled answers may be empty
                raise RowError("ANSWER_UNRATED", "an answer is empty, and has no mean log-probability")
            means = [sum(scored.logps) / len(scored.logps) for scored in read]
            return [seen - blind for seen, blind in zip(means[::2], means[1::2], strict=True)], []
        comparer = self.comparer()
        matches = [self._ordered(sample, match) for match in combinations(range(len(answers)), 2)]
        asked = 2 if self.order == "both" else 1
        requests = [
            request
            for one, other in matches
            for request in comparer.requests(sample, answers[one], answers[other], f"{one} {other}")[:asked]
        ]
        replies = yield tuple(requests)
        scores, unread = [0.0] * len(answers), list[str]()
        for number, (one, other) in enumerate(matches):
            given = replies[asked * number : asked * (number + 1)]
            comparison = comparer.read(*given)
            won = {0: 1.0, 1: 0.0, None: 0.5}[comparison.winner]
            scores[one], scores[other] = scores[one] + won, scores[other] + 1.0 - won
            if not comparison.is_clear:
                unread.append(next(said(reply)[:_SHOWN] for reply in given if verdict(reply) == "unclear"))
        return [score / (len(answers) - 1) for score in scores], unread

    def _generate(self, sample: Sample, number: int) -> Generate:
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        seed = seeds.derive(self.seed, sample.id, 1, f"candidate {number}")
        policy = number // self.candidates
        return Generate(sample.prompt, sample.loaded_images, View(), "", 0, "end", "en", sampling, seed, policy=policy)

    def _ordered(self, sample: Sample, match: tuple[int, int]) -> tuple[int, int]:
        """The two answers in the order in which they are compared."""
        if self.order == "both":
            return match
        seed = seeds.derive(self.seed, sample.id, 1, f"order {match[0]} {match[1]}")
        return match if seeds.generator(seed).random() < 0.5 else (match[1], match[0])

    def _draw(self, sample: Sample, count: int) -> int:
        return int(seeds.generator(seeds.derive(self.seed, sample.id, 1, "loser")).integers(count))

    def _drop(self, sample: Sample, reason: str, detail: str, tokens: int) -> Outcome:
        return dataclasses.replace(Dropped.of(sample, reason, detail), iteration=1, tokens=tokens)

    def explain(self, image_tokens: float) -> tuple[tuple[str, str], ...]:
        """Lines of the plan that describe the answers and the judge."""
        matches = self.answers * (self.answers - 1) // (1 if self.order == "both" else 2)
        how = {
            "annotator": f"an annotator, {matches} verdicts a row at most, prompt {self.prompt}",
            "api": f"a chat model, {matches} verdicts a row at most, prompt {self.prompt}",
            "similarity": "similarity to the reference",
            "reward": f"reward model {self.reward_model}",
            "image-gain": "log-probability with the image minus without it",
            "claims": f"claims that hold for an annotator, split by {self.claims_from}, score {self.claim_score}",
            "correctness": f"whether the final answer, {self.answer_kind}, is the reference's",
        }
        who = f" of {self.policies} policies" if self.policies > 1 else ""
        return (
            ("method", f"{self.name} by {how[self.by]}"),
            (
                "answers",
                f"{self.answers} a row{who}; {self.chosen} as chosen, {self.pairs}, margin above {self.min_margin:g}",
            ),
        )

    def rehearse(self, sample: Sample) -> tuple[str, ...]:
        """The comparison of the reference with itself, which shows the request to the judge."""
        if self.by == "claims" and self.claims_from != "sentences":
            turns = self.claims().asked(sample, sample.answer or "…")
            return ("what splits an answer is asked", *(f"[{turn.role}] {turn.text}" for turn in turns))
        if self.by not in ("annotator", "api"):
            return ()
        filled = self.prompt.fill(question="…", first="…", second="…", fence="0" * 16, reference=sample.answer or "…")
        return ("what the judge is asked", *(f"[{turn.role}] {turn.text}" for turn in filled))


def _value(final: Final | None) -> str:
    return final.value if final else ""
