"""The similarity model in float32 and bfloat16: speed, differences, decisions, and its share of a run.

    python examples/benchmarks/similarity.py --similarity-model mpnet --pairs 10000 --samples 60

Pairs: answers of the rows that the repository ships, each against copies in which the end of a sentence is that of
another answer's, as BDHS makes them. Decisions: whether a pair is below the threshold of BDHS. Share: the time that a
run of BDHS with the paper's settings on the same rows and their model spends in the similarity model.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, get_args

import bdhs
import numpy as np
import torch
from report import circumstances, command_line, write

from prefgen.driver import drive
from prefgen.engines.base import EngineConfig, SimilarityDtype
from prefgen.engines.embedder import Embedder
from prefgen.engines.hf import loading
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.methods.base import cosine
from prefgen.methods.bdhs import BDHS
from prefgen.records import Sample
from prefgen.requests import Embed, Generate, Vector
from prefgen.text import split_sentences

_CHANGED = 0.3  # share of the sentences, so that some pairs are about as similar as the threshold asks
DTYPES: tuple[SimilarityDtype, ...] = get_args(SimilarityDtype)


def pairs(samples: list[Sample], count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Answers and copies that differ in the ends of some of their sentences."""
    random = np.random.default_rng(seed)
    answers = [str(sample.answer) for sample in samples]
    split = [[sentence.body.strip() for sentence in split_sentences(answer)] for answer in answers]
    ends = [sentence.split(" ") for sentences in split for sentence in sentences]
    made: dict[tuple[str, str], None] = {}
    while len(made) < count:
        at = int(random.integers(len(answers)))
        changed = []
        for sentence in split[at]:
            words, other = sentence.split(" "), ends[random.integers(len(ends))]
            keep = int(random.integers(1, len(words) + 1)) if random.random() < _CHANGED else len(words)
            changed.append(" ".join(words[:keep] + (other[min(keep, len(other) - 1) :] if keep < len(words) else [])))
        if changed != split[at]:
            made[" ".join(split[at]), " ".join(changed)] = None
    return list(made)


def embed(engine: Embedder, texts: list[str]) -> tuple[dict[str, Vector], float]:
    """The vectors of texts, and the seconds that they took."""
    started = time.perf_counter()
    for ticket, text in enumerate(texts):
        engine.submit(ticket, Embed(text))
    replies = dict(engine.collect())
    seconds = time.perf_counter() - started
    engine.forget()
    vectors = {text: replies[ticket] for ticket, text in enumerate(texts)}
    return {text: reply for text, reply in vectors.items() if isinstance(reply, Vector)}, seconds


class Timed(bdhs.Recorder):
    """An engine whose time is added up."""

    seconds = 0.0

    def collect(self) -> Any:
        """The engine's replies."""
        started = time.perf_counter()
        replies = super().collect()
        self.seconds += time.perf_counter() - started
        return replies


def share(engine: Embedder, samples: list[Sample], folder: str, device: str) -> float:
    """Share of a run's time that is spent in the similarity model."""
    config = EngineConfig(folder, device=device)
    loaded = loading.load(config)
    list(drive(samples[:8], BDHS(iterations=2), {Embed: engine, Generate: TransformersEngine(loaded, config)}))
    timed = Timed(engine)
    started = time.perf_counter()
    list(drive(samples, BDHS(), {Embed: timed, Generate: TransformersEngine(loaded, config)}))
    return timed.seconds / (time.perf_counter() - started)


def main() -> None:
    """Measure, print, keep the JSON."""
    parser = command_line(__doc__, "device")
    parser.add_argument("--similarity-model", default="mpnet")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=60, help="of the run of which the share is measured")
    arguments = parser.parse_args()

    samples = bdhs.scenes_samples(max(500, arguments.samples))
    compared = pairs(samples, arguments.pairs)
    texts = sorted({text for pair in compared for text in pair})
    engines = {dtype: Embedder.load(arguments.similarity_model, arguments.device, dtype) for dtype in DTYPES}
    rates: dict[str, list[float]] = {dtype: [] for dtype in DTYPES}
    found: dict[str, dict[str, Vector]] = {dtype: {} for dtype in DTYPES}
    for start in range(0, len(texts), 256):  # alternately, so that both meet the same load of the machine
        for dtype, engine in engines.items():
            vectors, seconds = embed(engine, texts[start : start + 256])
            found[dtype] |= vectors
            rates[dtype].append(seconds)
    exact, rough = (np.array([cosine(found[dtype][a], found[dtype][b]) for a, b in compared]) for dtype in DTYPES)
    at = BDHS.similarity_threshold
    differing = (exact < at) != (rough < at)
    folder, device = str(bdhs.SCENES / "model"), loading.resolve_device(arguments.device)
    figures = {
        "texts": len(texts),
        "pairs": len(compared),
        "texts_per_s": {dtype: round(len(texts) / sum(seconds), 2) for dtype, seconds in rates.items()},
        "float32 / bfloat16, seconds": round(sum(rates["float32"]) / sum(rates["bfloat16"]), 2),
        "cosine": {
            "mean": round(float(exact.mean()), 4),
            "share_below_threshold": round(float((exact < at).mean()), 4),
            "largest_difference": round(float(np.abs(exact - rough).max()), 6),
            "mean_difference": round(float(np.abs(exact - rough).mean()), 6),
        },
        "decisions_that_differ": int(differing.sum()),
        "farthest_of_them_from_the_threshold": round(float(np.abs(exact - at)[differing].max(initial=0.0)), 6),
        "share_of_a_run": {
            dtype: round(share(engine, samples[: arguments.samples], folder, device), 3)
            for dtype, engine in engines.items()
        },
    }
    report = {**circumstances(device, threads=torch.get_num_threads()), "figures": figures}
    print(json.dumps(figures, indent=2))
    write(report, arguments.output, "similarity", Path(arguments.similarity_model).name, device)


if __name__ == "__main__":
    main()
