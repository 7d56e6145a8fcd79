"""The estimate against every run of the transformers engine that examples/benchmarks/results keeps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from prefgen.engines.hf.shape import Shape, of_size
from prefgen.errors import UsageError
from prefgen.estimate import forecast, hardware, workload
from prefgen.estimate.assumed import Outlook
from prefgen.estimate.hardware import Hardware
from prefgen.estimate.outlook import lines as outlook_lines
from prefgen.methods.base import Method
from prefgen.methods.bdhs import BDHS
from prefgen.methods.povid import Povid
from prefgen.methods.sentence_checks import ByGain
from prefgen.methods.sentences import Sentences
from prefgen.records import Image, Sample, Slot, Turn

RESULTS = Path(__file__).parent.parent.parent / "examples" / "benchmarks" / "results"
# What `prefgen.engines.hf.devices.speed` finds on the core that these were measured on.
CORE = Hardware("cpu", 145e9, 14.5e9, 16e9, "measured", measured=True)
SETTINGS = {
    "rho": BDHS(iterations=1),
    "noise": BDHS(iterations=1, variant="noise"),
    "unguided": BDHS(iterations=1, guidance=False),
}
SENTENCE = "There is a blue square beside the small red circle. "  # 52 characters


def shape_of(layers: int, width: int, hidden: int, words: int, vision: float, patches: float, size: int) -> Shape:
    """A Llama decoder without its input embeddings; `size` is that of a number in bytes."""
    decoder = layers * (4 * width**2 + 3 * width * hidden) + words * width
    return Shape(decoder, vision, patches, 2 * layers * width * size, (decoder + words * width + vision) * size)


# Model, device, image tokens, and the tokens and sentences of a reference answer; see examples/benchmarks/drawn.py.
MEASURED = {
    "llava-1.6-7b-h100": (shape_of(32, 4096, 11008, 32064, 0.304e9, 1.25, 2), hardware.gpu("h100"), 2340, 70, 5),
    "anyres-cpu": (shape_of(8, 512, 1376, 32064, 3.2e6, 1.25, 4), CORE, 2340, 70, 5),
    "scenes-cpu": (shape_of(4, 160, 448, 1024, 0.91e6, 1.0, 4), CORE, 144, 16, 2),
}


def sample(answer_tokens: int, sentences: int) -> tuple[Sample, float]:
    """A sample with such an answer, and its tokens per character."""
    prompt = (Turn("user", (Slot.IMAGE, "Describe the image in detail.")),)
    answer = (SENTENCE * sentences).strip()
    return Sample("0" * 16, prompt, (Image(b"", "", 640, 480),), answer, "drawn", "0"), answer_tokens / len(answer)


def runs() -> list[Any]:
    return [
        pytest.param(name, row, id=f"{path.stem}-{row['setting']}")
        for name in MEASURED
        for path in sorted(RESULTS.glob(f"bdhs-{name}*.json"))
        for row in json.loads(path.read_text())["rows"]
        if row["way"] == "transformers"
    ]


@pytest.mark.parametrize(("name", "row"), runs())
def test_the_estimate_is_near_what_was_measured(name: str, row: dict[str, Any]) -> None:
    shape, device, image_tokens, answer_tokens, sentences = MEASURED[name]
    one, rate = sample(answer_tokens, sentences)
    expected = workload.work(SETTINGS[row["setting"]], [one], image_tokens, lambda text: rate * len(text))
    written = row["tokens_per_s"] / row["pairs_per_s"]
    assert 0.6 < expected.written / written < 1.7
    estimate = forecast.seconds(dataclasses.replace(expected, written=written), shape, device)
    factor = estimate / (row["seconds"] / row["samples"])
    assert 1 / forecast.FACTOR < factor < forecast.FACTOR, f"{factor:.2f}"


def test_all_kept_runs_are_compared() -> None:
    assert len(runs()) == 9


def of(method: Method) -> workload.Work:
    one, rate = sample(100, 5)
    return workload.work(method, [one], 1000, lambda text: rate * len(text))


def test_work_is_what_the_requests_of_a_round_say() -> None:
    masked, noised = of(BDHS(rho=0.9)), of(BDHS(variant="noise"))
    assert masked.encoded == noised.encoded == 1000  # one picture, one view
    assert noised.read - masked.read == pytest.approx(900)  # nothing hidden
    assert masked.written == noised.written == pytest.approx(100 * workload.WRITTEN_SHARE)
    assert masked.embedded == pytest.approx(200, rel=0.5)  # the reference, and the answer of the fake engine
    forced = of(Povid())
    assert forced.written == 0
    assert forced.read == pytest.approx(noised.read, rel=0.05)
    assert of(BDHS(iterations=5)) == of(BDHS(iterations=1))  # a round's work; rounds are counted apart


def test_whole_sentences_are_drawn_for_round_by_round() -> None:
    method = Sentences(ByGain(), candidates=5, sentences=6)
    assert of(method).written == pytest.approx(5 * 100 / 5)  # the reference has as many sentences
    assert of(method) == of(dataclasses.replace(method, sentences=1))
    assert workload.rounds(method) == workload.RoundsPerRow(1, 6 * workload.SENTENCES_SHARE, 6)


def test_rounds_are_iterations() -> None:
    assert workload.rounds(BDHS(iterations=1)) == workload.RoundsPerRow(1, 1, 1)
    five = workload.rounds(BDHS())
    assert (five.low, five.high) == (1, 5)
    assert five.expected == pytest.approx(1 + sum(workload.STILL_SIMILAR))
    assert workload.rounds(Povid()) == workload.RoundsPerRow(1, 1, 1)


def test_a_size_alone_gives_the_usual_proportions() -> None:
    llama = of_size("6.6b")
    assert llama.kv_bytes == pytest.approx(2 * 32 * 4096 * 2, rel=0.05)  # Llama-7B's, keys and values in bf16
    assert of_size("500M").parameters == 5e8
    for wrong in ("7", "big", "0b", "-1b"):
        with pytest.raises(UsageError, match="--model-size"):
            of_size(wrong)


def test_a_larger_or_slower_setting_takes_longer() -> None:
    work, big, small = of(BDHS()), of_size("13b"), of_size("7b")
    h100, l4 = hardware.gpu("h100"), hardware.gpu("L4")
    assert forecast.seconds(work, big, h100) > forecast.seconds(work, small, h100)
    assert forecast.seconds(work, small, l4) > 2 * forecast.seconds(work, small, h100)
    assert forecast.seconds(of(BDHS(variant="noise")), small, h100) > 4 * forecast.seconds(work, small, h100)


def test_more_gpus_take_less_time_and_cost_the_same() -> None:
    arguments = (1000, of(BDHS()), workload.rounds(BDHS()), of_size("7b"), hardware.gpu("h100"))
    one, eight = forecast.forecast(*arguments), forecast.forecast(*arguments, gpus=8)
    assert forecast.cost(one, 2.5) == forecast.cost(eight, 2.5)
    assert dict(forecast.lines(one))["time"] != dict(forecast.lines(eight))["time"]
    assert "$" not in forecast.cost(one, None)


def test_a_model_that_one_gpu_cannot_hold_is_spread_or_refused() -> None:
    with pytest.raises(UsageError, match="at least 3 h100"):
        list(outlook_lines(Outlook(BDHS(), model_size="70b", gpus=2)))
    shown = dict(outlook_lines(Outlook(BDHS(), model_size="70b", gpus=6)))
    assert "spread over 3 GPUs" in shown["model"]


def test_every_gpu_says_where_its_figures_are_from() -> None:
    for entry in hardware.known().values():
        assert "NVIDIA" in entry.source
        assert "looked up 20" in entry.source
        assert 1e13 < entry.flops < 1e16
        assert 1e11 < entry.bandwidth < 1e13
        assert 1e10 < entry.memory < 1e12
    with pytest.raises(UsageError, match="choose from b200"):
        hardware.gpu("tpu")


def test_this_machine_is_measured() -> None:
    here = hardware.of_device("cpu")
    assert here.measured
    assert here.flops > 1e8
    assert here.bandwidth > 1e7
    assert here.memory > 1e8
