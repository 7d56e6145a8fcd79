"""From stored pairs to token ids, with the prompts and pictures of the engines and each answer's end token.

Neighbouring rows of a `prefgen join` group share prompt and chosen answer; together they are one sample with several
rejected answers. A sample of which anything does not fit is dropped with a reason before the first step: a prompt is
never cut.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import Any

from prefgen.engines.hf import vision
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.prompts import Header, Prompts
from prefgen.errors import RowError, UsageError
from prefgen.records import Dropped, Image, Span, Turn
from prefgen.rundir.reader import Stored, asked, loaded_images, rejected_images
from prefgen.select.keys import digests
from prefgen.select.splitting import draws
from prefgen.training import spans
from prefgen.training.config import LossMask, Optimisation
from prefgen.training.policy_gradient import Rollout
from prefgen.training.references import METHOD, References
from prefgen.visibility import View

_CLEAR = View()


@dataclass(frozen=True)
class Answer:
    """Token ids of an answer with its end token, and their weights in the loss."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class TrainingSample:
    """A prompt with its answers.

    Attributes:
        id: of its first row.
        prompt: token ids before any answer, images expanded.
        place: run and row where its pictures are.
        answers: the chosen one, then the rejected ones.
        rejected_prompt: of a pair of pictures, the prompt with the rejected ones; empty for pairs of answers.
    """

    id: str
    place: tuple[int, int]
    prompt: tuple[int, ...]
    answers: tuple[Answer, ...]
    rejected_prompt: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens of the longest prompt and the longest answer."""
        return max(len(self.prompt), len(self.rejected_prompt)) + max(len(answer.ids) for answer in self.answers)


@dataclass(frozen=True)
class Item:
    """A sample with its model inputs."""

    sample: TrainingSample
    pixels: vision.Pixels
    reference: tuple[Any, ...] = field(default=())
    """Log-probabilities of each answer's tokens under the reference, (T,) each; empty while they are not known."""
    rejected_pixels: vision.Pixels | None = None
    """Of a pair of pictures, the rejected ones."""
    rollout: Rollout | None = None
    """Of answers that the policy sampled."""

    @property
    def prompts(self) -> tuple[Item, ...]:
        """The item by prompts: itself, or of a pair of pictures the chosen and the rejected side."""
        if self.rejected_pixels is None:
            return (self,)
        sample = self.sample
        chosen = replace(sample, answers=sample.answers[:1])
        rejected = replace(sample, answers=sample.answers[1:], prompt=sample.rejected_prompt)
        return Item(chosen, self.pixels), Item(rejected, self.rejected_pixels)


