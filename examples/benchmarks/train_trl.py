"""TRL's side of train.py: run by that script, with the Python of an environment in which TRL and PEFT are installed.

    python examples/benchmarks/train_trl.py MODEL DATA SETTINGS.json RESULT.json

LoRA in the same layers, with the same first matrices, and the same schedule as `prefgen train`; all else is TRL's
default, but for `max_length`, which would cut the image tokens. The reference is the model with its adapters off, read
anew in each step: `precompute_ref_log_probs` is refused for pictures.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl


class Clock(transformers.TrainerCallback):
    """Keeps metrics of every step with the time at which they were logged.

    Args:
        metrics: TRL's names, by the names under which they are kept.
    """

    def __init__(self, metrics: dict[str, str]) -> None:
        self._metrics = metrics
        self.steps: list[dict[str, Any]] = []
        self.begun: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step's beginning."""
        self.begun = [time.perf_counter(), time.process_time()]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """A step's end."""
        if "loss" in logs:
            kept = {name: logs[metric] for name, metric in self._metrics.items()}
            self.steps.append({"at_s": [time.perf_counter(), time.process_time()], **kept})


def shared(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of either trainer: one step logged after the other, nothing saved, no bar."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "max_steps": settings["steps"],
        "learning_rate": settings["lr"],
        "beta": settings["beta"],
        "bf16": settings["dtype"] == "bfloat16",
        "use_cpu": not on_cuda(settings),
        "seed": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def on_cuda(settings: dict[str, Any]) -> bool:
    """True if the model is trained on a GPU."""
    return str(settings["device"]).startswith("cuda")


def write(result: str, clock: Clock, settings: dict[str, Any]) -> None:
    """Write what was measured as JSON: times, metrics, GiB at the peak, versions."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_cuda(settings) else resident
    versions = {package.__name__: package.__version__ for package in (trl, peft, torch, transformers)}
    found = {"begun_s": clock.begun, "steps": clock.steps, "peak_gib": peak, "versions": versions}
    Path(result).write_text(json.dumps(found))


def main() -> None:
    """Train and write what was measured."""
    folder, data, settings_file, result = sys.argv[1:]
    settings = json.loads(Path(settings_file).read_text())
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, settings["dtype"]))
    arguments = trl.DPOConfig(
        **shared(settings),
        max_length=None,
        per_device_train_batch_size=settings["batch_size"],
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        gradient_checkpointing=settings["gradient_checkpointing"],
    )
    torch.manual_seed(0)  # as prefgen does before LoRA's first matrices are drawn
    clock = Clock({name: name for name in ("loss", "logps/chosen", "logps/rejected")})
    trainer = trl.DPOTrainer(
        model,
        args=arguments,
        train_dataset=datasets.load_dataset(data, split="train"),
        processing_class=transformers.AutoProcessor.from_pretrained(folder),
        peft_config=peft.LoraConfig(**settings["lora"]),
        callbacks=[clock],
    )
    trainer.train()
    write(result, clock, settings)


if __name__ == "__main__":
    main()
