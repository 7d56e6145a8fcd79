"""Dropping hidden image tokens equals masking them: the ground that the engine stands on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from prefgen.engines.base import Attention, EngineConfig, Positions
from prefgen.engines.hf import batch as running
from prefgen.engines.hf import decoding, features, loading, vision
from prefgen.engines.hf import engine as transformers_
from prefgen.engines.hf.batch import RunningBatch
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.preprocessing import Preprocessing
from prefgen.records import Image, Slot, Turn
from prefgen.requests import Completion, Generate, Sampling, Stop
from prefgen.visibility import View
from tests.engines import tiny

SCENES = Path(__file__).parents[2] / "examples" / "scenes"


def scenes() -> LoadedModel:
    return loading.load(EngineConfig(str(SCENES / "model"), device="cpu"))


def scenes_anyres() -> LoadedModel:
    return loading.load(EngineConfig(str(SCENES / "model-anyres"), device="cpu"))


ARCHITECTURES = [tiny.llava, tiny.llava_next]
POSITIONS: list[Positions] = ["compact", "preserve"]


def requests(temperature: float = 0.0, noise: int = 0) -> list[Generate]:
    """Prompts of many lengths, with one image, two and none, guided and unguided, under every kind of view."""
    made = []
    rhos = [0.0, 0.5, 0.9, 0.99, 1.0]
    for n in range(20):
        images = tuple(tiny.picture(10 * n + k, 30 + 9 * n, 60 - 2 * n) for k in range((1, 1, 2, 0)[n % 4]))
        slots: tuple[Slot | str, ...] = (Slot.IMAGE,) * len(images)
        prompt: tuple[Turn, ...] = (Turn("user", (*slots, "Is there a star? " * (1 + n % 3))),)
        if n % 5 == 0:
            prompt += (Turn("assistant", ("No.",)), Turn("user", ("How many?",)))
        stop: Stop = "sentence" if n % 3 else "end"
        prefix = "There is a red circle. A blue" if n % 3 else ""
        open_at = len("There is a red circle. ") if n % 3 else 0
        view = View(rho=rhos[n % 5], mask_seed=n, noise_steps=noise, noise_seed=n)
        made.append(Generate(prompt, images, view, prefix, open_at, stop, "en", Sampling(temperature, 1.0, 20), n))
    return made


def answers(
    loaded: LoadedModel, wanted: Sequence[Generate], attention: Attention, positions: Positions, batch_size: int = 64
) -> list[Completion]:
    engine = TransformersEngine(
        loaded, EngineConfig("tiny", attention=attention, positions=positions, batch_size=batch_size)
    )
    for ticket, request in enumerate(wanted):
        engine.submit(ticket, request)
    replies: dict[int, object] = {}
    while got := engine.collect():
        replies.update(got)
    completions = [replies[ticket] for ticket in range(len(wanted))]
    return [completion for completion in completions if isinstance(completion, Completion)]


@pytest.mark.parametrize("build", ARCHITECTURES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_texts_are_identical(build: Callable[[], LoadedModel], positions: Positions, temperature: float) -> None:
    wanted, loaded = requests(temperature), build()
    dropped = answers(loaded, wanted, "drop", positions)
    assert dropped == answers(loaded, wanted, "mask", positions)
    assert len(dropped) == len(wanted)
    assert len({completion.text for completion in dropped}) > 15  # not one text for all
    assert any(completion.kept_tokens == 0 for completion in dropped)


@pytest.mark.parametrize("build", ARCHITECTURES)
def test_texts_are_identical_under_noise(build: Callable[[], LoadedModel]) -> None:
    wanted, loaded = requests(noise=500), build()
    noisy = answers(loaded, wanted, "drop", "compact")
    assert noisy == answers(loaded, wanted, "mask", "compact")
    assert noisy != answers(loaded, requests(), "drop", "compact")


@pytest.mark.parametrize("build", ARCHITECTURES)
def test_texts_do_not_depend_on_the_batch_size(build: Callable[[], LoadedModel]) -> None:
    wanted, loaded = requests(1.0), build()
    assert answers(loaded, wanted, "drop", "compact", 1) == answers(loaded, wanted, "drop", "compact", 7)


@pytest.mark.parametrize("batch_size", [3, 64])
@pytest.mark.parametrize("build", ARCHITECTURES)
def test_texts_do_not_depend_on_whether_buffers_stay_in_place(
    build: Callable[[], LoadedModel], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, loaded = requests(1.0), build()
    expected = answers(loaded, wanted, "mask", "compact")
    monkeypatch.setattr(transformers_, "RunningBatch", functools.partial(RunningBatch, fixed=True))
    monkeypatch.setattr(running, "ROOM", 8)  # so that buffers fill up and rows are moved
    assert answers(loaded, wanted, "drop", "compact", batch_size) == expected


def test_pictures_can_be_prepared_in_processes() -> None:
    loaded = tiny.llava_next()
    keys = [((tiny.picture(n, 30 + n, 50),), View(noise_steps=100 * n, noise_seed=n)) for n in range(3)]
    pool = Preprocessing(loaded.processor, 2, torch.float32)
    for key in keys:
        pool.want(key)
    for key in reversed(keys):
        made, expected = pool.take(key), vision.preprocess(loaded.processor, *key)
        assert made.expansions == expected.expansions
        assert all(torch.equal(made.inputs[name], values) for name, values in expected.inputs.items())


def sentences(rho: float) -> list[Generate]:
    """The sentences of a few answers: prompts that share their beginning, one of them with a swapped word."""
    answer = "There is a red circle in the top left corner. Yes, it is next to a blue square! How many are there?"
    cuts = [("There is a", 0), (answer[:62], 46), (answer[:46] + "No, it", 46), (answer[:90], 81), (answer[:81], 81)]
    made = []
    for n in range(4):
        prompt = (Turn("user", (Slot.IMAGE, "Is there a star? " * (1 + n))),)
        view = View(rho=rho, mask_seed=n)
        for k, (prefix, open_at) in enumerate(cuts):
            sampling = Sampling(float(n % 2), 1.0, 12)
            made.append(Generate(prompt, (tiny.picture(n),), view, prefix, open_at, "end", "en", sampling, 10 * n + k))
    return made


@pytest.mark.parametrize("build", ARCHITECTURES)
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_sentences_that_share_a_prompt_read_it_once_and_answer_alike(
    build: Callable[[], LoadedModel], positions: Positions, rho: float
) -> None:
    loaded, wanted = build(), sentences(rho)
    read: list[int] = []
    hook = loaded.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["position_ids"].numel()), with_kwargs=True
    )
    shared = answers(loaded, wanted, "drop", positions)
    hook.remove()
    assert shared == answers(loaded, wanted, "mask", positions)
    assert shared == answers(loaded, wanted, "drop", positions, batch_size=3)  # groups that fall apart
    longest = max(row.length for row in rows(loaded, wanted))
    assert read[0] <= 4 * longest  # one prompt for each of the four samples, not one for each sentence
    assert read[1] < len(wanted) * 25  # what each sentence has of its own


def test_on_a_cpu_a_step_reads_the_rows_that_are_going_and_no_slot_before_them() -> None:
    loaded = tiny.llava()
    wanted = [
        dataclasses.replace(request, sampling=Sampling(1.0, 1.0, 4 + 3 * (n % 7)), stop="end")
        for n, request in enumerate(requests(1.0))
    ]
    shapes: list[tuple[int, ...]] = []
    hook = loaded.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(kwargs["attention_mask"].shape), with_kwargs=True
    )
    made = answers(loaded, wanted, "drop", "compact")
    hook.remove()
    lengths = [(row.length, reply.tokens) for row, reply in zip(rows(loaded, wanted), made, strict=True)]
    steps = [shape for shape in shapes if len(shape) == 4 and shape[2] == 1]
    assert len(steps) == max(tokens for _, tokens in lengths) - 1
    for step, (places, _, _, slots) in enumerate(steps, start=1):
        going = [length for length, tokens in lengths if tokens > step]
        assert len(going) <= places <= len(going) * 8 / 7 + 1
        assert slots <= max(length for length, _ in lengths) + step
    _, _, _, slots = steps[-1]
    left = [length for length, tokens in lengths if tokens > len(steps)]
    assert slots == max(left) + len(steps)  # those of the longest row that is left


def test_a_cpu_reads_few_prompts_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, wanted = tiny.llava(), sentences(0.5)
    expected = answers(loaded, wanted, "drop", "compact")
    longest = max(row.length for row in rows(loaded, wanted))
    monkeypatch.setattr(decoding, "_HOST_TOKENS", 2 * longest)
    read: list[int] = []
    hook = loaded.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(len(kwargs["attention_mask"])), with_kwargs=True
    )
    assert answers(loaded, wanted, "drop", "compact") == expected
    hook.remove()
    assert read[:4] == [2, 2, 2, 2]  # of four samples two at a time, the longest first, then what is not shared


def rows(loaded: LoadedModel, wanted: list[Generate]) -> list[decoding.BatchRow]:
    engine = TransformersEngine(loaded, EngineConfig("tiny"))
    for ticket, request in enumerate(wanted):
        engine.submit(ticket, request)
    return engine.prepare()


def full_sequence_logits(loaded: LoadedModel, row: decoding.BatchRow, *, preserve: bool) -> torch.Tensor:
    """Next-token logits of one row by a bare forward pass with a mask, nothing of ours between."""
    ids = torch.tensor([row.ids])
    visible = torch.ones_like(ids)
    visible[ids == loaded.image_token_id] = torch.from_numpy(row.visible).long()
    inputs = {"input_ids": ids, "attention_mask": visible}
    inputs |= vision.model_inputs(loaded, [row.pixels])
    position_ids = torch.arange(ids.shape[1])[None] if preserve else (visible.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits: torch.Tensor = loaded.model(**inputs, position_ids=position_ids).logits[0, -1]
    return logits


@pytest.mark.parametrize("build", [*ARCHITECTURES, scenes, scenes_anyres])
@pytest.mark.parametrize("preserve", [False, True])
def test_logits_of_a_padded_batch_equal_those_of_masked_single_rows(
    build: Callable[[], LoadedModel], preserve: bool
) -> None:
    loaded = build()
    batch = rows(loaded, requests())
    inputs = decoding.prefill_inputs(loaded, batch, preserve=preserve)
    with torch.inference_mode():
        dropped = loaded.model(**inputs).logits[:, -1]
    masked = torch.stack([full_sequence_logits(loaded, row, preserve=preserve) for row in batch])
    assert float((dropped - masked).abs().max()) < 1e-4
    unmasked = torch.stack([full_sequence_logits(loaded, see_all(row), preserve=preserve) for row in batch])
    assert float((dropped - unmasked).abs().max()) > 1e-2  # the mask does matter


def see_all(row: decoding.BatchRow) -> decoding.BatchRow:
    return dataclasses.replace(row, visible=row.visible | True)


@pytest.mark.parametrize("build", ARCHITECTURES)
def test_image_tokens_are_those_of_the_processor(build: Callable[[], LoadedModel]) -> None:
    loaded = build()
    for row, request in zip(rows(loaded, requests()), requests(), strict=True):
        assert len(row.visible) == row.ids.count(loaded.image_token_id)
        expected = processor_ids(loaded, request.images)
        assert expected.count(loaded.image_token_id) == len(row.visible)


def processor_ids(loaded: LoadedModel, images: tuple[Image, ...]) -> list[int]:
    from prefgen.images import decode as decode_image

    pictures = [decode_image(image) for image in images]
    inputs = loaded.processor(text="<image>" * len(images) + " x", images=pictures or None)
    return list(inputs["input_ids"][0])


def again(noise: int) -> list[list[Generate]]:
    """What the iterations of a method ask about two samples: fresh masks and fresh noise over the same images."""
    prompt = (Turn("user", (Slot.IMAGE, "What?")),)
    return [
        [
            Generate(
                prompt,
                (tiny.picture(which),),
                View(rho=0.5, mask_seed=i, noise_steps=noise, noise_seed=i),
                "There is",
                0,
                "end",
                "en",
                Sampling(0.0, 1.0, 4),
                k,
            )
            for which in (1, 2)
            for k in range(3)
        ]
        for i in range(4)
    ]


def answered(engine: TransformersEngine, wanted: list[Generate]) -> list[Completion]:
    for ticket, request in enumerate(wanted):
        engine.submit(ticket, request)
    replies: dict[int, object] = {}
    while got := engine.collect():
        replies.update(got)
    return [reply for _, reply in sorted(replies.items()) if isinstance(reply, Completion)]


@pytest.mark.parametrize(("noise", "encoded"), [(0, 2), (500, 8)])
def test_an_image_is_encoded_once_for_all_masks_and_for_each_draw_of_noise(noise: int, encoded: int) -> None:
    loaded = tiny.llava_next()
    engine = TransformersEngine(loaded, EngineConfig("tiny", batch_size=2))
    for wanted in again(noise):
        assert answered(engine, wanted) == answers(loaded, wanted, "mask", "compact")
    assert engine._features.encoded == encoded
    assert not engine._features._restricted
    engine.forget()
    assert answered(engine, again(noise)[0]) == answers(loaded, again(noise)[0], "mask", "compact")
    assert engine._features.encoded == encoded + 2


def test_kept_features_stay_within_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tiny.llava()
    (own,) = vision.encode(loaded, [rows(loaded, again(0)[0][:1])[0].pixels])
    monkeypatch.setattr(features, "_KEPT_BYTES", own.numel() * own.element_size())  # one of two images
    engine = TransformersEngine(loaded, EngineConfig("tiny"))
    for wanted in again(0):
        assert answered(engine, wanted) == answers(loaded, wanted, "mask", "compact")
        assert len(engine._features._kept) == 1
    assert 2 < engine._features.encoded <= 8


def test_requests_whose_images_are_encoded_go_first() -> None:
    engine = TransformersEngine(tiny.llava(), EngineConfig("tiny", batch_size=3))
    first, *_ = again(0)
    answered(engine, first[:3])  # about the first picture
    for ticket, request in enumerate([*first[3:], *again(0)[1][:3]]):
        engine.submit(ticket, request)
    assert [row.ticket for row in engine.prepare()] == [3, 4, 5]
    assert [row.ticket for row in engine.prepare()] == [0, 1, 2]


@pytest.mark.parametrize("when", ["admit", "step"])
def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    loaded, wanted, sizes = tiny.llava(), requests(1.0), []
    expected = answers(loaded, wanted, "drop", "compact")
    plain = getattr(RunningBatch, when)

    def cramped(batch: RunningBatch, *args: list[decoding.BatchRow]) -> None:
        rows = [*batch.active, *(args[0] if args else [])]
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("out of memory")
        plain(batch, *args)

    monkeypatch.setattr(RunningBatch, when, cramped)
    assert answers(loaded, wanted, "drop", "compact") == expected
    assert max(sizes) >= 19  # one row may be finished with its first token
    assert min(sizes) >= 1


def test_new_rows_enter_while_others_are_going(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, wanted = tiny.llava(), requests(1.0)
    lengths = [1 + 7 * n % 19 for n in range(20)]
    wanted = [
        dataclasses.replace(request, stop="end", sampling=Sampling(1.0, 1.0, length))
        for request, length in zip(wanted, lengths, strict=True)
    ]
    alone = answers(loaded, wanted, "mask", "compact")
    steps: list[int] = []
    plain = RunningBatch.step

    def counted(batch: RunningBatch) -> None:
        steps.append(len(batch.active))
        plain(batch)

    monkeypatch.setattr(RunningBatch, "step", counted)
    assert answers(loaded, wanted, "drop", "compact", batch_size=4) == alone
    longest = sum(max(lengths[at : at + 4]) for at in range(0, 20, 4))
    assert len(steps) < 0.75 * longest  # what batches of four take that wait for their longest row


def test_a_row_that_never_fits_is_dropped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(RunningBatch, "admit", full)
    engine = TransformersEngine(tiny.llava(), EngineConfig("tiny"))
    engine.submit(0, requests()[0])
    ((ticket, reply),) = engine.collect()
    assert ticket == 0
    assert getattr(reply, "reason", None) == "OUT_OF_MEMORY"
