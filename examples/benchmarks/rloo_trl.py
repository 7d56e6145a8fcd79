"""TRL's side of rloo.py: run by that script, with the Python of an environment in which TRL and PEFT are installed.

    python examples/benchmarks/rloo_trl.py MODEL ROWS.json SETTINGS.json RESULT.json

LoRA in the same layers, the same β and numbers of answers and tokens; all else is TRL's default.
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
    """Keeps the time at which every step was logged, and the answers' mean length."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.begun: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step's beginning."""
        self.begun = [time.perf_counter(), time.process_time()]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        """A step's end."""
        if "loss" in logs:
            at = [time.perf_counter(), time.process_time()]
            self.steps.append({"at_s": at, "length": logs["completions/mean_length"]})


def length(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """Numbers of characters."""
    return [float(len(completion[0]["content"])) for completion in completions]


def main() -> None:
    """Train and write what was measured."""
    folder, rows_file, settings_file, result = sys.argv[1:]
    settings = json.loads(Path(settings_file).read_text())
    cuda = settings["device"].startswith("cuda")
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, settings["dtype"]))
    rows = [
        {
            "prompt": [{"role": "user", "content": row["conversations"][0]["value"].removeprefix("<image>\n")}],
            "image": str(Path(rows_file).parent / row["image"]),
        }
        for row in json.loads(Path(rows_file).read_text())
    ]
    arguments = trl.RLOOConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=settings["steps"],
        per_device_train_batch_size=settings["answers"],
        num_generations=settings["answers"],
        max_completion_length=settings["tokens"],
        learning_rate=settings["lr"],
        beta=settings["beta"],
        gradient_checkpointing=True,
        bf16=settings["dtype"] == "bfloat16",
        use_cpu=not cuda,
        seed=0,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    clock = Clock()
    trainer = trl.RLOOTrainer(
        model,
        reward_funcs=length,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()),
        processing_class=transformers.AutoProcessor.from_pretrained(folder),
        peft_config=peft.LoraConfig(**settings["lora"]),
        callbacks=[clock],
    )
    trainer.train()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else resident
    versions = {package.__name__: package.__version__ for package in (trl, peft, torch, transformers)}
    found = {"begun_s": clock.begun, "steps": clock.steps, "peak_gib": peak, "versions": versions}
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
