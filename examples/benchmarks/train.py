"""How near to the hardware training is: TRL's DPOTrainer, `prefgen train` and the limit, in one run and one table.

    python -m venv V && V/bin/pip install -r tests/trainers/pins/trl.txt peft==0.21.2
    python examples/benchmarks/train.py --trl-python V/bin/python

Rows of the table, each a process of its own, so that its largest resident size is its own; in rounds, one after the
other, so that a busy machine slows all:

- trl: `DPOTrainer` on the shards as they are (train_trl.py);
- prefgen: `prefgen train`'s own job on the same shards, model, batch, LoRA and schedule;
- prefgen, 3 answers: a second rejected answer behind the same prompt, as after `prefgen join`;
- limit: the multiplications that a forward and a backward pass over the packed sequence cannot do without, at the rate
  that this machine multiplies matrices of the model's shape.

"s a step" is the median over a run's steps after the first, which warms up: on a CPU the process's own processor time,
which is the time by the clock where nothing else runs (both are kept). The reference of TRL is part of each step; ours
is read once, before the first: "with reference" adds its time for a step's samples, divided by `--epochs`.

Shapes are those of drawn.py: LLaVA-NeXT with random weights and one 640 x 480 picture (2,340 image tokens).
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import drawn
import torch
from report import HERE, circumstances, command_line, write
from rich.console import Console
from rich.table import Table

import prefgen
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading
from prefgen.training.config import Objective, Optimisation
from prefgen.training.run import prepare, train
from prefgen.training.state import Prepared, TrainingJob

THREE = "prefgen, 3 answers"
REJECTED = (
    "The image shows a green star in the top left corner. There is a blue circle beside it. "
    "A small red square stands below the square. The background is dark. Two stars can be seen in the picture.",
    "The image shows a red circle in the middle. There is a yellow square beside it and a white line. "
    "A large green star stands above the square. The background is light. Nothing else can be seen there.",
)


def data(folder: Path, count: int) -> None:
    """Two finished runs in `folder`: "pairs" with one rejected answer to a prompt, and "triples" with two."""
    for name, rejected in zip(("pairs", "others"), REJECTED, strict=True):
        imported(folder, name, rejected, count)
    join = ["join", str(folder / "pairs"), str(folder / "others"), "-o", str(folder / "triples")]
    subprocess.run([sys.executable, "-m", "prefgen", *join], check=True, capture_output=True)


def imported(folder: Path, name: str, rejected: str, count: int) -> Path:
    """A finished run of as many drawn pictures and this rejected answer to each."""
    for sample in drawn.samples(count):
        (folder / f"{sample.source_id}.jpg").write_bytes(sample.loaded_images[0].data)
    turns = [
        {"role": "user", "content": "<image>\nDescribe the image in detail."},
        {"role": "assistant", "content": drawn.ANSWER},
    ]
    rows = [{"messages": turns, "images": [f"{n}.jpg"], "rejected_response": rejected} for n in range(count)]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prefgen.import_set("ms-swift", str(folder / f"{name}.jsonl"), output=folder / name, reporter=prefgen.Silent())
    return folder / name


def save_model(shape: str, dtype: torch.dtype, folder: Path) -> None:
    """The model's folder. Its template renders the beginning-of-sequence token, without which TRL would train."""
    loaded = drawn.model(shape, torch.device("cpu"), dtype)
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)
    template = folder / "chat_template.jinja"
    template.write_text("{{ bos_token }}" + template.read_text())


def ours(folder: Path, runs: Path, settings: dict[str, Any], result: Path) -> None:
    """Train as `prefgen train` does and write what was measured."""
    optimisation = Optimisation(
        lr=settings["lr"],
        projector_lr=settings["lr"],
        batch_size=settings["batch_size"],
        grad_accum=1,
        max_steps=settings["steps"],
        gradient_checkpointing=settings["gradient_checkpointing"],
        save_steps=settings["steps"] + 1,
        save="adapter",
    )
    engine = EngineConfig(str(folder), device=settings["device"], dtype=settings["dtype"])
    steps: list[dict[str, Any]] = []
    read: list[list[float]] = []

    def told(metrics: dict[str, float]) -> None:
        if "loss" in metrics:
            kept = {name: metrics[name] for name in ("loss", "logps/chosen", "logps/rejected")}
            steps.append({"at_s": now(), **kept})

    def now() -> list[float]:
        return [time.perf_counter(), time.process_time()]

    with tempfile.TemporaryDirectory() as output:
        job = TrainingJob((runs,), Path(output) / "out", engine, Objective(beta=settings["beta"]), optimisation)
        prepared = prepare(job)
        begun = now()
        train(job, prepared, told, lambda _: read.append(now()))
    found = {
        "begun_s": read[-1],
        "reference_s": [
            (after - before) / len(prepared.samples) for before, after in zip(begun, read[-1], strict=True)
        ],
        "steps": steps,
        "peak_gib": peak_gib(settings["device"]),
        "work": work(prepared, settings["batch_size"]),
    }
    result.write_text(json.dumps(found))


