"""How near to the hardware BDHS is: stock `generate`, prefgen's engines and the limit, in one run and one table.

    python examples/benchmarks/bdhs.py --model anyres --samples 8

Rows of the table:

- stock: `generate` of transformers on the full sequence with a 2-D attention mask, in batches (``--attention mask``);
- transformers: prefgen's engine, hidden image tokens dropped;
- vllm: prefgen's vLLM engine, where vLLM is installed;
- vllm alone: vLLM on the same embeddings, made before, each for as many tokens: neither pictures nor prefgen;
- N per worker, with ``--gpus-per-worker N``: the transformers engine on the model saved and loaded with that option;
- limit: each image encoded once, the longest prompt of each sample read once, and as many tokens as the transformers
  row generated decoded at the fastest batch size: the engine's own forward passes with nothing between them.

Models: ``scenes`` (the trained one, its own data), and two LLaVA-NeXT shapes with random weights, one 640 x 480 picture
(2,340 image tokens) and five sentences per answer: ``anyres`` (hidden size 512, 8 layers) and ``llava-1.6-7b``.
The rejection loop is off (one iteration), so that every row does the same work; greedy, so that texts can be compared.
Of all ways but stock, and of each part of the limit, the faster of two runs counts.
"""

from __future__ import annotations

import dataclasses
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import drawn
import torch
from report import circumstances, command_line, write
from rich.console import Console
from rich.table import Table

from prefgen import sources
from prefgen.driver import drive
from prefgen.engines.base import Engine, EngineConfig, Engines
from prefgen.engines.fake import FakeEngine
from prefgen.engines.hf import decoding as decode
from prefgen.engines.hf import loading, vision
from prefgen.engines.hf.batch import RunningBatch
from prefgen.engines.hf.engine import TransformersEngine
from prefgen.engines.hf.loading import LoadedModel
from prefgen.engines.hf.sampling import Continuation, Vocabulary
from prefgen.engines.vllm import engine as vllm_
from prefgen.images import load_images
from prefgen.methods.bdhs import BDHS
from prefgen.records import Pair, Sample
from prefgen.requests import Embed, Generate
from prefgen.sources import SourceOptions

BASE = BDHS(iterations=1, temperature=0.0)
SETTINGS = {
    "rho": BASE,
    "noise": dataclasses.replace(BASE, variant="noise", noise_space="encoder"),
    "unguided": dataclasses.replace(BASE, guidance=False),
}
SCENES = Path(__file__).parent.parent / "scenes"
_DECODE_BATCHES = (64, 128, 256, 512)


@dataclasses.dataclass
class Row:
    """One row of the table.

    Attributes:
        seconds: of the whole run; of the limit, the sum of its parts. shares: of that time, by stage.
        memory_gib: highest amount allocated on the GPU, or the process's largest resident size on a CPU.
    """

    way: str
    setting: str
    samples: int
    seconds: float
    tokens: int
    memory_gib: float
    shares: dict[str, float]
    texts: list[str] = dataclasses.field(default_factory=list, repr=False)

    def to_json(self) -> dict[str, Any]:
        """What is kept of it."""
        return {
            "way": self.way,
            "setting": self.setting,
            "samples": self.samples,
            "seconds": round(self.seconds, 4),
            "pairs_per_s": round(self.samples / self.seconds, 4),
            "tokens_per_s": round(self.tokens / self.seconds, 2),
            "memory_gib": round(self.memory_gib, 3),
            "shares": {stage: round(share, 4) for stage, share in self.shares.items()},
        }


Produced = tuple[Row, list[Generate]]


class Stages:
    """Time in forward passes by stage: vision tower, reading prompts (several tokens a row), decoding (one).

    On a GPU by events on the stream, so that measuring does not make the host wait.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._marks: list[tuple[str, Any, Any]] = []
        self._started: Any = None
        self._decoding = False

    def _now(self) -> Any:
        if self._loaded.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _before(self, *_: object) -> None:
        if not self._decoding:
            self._started = self._now()

    def _after(self, stage: str) -> Any:
        def hook(module: object, arguments: object, keywords: dict[str, Any], output: object) -> None:
            embeds = keywords.get("inputs_embeds")
            name = stage or ("decode" if embeds is not None and embeds.shape[1] == 1 else "prefill")
            if not self._decoding:
                self._marks.append((name, self._started, self._now()))

        return hook

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the model's two halves, and the steps of a running batch as a whole: replayed graphs call no hook."""
        core = self._loaded.model.model
        parts = [(core.vision_tower, "vision"), (core.language_model, "")]
        hooks = [part.register_forward_pre_hook(self._before) for part, _ in parts]
        hooks += [part.register_forward_hook(self._after(stage), with_kwargs=True) for part, stage in parts]
        plain = RunningBatch.forward

        def watched(running: RunningBatch) -> torch.Tensor:
            started, self._decoding = self._now(), True
            tokens = plain(running)
            self._decoding = False
            self._marks.append(("decode", started, self._now()))
            return tokens

        RunningBatch.forward = watched  # type: ignore[method-assign]
        try:
            yield
        finally:
            RunningBatch.forward = plain  # type: ignore[method-assign]
            for hook in hooks:
                hook.remove()

    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        _synchronize(self._loaded.device)
        total = {"vision": 0.0, "prefill": 0.0, "decode": 0.0}
        for stage, start, end in self._marks:
            spent = start.elapsed_time(end) / 1000 if self._loaded.device.type == "cuda" else end - start
            total[stage] += spent
        return total


