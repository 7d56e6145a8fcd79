"""Contrastive decoding against a naive one: stock forward passes over whole sequences, combined in numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from prefgen import seeds
from prefgen.engines.base import Attention, EngineConfig, Positions
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.records import Slot, Turn
from prefgen.requests import Completion, Contrast, Generate, Sampling
from prefgen.visibility import View
from tests.engines import tiny, zoo
from tests.engines.test_architectures import stock_logits
from tests.engines.test_equivalence import answers, rows

TOKENS = 6


def wanted(temperature: float = 0.0, **changes: Any) -> list[Contrast]:
    """Rows of several lengths with no, one and two images; noised, masked and both, against another view."""
    made = []
    for n in range(6):
        pictures = tuple(tiny.picture(10 * n + k, 40 + 6 * n, 30) for k in range((1, 2, 1, 0)[n % 4]))
        prompt = (Turn("user", (*[Slot.IMAGE] * len(pictures), "Is there a star? " * (1 + n % 3))),)
        view = View(rho=(0.0, 0.6, 1.0)[n % 3], mask_seed=n, noise_steps=500 * (n % 2), noise_seed=n)
        request = Contrast(
            prompt=prompt,
            images=pictures,
            view=view,
            prefix="There is a red" if n % 2 else "",
            open_at=0,
            stop="end",
            language="en",
            sampling=Sampling(temperature, 1.0, TOKENS),
            seed=n,
            against=View(rho=0.3 * (n % 2), mask_seed=n),
            alpha=(1.0, 0.5, 2.0)[n % 3],
            plausibility=(0.1, 0.0, 0.3)[n % 3],
        )
        made.append(dataclasses.replace(request, **changes))
    return made


def plain(request: Contrast, view: View) -> Generate:
    own = {field.name: getattr(request, field.name) for field in dataclasses.fields(Generate)}
    return Generate(**{**own, "view": view})


def naive(loaded: LoadedModel, requests: list[Contrast], *, preserve: bool) -> list[str]:
    """One request, one token and one view at a time, without a cache."""
    seen = rows(loaded, [plain(request, request.view) for request in requests])
    other = rows(loaded, [plain(request, request.against) for request in requests])
    return [
        _naive(loaded, request, pair, preserve=preserve) for request, *pair in zip(requests, seen, other, strict=True)
    ]


def _naive(loaded: LoadedModel, request: Contrast, pair: list[Any], *, preserve: bool) -> str:
    tokenizer = loaded.processor.tokenizer
    ends = loaded.eos_ids
    forbidden = sorted({*tokenizer.all_special_ids, loaded.image_token_id} - ends)
    uniforms = seeds.generator(request.seed).random(TOKENS)
    drawn: list[int] = []
    while len(drawn) < TOKENS and not ends & set(drawn):
        longer = [dataclasses.replace(row, ids=[*row.ids, *drawn]) for row in pair]
        here, there = (stock_logits(loaded, row, preserve=preserve)[-1].numpy().astype(float) for row in longer)
        here[forbidden] = -np.inf
        combined = (1 + request.alpha) * here - request.alpha * there
        probable = np.exp(here - here.max())
        combined[probable < request.plausibility] = -np.inf
        drawn.append(_pick(combined, request.sampling.temperature, uniforms[len(drawn)]))
    before = pair[0].ids[-8:]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in (before, before + drawn)]
    return str(texts[1][len(texts[0]) :])


def _pick(logits: npt.NDArray[np.float64], temperature: float, uniform: float) -> int:
    if not temperature:
        return int(logits.argmax())
    shares = np.exp((logits - logits.max()) / temperature)
    return int(np.searchsorted(shares.cumsum(), uniform * shares.sum(), side="right"))


def texts(
    loaded: LoadedModel,
    requests: list[Contrast],
    attention: Attention = "drop",
    positions: Positions = "compact",
    batch_size: int = 64,
) -> list[str]:
    return [reply.text for reply in answers(loaded, requests, attention, positions, batch_size)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("build", [tiny.llava, tiny.llava_next, zoo.qwen2_5_vl, zoo.qwen3_vl, zoo.gemma3, zoo.idefics3])
def test_texts_are_those_of_the_naive_implementation(build: Callable[[], LoadedModel], temperature: float) -> None:
    loaded, requests = build(), wanted(temperature)
    expected = naive(loaded, requests, preserve=False)
    assert texts(loaded, requests) == expected
    assert texts(loaded, requests, "mask") == expected
    assert texts(loaded, requests, batch_size=3) == expected
    uncontrasted = answers(loaded, [plain(request, request.view) for request in requests], "drop", "compact")
    assert expected != [reply.text for reply in uncontrasted]


def test_positions_can_be_preserved() -> None:
    loaded, requests = tiny.llava(), wanted()
    expected = naive(loaded, requests, preserve=True)
    assert texts(loaded, requests, positions="preserve") == expected
    assert texts(loaded, requests, "mask", "preserve") == expected


def test_rows_that_outgrow_a_sliding_window_are_masked() -> None:
    requests = wanted()
    loaded = zoo.gemma3(window=42)
    lengths = [len(row.ids) + TOKENS for row in rows(loaded, [plain(request, View()) for request in requests])]
    assert min(lengths) <= 42 < max(lengths)
    assert texts(loaded, requests) == naive(loaded, requests, preserve=False)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_without_alpha_and_plausibility_the_view_is_answered_plainly(temperature: float) -> None:
    loaded, requests = tiny.llava_next(), wanted(temperature, alpha=0.0, plausibility=0.0)
    expected = answers(loaded, [plain(request, request.view) for request in requests], "drop", "compact")
    assert answers(loaded, requests, "drop", "compact") == expected


def test_contrasted_rows_share_an_engine_with_others() -> None:
    loaded, requests = tiny.llava(), wanted(1.0)
    others = [plain(request, request.against) for request in requests]
    engine = TransformersEngine(loaded, EngineConfig("tiny", batch_size=4))
    for ticket, request in enumerate([each for pair in zip(requests, others, strict=True) for each in pair]):
        engine.submit(ticket, request)
    got: dict[int, object] = {}
    while replies := engine.collect():
        got.update(replies)
    texts_ = [reply.text for _, reply in sorted(got.items()) if isinstance(reply, Completion)]
    assert texts_[::2] == texts(loaded, requests)
    assert texts_[1::2] == [reply.text for reply in answers(loaded, others, "drop", "compact")]
    assert not engine._features._restricted  # nothing is kept of what is answered


def test_rows_start_again_in_smaller_batches_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, requests = tiny.llava(), wanted(1.0)
    expected = texts(loaded, requests)
    forward = loaded.model.forward
    sizes = []

    def limited(*args: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["attention_mask"]))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError
        return forward(*args, **inputs)

    monkeypatch.setattr(loaded.model, "forward", limited)
    assert texts(loaded, requests) == expected
    assert max(sizes) > 4
