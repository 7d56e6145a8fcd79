"""Time of answers that the policy makes during training, beside the same answers made without training.

    python examples/benchmarks/online.py

- training: `prefgen train --online bdhs`'s own job, one round of answers a step; seconds of the rounds alone;
- engine: the same method on the same rows in one go, by the transformers engine on the model as it was.

The first round warms up and is left out. Shapes are those of drawn.py, with random weights and one picture a row.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import drawn
import torch
from report import circumstances, command_line, write
from rich.console import Console
from train import REJECTED, imported, save_model

from prefgen.driver import drive
from prefgen.engines.base import EngineConfig
from prefgen.engines.fake import FakeEngine
from prefgen.engines.hf import loading
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.requests import Embed, Generate
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.online import ASKED, SECONDS
from prefgen.training.run import prepare, train
from prefgen.training.state import TrainingJob


def settings(folder: str) -> Online:
    """BDHS without its rejection loop, as bdhs.py has it: an answer's similarity is not asked for a second time.

    Args:
        folder: stands for the similarity model, of which nothing but a name is taken.
    """
    return Online("bdhs", online_args=("iterations=1",), similarity_model=folder, max_fallback=1.0)


def in_training(engine: EngineConfig, run: Path, steps: int, batch_size: int) -> list[dict[str, float]]:
    """Each step's seconds, those of its answers, and the number of these."""
    optimisation = Optimisation(batch_size=batch_size, grad_accum=1, max_steps=steps, save_steps=steps + 1)
    found: list[dict[str, float]] = []
    ends: list[float] = []

    def told(metrics: dict[str, float]) -> None:
        if "loss" in metrics:
            ends.append(time.perf_counter())
            found.append({"step_s": ends[-1] - ends[-2], "answers_s": metrics[SECONDS], "answers": metrics[ASKED]})

    with tempfile.TemporaryDirectory() as output:
        out, embedder = Path(output) / "out", {Embed: lambda _: FakeEngine()}
        online = settings(engine.model)
        job = TrainingJob((run,), out, engine, Objective(), optimisation, online=online, engines=embedder)
        prepared = prepare(job)
        ends.append(time.perf_counter())
        train(job, prepared, told)
    return found


def by_engine(engine: EngineConfig, count: int) -> float:
    """Seconds per answer without training."""
    own = TransformersEngine(loading.load(engine), engine)
    samples, method = drawn.samples(count), settings(engine.model).method(0)

    def made() -> float:
        started = time.perf_counter()
        assert len(list(drive(samples, method, {Embed: FakeEngine(), Generate: own}))) == count
        return (time.perf_counter() - started) / count

    made()
    return made()


def main() -> None:
    """Measure, print the figures, keep the JSON."""
    parser = command_line(__doc__, "device", "dtype")
    parser.add_argument("--model", choices=drawn.SHAPES, default="anyres-small")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()

    device = loading.resolve_device(arguments.device)
    dtype = loading.torch_dtype(arguments.dtype, device)
    count = arguments.steps * arguments.batch_size
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_model(arguments.model, getattr(torch, dtype), folder / "model")
        engine = EngineConfig(str(folder / "model"), device=device, dtype=dtype)
        run = imported(folder, "pairs", REJECTED[0], count)
        steps = in_training(engine, run, arguments.steps, arguments.batch_size)
        alone = by_engine(engine, count)
    warm = steps[1:]
    each = statistics.median(step["answers_s"] / step["answers"] for step in warm)
    figures: dict[str, Any] = {
        "seconds an answer, training": round(each, 4),
        "seconds an answer, engine": round(alone, 4),
        "training / engine": round(each / alone, 3),
        "share of a step": round(statistics.median(step["answers_s"] / step["step_s"] for step in warm), 3),
    }
    report = {
        **circumstances(loading.device_kind(device), threads=torch.get_num_threads()),
        "settings": {name: getattr(arguments, name) for name in ("model", "steps", "batch_size")} | {"dtype": dtype},
        "figures": figures,
        "steps": steps,
    }
    write(report, arguments.output, "online", arguments.model, device)
    Console(width=120).print(figures)


if __name__ == "__main__":
    main()
