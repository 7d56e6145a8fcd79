"""Teacher forcing against the stock model, one bare forward pass per answer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from prefgen import images
from prefgen.engines.base import Attention, EngineConfig, Positions
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.records import Slot, Turn
from prefgen.requests import Generate, Reply, Request, Sampling, Score, Scored
from prefgen.visibility import View
from tests.engines import tiny

ANSWERS = [
    "There is a red circle in the top left corner. A blue square is next to it!",
    "No, there is none.",
    "Two.",
    "Yes, there is a green star. How many? The picture shows a cat on a mat, approx. ten metres away.",
]


def requests(**changes: object) -> list[Score]:
    """Answers of many lengths to prompts with one image, two and none, under every kind of view."""
    made = []
    for n in range(12):
        pictures = tuple(tiny.picture(10 * n + k, 30 + 9 * n, 60 - 2 * n) for k in range((1, 1, 2, 0)[n % 4]))
        prompt = (Turn("user", (*[Slot.IMAGE] * len(pictures), "Is there a star? " * (1 + n % 3))),)
        view = View(rho=(0.0, 0.5, 1.0)[n % 3], mask_seed=n, noise_steps=500 * (n % 2), noise_seed=n)
        made.append(Score(prompt, pictures, view, ANSWERS[n % 4], seed=n, **changes))  # type: ignore[arg-type]
    return made


def replies(loaded: LoadedModel, wanted: list[Request], **settings: object) -> list[Reply]:
    engine = TransformersEngine(loaded, EngineConfig("tiny", **settings))  # type: ignore[arg-type]
    for ticket, request in enumerate(wanted):
        engine.submit(ticket, request)
    got: dict[int, object] = {}
    while answered := engine.collect():
        got.update(answered)
    return [got[ticket] for ticket in range(len(wanted))]  # type: ignore[misc]


def scored(loaded: LoadedModel, wanted: list[Score], **settings: object) -> list[Scored]:
    return [reply for reply in replies(loaded, list(wanted), **settings) if isinstance(reply, Scored)]


def stock(loaded: LoadedModel, request: Score) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Answer tokens, and log-probabilities of all tokens in their places: of the model, and of what may be drawn.

    The processor, the model and numpy alone; shapes (T,), (T + 1, V) and (T + 1, V).
    """
    pictures = [images.decode(image) for image in request.images]
    asked = "USER: " + "<image>\n" * len(pictures) + request.prompt[0].text + " ASSISTANT:"
    tokenizer = loaded.processor.tokenizer
    inputs = loaded.processor(text=f"{asked} {request.answer}", images=pictures or None, return_tensors="pt")
    start = loaded.processor(text=asked, images=pictures or None, return_tensors="pt")["input_ids"].shape[1]
    with torch.inference_mode():
        logits = loaded.model(**inputs).logits[0, start - 1 :].double().numpy()
    allowed = logits.copy()
    allowed[:, sorted(set(tokenizer.all_special_ids) - {tokenizer.eos_token_id})] = -np.inf
    return inputs["input_ids"][0, start:].tolist(), log_softmax(logits), log_softmax(allowed)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


@pytest.mark.parametrize("build", [tiny.llava, tiny.llava_next])
def test_a_whole_image_is_scored_as_the_stock_model_does(build: Callable[[], LoadedModel]) -> None:
    loaded = build()
    wanted = [Score(request.prompt, request.images, View(), request.answer) for request in requests()]
    for request, reply in zip(wanted, scored(loaded, wanted), strict=True):
        ids, logps, allowed = stock(loaded, request)
        likely = allowed.argmax(-1)
        assert list(reply.ids) == ids
        np.testing.assert_allclose(reply.logps, [logps[place, token] for place, token in enumerate(ids)], atol=1e-4)
        assert list(reply.drawn) == likely.tolist()
        assert reply.text + reply.end == loaded.processor.tokenizer.decode(
            [*loaded.processor.tokenizer("ASSISTANT:", add_special_tokens=False)["input_ids"], *likely],
            skip_special_tokens=True,
        ).removeprefix("ASSISTANT:")


@pytest.mark.parametrize("build", [tiny.llava, tiny.llava_next])
@pytest.mark.parametrize("positions", ["compact", "preserve"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_dropping_equals_masking(build: Callable[[], LoadedModel], positions: Positions, temperature: float) -> None:
    loaded, wanted = build(), requests(temperature=temperature)
    attentions: list[Attention] = ["drop", "mask"]
    dropped, masked = (scored(loaded, wanted, attention=how, positions=positions) for how in attentions)
    for ours, reference in zip(dropped, masked, strict=True):
        np.testing.assert_allclose(ours.logps, reference.logps, atol=1e-4)
        assert (ours.drawn, ours.text, ours.end) == (reference.drawn, reference.text, reference.end)
        assert (ours.image_tokens, ours.kept_tokens) == (reference.image_tokens, reference.kept_tokens)
    assert any(reply.kept_tokens < reply.image_tokens for reply in dropped)


def test_replies_do_not_depend_on_the_batch_or_on_what_else_is_asked() -> None:
    loaded, wanted = tiny.llava(), requests(temperature=1.0)
    alone = scored(loaded, wanted, batch_size=1)
    generated = [Generate(r.prompt, r.images, r.view, "", 0, "end", "en", Sampling(0.0, 1.0, 5), 1) for r in wanted]
    mixed = replies(loaded, [each for both in zip(wanted, generated, strict=True) for each in both], batch_size=7)
    assert [reply.drawn for reply in mixed[::2] if isinstance(reply, Scored)] == [reply.drawn for reply in alone]
    assert mixed[1::2] == replies(loaded, list(generated))


def test_one_pass_reads_a_batch_and_makes_logits_of_the_answers_alone() -> None:
    loaded, wanted = tiny.llava(), requests()
    shapes: list[tuple[int, ...]] = []
    hook = loaded.model.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.logits.shape)))
    found = scored(loaded, wanted)
    hook.remove()
    assert [shape[:2] for shape in shapes] == [(12, 1 + max(len(reply.ids) for reply in found))]


def test_sampled_tokens_follow_the_model() -> None:
    loaded = tiny.llava()
    (first,) = requests()[:1]
    prompt, pictures = first.prompt, first.images
    drawn = scored(loaded, [Score(prompt, pictures, View(), "Two.", 1.0, seed=n) for n in range(400)])
    (greedy,) = scored(loaded, [Score(prompt, pictures, View(), "Two.")])
    _, _, allowed = stock(loaded, Score(prompt, pictures, View(), "Two."))
    expected = float(np.exp(allowed[0].max()))
    share = np.mean([reply.drawn[0] == allowed[0].argmax() for reply in drawn])
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 400)
    np.testing.assert_allclose([reply.logps for reply in drawn], [greedy.logps] * 400, atol=1e-5)
