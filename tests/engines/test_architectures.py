"""Every architecture: prompts as stock transformers makes them, and dropping equal to masking."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prefgen import images
from prefgen.engines.base import EngineConfig, Positions
from prefgen.engines.hf import architectures, decoding, loading, vision
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import UsageError
from prefgen.records import Slot, Turn
from prefgen.requests import Completion, Generate, Sampling, Score
from prefgen.visibility import View
from tests.engines import tiny, zoo
from tests.engines.small_models import ALL, make
from tests.engines.test_equivalence import answers, rows
from tests.engines.test_scoring import scored

_SLOW = {"aria"}  # whose processor makes 980 x 980 of every picture; test_types.py has it


@pytest.fixture(params=[name for name in ALL if name not in _SLOW], scope="module")
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return make(request.param)


@pytest.fixture
def maskable(loaded: LoadedModel) -> LoadedModel:
    """A model under whose mask a hidden token has no effect."""
    if loaded.family.state:
        pytest.skip("a running state has seen a masked token all the same")
    return loaded


def wanted(temperature: float = 0.0, noise: int = 0) -> list[Generate]:
    """Rows of many lengths with no, one and two images of several shapes, begun and not begun, most tokens hidden."""
    made = []
    sizes = [(40, 30), (70, 30), (30, 70), (64, 64)]
    for n in range(8):
        pictures = tuple(tiny.picture(10 * n + k, *sizes[(n + k) % 4]) for k in range((1, 2, 1, 0)[n % 4]))
        slots: tuple[Slot | str, ...] = (Slot.IMAGE,) * len(pictures)
        prompt: tuple[Turn, ...] = (Turn("user", (*slots, "Is there a star? " * (1 + n % 3))),)
        if n == 4:
            prompt += (Turn("assistant", ("No.",)), Turn("user", ("How many?",)))
        prefix = "There is a red circle. A blue" if n % 3 else ""
        view = View(rho=(0.5, 0.0, 0.9, 1.0)[(n + n // 4) % 4], mask_seed=n, noise_steps=noise, noise_seed=n)
        made.append(Generate(prompt, pictures, view, prefix, 0, "end", "en", Sampling(temperature, 1.0, 8), n))
    return made


@pytest.fixture(scope="module")
def greedy(loaded: LoadedModel) -> list[Completion]:
    """Its greedy answers without the hidden tokens, generated once for the tests that compare others with them."""
    return answers(loaded, wanted(), "drop", "compact")


def messages(request: Generate) -> list[dict[str, object]]:
    """The conversation as transformers takes it, its pictures decoded."""
    pictures = iter(images.decode(image) for image in request.images)

    def part(entry: Slot | str) -> dict[str, object]:
        if isinstance(entry, str):
            return {"type": "text", "text": entry}
        return {"type": "image", "image": next(pictures)}

    conversation: list[dict[str, object]] = [
        {"role": turn.role, "content": [part(entry) for entry in turn.parts]} for turn in request.prompt
    ]
    if request.prefix:
        conversation.append({"role": "assistant", "content": [{"type": "text", "text": request.prefix}]})
    return conversation


def test_prompts_are_what_stock_transformers_feeds(loaded: LoadedModel) -> None:
    requests = wanted()
    for row, request in zip(rows(loaded, requests), requests, strict=True):
        expected = loaded.processor.apply_chat_template(
            messages(request),
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=not request.prefix,
            continue_final_message=bool(request.prefix),
        )
        assert row.ids == expected["input_ids"][0].tolist()
        assert len(row.visible) == row.ids.count(loaded.image_token_id)
        for name, values in row.pixels.inputs.items():
            assert torch.equal(values, torch.as_tensor(expected[name])), name


def stock_logits(loaded: LoadedModel, row: decoding.BatchRow, *, preserve: bool) -> torch.Tensor:
    """Logits behind every token of the whole sequence with a mask, by the model's own forward pass from pixels."""
    ids = torch.tensor([row.ids])
    is_image = ids == loaded.image_token_id
    attention = torch.ones_like(ids)
    attention[is_image] = torch.from_numpy(row.visible).long()
    inputs = {"input_ids": ids, "attention_mask": attention, **vision.model_inputs(loaded, [row.pixels])}
    inputs |= decoding.token_types(loaded, ids)
    if "image_grid_thw" in inputs and loaded.family.mrope:
        inputs["position_ids"], _ = loaded.model.model.get_rope_index(
            ids, mm_token_type_ids=is_image.int(), image_grid_thw=inputs["image_grid_thw"]
        )
    else:
        numbered = torch.arange(ids.shape[1])[None] if preserve else (attention.cumsum(-1) - 1).clamp(min=0)
        inputs["position_ids"] = numbered
    with torch.inference_mode():
        logits: torch.Tensor = loaded.model(**inputs).logits[0]
    return logits


