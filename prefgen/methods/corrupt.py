"""Corruption: a language model rewrites the chosen answer so that it contradicts the image.

Amirloo et al., *Understanding Alignment in Multimodal LLMs: A Comprehensive Study*, arXiv:2407.02477, section 5.3,
appendix C.1 and table 13: a text-only GPT-4 gets prompt and chosen answer and returns a corrupted answer with realistic
hallucinations. What the paper found matters here: the more obvious the corruption, the worse the aligned policy.

Departures from the paper:

1. The prompt is our own wording of table 13's rules, with our own two examples (`prefgen prompts export` writes it out,
   ``--prompt`` takes another).
2. The reply is a JSON object that also says what was changed and which kind of hallucination that is, recorded as
   flags (``kind-object`` …). ``reply="text"`` asks for the corrupted answer alone, as the paper does.
3. The paper names no checks. Here a reply that fails one (`prefgen.methods.replies`) is asked for again, `attempts`
   times at most, then the row is dropped with the last reason. A refusal is not asked again.
4. A truncated reply is asked for again with twice the room. A judge that gives no JSON is asked for the answer alone.
5. Question and answer stand between marker lines that differ from request to request, so that text of the data cannot
   pretend to be instructions.
6. Sampling settings are not given: temperature 1.0, top-p 1.0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, cast

from prefgen import options, seeds
from prefgen.errors import RowError, UsageError
from prefgen.methods import base, replies
from prefgen.methods.base import cosine, settings
from prefgen.methods.prompts import Template, load, question
from prefgen.methods.replies import KINDS
from prefgen.records import Dropped, Image, Pair, Sample, Slot, Turn
from prefgen.requests import Chat, Embed, Flow, Message, Request, Sampling, embed

_Corruption = tuple[str, tuple[str, ...], tuple[str, ...]]
"""The corrupted answer, the kinds of its changes, and how the reply was read."""


@dataclass(frozen=True)
class Corrupt:
    """Options of the method.

    Attributes:
        prompt: with places ``$question`` and ``$answer``; ``$kinds``, ``$sight`` and ``$fence`` if it wants them.
        kinds: kinds of hallucination, joined by commas.
        reply: ``json`` records the kinds; ``text`` is the paper's: the corrupted answer and nothing else.
        with_image: show the judge the picture too.
        attempts: how often to ask for one row, at most.
        similarity_threshold: answers as similar as this are asked for again; None compares words alone, needs no model.
        length_ratio: how many times as long, or as short, as the chosen answer the corrupted one may be.
        checks: what else a reply must pass, some of `prefgen.methods.replies.CHECKS` joined by commas, or ``none``. For
            the paper's ablation of obvious corruptions, leave out ``giveaway``.
        temperature, top_p: of the judge.
        max_new_tokens: limit of a reply.
        seed: the run's seed.
    """

    name: ClassVar[str] = "corrupt"

    prompt: Template
    kinds: str = options.option(",".join(KINDS), help=f"Kinds of hallucination, joined by commas: {', '.join(KINDS)}.")
    reply: replies.Form = options.option("json", help="Record the kinds, or the answer alone")
    with_image: bool = options.option(False, help="Show the judge the picture (the paper: no).")
    attempts: int = options.option(3, help="How often to ask for one row.", low=1, high=100)
    similarity_threshold: float | None = options.option(
        None, help="Similar from here on: asked again.", low=-1.0, high=2.0
    )
    length_ratio: float = options.option(2.0, help="Times as long, or as short, as an answer may become.", low=1.0)
    checks: str = options.option(
        ",".join(replies.CHECKS),
        help=f"Checks of a reply, joined by commas; none: only that it differs: {', '.join(replies.CHECKS)}.",
    )
    temperature: float = base.temperature(1.0, 2.0)
    top_p: float = base.top_p()
    max_new_tokens: int = base.max_new_tokens(1024, "Limit of a whole answer.")
    seed: int = options.shared(0)

    def __post_init__(self) -> None:
        self.prompt.check({"question", "answer"}, {"kinds", "sight", "fence"})
        if self.prompt.turns[-1][0] != "user":
            raise UsageError(f"prompt {self.prompt.name} must end with the user's turn")
        chosen = self.kinds.split(",")
        unknown = [kind for kind in chosen if kind not in KINDS]
        if unknown or len({*chosen}) < len(chosen):
            raise UsageError(f"--kinds {self.kinds!r}: give some of {','.join(KINDS)}, each once")
        unknown = [check for check in self.checks.split(",") if check not in replies.CHECKS]
        if unknown and self.checks != "none":
            raise UsageError(f"--checks {self.checks!r}: give some of {','.join(replies.CHECKS)}, or none")
        options.check(self)

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """`Chat`, and `Embed` where a similarity threshold is set."""
        return (Chat,) if self.similarity_threshold is None else (Embed, Chat)

    def __call__(self, sample: Sample) -> Flow:
        """Ask the judge until a reply passes every check."""
        if sample.answer is None or not sample.answer.strip():
            return Dropped.of(sample, "ANSWER_EMPTY", "there is no answer to corrupt")
        asked = yield from replies.ask(
            partial(self.ask, sample), partial(self._usable, sample), self.attempts, self.max_new_tokens
        )
        if asked.value is None:
            return asked.dropped(sample)
        (rejected, kinds, how), similarity = asked.value
        return Pair(
            sample=sample,
            method=self.name,
            variant=self.reply,
            chosen=sample.answer,
            rejected=rejected,
            iteration=asked.attempts,
            similarity=similarity,
            seed=self.seed,
            tokens=asked.tokens,
            flags=tuple(f"kind-{kind}" for kind in kinds),
            params=settings(self),
            record={"reply_read": list(how)} if how else {},
        )

    def _usable(self, sample: Sample, message: Message) -> replies.Asking[tuple[_Corruption, float | None]]:
        """A reply's corruption and its similarity to the chosen answer.

        Raises:
            RowError: it fails a check.
        """
        found = self.read(sample, message)
        if self.similarity_threshold is None:
            return found, None
        chosen_vector, rejected_vector = yield from embed(cast(str, sample.answer), found[0])
        similarity = cosine(chosen_vector, rejected_vector)
        if similarity >= self.similarity_threshold:
            raise RowError("REPLY_SIMILAR", f"similarity {similarity:.3f}")
        return found, similarity

    def ask(self, sample: Sample, attempt: int, room: int, after: str = "") -> Chat:
        """The request to the judge. `after`: what was wrong with the last reply."""
        seed = seeds.derive(self.seed, sample.id, attempt, "corrupt")
        turns, pictures = self._turns(self.prompt, sample, seed)
        schema, plain = "", tuple[Turn, ...]()
        if self.reply == "json":
            schema = json.dumps(self.schema())
            if self._plain is not None:
                plain, _ = self._turns(self._plain, sample, seed)
        return Chat(turns, pictures, schema, Sampling(self.temperature, self.top_p, room), seed, plain, after)

    def _turns(self, prompt: Template, sample: Sample, seed: int) -> tuple[tuple[Turn, ...], tuple[Image, ...]]:
        turns = prompt.fill(
            question=question(sample),
            answer=(sample.answer or "").strip(),
            kinds=", ".join(self.kinds.split(",")),
            sight="You see the picture." if self.with_image else "You do not see the picture.",
            fence=f"{seed:016x}",
        )
        pictures = sample.loaded_images if self.with_image else ()
        shown = Turn(turns[-1].role, (*[Slot.IMAGE] * len(pictures), *turns[-1].parts))
        return (*turns[:-1], shown), pictures

    @cached_property
    def _plain(self) -> Template | None:
        """The prompt for a judge that gives no JSON; None for a user's prompt, which has no such form."""
        return load("corrupt-text") if self.prompt == load("corrupt") else None

    def schema(self) -> dict[str, Any]:
        """The JSON schema of a reply."""
        kind = {"type": "string", "enum": self.kinds.split(",")}
        text = {"type": "string"}
        change = replies.strict_object({"kind": kind, "before": text, "after": text})
        return replies.strict_object({"changes": {"type": "array", "items": change}, "answer": text})

    def read(self, sample: Sample, message: Message) -> _Corruption:
        """The corruption in a reply.

        Raises:
            RowError: for a reply that is not what was asked for, see `prefgen.methods.replies`.
        """
        kinds, chosen = tuple[str, ...](), cast(str, sample.answer)
        if self.reply == "json" and "plain" not in message.how:
            rejected, kinds, how = self._parse(message)
        else:
            rejected, how = replies.text(message, fenced=chosen.strip().startswith(("```", "~~~")))
        instructions = "\n".join(text for role, text in self.prompt.turns if role != "assistant")
        replies.check_corruption(
            rejected, chosen.strip(), question(sample), instructions, self.length_ratio, self.checks.split(",")
        )
        return rejected, kinds, how

    def _parse(self, message: Message) -> _Corruption:
        """The answer and changes of a reply in the form of `schema`, not checked further."""
        value, how = replies.parse(message, frozenset({"answer", "changes"}))
        try:
            (answer, changes), kinds = (value.pop("answer"), value.pop("changes")), dict[str, None]()
            for change in changes:
                kinds[change.pop("kind")] = None
                if not all(isinstance(change.pop(name), str) for name in ("before", "after")) or change:
                    raise ValueError("a change of another form")
            if value or not isinstance(answer, str) or not {*kinds} <= {*self.kinds.split(",")}:
                raise ValueError("other keys, types or kinds than asked for")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            shown = " ".join(message.text.split())[:200]
            raise RowError("REPLY_SCHEMA", f"{type(error).__name__} {error}: {shown}") from None
        return answer.strip(), tuple(kinds), how

    def explain(self, image_tokens: float) -> tuple[tuple[str, str], ...]:
        """Lines of the plan that describe the prompt and the kinds of change."""
        seen = "question, answer and picture" if self.with_image else "question and answer, without the picture"
        again = f"; answers from similarity {self.similarity_threshold} on as well" if self.similarity_threshold else ""
        return (
            ("method", f"{self.name}, prompt {self.prompt}, {self.reply} replies"),
            ("shown", seen),
            ("kinds", self.kinds.replace(",", ", ")),
            ("attempts", f"at most {self.attempts}, for replies that fail a check{again}"),
        )

    def rehearse(self, sample: Sample) -> tuple[str, ...]:
        """The conversation that is sent to the judge."""
        turns = self.ask(sample, 1, self.max_new_tokens).turns
        return ("what the judge is asked", *(f"[{turn.role}] {turn.text}" for turn in turns))
