"""POVID-style distortion against numpy, torch's bare model and canned replies."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import numpy as np
import pytest
import torch

from prefgen import images, seeds
from prefgen.driver import drive
from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.fake import FakeEngine
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import UsageError
from prefgen.methods.bdhs import Fidelity
from prefgen.methods.povid import Povid
from prefgen.records import Dropped, Outcome, Pair, Sample, Slot, Turn
from prefgen.requests import Embed, Request, Score, Scored
from tests.engines import tiny

ANSWER = "There is a red circle in the top left corner. A blue square is next to it!"


def sample(number: int = 0, answer: str | None = ANSWER) -> Sample:
    prompt = (Turn("user", (Slot.IMAGE, "What is there?")),)
    return Sample(f"{number:016x}", prompt, (tiny.picture(number),), answer, "test", f"row {number}")


def made(loaded: LoadedModel, method: Povid, samples: list[Sample]) -> list[Outcome]:
    engines: dict[type[Request], Engine] = {
        Embed: FakeEngine(),
        Score: TransformersEngine(loaded, EngineConfig("tiny")),
    }
    return [outcome for _, outcome in sorted(drive(samples, method, engines), key=lambda pair: pair[0])]


def independent(loaded: LoadedModel, one: Sample, method: Povid) -> list[int]:
    """Tokens predicted at the places of the answer and its end, as the public code computes them, in numpy.

    The schedule as it builds it (1000 sigmoids between -6 and 6, a cumulative product, its last index included), the
    noise on the preprocessed picture or on the raw one with a conversion to bytes, then one pass of the stock model.
    Only the noise itself is prefgen's, so that there is something to compare.
    """
    betas = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000))) * (0.5e-2 - 1e-5) + 1e-5
    kept = np.cumprod(1 - betas)[method.noise_steps]
    noise_seed = seeds.derive(seeds.derive(method.seed, one.id, 1, "noise"), "", 0, "image")

    def noised(x: np.ndarray) -> np.ndarray:
        epsilon = np.random.Generator(np.random.Philox(key=noise_seed)).standard_normal(x.shape, dtype=np.float32)
        return np.asarray(np.sqrt(kept) * x + np.sqrt(1 - kept) * epsilon, dtype=np.float32)

    picture: Any = images.decode(one.loaded_images[0])
    if method.noise_space == "pixel-wrap":
        picture = (noised(np.asarray(picture, dtype=np.float32) / 255) * 255).astype(np.int64).astype(np.uint8)
    asked = "USER: <image>\nWhat is there? ASSISTANT:"
    start = len(loaded.processor(text=asked, images=[picture])["input_ids"][0])
    inputs = loaded.processor(text=f"{asked} {one.answer}", images=[picture], return_tensors="pt")
    if method.noise_space == "encoder":
        inputs["pixel_values"] = torch.from_numpy(noised(inputs["pixel_values"].numpy()[0])[None])
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits[0, start - 1 :].numpy().copy()
    tokenizer = loaded.processor.tokenizer
    logits[:, sorted(set(tokenizer.all_special_ids) - {tokenizer.eos_token_id})] = -np.inf
    return [int(token) for token in logits.argmax(-1)]


@pytest.mark.parametrize("noise_space", ["encoder", "pixel-wrap"])
@pytest.mark.parametrize("noise_steps", [100, 500, 999])
def test_the_tokens_are_those_of_an_independent_implementation(noise_space: Any, noise_steps: int) -> None:
    loaded = tiny.llava()
    method = Povid(noise_steps, noise_space, schedule="code", fidelity="paper", seed=3)
    samples = [sample(number) for number in range(4)]
    outcomes = made(loaded, method, samples)
    for one, outcome in zip(samples, outcomes, strict=True):
        assert isinstance(outcome, Pair)
        assert outcome.record["rejected_token_ids"] == independent(loaded, one, method)
        text = loaded.processor.tokenizer.decode(outcome.record["rejected_token_ids"], skip_special_tokens=True)
        assert outcome.rejected == text.strip()
    assert outcomes == made(loaded, method, samples)  # the same draws again
    other = made(loaded, dataclasses.replace(method, seed=4), samples)
    assert [pair.rejected for pair in other if isinstance(pair, Pair)] != [
        pair.rejected for pair in outcomes if isinstance(pair, Pair)
    ]


def test_as_published_the_answer_ends_a_word_later() -> None:
    loaded = tiny.llava()
    (ours,), (published,) = (made(loaded, Povid(fidelity=fidelity), [sample()]) for fidelity in get_args(Fidelity))
    assert isinstance(ours, Pair)
    assert isinstance(published, Pair)
    assert len(ours.record["rejected_token_ids"]) == len(ours.record["chosen_token_ids"]) == ours.tokens
    assert published.record["rejected_token_ids"][:-1] == ours.record["rejected_token_ids"]
    (short, _), (long, _) = (
        run(Povid(fidelity=fidelity), sample(), " A road.", " The") for fidelity in get_args(Fidelity)
    )
    assert isinstance(short, Pair)
    assert isinstance(long, Pair)
    assert (short.rejected, long.rejected, long.tokens) == ("A road.", "A road. The", 4)


def run(method: Povid, what: Sample, text: str, end: str = " The") -> tuple[Outcome, Score | None]:
    """The outcome with a canned answer, and what was asked."""
    asked: list[Score] = []

    class Canned(FakeEngine):
        def _answer(self, request: Any) -> Any:
            if isinstance(request, Score):
                asked.append(request)
                return Scored((1, 2, 3), (-0.1, -0.2, -0.3), (4, 5, 6, 7), text, end, 64, 64)
            return super()._answer(request)

    engine = Canned()
    ((_, outcome),) = drive([what], method, {Embed: engine, Score: engine})
    return outcome, asked[0] if asked else None


def test_a_pair_records_how_it_was_made() -> None:
    method = Povid(seed=5)
    outcome, asked = run(method, sample(), " There is a blameter.")
    assert isinstance(outcome, Pair)
    assert outcome.rejected == "There is a blameter."
    assert outcome.record == {"chosen_token_ids": [1, 2, 3], "rejected_token_ids": [4, 5, 6]}
    assert (outcome.method, outcome.variant, outcome.iteration, outcome.tokens) == ("povid-style", "noise", 1, 3)
    assert outcome.params == dataclasses.asdict(method)
    assert outcome.similarity is not None
    assert asked is not None
    assert (asked.answer, asked.view) == (ANSWER, method.view(sample().id, 1))
    assert (asked.view.noise_steps, asked.view.masks) == (500, False)


@pytest.mark.parametrize(
    ("answer", "text", "reason"),
    [
        (ANSWER, f" {ANSWER}", "REJECTED_EQUALS_CHOSEN"),
        (ANSWER, " ", "REJECTED_EMPTY"),
        (" ", "", "ANSWER_EMPTY"),
        (None, "", "ANSWER_EMPTY"),
    ],
)
def test_what_is_no_preference_is_dropped(answer: str | None, text: str, reason: str) -> None:
    outcome, _ = run(Povid(), sample(answer=answer), text)
    assert isinstance(outcome, Dropped)
    assert outcome.reason == reason


@pytest.mark.parametrize(
    "options",
    [{"noise_steps": 1001}, {"noise_steps": 1000, "schedule": "code"}, {"noise_space": "raw"}, {"temperature": -1.0}],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="--" + next(iter(options)).replace("_", "-")):
        Povid(**options)
