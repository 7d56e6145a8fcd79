"""How fast BDHS is: the product, stock masked `generate`, and the time that the model itself needs, in one run.

    python examples/benchmarks/bdhs_speed.py --limit 120

Three ways to make the same pairs, with the same draws, from the same samples:

- drop: the product's default, hidden image tokens removed from the sequence;
- mask: the same batches through stock `generate` with a 2-D attention mask;
- stock: stock `generate`, one sentence at a time, as a first script would do it.

"in the model" is the time spent in the language model's and the vision encoder's forward passes: the limit that the
rest (batching, sampling, text, similarity) is measured against. Rounds alternate, so that a busy machine slows all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from prefgen import sources
from prefgen.engines import loading
from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.embedder import Embedder
from prefgen.engines.loading import LoadedModel
from prefgen.engines.transformers_ import TransformersEngine
from prefgen.methods.bdhs import BDHS
from prefgen.pending import load_images
from prefgen.records import Sample
from prefgen.requests import Embed, Generate
from prefgen.run import drive
from prefgen.sources import SourceOptions

SCENES = Path(__file__).parent.parent / "scenes"
WAYS = {"drop": ("drop", 64), "mask": ("mask", 64), "stock": ("mask", 1)}


class Clock:
    """Adds up the time spent in forward passes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def on(self, loaded: LoadedModel) -> Iterator[None]:
        """Count the forward passes of the language model and of the vision encoder."""
        started = 0.0

        def before(*_: object) -> None:
            nonlocal started
            started = time.perf_counter()

        def after(*_: object) -> None:
            if loaded.device.type == "cuda":
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - started

        parts = (loaded.model.model.language_model, loaded.model.model.vision_tower)
        hooks = [
            hook
            for part in parts
            for hook in (part.register_forward_pre_hook(before), part.register_forward_hook(after))
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def run(way: str, loaded: LoadedModel, embedder: Embedder, samples: list[Sample], method: BDHS) -> dict[str, float]:
    """Make all pairs one way."""
    attention, batch_size = WAYS[way]
    config = EngineConfig(loaded.name, attention=attention, batch_size=batch_size)  # type: ignore[arg-type]
    engines: Engines = {Embed: embedder, Generate: TransformersEngine(loaded, config)}
    clock, started = Clock(), time.perf_counter()
    with clock.on(loaded):
        outcomes = [outcome for _, outcome in drive(samples, method, engines)]
    seconds = time.perf_counter() - started
    return {
        "pairs_per_s": len(outcomes) / seconds,
        "tokens_per_s": sum(outcome.tokens for outcome in outcomes) / seconds,
        "in_the_model": clock.seconds / seconds,
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", default=str(SCENES / "llava_instruct.json"))
    parser.add_argument("--model", default=str(SCENES / "model"))
    parser.add_argument("--similarity-model", default="minilm")
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    options = SourceOptions(limit=arguments.limit)
    rows = (row for row in sources.read(arguments.input, options) if isinstance(row, Sample))
    loaded_rows = (load_images(row, options.root(arguments.input), None) for row in rows)
    samples = [row for row in loaded_rows if isinstance(row, Sample)]
    config = EngineConfig(arguments.model, similarity_model=arguments.similarity_model)
    loaded, embedder = loading.load(config), Embedder.load(config.similarity_model, config.device)
    method = BDHS()
    run("drop", loaded, embedder, samples[:8], method)  # warm up
    rounds = [{way: run(way, loaded, embedder, samples, method) for way in WAYS} for _ in range(arguments.rounds)]
    best = {way: max((one[way] for one in rounds), key=lambda found: found["pairs_per_s"]) for way in WAYS}
    ratios = {
        f"drop / {way}": round(
            sorted(one["drop"]["pairs_per_s"] / one[way]["pairs_per_s"] for one in rounds)[len(rounds) // 2], 2
        )
        for way in ("mask", "stock")
    }
    report = {
        "samples": len(samples),
        "device": loading.device_kind(str(loaded.device)),
        "threads": torch.get_num_threads(),
        "best of rounds": {
            way: {name: round(value, 2) for name, value in found.items()} for way, found in best.items()
        },
        "median ratio of pairs per second": ratios,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