@pytest.mark.parametrize("preserve", [False, True])
def test_logits_without_the_hidden_tokens_are_those_with_a_mask(maskable: LoadedModel, *, preserve: bool) -> None:
    loaded = maskable
    batch = rows(loaded, wanted())
    with torch.inference_mode():
        dropped = loaded.model(**decoding.prefill_inputs(loaded, batch, preserve=preserve)).logits[:, -1]
    masked = torch.stack([stock_logits(loaded, row, preserve=preserve)[-1] for row in batch])
    assert float((dropped - masked).abs().max()) < 1e-4
    seeing = [dataclasses.replace(row, visible=row.visible | True) for row in batch]
    unmasked = torch.stack([stock_logits(loaded, row, preserve=preserve)[-1] for row in seeing])
    assert float((masked - unmasked).abs().max()) > 1e-2  # the mask does matter


ANSWER = "There is a red circle. A blue square is next to it!"


@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_answers_are_scored_as_the_stock_model_does(maskable: LoadedModel, positions: Positions) -> None:
    loaded = maskable
    asked = wanted()
    requests = [Score(request.prompt, request.images, request.view, ANSWER) for request in asked]
    dropped = scored(loaded, requests, positions=positions)
    masked = scored(loaded, requests, positions=positions, attention="mask")
    read = rows(loaded, [dataclasses.replace(request, prefix=ANSWER) for request in asked])
    for row, ours, theirs in zip(read, dropped, masked, strict=True):
        logits = stock_logits(loaded, row, preserve=positions == "preserve")[-1 - len(ours.ids) :]
        logps = logits[:-1].log_softmax(-1).gather(-1, torch.tensor(ours.ids)[:, None])[:, 0]
        assert list(ours.ids) == row.ids[-len(ours.ids) :]
        assert loaded.processor.tokenizer.decode(ours.ids).strip() == ANSWER
        torch.testing.assert_close(torch.tensor(ours.logps), logps, atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(theirs.logps), logps, atol=1e-4, rtol=0)
        assert (ours.drawn, ours.text, ours.end) == (theirs.drawn, theirs.text, theirs.end)
    assert len({reply.drawn for reply in dropped}) > 4


@pytest.mark.parametrize(("positions", "temperature"), [("compact", 0.0), ("preserve", 1.0)])
def test_texts_are_those_of_stock_masked_generate(
    maskable: LoadedModel, greedy: list[Completion], positions: Positions, temperature: float
) -> None:
    loaded = maskable
    requests = wanted(temperature)
    dropped = greedy if positions == "compact" else answers(loaded, requests, "drop", positions)
    assert dropped == answers(loaded, requests, "mask", positions)
    assert len({completion.text for completion in dropped}) > 4


def test_texts_do_not_depend_on_the_batch_size(loaded: LoadedModel, greedy: list[Completion]) -> None:
    assert answers(loaded, wanted(), "drop", "compact", 3) == greedy


def test_noise_reaches_the_encoder(maskable: LoadedModel) -> None:
    loaded = maskable
    requests = wanted(noise=500)
    assert answers(loaded, requests, "drop", "compact") == answers(loaded, requests, "mask", "compact")
    for noisy, clear in zip(rows(loaded, requests), rows(loaded, wanted()), strict=True):
        pixels = [name for name in clear.pixels.inputs if "pixel_values" in name]
        assert all(not torch.equal(noisy.pixels.inputs[name], clear.pixels.inputs[name]) for name in pixels)
        if clear.features is not None and len(clear.features):
            assert noisy.features is not None
            assert not torch.equal(noisy.features, clear.features)


@pytest.mark.parametrize("build", [zoo.qwen2_vl, zoo.qwen2_5_vl, zoo.qwen3_vl])
def test_stock_generate_fails_under_mrope_without_our_positions(build: Callable[[], LoadedModel]) -> None:
    loaded = build()
    row = rows(loaded, wanted())[0]
    ids = torch.tensor([row.ids])
    attention = torch.ones_like(ids)
    attention[ids == loaded.image_token_id] = torch.from_numpy(row.visible).long()
    inputs = vision.model_inputs(loaded, [row.pixels]) | {"mm_token_type_ids": (ids == loaded.image_token_id).int()}
    with pytest.raises(RuntimeError, match="shape mismatch"):
        loaded.model.generate(input_ids=ids, attention_mask=attention, **inputs, max_new_tokens=2)


