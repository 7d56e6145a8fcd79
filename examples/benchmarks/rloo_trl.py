"""TRL's side of rloo.py: run by that script, with the Python of an environment in which TRL and PEFT are installed.

    python examples/benchmarks/rloo_trl.py MODEL ROWS.json SETTINGS.json RESULT.json

LoRA in the same layers, the same β and numbers of answers and tokens; all else is TRL's default.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl
from train_trl import Clock, shared, write


def length(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """Numbers of characters."""
    return [float(len(completion[0]["content"])) for completion in completions]


def main() -> None:
    """Train and write what was measured."""
    folder, rows_file, settings_file, result = sys.argv[1:]
    settings = json.loads(Path(settings_file).read_text())
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, settings["dtype"]))
    rows = [
        {
            "prompt": [{"role": "user", "content": row["conversations"][0]["value"].removeprefix("<image>\n")}],
            "image": str(Path(rows_file).parent / row["image"]),
        }
        for row in json.loads(Path(rows_file).read_text())
    ]
    arguments = trl.RLOOConfig(
        **shared(settings),
        per_device_train_batch_size=settings["answers"],
        num_generations=settings["answers"],
        max_completion_length=settings["tokens"],
        gradient_checkpointing=True,
    )
    clock = Clock({"length": "completions/mean_length"})
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
    write(result, clock, settings)


if __name__ == "__main__":
    main()