def peak_gib(device: str) -> float:
    """Largest memory of the device, or on a CPU of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def work(prepared: Prepared, batch_size: int) -> dict[str, float]:
    """Floating-point operations of a step that nothing can save, see `passes`; the vision encoder is read forward."""
    sample = prepared.samples[0]
    counted = passes(prepared, [len(answer.ids) for answer in sample.answers])
    return {name: value if name == "tokens" else batch_size * value for name, value in counted.items()}


def passes(prepared: Prepared, lengths: Sequence[int], *, backward: bool = True) -> dict[str, float]:
    """Operations of a pass over a prompt and answers behind it: 2 for each multiplication with the addition after it.

    A frozen weight is used twice, for the output and for its input's gradient, a trained one three times; attention's
    two products four times over the pairs of tokens that see each other. Forward alone each is used once. LoRA's are
    counted as it is published; merged into its layer's weight, as in `prefgen.training.lora`, they are fewer.

    Args:
        lengths: tokens of each answer.
    """
    model, sample = prepared.loaded.model, prepared.samples[0]
    answers = sum(lengths)
    prompt, read = len(sample.prompt), [length - 1 for length in lengths]
    tokens = prompt + sum(read)
    seen = prompt * (prompt + 1) / 2 + sum(own * prompt + own * (own + 1) / 2 for own in read)
    text = model.config.get_text_config()
    decoder = model.model.get_decoder()
    frozen = trained = 0
    for name, weight in decoder.named_parameters():
        if weight.ndim == 2 and "embed" not in name:
            frozen += 0 if weight.requires_grad else weight.numel()
            trained += weight.numel() if weight.requires_grad else 0
    head = text.vocab_size * text.hidden_size
    pixels = prepared.dataset[0].pixels.inputs["pixel_values"]
    vision = model.config.vision_config
    patches = pixels[..., 0, :, :].numel() / vision.patch_size**2
    each = (vision.image_size / vision.patch_size) ** 2  # that a patch sees: those of its tile
    width, depth = vision.hidden_size, vision.num_hidden_layers
    layer = 4 * width**2 + 2 * width * vision.intermediate_size
    return {
        "tokens": tokens,
        "decoder": tokens * (4 * frozen + 6 * trained if backward else 2 * (frozen + trained)),
        "attention": (12 if backward else 4) * seen * text.hidden_size * text.num_hidden_layers,
        "head": (4 if backward else 2) * answers * head,
        "vision": patches * depth * (2 * layer + 4 * each * width),
    }


def rate(shape: str, device: str, dtype: torch.dtype, rows: int) -> float:
    """Floating-point operations a second: the best of several products as the decoder's layers have them."""
    text = drawn.config(shape).get_text_config()
    one, other = (
        torch.randn(*size, device=device, dtype=dtype)
        for size in ((rows, text.hidden_size), (text.hidden_size, text.intermediate_size))
    )
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    best = 0.0
    for _ in range(10):
        _synchronize(device)
        started = clock()
        one @ other
        _synchronize(device)
        best = max(best, 2 * rows * other.numel() / (clock() - started))
    return best


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def measure(way: str, command: list[str], folder: Path, settings: Path, threads: int) -> dict[str, Any]:
    """Run one way in a process of its own: what it wrote, and each step's seconds by the clock and of the processor."""
    result = folder / "result.json"
    variables = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    load = os.getloadavg()[0]
    done = subprocess.run(
        [*command, str(settings), str(result)], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    ends = [found.pop("begun_s"), *(step.pop("at_s") for step in found["steps"])]
    for place, name in enumerate(("wall_s", "cpu_s")):
        found[name] = [round(after[place] - before[place], 3) for before, after in itertools.pairwise(ends)]
    return {**found, "load": [round(load, 2), round(os.getloadavg()[0], 2)]}


class Rounds:
    """What was measured, round by round.

    Args:
        clock: ``wall_s`` or ``cpu_s``: what counts as a step's time. share: of a sample's reference in a step's time.
    """

    def __init__(self, clock: str, share: float) -> None:
        self.by_way: dict[str, list[dict[str, Any]]] = {}
        self._clock = clock
        self._share = share

    def seconds(self, one: dict[str, Any], *, reference: bool = False) -> float:
        """A step of one round."""
        if "limit_s" in one:
            return float(one["limit_s"])
        read = one.get("reference_s", [0.0, 0.0])[self._clock == "cpu_s"]
        return statistics.median(one[self._clock][1:]) + (self._share * read if reference else 0.0)

    def median(self, way: str, *, reference: bool = False) -> float:
        """Seconds of a step."""
        return statistics.median(self.seconds(one, reference=reference) for one in self.by_way[way])

    def ratio(self, slow: str, fast: str, *, reference: bool = False) -> float:
        """Steps of the fast way in one of the slow one: the median of the rounds' ratios."""
        pairs = zip(self.by_way[slow], self.by_way[fast], strict=True)
        ratios = (self.seconds(a, reference=reference) / self.seconds(b, reference=reference) for a, b in pairs)
        return round(statistics.median(ratios), 3)

    def peak_gib(self, way: str) -> float:
        """Of memory."""
        return statistics.median(one.get("peak_gib", 0.0) for one in self.by_way[way])

    def differences(self, way: str, other: str) -> list[float]:
        """The largest relative difference of loss and log-probabilities, step by step, in the first round."""
        names = ("loss", "logps/chosen", "logps/rejected")
        steps = zip(self.by_way[way][0]["steps"], self.by_way[other][0]["steps"], strict=True)
        return [float(f"{max(abs(a[name] / b[name] - 1) for name in names):.2g}") for a, b in steps]

    def table(self, title: str) -> Table:
        """A line for each way."""
        table = Table("way", "s a step", "with reference", "GiB", "trl / way", "way / limit", title=title)
        for way in self.by_way:
            peak = self.peak_gib(way)
            table.add_row(
                way,
                f"{self.median(way):.2f}",
                f"{self.median(way, reference=True):.2f}",
                f"{peak:.2f}" if peak else "",
                f"{self.ratio('trl', way):.2f}" if "trl" in self.by_way else "",
                f"{self.ratio(way, 'limit'):.2f}",
            )
        return table

    def figures(self) -> dict[str, Any]:
        """The goals' ratios."""
        found: dict[str, Any] = {
            "three answers / two": self.ratio(THREE, "prefgen"),
            "prefgen / limit": self.ratio("prefgen", "limit"),
        }
        if "trl" in self.by_way:
            found |= {
                "trl / prefgen": self.ratio("trl", "prefgen"),
                "trl / prefgen with reference": self.ratio("trl", "prefgen", reference=True),
                "memory of prefgen / trl": round(self.peak_gib("prefgen") / self.peak_gib("trl"), 3),
                "relative difference by step": self.differences("prefgen", "trl"),
            }
        return found


def record(where: str, settings: dict[str, Any], clock: str, rounds: Rounds, figures: dict[str, Any]) -> dict[str, Any]:
    """What is kept."""
    return {
        **circumstances(where),
        "settings": settings,
        "time": clock,
        "figures": figures,
        "rounds": rounds.by_way,
    }


def main() -> None:
    """Measure, print the table, keep the JSON."""
    parser = command_line(__doc__, "device", "dtype")
    parser.add_argument("--model", choices=drawn.SHAPES, default="anyres")
    parser.add_argument("--trl-python", help="of an environment with TRL and PEFT; without it, only ours is measured")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=Optimisation.epochs, help="among which the reference is shared")
    parser.add_argument("--lr", type=float, default=1e-4, help="high, so that the losses of the steps differ")
    parser.add_argument("--no-gradient-checkpointing", dest="checkpointing", action="store_false")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    device = loading.resolve_device(arguments.device)
    dtype = loading.torch_dtype(arguments.dtype, device)
    torch.set_num_threads(arguments.threads)
    settings = {
        "device": device,
        "dtype": dtype,
        "steps": arguments.steps,
        "batch_size": arguments.batch_size,
        "lr": arguments.lr,
        "beta": Objective.beta,
        "gradient_checkpointing": arguments.checkpointing,
        "lora": {
            "r": Optimisation.lora_r,
            "lora_alpha": Optimisation.lora_alpha,
            "target_modules": r".*language_model\..*_proj",
            "modules_to_save": ["multi_modal_projector"],
        },
    }
    where = loading.device_kind(device)
    clock = "wall_s" if device.startswith("cuda") else "cpu_s"
    rounds = Rounds(clock, arguments.batch_size / arguments.epochs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings_file = folder / "settings.json"
        settings_file.write_text(json.dumps(settings))
        save_model(arguments.model, getattr(torch, dtype), folder / "model")
        data(folder, arguments.steps * arguments.batch_size)
        here, model = str(Path(__file__).resolve()), str(folder / "model")
        ways = {
            "prefgen": [sys.executable, here, "ours", model, str(folder / "pairs")],
            THREE: [sys.executable, here, "ours", model, str(folder / "triples")],
        }
        if arguments.trl_python:
            ways = {"trl": [arguments.trl_python, str(HERE / "train_trl.py"), model, str(folder / "pairs")], **ways}
        for _ in range(arguments.rounds):
            for way, command in ways.items():
                measured = measure(way, command, folder, settings_file, arguments.threads)
                rounds.by_way.setdefault(way, []).append(measured)
            work = rounds.by_way["prefgen"][-1]["work"]
            flops = sum(value for name, value in work.items() if name != "tokens")
            per_s = rate(arguments.model, device, getattr(torch, dtype), int(work["tokens"]))
            best = {"limit_s": flops / per_s, "gflops": flops / 1e9, "gflops_per_s": per_s / 1e9}
            rounds.by_way.setdefault("limit", []).append(best)
            report = record(where, settings, clock, rounds, rounds.figures())
            write(report, arguments.output, "train", arguments.model, device)  # after each round: they take long
    title = f"{arguments.model} on {where}, {dtype}, {arguments.threads} threads, batches of {arguments.batch_size}"
    Console(width=120).print(rounds.table(title), rounds.figures())


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(*map(Path, sys.argv[2:4]), json.loads(Path(sys.argv[4]).read_text()), Path(sys.argv[5]))
    else:
        main()
