"""Revision: a judge that sees the picture repairs the policy's own answer, which becomes the rejected one.

Yang et al., *Mitigating Hallucinations in Large Vision-Language Models via DPO: On-Policy Data Hold the Key*,
arXiv:2501.09695 (OPA-DPO): the policy answers, GPT-4V sees picture, question, answer and a standard answer and corrects
the answer sentence by sentence with minimal changes; the policy is trained on the corrected ones (LoRA-SFT), and from
there on, by DPO, to prefer them to its own. RLHF-V (Yu et al., arXiv:2312.00849) has people correct answers likewise.
It is the mirror of `prefgen.methods.corrupt`:

    y- ~ π_θ(· | x), temperature 1, top-p 0.95, 896 tokens at most
    y+ = y- with every sentence that the picture contradicts replaced, by a judge at temperature 0

Departures from the paper:

1. The prompt is our own. The judge names the wrong sentences alone, by their numbers, with kind, problem and repair,
   instead of copying all of them; whatever it does not name stays letter for letter. It describes no picture and gives
   no scores of severity and relevance, which weight the paper's losses: ``--loss-mask spans`` or ``dense`` looks at the
   repaired words instead.
2. It adds no sentence, where the paper may add what is missing. One that nothing can be kept of may be removed.
3. Answers that the judge leaves as they are make no pair (``ANSWER_UNREVISED``); in the paper they do. So do none in
   which more than `max_change` of the words are others (``REPLY_REWRITTEN``), or which say a sentence twice
   (``REPLY_REPEATS``). Answers of the policy that repeat a sentence are dropped unrepaired, as in the paper's code.
4. A reply that fails a check is asked for again, at temperature 1, `attempts` times at most.
5. An answer that is cut off by its limit ends with its last whole sentence. The paper's top-k of 30 is not applied.
6. Pairs are those of the repair and the policy's answer. The paper also trains on the standard answer, first by SFT and
   then as a second chosen one (`prefgen relabel --chosen-from`, `prefgen join`), and on masked pictures
   (`prefgen povid --pairs image`, ``--anchor-weight``).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import Any, ClassVar, Literal

from prefgen import options, seeds
from prefgen.errors import RowError, UsageError
from prefgen.methods import base, replies
from prefgen.methods.base import settings
from prefgen.methods.prompts import Template, load, question
from prefgen.methods.replies import KINDS
from prefgen.records import Dropped, Pair, Sample, Slot, Span, Turn
from prefgen.requests import Chat, Completion, Flow, Generate, Message, Request, Sampling, generate
from prefgen.text import BOILERPLATE, Sentence, split_sentences
from prefgen.visibility import View

Origin = Literal["policy", "input"]
_AGAIN = 1.0  # temperature of a request that is made again: at 0 it would be answered alike
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_NO_REFERENCE = "none"


@dataclass(frozen=True)
class Repair:
    """A repaired sentence.

    Attributes:
        number: of the sentence, from 1; 0 where the whole answer came back.
        after: empty if the sentence is left out.
    """

    number: int
    kind: str
    problem: str
    before: str
    after: str


@dataclass(frozen=True)
class Revision:
    """A repaired answer.

    Attributes:
        repairs: of its sentences; none where the whole answer came back.
        how: how the reply was read.
    """

    answer: str
    repairs: tuple[Repair, ...]
    how: tuple[str, ...]


@dataclass(frozen=True)
class Revise:
    """The method and its options.

    Attributes:
        prompt: with places ``$question`` and ``$answer``; ``$reference``, ``$kinds`` and ``$fence`` if it wants them.
        answers: whose answers are repaired: the policy's, written now, or those of the rows, which it wrote before.
        reply: ``json`` names the wrong sentences; ``text`` is the whole repaired answer.
        reference: show the judge the row's answer beside the policy's.
        attempts: how often to ask for one row, at most.
        max_change: largest share of words that a repair may change, see `prefgen.methods.replies.check_revision`.
        temperature, top_p, max_new_tokens: of the policy's answers.
        judge_temperature, reply_tokens: of the judge's replies.
        seed: the run's seed.
    """

    name: ClassVar[str] = "revise"

    prompt: Template
    answers: Origin = options.option("policy", help="Answers to repair: the policy's, or the rows' own")
    reply: replies.Form = options.option("json", help="Name the wrong sentences, or give the whole answer")
    reference: bool = options.option(
        True, "--reference/--no-reference", help="Show the judge the row's answer beside the policy's."
    )
    attempts: int = options.option(3, help="How often to ask for one row.", low=1, high=100)
    max_change: float = options.option(0.5, help="Largest share of words that a repair may change.", low=0.0, high=1.0)
    temperature: float = base.temperature(1.0)
    top_p: float = base.top_p(0.95)
    max_new_tokens: int = base.max_new_tokens(896, "Limit of the policy's answer.")
    judge_temperature: float = options.option(0.0, help="Of the judge.", panel=options.TEXT, low=0.0, high=2.0)
    reply_tokens: int = options.option(1024, help="Limit of a judge's reply.", panel=options.TEXT, low=1)
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        self.prompt.check({"question", "answer"}, {"reference", "kinds", "fence"})
        if self.prompt.turns[-1][0] != "user":
            raise UsageError(f"prompt {self.prompt.name} must end with the user's turn")
        options.check(self)

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """`Chat`, and `Generate` where the policy answers."""
        return (Chat,) if self.answers == "input" else (Generate, Chat)

    def __call__(self, sample: Sample) -> Flow:
        """Let the policy answer, and ask the judge until a repair passes every check."""
        made: Completion | None = None
        if self.answers == "policy":
            (made,) = yield from generate(self._generate(sample))
        answer = (sample.answer or "").strip() if made is None else _whole(made)
        tokens = made.tokens if made else 0
        if dropped := _unfit(sample, answer, made):
            return dataclasses.replace(dropped, iteration=1, tokens=tokens)
        asked = yield from replies.ask(
            partial(self.ask, sample, answer), partial(self._usable, sample, answer), self.attempts, self.reply_tokens
        )
        tokens += asked.tokens
        if asked.value is None:
            return dataclasses.replace(asked.dropped(sample), tokens=tokens)
        revision = asked.value
        if revision.answer == answer:
            unrevised = Dropped.of(sample, "ANSWER_UNREVISED", f"the judge finds nothing to repair in: {answer[:200]}")
            return dataclasses.replace(unrevised, iteration=asked.attempts, tokens=tokens)
        cuts, spans = changed(revision.answer, answer)
        flags = [f"kind-{repair.kind}" for repair in revision.repairs]
        flags += ["sentence-removed"] * any(not repair.after for repair in revision.repairs)
        record: dict[str, Any] = {"repairs": [vars(repair) for repair in revision.repairs]}
        return Pair(
            sample=sample,
            method=self.name,
            variant=self.answers,
            chosen=revision.answer,
            rejected=answer,
            iteration=asked.attempts,
            similarity=None,
            seed=self.seed,
            spans=spans,
            cuts=cuts,
            finish=("stop",) * len(spans),
            image_tokens=made.image_tokens if made else 0,
            kept_tokens=made.kept_tokens if made else 0,
            tokens=tokens,
            flags=tuple(dict.fromkeys(flags)),
            params=settings(self),
            record=record | ({"reply_read": list(revision.how)} if revision.how else {}),
        )

    def _generate(self, sample: Sample) -> Generate:
        sampling = Sampling(self.temperature, self.top_p, self.max_new_tokens)
        seed = seeds.derive(self.seed, sample.id, 1, "answer")
        return Generate(sample.prompt, sample.loaded_images, View(), "", 0, "end", "en", sampling, seed)

    def ask(self, sample: Sample, answer: str, attempt: int, room: int, after: str = "") -> Chat:
        """The request to the judge. `after`: what was wrong with the last reply."""
        seed = seeds.derive(self.seed, sample.id, attempt, "revise")
        schema, plain = "", tuple[Turn, ...]()
        if self.reply == "json":
            schema = json.dumps(_SCHEMA)
            if self.prompt == load("revise"):  # a user's prompt has no form for a judge that gives no JSON
                plain = self._turns(load("revise-text"), sample, answer, seed)
        temperature = self.judge_temperature if attempt == 1 else max(self.judge_temperature, _AGAIN)
        sampling = Sampling(temperature, 1.0, room)
        turns = self._turns(self.prompt, sample, self._shown(answer), seed)
        return Chat(turns, sample.loaded_images, schema, sampling, seed, plain, after)

    def _turns(self, prompt: Template, sample: Sample, answer: str, seed: int) -> tuple[Turn, ...]:
        shown = self.reference and self.answers == "policy" and sample.answer
        *earlier, last = prompt.fill(
            question=question(sample),
            answer=answer,
            reference=sample.answer.strip() if shown and sample.answer else _NO_REFERENCE,
            kinds=", ".join(KINDS),
            fence=f"{seed:016x}",
        )
        return (*earlier, Turn(last.role, (*[Slot.IMAGE] * len(sample.images), *last.parts)))

    def _shown(self, answer: str) -> str:
        if self.reply == "text":
            return answer
        return "\n".join(f"[{number}] {one.body.strip()}" for number, one in enumerate(split_sentences(answer), 1))

    def _usable(self, sample: Sample, answer: str, message: Message) -> replies.Asking[Revision]:
        """The repair in a reply; the answer itself where nothing is wrong with it.

        Raises:
            RowError: the reply is not what was asked for, or fails a check.
        """
        yield from ()
        if self.reply == "json" and "plain" not in message.how:
            revision = _named(message, answer)
        else:
            text, how = replies.text(message, fenced=answer.startswith(("```", "~~~")))
            revision = Revision(text.strip(), (), how)
        if replies.same_words(revision.answer, answer):
            return Revision(answer, (), revision.how)
        instructions = "\n".join(text for role, text in self.prompt.turns if role != "assistant")
        replies.check_revision(revision.answer, answer, question(sample), instructions, self.max_change)
        return revision

    def explain(self, image_tokens: float) -> tuple[tuple[str, str], ...]:
        """Lines of the plan that describe the answers and the judge."""
        whose = (
            "the policy's own answers" if self.answers == "policy" else "the rows' answers, as the policy wrote them"
        )
        beside = " and the row's answer" if self.reference and self.answers == "policy" else ""
        return (
            ("method", f"{self.name}, prompt {self.prompt}, {self.reply} replies"),
            ("rejected", whose),
            ("shown", f"picture, question, that answer{beside}"),
            ("attempts", f"at most {self.attempts}; {self.max_change:.0%} of the words may change"),
        )

    def rehearse(self, sample: Sample) -> tuple[str, ...]:
        """The conversation that is sent to the judge, with the row's answer in place of the policy's."""
        asked = self._turns(self.prompt, sample, self._shown(sample.answer or "…"), 0)
        return ("what the judge is asked", *(f"[{turn.role}] {turn.text}" for turn in asked))


_TEXT = {"type": "string"}
_SENTENCE = replies.strict_object(
    {"number": {"type": "integer"}, "kind": {"type": "string", "enum": [*KINDS]}, "problem": _TEXT, "revised": _TEXT}
)
_SCHEMA = replies.strict_object({"sentences": {"type": "array", "items": _SENTENCE}})


def _whole(made: Completion) -> str:
    """The answer up to its last whole sentence."""
    if made.finish != "length":
        return made.text.strip()
    sentences = split_sentences(made.text)
    return made.text[: sentences[-1].start].strip() if sentences else ""


def _unfit(sample: Sample, answer: str, made: Completion | None) -> Dropped | None:
    """The sample, dropped, if there is nothing to repair in its answer."""
    if not answer and made is None:
        return Dropped.of(sample, "ANSWER_EMPTY", "there is no answer to repair")
    if not answer:
        cut = made is not None and made.finish == "length"
        return Dropped.of(sample, "REJECTED_EMPTY", f"the policy {'ends no sentence' if cut else 'says nothing'}")
    if BOILERPLATE.search(answer):
        return Dropped.of(sample, "ANSWER_REFUSES", answer[:200])
    if twice := replies.repeated(answer):
        return Dropped.of(sample, "ANSWER_REPEATS", f"it says twice: {twice[:200]}")
    return None


def _named(message: Message, answer: str) -> Revision:
    """The answer with the sentences that a reply names replaced.

    Raises:
        RowError: it is not of the form that was asked for.
    """
    value, how = replies.parse(message, frozenset({"sentences"}))
    sentences = split_sentences(answer)
    try:
        repairs = [_repair(item, sentences) for item in value["sentences"]]
        if len({repair.number for repair in repairs}) < len(repairs):
            raise ValueError("a sentence is named twice")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        shown = " ".join(message.text.split())[:200]
        raise RowError("REPLY_SCHEMA", f"{type(error).__name__} {error}: {shown}") from None
    return Revision(_replaced(sentences, repairs), tuple(each for each in repairs if each.before != each.after), how)


def _repair(item: dict[str, Any], sentences: Sequence[Sentence]) -> Repair:
    number, kind, problem, revised = (item[name] for name in ("number", "kind", "problem", "revised"))
    if type(number) is not int or not 1 <= number <= len(sentences):
        raise ValueError(f"there is no sentence {number!r}")
    if kind not in KINDS or not isinstance(problem, str) or not isinstance(revised, str):
        raise ValueError("other types or kinds than asked for")
    after = revised.strip().removeprefix(f"[{number}]").strip()
    return Repair(number, kind, problem.strip()[:200], sentences[number - 1].body.strip(), after)


def _replaced(sentences: Sequence[Sentence], repairs: Sequence[Repair]) -> str:
    """The text of sentences with some of them replaced or, by nothing, left out; white space stays as it is."""
    after = {repair.number: repair.after for repair in repairs}
    pieces = []
    for number, sentence in enumerate(sentences, 1):
        body = sentence.body
        leading = body[: len(body) - len(body.lstrip())]
        if number not in after:
            pieces.append(body + sentence.tail)
        elif after[number]:
            pieces.append(leading + after[number] + sentence.tail)
    return "".join(pieces).strip()


def changed(chosen: str, rejected: str) -> tuple[tuple[int, ...], tuple[Span, ...]]:
    """Stretches of words in which two answers differ.

    Returns:
        Where each begins in `chosen`, and its range in `rejected`, which is empty where words were added alone.
    """
    before, after = list(_TOKEN.finditer(chosen)), list(_TOKEN.finditer(rejected))
    words = [token.group() for token in before], [token.group() for token in after]
    blocks = SequenceMatcher(None, *words, autojunk=False).get_opcodes()
    found = [
        (_start(before, first, chosen), Span(_start(after, other, rejected), _start(after, last, rejected)))
        for kind, first, _, other, last in blocks
        if kind != "equal"
    ]
    return tuple(cut for cut, _ in found), tuple(span for _, span in found)


def _start(tokens: Sequence[re.Match[str]], place: int, text: str) -> int:
    return tokens[place].start() if place < len(tokens) else len(text)
