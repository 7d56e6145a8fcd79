"""Claims of answers: splits an answer into statements and has a model check each against the picture.

Yu et al., *RLAIF-V: Aligning MLLMs through Open-Source AI Feedback for Super GPT-4V Trustworthiness*, arXiv:2405.17220:
an answer is divided into atomic claims, each claim becomes a question that is answered with yes or no, and an open
model that sees the picture gives p_yes and p_no of the question. The score of an answer is minus the number of its
claims with p_no > p_yes.

Departures from the paper:

1. One request, with a prompt of our own, asks for the claims and their questions together. ``split="sentences"`` takes
   the sentences as they are and makes questions by rule, for English; such claims are not atomic.
2. p_yes and p_no are the probabilities of the answers "Yes" and "No", in that spelling, normalised to a sum of 1.
3. Bare "Yes" and "No", and sentences that deny a thing ("There is no dog."), are claims that hold where the answer to
   their question is what they say; an answer that is cut off in the list of its claims keeps the complete lines.
4. An answer of which no claim can be read has no score, instead of the best.
5. Fewer rejected claims favour answers that say little. ``score="share"`` takes the share of claims that hold, and
   ``score="balance"`` the claims that hold minus `penalty` times those that do not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal

from prefgen import reading, seeds
from prefgen.errors import RowError
from prefgen.methods import replies
from prefgen.methods.prompts import Template, question
from prefgen.records import Sample, Slot, Turn
from prefgen.requests import (
    Annotate,
    AnnotatorScore,
    Chat,
    Completion,
    Message,
    Reply,
    Request,
    Sampling,
    score,
)
from prefgen.text import split_sentences
from prefgen.visibility import View

Splitter = Literal["annotator", "api", "sentences"]
Counting = Literal["rejected", "share", "balance"]
YesNo = Literal["yes", "no"]
_BULLET = re.compile(r"\A(?:[-*•]\s*|\(?\d{1,3}[.):]\s+)")
_LEADING = re.compile(r"\A(yes|no)\b[\s,.:;!-]*", re.IGNORECASE)
_THERE = re.compile(r"there (is|are|was|were) (?:(no|not any|not a|not an) )?(.+)", re.IGNORECASE)
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(
            r"(the|this) (image|picture|photo|photograph|scene) (?:also )?(show|contain|depict|feature|include)s (.+)",
            re.I,
        ),
        lambda match: f"Does {match[1].lower()} {match[2]} {match[3]} {match[4]}?",
    ),
    (re.compile(r"(?:I|you|we|one) can (?:also )?see (.+)", re.I), lambda match: f"Can you see {match[1]}?"),
    (
        re.compile(r"(.+?) can (?:also )?be seen(.*)", re.I),
        lambda match: f"Can {_lowered(match[1])} be seen{match[2]}?",
    ),
)
_FUNCTION_WORD = re.compile(
    r"(?:an?|the|this|that|these|those|there|it|its|he|she|they|their|his|her|in|on|at|to|behind|under|above|below"
    r"|one|two|three|four|five|six|seven|eight|nine|ten|some|many|several|both|all|no)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Claim:
    """A statement of an answer.

    Attributes:
        question: yes/no question that checks it.
        expects: the answer to the question that means that the claim holds.
    """

    text: str
    question: str
    expects: YesNo = "yes"


@dataclass(frozen=True)
class CheckedClaim:
    """A claim with the probability of "Yes" as the answer to its question, of "Yes" and "No" alone.

    Attributes:
        threshold: probability from which on the claim holds.
    """

    claim: Claim
    p_yes: float
    threshold: float = 0.5

    @property
    def probability(self) -> float:
        """Probability that the claim holds."""
        return self.p_yes if self.claim.expects == "yes" else 1.0 - self.p_yes

    @property
    def holds(self) -> bool:
        """True if the claim is at least as probable as the threshold."""
        return self.probability >= self.threshold

    def record(self) -> dict[str, object]:
        """The claim and its verdict as JSON types."""
        return {**vars(self.claim), "p_yes": round(self.p_yes, 4), "holds": self.holds}


@dataclass(frozen=True)
class Claims:
    """Splits answers into claims, has them checked and scores answers by them.

    Attributes:
        split: ``annotator`` is the model that checks the claims, here without the picture; ``api`` a chat model;
            ``sentences`` the rule above.
        prompt: asks for the claims of an answer, with places ``$question`` and ``$answer``; ``$fence`` if it wants it.
        score: minus the number of claims that do not hold, the share of those that do, or their balance.
        suffix: added to every question.
        max_new_tokens: limit of a list of claims.
        seed: the run's seed.
        threshold: as in `CheckedClaim`.
        penalty: what a claim that does not hold counts in the balance.
    """

    split: Splitter
    prompt: Template
    score: Counting
    suffix: str
    max_new_tokens: int
    seed: int
    threshold: float = 0.5
    penalty: float = 1.0

    def __post_init__(self) -> None:
        """Check the placeholders of the prompt.

        Raises:
            UsageError: naming what is wrong with it.
        """
        self.prompt.check(("question", "answer"), ("fence",))

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """The types of request that split and check."""
        splits: dict[Splitter, tuple[type[Request], ...]] = {"annotator": (Annotate,), "api": (Chat,), "sentences": ()}
        return AnnotatorScore, *splits[self.split]

    def check(
        self, sample: Sample, answers: Sequence[str]
    ) -> Generator[tuple[Request, ...], tuple[Reply, ...], list[list[CheckedClaim]]]:
        """The checked claims of each answer. A question that several of them raise is asked once."""
        if self.split == "sentences":
            found = [by_sentences(answer, question(sample)) for answer in answers]
        else:
            listed = yield tuple(self._split(sample, answer, number) for number, answer in enumerate(answers))
            found = [_listed(reply, answer) for reply, answer in zip(listed, answers, strict=True)]
        asked = list(dict.fromkeys(claim.question for claims in found for claim in claims))
        scored = yield from score(*(self._ask(sample, text, word) for text in asked for word in ("Yes", "No")))
        logps = [sum(each.logps) for each in scored]
        p_yes = {
            text: 1.0 / (1.0 + math.exp(min(no - yes, 700.0)))
            for text, yes, no in zip(asked, logps[::2], logps[1::2], strict=True)
        }
        return [[CheckedClaim(claim, p_yes[claim.question], self.threshold) for claim in claims] for claims in found]

    def value(self, checked: Sequence[CheckedClaim]) -> float:
        """The score of an answer, higher is better; NaN where it has no claims."""
        if not checked:
            return math.nan
        holding = sum(claim.holds for claim in checked)
        failing = len(checked) - holding
        values: dict[Counting, float] = {
            "rejected": -failing,
            "share": holding / len(checked),
            "balance": holding - self.penalty * failing,
        }
        return float(values[self.score])

    def asked(self, sample: Sample, answer: str, seed: int = 0) -> tuple[Turn, ...]:
        """The conversation that asks for the claims of an answer."""
        return self.prompt.fill(question=question(sample), answer=answer.strip(), fence=f"{seed:016x}")

    def _split(self, sample: Sample, answer: str, number: int) -> Request:
        seed = seeds.derive(self.seed, sample.id, 1, f"claims {number}")
        turns, sampling = self.asked(sample, answer, seed), Sampling(0.0, 1.0, self.max_new_tokens)
        if self.split == "api":
            return Chat(turns, (), "", sampling, seed)
        return Annotate(turns, (), View(), "", 0, "end", "en", sampling, seed)

    def _ask(self, sample: Sample, text: str, word: str) -> AnnotatorScore:
        pictures = sample.loaded_images
        turn = Turn("user", (*[Slot.IMAGE] * len(pictures), text + self.suffix))
        seed = seeds.derive(self.seed, sample.id, 1, f"claim {text} {word}")
        return AnnotatorScore((turn,), pictures, View(), word, seed=seed)


def by_sentences(answer: str, asked: str) -> list[Claim]:
    """The sentences of an answer as claims; `asked` is the question that a bare "yes" or "no" answers."""
    found = []
    for sentence in split_sentences(answer):
        body = sentence.body.strip()
        leading = _LEADING.match(body)
        if leading and leading.end() == len(body):
            found.append(Claim(body, asked, "yes" if leading[1].lower() == "yes" else "no"))
        elif re.search(r"\w", body) and not body.endswith("?"):
            found.append(_claim(body[leading.end() :] if leading else body))
    return list(dict.fromkeys(found))


def by_lines(text: str, *, complete: bool = True) -> list[Claim]:
    """The claims in a list of lines ``claim | question``; a claim without a question gets one by rule.

    Args:
        complete: whether the list came to its end; otherwise the last line is left out.
    """
    found = []
    for line in text.strip().splitlines()[: None if complete else -1]:
        statement, _, asked = (part.strip() for part in _BULLET.sub("", line.strip()).partition("|"))
        if not re.search(r"\w", statement) or statement.endswith(":") or statement.lower().strip(".") == "none":
            continue
        found.append(Claim(statement, asked) if asked.endswith("?") else _claim(statement))
    return list(dict.fromkeys(found))


def _listed(reply: Reply, answer: str) -> list[Claim]:
    """The claims in a reply; none where it is no list of them."""
    try:
        if isinstance(reply, Message):
            said, complete = replies.text(reply)[0], True
        else:
            assert isinstance(reply, Completion)
            said, _ = reading.unfenced(reading.answer(reply.text).text)
            complete = reply.finish != "length"
        replies.refuse(said, answer)
    except RowError:
        return []
    return by_lines(said, complete=complete)


def _claim(statement: str) -> Claim:
    """A statement with the question that a rule makes of it."""
    body = statement.rstrip(" .!")
    if there := _THERE.fullmatch(body):
        verb, denied, rest = there[1].lower(), there[2], there[3]
        if denied:
            article = "any" if verb in ("are", "were") or denied.endswith("any") else _article(rest)
            return Claim(statement, f"{verb.capitalize()} there {article} {rest}?", "no")
        return Claim(statement, f"{verb.capitalize()} there {rest}?")
    for pattern, ask in _RULES:
        if match := pattern.fullmatch(body):
            return Claim(statement, ask(match))
    return Claim(statement, f"Is it true that {_lowered(body)}?")


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"


def _lowered(text: str) -> str:
    """The text as it stands inside a sentence: a name keeps its capital letter."""
    return text[:1].lower() + text[1:] if _FUNCTION_WORD.match(text) else text