def test_a_running_state_sees_what_is_left_as_if_it_were_all(loaded: LoadedModel, greedy: list[Completion]) -> None:
    """Each row alone, token by token through stock forward passes over what it keeps, without a cache or padding."""
    if not loaded.family.state:
        pytest.skip("it has attention alone")
    requests = wanted()
    for row, answer in zip(rows(loaded, requests), greedy, strict=True):
        inputs = decoding.prefill_inputs(loaded, [row], preserve=False)
        ids: list[int] = []
        while len(ids) < answer.tokens:
            with torch.no_grad():
                logits = loaded.model(**inputs, use_cache=False).logits[0, -1].clone()
            logits[sorted(set(loaded.processor.tokenizer.all_special_ids) - loaded.eos_ids)] = -torch.inf
            ids.append(int(logits.argmax()))
            inputs = _longer(inputs, ids[-1])
        assert loaded.processor.tokenizer.decode(ids, skip_special_tokens=True).endswith(answer.text)


def _longer(inputs: dict[str, Any], token: int) -> dict[str, Any]:
    """The inputs with one more token of text."""
    added = {"input_ids": token, "attention_mask": 1, "mm_token_type_ids": 0}
    longer = {
        name: torch.cat([inputs[name], torch.tensor([[value]])], dim=-1)
        for name, value in added.items()
        if name in inputs
    }
    position = inputs["position_ids"][..., -1:] + 1
    return {**inputs, **longer, "position_ids": torch.cat([inputs["position_ids"], position], dim=-1)}


def test_refused_architectures_say_why_before_their_weights_are_read(tmp_path: Path) -> None:
    for model_type, family in architectures.FAMILIES.items():
        if family.refused:
            (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
            with pytest.raises(UsageError, match=r"is refused: it .*"):
                loading.load(EngineConfig(str(tmp_path)))


def long_rows() -> list[Generate]:
    """Rows that stay within 96 tokens, and rows that do not."""
    made = []
    for n in range(6):
        prompt = (Turn("user", (Slot.IMAGE, "Is there a star? " * (1 + 12 * (n % 2)))),)
        view = View(rho=0.5, mask_seed=n)
        made.append(Generate(prompt, (tiny.picture(n),), view, "There is", 0, "end", "en", Sampling(0.0, 1.0, 12), n))
    return made


def test_rows_that_outgrow_a_sliding_window_are_masked(caplog: pytest.LogCaptureFixture) -> None:
    loaded = zoo.gemma3(window=96)
    lengths = [len(row.ids) + row.max_new_tokens for row in rows(loaded, long_rows())]
    assert min(lengths) <= 96 < max(lengths)
    masked = answers(loaded, long_rows(), "mask", "compact")
    assert masked == answers(loaded, long_rows(), "drop", "compact")
    assert masked == answers(loaded, long_rows(), "drop", "compact", batch_size=2)
    assert "sliding window of 96 tokens" in caplog.text


@pytest.mark.parametrize("build", [zoo.qwen2_5_vl, zoo.internvl, zoo.smolvlm, zoo.gemma3, zoo.ovis2])
def test_a_checkpoint_is_loaded_whether_or_not_videos_can_be_read(
    build: Callable[[], LoadedModel], tmp_path: Path
) -> None:
    original = build()
    loaded = loading.load(EngineConfig(str(zoo.save(original, tmp_path)), device="cpu"))
    assert answers(loaded, wanted(), "drop", "compact") == answers(original, wanted(), "drop", "compact")


@pytest.mark.parametrize("build", [zoo.qwen2_5_vl, zoo.gemma3])
def test_a_processor_can_be_sent_to_another_process(build: Callable[[], LoadedModel]) -> None:
    processor = build().processor
    sent = pickle.loads(pickle.dumps(processor))
    shown = (tiny.picture(1, 70, 30), tiny.picture(2))
    here, there = (vision.preprocess(each, shown, View()) for each in (processor, sent))
    assert here.expansions == there.expansions
    assert all(torch.equal(values, there.inputs[name]) for name, values in here.inputs.items())