class Recorder:
    """An engine that keeps the requests that pass through it."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.requests: list[Generate] = []

    def submit(self, ticket: int, request: Any) -> None:
        """Keep and hand on."""
        self.requests.append(request)
        self._engine.submit(ticket, request)

    def collect(self) -> Any:
        """The engine's replies."""
        return self._engine.collect()

    def forget(self) -> None:
        """Free what the engine keeps: an image that the warm-up encoded is encoded again."""
        self._engine.forget()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def faster(way: str, setting: str, loaded: LoadedModel, engine: Engine, samples: list[Sample]) -> Produced:
    """The faster of two runs, as of each part of the limit."""
    produce("warm", setting, loaded, engine, samples[:8])
    runs = [produce(way, setting, loaded, engine, samples) for _ in range(2)]
    return min(runs, key=lambda run: run[0].seconds)


def produce(way: str, setting: str, loaded: LoadedModel, engine: Engine, samples: list[Sample]) -> Produced:
    """Make all pairs one way, and keep what was asked of the model."""
    recorder = Recorder(engine)
    engines: Engines = {Embed: FakeEngine(), Generate: recorder}
    stages = Stages(loaded)
    _forget_peak(loaded.device)
    _synchronize(loaded.device)
    started = time.perf_counter()
    with stages.on():
        outcomes = dict(drive(samples, SETTINGS[setting], engines))
        _synchronize(loaded.device)
    seconds = time.perf_counter() - started
    shares = {stage: spent / seconds for stage, spent in stages.seconds().items()}
    shares["rest"] = 1 - sum(shares.values())
    texts = [
        outcome.rejected if isinstance(outcome, Pair) else outcome.reason for _, outcome in sorted(outcomes.items())
    ]
    tokens = sum(outcome.tokens for outcome in outcomes.values())
    row = Row(way, setting, len(samples), seconds, tokens, _peak_gib(loaded.device), shares, texts)
    return row, recorder.requests


