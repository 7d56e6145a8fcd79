"""Speed of RLOO against the hardware: TRL's RLOOTrainer, `prefgen train rloo` and the limit, in one run and one table.

    python -m venv V && V/bin/pip install -r tests/trainers/pins/trl.txt peft==0.21.2
    python examples/benchmarks/rloo.py --trl-python V/bin/python

Rows of the table as in train.py, each a process of its own, a step being one prompt and `--answers` sampled answers to
it, up to `--tokens` long (random weights never end one before):

- trl: `RLOOTrainer` (rloo_trl.py), which generates by transformers;
- prefgen: `prefgen train rloo`'s own job;
- limit: the multiplications that no way of doing it saves: one pass over the prompt and steps of all answers together
  to sample them, then reference and policy over the prompt with all answers behind it. They go at the rate at which
  this machine multiplies matrices of the model's shape with as many rows, of the sequence or in sampling of answers.

Rewards are the answers' numbers of characters. The picture, the times and the memory are as in train.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import drawn
import torch
from report import HERE, command_line, write
from rich.console import Console
from train import Rounds, measure, passes, peak_gib, rate, record, save_model

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading
from prefgen.errors import RowError
from prefgen.requests import Rate, Rated, Reply, Request
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.run import prepare, train
from prefgen.training.state import Prepared, TrainingJob

BETA = 0.4


class Lengths:
    """Answers `Rate` requests by the answers' numbers of characters."""

    def __init__(self, config: EngineConfig) -> None:
        self._pending: dict[int, Rate] = {}

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request."""
        assert isinstance(request, Rate)
        self._pending[ticket] = request

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Rate everything that is pending."""
        pending, self._pending = self._pending, {}
        return [(ticket, Rated(float(len(request.answer)))) for ticket, request in pending.items()]


def data(folder: Path, count: int) -> Path:
    """SFT data of as many pictures; the file of the rows."""
    rows = []
    for sample in drawn.samples(count):
        name = f"{sample.source_id}.jpg"
        (folder / name).write_bytes(sample.loaded_images[0].data)
        turns = [("human", "<image>\nDescribe the image in detail."), ("gpt", drawn.ANSWER)]
        conversation = [{"from": who, "value": text} for who, text in turns]
        rows.append({"id": sample.source_id, "image": name, "conversations": conversation})
    file = folder / "rows.json"
    file.write_text(json.dumps(rows))
    return file


def ours(folder: Path, rows: Path, settings: dict[str, Any], result: Path) -> None:
    """Train as `prefgen train rloo` does and write what was measured."""
    optimisation = Optimisation(
        lr=settings["lr"],
        projector_lr=0,
        lora_r=settings["lora"]["r"],
        lora_alpha=settings["lora"]["lora_alpha"],
        batch_size=1,
        grad_accum=1,
        max_steps=settings["steps"],
        save_steps=settings["steps"] + 1,
        save="adapter",
    )
    arguments = (f"candidates={settings['answers']}", f"max_new_tokens={settings['tokens']}")
    online = Online("sampled", reward="scenes", online_args=arguments)
    engine = EngineConfig(str(folder), device=settings["device"], dtype=settings["dtype"])
    steps: list[dict[str, Any]] = []

    def now() -> list[float]:
        return [time.perf_counter(), time.process_time()]

    def told(metrics: dict[str, float]) -> None:
        if "loss" in metrics:
            steps.append({"at_s": now(), "length": metrics["completions/mean_length"]})

    with tempfile.TemporaryDirectory() as output:
        job = TrainingJob(
            (rows,),
            Path(output) / "out",
            engine,
            Objective("rloo", beta=BETA),
            optimisation,
            online=online,
            engines={Rate: Lengths},
        )
        prepared = prepare(job)
        begun = now()
        train(job, prepared, told)
    found = {
        "begun_s": begun,
        "steps": steps,
        "peak_gib": peak_gib(settings["device"]),
        "work": work(prepared, [settings["tokens"]] * settings["answers"]),
    }
    result.write_text(json.dumps(found))