class Reader:
    """Tokenizes stored rows for one model.

    Args:
        max_length: tokens of a prompt with an answer at most.
        span_weight: see `Optimisation`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        loss_mask: LossMask,
        max_length: int,
        span_weight: float = Optimisation.span_weight,
    ) -> None:
        self._loaded = loaded
        self._prompts = Prompts(loaded.processor, loaded.name)
        self._loss_mask = loss_mask
        self._span_weight = span_weight
        self._max_length = max_length

    def pixels(self, pictures: tuple[Image, ...]) -> vision.Pixels:
        """The model's input for these pictures."""
        return vision.preprocess(self._loaded.processor, pictures, _CLEAR)

    def read(self, runs: Sequence[Stored | References]) -> Iterator[TrainingSample | Dropped]:
        """Every sample of these runs, in order."""
        for number, run in enumerate(runs):
            if isinstance(run, References):
                yield from run.dropped
                yield from self._unpaired(number, run)
                continue
            rows = (row for table in run.tables() for row in table.to_pylist())
            for _, members in groupby(enumerate(rows), lambda entry: _group(*entry)):
                found = list(members)
                place, first = found[0]
                try:
                    yield self.sample([row for _, row in found], (number, place))
                except RowError as error:
                    yield Dropped(error.reason, error.detail, run.name, first["source_id"], id=first["id"])

    def _unpaired(self, number: int, run: References) -> Iterator[TrainingSample | Dropped]:
        for place, row in enumerate(run.read()):
            if isinstance(row, Dropped):
                yield row
                continue
            try:
                yield self.sample([row], (number, place))
            except RowError as error:
                yield Dropped(error.reason, error.detail, run.name, str(row["source_id"]), id=str(row["id"]))

    def sample(
        self, rows: Sequence[dict[str, Any]], place: tuple[int, int] = (0, 0), pixels: vision.Pixels | None = None
    ) -> TrainingSample:
        """The sample of rows with one prompt and chosen answer; SFT data has no rejected answers.

        Args:
            pixels: of their pictures, if they are known.

        Raises:
            RowError: it cannot be trained on.
        """
        first = rows[0]
        if any(row["rejected_images"] for row in rows):
            return self._of_pictures(rows, place, pixels)
        rows = [row for row in rows if row["method"] != METHOD]  # which has nothing rejected
        texts = [first["chosen_response"], *(row["rejected_response"] for row in rows)]
        if not all(text.strip() for text in texts):
            raise RowError("ANSWER_EMPTY", "an answer has no text")
        expansions = (pixels or self.pixels(loaded_images(first))).expansions
        header = self._prompts.header(asked(first))
        prompt, ids = self._encoded(header, texts, expansions)
        if ids[0] in ids[1:]:
            raise RowError("REJECTED_EQUALS_CHOSEN", "both answers are the same tokens")
        weights = self._weights(rows, header, expansions, len(prompt), ids)
        answers = tuple(Answer(*parts) for parts in zip(ids, weights, strict=True))
        return self._fitting(TrainingSample(first["id"], place, prompt, answers))

    def _of_pictures(
        self, rows: Sequence[dict[str, Any]], place: tuple[int, int], pixels: vision.Pixels | None
    ) -> TrainingSample:
        """A pair of pictures: one answer under each. All tokens count, since the answers need not differ."""
        if len(rows) > 1:
            raise RowError(
                "REJECTED_BY_IMAGE", "rejected images stand beside other rejected answers of a joined sample"
            )
        (row,) = rows
        header = self._prompts.header(asked(row))
        sides = (
            (row["chosen_response"], pixels or self.pixels(loaded_images(row))),
            (row["rejected_response"], self.pixels(rejected_images(row))),
        )
        if not all(text.strip() for text, _ in sides):
            raise RowError("ANSWER_EMPTY", "an answer has no text")
        found = [self._encoded(header, [text], shown.expansions) for text, shown in sides]
        end = 0.0 if self._loss_mask == "no-eos" else 1.0
        answers = tuple(Answer(ids, (1.0,) * (len(ids) - 1) + (end,)) for _, (ids,) in found)
        return self._fitting(TrainingSample(row["id"], place, found[0][0], answers, found[1][0]))

    def item(self, prompt: tuple[Turn, ...], pictures: tuple[Image, ...], texts: Sequence[str]) -> Item:
        """Any answers to a prompt, all of whose tokens count.

        Raises:
            RowError: they do not fit, or a picture cannot be prepared.
        """
        pixels = self.pixels(pictures)
        before, ids = self._encoded(self._prompts.header(prompt), texts, pixels.expansions)
        answers = tuple(Answer(own, (1.0,) * len(own)) for own in ids)
        return Item(self._fitting(TrainingSample("", (0, 0), before, answers)), pixels)

    def sampled(self, item: Item, row: dict[str, Any], ids: Sequence[Sequence[int]]) -> TrainingSample:
        """A row's prompt with answers as their tokens were sampled.

        Args:
            item: of that row.

        Raises:
            RowError: they do not fit.
        """
        prompt = self._prompts.encode(self._prompts.header(asked(row)), "", item.pixels.expansions)
        answers = tuple(Answer(tuple(own), (1.0,) * len(own)) for own in ids)
        return self._fitting(replace(item.sample, prompt=tuple(prompt), answers=answers))

    def _encoded(
        self, header: Header, texts: Sequence[str], expansions: Sequence[str]
    ) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """Token ids of a prompt and of each answer to it."""
        whole = [self._whole(header, text, expansions) for text in texts]
        bare = self._prompts.encode(replace(header, opening=header.continuing.rstrip(" ")), "", expansions)
        start = min(_common(bare, ids) for ids in whole)
        return tuple(whole[0][:start]), [tuple(tokens[start:]) for tokens in whole]

    def _fitting(self, sample: TrainingSample) -> TrainingSample:
        if sample.length > self._max_length:
            raise RowError("ROW_TOO_LONG", f"{sample.length:,} tokens, {self._max_length:,} allowed")
        return sample

    def _whole(self, header: Header, answer: str, expansions: Sequence[str]) -> list[int]:
        """Prompt, answer and end token: the template's own, or the tokenizer's if the template has none."""
        prompt = len(self._prompts.encode(header, answer, expansions))
        ids = self._prompts.encode_whole(header, answer, expansions)
        for place in range(prompt - 1, len(ids)):  # an answer's last token may grow together with what follows it
            if ids[place] in self._loaded.eos_ids:
                return ids[: place + 1]
        return [*self._prompts.encode(header, answer, expansions), int(self._loaded.processor.tokenizer.eos_token_id)]

    def _weights(
        self,
        rows: Sequence[dict[str, Any]],
        header: Header,
        expansions: Sequence[str],
        start: int,
        ids: Sequence[tuple[int, ...]],
    ) -> list[tuple[float, ...]]:
        """Weights of tokens. A chosen answer's token differs if it differs from any rejected answer."""
        if self._loss_mask == "all":
            return [(1.0,) * len(own) for own in ids]
        if self._loss_mask == "no-eos":
            return [(1.0,) * (len(own) - 1) + (0.0,) for own in ids]
        chosen: set[int] = set()
        rejected: list[set[int]] = []
        for row, own in zip(rows, ids[1:], strict=True):
            texts = row["chosen_response"], row["rejected_response"]
            generated = [Span(span["start"], span["end"]) for span in row["spans"]]
            known = spans.recorded(*texts, generated, row["cuts"])
            if known is None:
                sides = [
                    {place for span in side for place in range(span.start, span.end)}
                    for side in spans.found(ids[0], own)
                ]
            else:
                sides = [
                    self._tokens(header, expansions, start, text, tokens, side)
                    for text, tokens, side in zip(texts, (ids[0], own), known, strict=True)
                ]
            chosen |= sides[0]
            rejected.append(sides[1])
        inside, outside = (self._span_weight, 1.0) if self._loss_mask == "dense" else (1.0, 0.0)
        return [
            tuple(inside if place in side else outside for place in range(len(own)))
            for own, side in zip(ids, [chosen, *rejected], strict=True)
        ]

    def _tokens(
        self,
        header: Header,
        expansions: Sequence[str],
        start: int,
        text: str,
        ids: tuple[int, ...],
        stretches: Sequence[Span],
    ) -> set[int]:
        """The tokens that overlap a range of characters; never the end token."""

        def place(characters: int, *, end: bool) -> int:
            """Index of the token in which a character starts, or of the one after the token that ends there."""
            before = tuple(self._prompts.encode(header, text[:characters], expansions)[start:]) if characters else ()
            same = _common(before, ids)
            return same if same == len(before) or not end else same + 1

        found: set[int] = set()
        for span in stretches:
            if span.start < span.end:
                found |= set(range(place(span.start, end=False), place(span.end, end=True)))
        return found - {len(ids) - 1}