@torch.inference_mode()
def limit(setting: str, loaded: LoadedModel, requests: list[Generate], like: Row) -> Row:
    """The same work with nothing but forward passes: encode once, read once, decode at the best batch size."""
    _forget_peak(loaded.device)
    engine = TransformersEngine(loaded, EngineConfig(loaded.name, batch_size=len(requests)))
    for ticket, request in enumerate(requests):
        engine.submit(ticket, request)
    rows = engine.prepare()
    longest: dict[object, decode.BatchRow] = {}
    for row in rows:
        if row.group not in longest or row.length > longest[row.group].length:
            longest[row.group] = row
    leaders = sorted(longest.values(), key=lambda row: row.length)
    pixels = list({id(row.pixels): row.pixels for row in leaders}.values())  # samples may share an image
    alike = vision.batches(loaded, pixels)
    encoding = min(
        _timed(loaded, lambda: [vision.encode(loaded, [pixels[at] for at in batch]) for batch in alike])
        for _ in range(2)
    )
    size = max(1, loading.token_budget(loaded) // leaders[-1].length)
    batches = [
        part
        for at in range(0, len(leaders), size)
        for part in decode.parts(loaded, sorted(leaders[at : at + size], key=lambda row: -row.length))
    ]
    reading = min(
        _timed(loaded, lambda: [decode.prefill(loaded, batch, preserve=False) for batch in batches]) for _ in range(2)
    )
    row_bytes = leaders[-1].length * loading.kv_bytes(loaded.model.config, loaded.dtype)
    fitting = [rows for rows in _DECODE_BATCHES if rows * row_bytes < _room(loaded)]
    per_token = min(
        _decode_rate(loaded, leaders[len(leaders) // 2], rows_at_once) for rows_at_once in fitting or [size]
    )
    decoding = per_token * like.tokens
    seconds = encoding + reading + decoding
    shares = {"vision": encoding / seconds, "prefill": reading / seconds, "decode": decoding / seconds, "rest": 0.0}
    return Row("limit", setting, like.samples, seconds, like.tokens, _peak_gib(loaded.device), shares)


def _decode_rate(loaded: LoadedModel, row: decode.BatchRow, rows: int, steps: int = 12) -> float:
    """Seconds per token of `rows` rows that are decoded together: forward passes and draws, nobody told."""
    request = row.continuation.request
    request = dataclasses.replace(
        request, stop="end", sampling=dataclasses.replace(request.sampling, max_new_tokens=64)
    )
    size = loaded.model.config.get_text_config().vocab_size
    vocabulary = Vocabulary(loaded.processor.tokenizer, size, loaded.eos_ids, loaded.image_token_id)
    copies = [
        dataclasses.replace(row, ticket=ticket, continuation=Continuation(request, "", row.ids, vocabulary))
        for ticket in range(rows)
    ]
    running = RunningBatch(loaded, vocabulary, rows, sys.maxsize, preserve=False)
    running.admit(copies)
    running.forward()
    running.forward()
    return _timed(loaded, lambda: [running.forward() for _ in range(steps)]) / (steps * rows)


def _room(loaded: LoadedModel) -> float:
    """Bytes that a batch's keys and values may take here, twice as many while they are copied."""
    return torch.cuda.mem_get_info()[0] / 3 if loaded.device.type == "cuda" else 2 * 2**30


def _timed(loaded: LoadedModel, work: Any) -> float:
    _synchronize(loaded.device)
    started = time.perf_counter()
    work()
    _synchronize(loaded.device)
    return time.perf_counter() - started


def scenes_samples(count: int) -> list[Sample]:
    """The first rows that the repository ships."""
    source, options = str(SCENES / "llava_instruct.json"), SourceOptions(limit=count)
    rows = (row for row in sources.read(source, options) if isinstance(row, Sample))
    loaded_rows = (load_images(row, options.root(source), None) for row in rows)
    return [row for row in loaded_rows if isinstance(row, Sample)]


class RecordingCore:
    """vLLM's engine, which keeps its requests and counts the tokens that it returns for each."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.requests: dict[str, tuple[Any, Any]] = {}  # embeddings and sampling parameters
        self.tokens: Counter[str] = Counter()

    def add_request(self, name: str, prompt: Any, parameters: Any, **more: Any) -> None:
        """Keep and hand on."""
        self.requests[name] = prompt, parameters
        self._core.add_request(name, prompt, parameters, **more)

    def step(self) -> Any:
        """The engine's outputs."""
        outputs = self._core.step()
        self.tokens.update({output.request_id: len(output.outputs[0].token_ids) for output in outputs})
        return outputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def alone(self) -> float:
        """Seconds of the same requests without whoever made them."""
        self._core.reset_prefix_cache()
        started = time.perf_counter()
        for name, (prompt, parameters) in self.requests.items():
            parameters.max_tokens = self.tokens[name]
            self._core.add_request(name, prompt, parameters)
        while self._core.has_unfinished_requests():
            self._core.step()
        return time.perf_counter() - started


def with_vllm(
    folder: str, device: str, settings: list[str], loaded: LoadedModel, samples: list[Sample], engine_args: list[str]
) -> list[Row]:
    """The rows of vLLM; what share of the time goes where is not to be seen from outside."""
    config = EngineConfig(folder, "vllm", device=device, engine_args=tuple(engine_args))
    vllm_.check(config)
    front = vllm_.load_front(config)
    core = vllm_.start(config, front)

    def once(way: str, setting: str, core: Any, samples: list[Sample]) -> Row:
        core.reset_prefix_cache()
        row, _ = produce(way, setting, loaded, vllm_.VllmEngine(front, core, config), samples)
        return dataclasses.replace(row, shares={})

    rows = []
    for setting in settings:
        once("warm", setting, core, samples[:8])
        row = min((once("vllm", setting, core, samples) for _ in range(2)), key=lambda row: row.seconds)
        recording = RecordingCore(core)
        once("recorded", setting, recording, samples)
        alone = min(recording.alone() for _ in range(2))
        rows += [row, dataclasses.replace(row, way="vllm alone", seconds=alone)]
    return rows


def with_gpus(
    count: int, loaded: LoadedModel, folder: str, setting: str, config: EngineConfig, samples: list[Sample]
) -> Row:
    """The row of the model loaded as `--gpus-per-worker` loads it."""
    dtype = str(loaded.dtype).removeprefix("torch.")
    asked = EngineConfig(folder, device=str(loaded.device), dtype=dtype, gpus_per_worker=count)
    own = loading.load(asked)
    engine = TransformersEngine(own, config)
    return faster(f"{count} per worker", setting, own, engine, samples)[0]


def figures(rows: list[Row]) -> dict[str, float]:
    """Ratios of seconds per sample: ways to the limit of their setting, stock and other ways to ``transformers``."""
    seconds = {(row.setting, row.way): row.seconds / row.samples for row in rows}
    found = {}
    for setting, way in seconds:
        if way in ("stock", "limit", "vllm alone"):
            continue
        for above, below in ((way, "limit"), ("stock", way), (way, "transformers"), (f"{way} alone", way)):
            if above != below and (setting, above) in seconds:
                ratio = seconds[setting, above] / seconds[setting, below]
                found[f"{setting}: {above} / {below}"] = round(ratio, 3)
    return found


def render(rows: list[Row], title: str) -> Table:
    """Rows beside the row of stock `generate` and of the limit in the same setting."""
    table = Table("setting", "way", "pairs/s", "tokens/s", "GiB", "vision", "prefill", "decode", "rest", title=title)
    table.add_column("stock / way")
    table.add_column("way / limit")
    seconds = {(row.setting, row.way): row.seconds / row.samples for row in rows}
    for row in rows:
        own = row.seconds / row.samples
        stock, best = seconds.get((row.setting, "stock")), seconds.get((row.setting, "limit"))
        table.add_row(
            row.setting,
            row.way,
            f"{row.samples / row.seconds:.2f}",
            f"{row.tokens / row.seconds:.1f}",
            f"{row.memory_gib:.2f}",
            *(f"{row.shares[stage]:.0%}" if row.shares else "" for stage in ("vision", "prefill", "decode", "rest")),
            f"{stock / own:.1f}" if stock else "",
            f"{own / best:.2f}" if best else "",
        )
    return table


def main() -> None:
    """Measure, print the table, keep the JSON."""
    parser = command_line(__doc__, "device", "dtype")
    parser.add_argument("--model", choices=("scenes", *drawn.SHAPES), default="anyres")
    parser.add_argument("--settings", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--stock-samples", type=int, help="fewer for the slow way; its figures are per sample")
    parser.add_argument("--max-tokens", type=int, default=14, help="of a sentence; random weights end none")
    parser.add_argument("--batch-size", type=int, default=EngineConfig.batch_size)
    parser.add_argument("--gpus-per-worker", type=int, help="measure the model loaded with this option, too")
    parser.add_argument("--engine-arg", action="append", default=[], help="of vLLM, name=value")
    arguments = parser.parse_args()

    device = loading.resolve_device(arguments.device)
    if arguments.model == "scenes":
        folder = str(SCENES / "model")
        loaded = loading.load(EngineConfig(folder, device=device))
        samples = scenes_samples(arguments.samples)
    else:
        dtype = getattr(torch, loading.torch_dtype(arguments.dtype, device))
        loaded = drawn.model(arguments.model, torch.device(device), dtype)
        samples = drawn.samples(arguments.samples)
        folder = tempfile.mkdtemp(prefix=f"{arguments.model}-")
        if vllm_.is_installed() or arguments.gpus_per_worker:  # they read the model from a folder
            loaded.model.save_pretrained(folder)
            loaded.processor.save_pretrained(folder)
        for name, method in SETTINGS.items():
            limits = {"max_sentence_tokens": arguments.max_tokens, "max_new_tokens": 5 * arguments.max_tokens}
            SETTINGS[name] = dataclasses.replace(method, **limits)
    few = samples[: arguments.stock_samples or len(samples)]
    ours = EngineConfig(loaded.name, batch_size=arguments.batch_size)
    stock = dataclasses.replace(ours, attention="mask")
    console, rows, alike = Console(width=140), list[Row](), dict[str, str]()
    for setting in arguments.settings:
        engine = TransformersEngine(loaded, ours)
        fast, requests = faster("transformers", setting, loaded, engine, samples)
        del engine  # and its buffers
        slow, _ = produce("stock", setting, loaded, TransformersEngine(loaded, stock), few)
        rows += [slow, fast, limit(setting, loaded, requests, fast)]
        others = [slow]
        if arguments.gpus_per_worker:
            others.append(with_gpus(arguments.gpus_per_worker, loaded, folder, setting, ours, samples))
            rows.append(others[-1])
        for other in others:
            same = sum(a == b for a, b in zip(other.texts, fast.texts, strict=False))
            alike[f"{setting}: texts alike, {other.way} and transformers"] = f"{same} of {other.samples}"
    console.print(alike)
    if not vllm_.why_not(EngineConfig(folder, "vllm")):
        rows += with_vllm(folder, device, arguments.settings, loaded, samples, arguments.engine_arg)
    where = loading.device_kind(str(loaded.device))
    console.print(render(rows, f"{arguments.model} on {where}, {loaded.dtype}, {torch.get_num_threads()} threads"))
    report = {
        **circumstances(where, threads=torch.get_num_threads()),
        "figures": figures(rows) | alike,
        "rows": [row.to_json() for row in rows],
    }
    write(report, arguments.output, "bdhs", arguments.model, device)


if __name__ == "__main__":
    main()