def work(prepared: Prepared, lengths: Sequence[int]) -> dict[str, float]:
    """Operations of a step: of the policy and the reference over the sequence, of the prompt and of sampling."""
    policy = passes(prepared, lengths)
    again = passes(prepared, lengths, backward=False)
    prompt = passes(prepared, [1], backward=False)  # which predicts a first token
    parts = ("decoder", "attention", "head")
    sequence, prefix = (sum(each[part] for part in parts) for each in (again, prompt))
    return {
        "tokens": policy["tokens"],
        "vision": policy["vision"],
        "policy": sum(policy[part] for part in parts),
        "reference": sequence,
        "prefill": prefix,
        "sampling": sequence - prefix,
    }


def main() -> None:
    """Measure, print the table, keep the JSON."""
    parser = command_line(__doc__, "device", "dtype")
    parser.add_argument("--model", choices=drawn.SHAPES, default="anyres")
    parser.add_argument("--trl-python", help="of an environment with TRL and PEFT; without it, only ours is measured")
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="of an answer")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    device = loading.resolve_device(arguments.device)
    dtype = loading.torch_dtype(arguments.dtype, device)
    torch.set_num_threads(arguments.threads)
    rank = min(Optimisation.lora_r, drawn.config(arguments.model).get_text_config().hidden_size // 4)
    settings = {
        "device": device,
        "dtype": dtype,
        **{name: getattr(arguments, name) for name in ("answers", "tokens", "steps")},
        "lr": 3e-4,
        "beta": BETA,
        "lora": {
            "r": rank,
            "lora_alpha": 2 * rank,
            "target_modules": r".*language_model\..*_proj",
        },
    }
    where = loading.device_kind(device)
    clock = "wall_s" if device.startswith("cuda") else "cpu_s"
    rounds, figures = Rounds(clock, 0.0), dict[str, float]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings_file = folder / "settings.json"
        settings_file.write_text(json.dumps(settings))
        save_model(arguments.model, getattr(torch, dtype), folder / "model")
        here, shown = str(Path(__file__).resolve()), [str(folder / "model"), str(data(folder, arguments.steps))]
        ways = {"prefgen": [sys.executable, here, "ours", *shown]}
        if arguments.trl_python:
            ways = {"trl": [arguments.trl_python, str(HERE / "rloo_trl.py"), *shown], **ways}
        for _ in range(arguments.rounds):
            for way, command in ways.items():
                measured = measure(way, command, folder, settings_file, arguments.threads)
                rounds.by_way.setdefault(way, []).append(measured)
            done = rounds.by_way["prefgen"][-1]["work"]
            kind = getattr(torch, dtype)
            per_s = rate(arguments.model, device, kind, int(done["tokens"]))
            sampling_per_s = rate(arguments.model, device, kind, arguments.answers)
            whole = sum(done[name] for name in ("vision", "policy", "reference", "prefill"))
            best = {
                "limit_s": whole / per_s + done["sampling"] / sampling_per_s,
                "gflops_per_s": per_s / 1e9,
                "sampling_gflops_per_s": sampling_per_s / 1e9,
            }
            rounds.by_way.setdefault("limit", []).append(best)
            figures = {"prefgen / limit": rounds.ratio("prefgen", "limit")}
            if "trl" in ways:
                figures |= {
                    "trl / prefgen": rounds.ratio("trl", "prefgen"),
                    "memory of prefgen / trl": round(rounds.peak_gib("prefgen") / rounds.peak_gib("trl"), 3),
                }
            report = record(where, settings, clock, rounds, figures)
            write(report, arguments.output, "rloo", arguments.model, device)  # after each round: they take long
    title = f"{arguments.model} on {where}, {dtype}, {arguments.threads} threads, {arguments.answers} answers"
    Console(width=120).print(rounds.table(title), figures)


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(*map(Path, sys.argv[2:4]), json.loads(Path(sys.argv[4]).read_text()), Path(sys.argv[5]))
    else:
        main()