def held_out(
    runs: Sequence[Stored | References], samples: Sequence[TrainingSample], share: float, seed: int
) -> list[int]:
    """Indices of the held-out samples, drawn by picture, so that no training sample shares one.

    Raises:
        UsageError: all are, since they share pictures.
    """
    if not share:
        return []
    stored = [run for run in runs if isinstance(run, Stored)]
    if len(stored) < len(runs):
        raise UsageError("--validation measures pairs, and SFT data has none: leave it out")
    of_rows = draws((row for run in stored for row in run.scan(("id", "meta"))), seed, "validation")
    starts = [0, *accumulate(map(len, runs))]
    drawn = [of_rows[starts[run] + row] for run, row in (sample.place for sample in samples)]
    bound = sorted(drawn)[math.ceil(share * len(drawn)) - 1]
    held = [number for number, draw in enumerate(drawn) if draw <= bound]
    if len(held) == len(samples):
        raise UsageError(f"--validation {share:g} holds out all {len(held):,} samples, since they share pictures")
    return held


def pictures(
    runs: Sequence[Stored | References], samples: Sequence[TrainingSample], numbers: Iterable[int]
) -> list[str]:
    """Digests of the pictures of some samples of stored pairs, in order; the row's id where it has none."""
    of_rows = [
        [digests(row) or [row["id"]] for row in run.scan(("id", "meta"))] if isinstance(run, Stored) else []
        for run in runs
    ]
    places = (samples[number].place for number in numbers)
    return sorted({digest for run, row in places if of_rows[run] for digest in of_rows[run][row]})


def _group(place: int, row: dict[str, Any]) -> object:
    """Equal for neighboring rows of one sample."""
    joined = json.loads(row["meta"]).get("joined")
    return joined["group"] if joined else place


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of common leading tokens."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
