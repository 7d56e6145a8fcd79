"""Forecast of a run's time and disk space, from arithmetic and the measured share of a device's speed.

    vision    2 P_vision · patches                      by the arithmetic that is reached
    reading   2 P · tokens read                         likewise; the sentence embedder likewise
    writing   for each token the slower of 2 P by arithmetic and of
              (weights / rows of a batch + keys and values) by the bandwidth that is reached
    host      a constant for each token written: Python between the forward passes

Attention's own arithmetic is left out; it is a tenth of reading at 2,400 tokens and 7 B parameters. What is reached was
fitted to this repository's measurements (examples/benchmarks/results): one GPU with one shape of model, and a CPU
core with two. tests/estimate/test_forecast.py compares the estimate with each of them. Any other device is scaled by
its data sheet, which was not measured here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass

from prefgen.engines.base import NO_SIMILARITY
from prefgen.engines.hf.shape import Shape
from prefgen.errors import UsageError
from prefgen.estimate.hardware import Hardware
from prefgen.estimate.workload import RoundsPerRow, Work

FACTOR = 2.0
"""The measured runs took at most so many times their estimate, and at least its like part."""
PICTURE_BYTES = 163_000
"""A picture of COCO train2017 on average: 19.3 GB for 118,287."""
PAIR_BYTES = 700
"""Bytes of a pair in data/ beside its pictures, on an earlier world of scenes: texts, record and Parquet's own."""
EMBEDDERS = {"mpnet": 86e6, "minilm": 11e6, NO_SIMILARITY: 0.0}
"""Parameters without the table of input embeddings; a model that is not named here is taken for the first."""
_BATCH_ROWS = 256
_BATCH_SHARE = 1 / 3  # of the memory that the weights leave, as in `prefgen.engines.hf.loading.token_budget`


@dataclass(frozen=True)
class Use:
    """The share of a device's speed that the transformers engine reaches.

    Attributes:
        arithmetic: share of a device's operations a second.
        bandwidth: of its memory's bytes a second.
        host_s: seconds for each token written.
    """

    arithmetic: float
    bandwidth: float
    host_s: float


OF_DATA_SHEET = Use(arithmetic=0.3, bandwidth=0.25, host_s=0.3e-3)
OF_MEASURED = Use(arithmetic=0.4, bandwidth=0.4, host_s=0.7e-3)
"""Where the device's speed was measured by a plain product and a plain copy."""


@dataclass(frozen=True)
class Forecast:
    """Expected time and space of a run.

    Attributes:
        row_s: seconds of one group of devices for a row, for each round of its work.
        groups: how many groups share the rows; each has `devices`, enough to hold the model.
        row_bytes: of the finished data set, for each row.
    """

    rows: int
    work: Work
    rounds: RoundsPerRow
    row_s: float
    groups: int
    devices: int
    row_bytes: float

    def hours(self, rounds: float) -> float:
        """Device-hours if each row takes so many rounds."""
        return self.devices * self.rows * self.row_s * rounds / 3600


def forecast(
    rows: int,
    work: Work,
    rounds: RoundsPerRow,
    shape: Shape,
    hardware: Hardware,
    *,
    gpus: int = 1,
    embedder: str = "",
    picture_bytes: float = PICTURE_BYTES,
) -> Forecast:
    """The forecast of a run from its work, shape and device.

    Args:
        gpus: devices in all. A model that one cannot hold is taken to be spread without loss.
        embedder: which sentence embedder reads the answers; empty for none.
        picture_bytes: of a row's pictures.

    Raises:
        UsageError: if all devices together cannot hold the model.
    """
    devices = devices_for(shape, hardware)
    if gpus < devices:
        raise UsageError(
            f"--gpus {gpus}: {size(shape.weight_bytes)} of weights take at least {devices} {hardware.name}"
        )
    parameters = EMBEDDERS.get(embedder, next(iter(EMBEDDERS.values()))) if embedder else 0.0
    row_s = seconds(work, shape, hardware.times(devices), parameters)
    return Forecast(rows, work, rounds, row_s, gpus // devices, devices, picture_bytes + PAIR_BYTES)


def seconds(work: Work, shape: Shape, hardware: Hardware, embedder_parameters: float = 0.0) -> float:
    """Seconds of some work on one device, without loading the model."""
    use = OF_MEASURED if hardware.measured else OF_DATA_SHEET
    arithmetic, bandwidth = use.arithmetic * hardware.flops, use.bandwidth * hardware.bandwidth
    vision = 2 * shape.vision_parameters * shape.patches * work.encoded / arithmetic
    reading = 2 * shape.parameters * work.read / arithmetic
    embedding = 2 * embedder_parameters * work.embedded / arithmetic
    moved = shape.weight_bytes / _batch_rows(shape, work.context, hardware) + work.context * shape.kv_bytes
    writing = work.written * max(2 * shape.parameters / arithmetic, moved / bandwidth)
    return vision + reading + embedding + writing + work.written * use.host_s


def _batch_rows(shape: Shape, context: float, hardware: Hardware) -> float:
    """Number of rows that are decoded together."""
    room = max(0.9 * hardware.memory - shape.weight_bytes, 0.0) * _BATCH_SHARE
    return max(1.0, min(_BATCH_ROWS, room / max(context * shape.kv_bytes, 1.0)))


def devices_for(shape: Shape, hardware: Hardware) -> int:
    """Number of devices that hold the weights and keep a fifth of their memory free."""
    return math.ceil(shape.weight_bytes / (0.8 * hardware.memory))


def lines(found: Forecast) -> Iterator[tuple[str, str]]:
    """The forecast as (name, sentence), for a plan."""
    repeated = found.rounds.high > found.rounds.low
    work, tokens = found.work, found.rows * found.rounds.expected
    times = f", {found.rounds.expected:.1f} times" if repeated else ""
    yield (
        "a row",
        f"{work.encoded:,.0f} image tokens encoded, {work.read:,.0f} read, {work.written:,.0f} written{times}",
    )
    yield "tokens", f"{_count(work.read * tokens)} read, {_count(work.written * tokens)} written"
    low, expected, high = (duration(found.hours(each) / found.devices / found.groups) for each in astuple(found.rounds))
    bounds = f" ({low} if no answer is made again, {high} if all are)" if repeated else ""
    yield "time", f"about {expected}{bounds}, loading aside; measured runs were within a factor of {FACTOR:g}"
    yield "disk", size(found.rows * found.row_bytes)


def cost(found: Forecast, dollars_per_hour: float | None) -> str:
    """Device-hours, and their cost if the price is known."""
    low, expected, high = (found.hours(each) for each in astuple(found.rounds))
    bounds = high > low
    if dollars_per_hour is None:
        return f"{expected:,.2f}" + (f" ({low:,.2f} … {high:,.2f})" if bounds else "")
    prices = [f"${hours * dollars_per_hour:,.2f}" for hours in (expected, low, high)]
    between = f" ({prices[1]} … {prices[2]})" if bounds else ""
    return f"{expected:,.2f}, {prices[0]}{between} at ${dollars_per_hour:g} an hour"


def duration(hours: float) -> str:
    """A time as text."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:,.1f} h"


def size(count: float) -> str:
    """A number of bytes as text."""
    return (
        f"{count / 1e9:,.1f} GB"
        if count >= 1e9
        else f"{count / 1e6:,.0f} MB"
        if count >= 1e6
        else f"{count / 1e3:,.0f} kB"
    )


def _count(number: float) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,.0f}"
