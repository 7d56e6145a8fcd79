"""One step of TRL's GRPOTrainer on scenes with a reward model of ours as its reward function, written down.

Arguments: the model's folder, the pictures' folder, a folder to write to, the reward model's folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
import trl
from PIL import Image

from prefgen.rewards import Reward

ANSWERS, PROMPTS = 4, 2
QUESTION = "Describe the image."


class Watched(Reward):
    """Keeps what TRL asks and is told."""

    def __call__(self, prompts: Any, completions: Any, images: Any = None, **columns: Any) -> list[float]:
        """Rewards of completions."""
        rewards = super().__call__(prompts, completions, images, **columns)
        self.kept = {"texts": [each[-1]["content"] for each in completions], "rewards": rewards}
        return rewards


class Recording(trl.GRPOTrainer):  # type: ignore[misc]  # not installed where types are checked
    """Keeps the advantages of the step."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        found = super()._generate_and_score_completions(inputs)
        self.advantages = found["advantages"].tolist()
        return found

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        sampler.shuffle = False
        return sampler


def main(model: Path, pictures: Path, out: Path, reward_model: Path) -> None:
    """Make the step."""
    policy = transformers.AutoModelForImageTextToText.from_pretrained(model)
    policy.model.vision_tower.requires_grad_(False)
    before = policy.lm_head.weight.detach().clone()
    rows = [
        {"prompt": [{"role": "user", "content": QUESTION}], "image": Image.open(pictures / f"{number:012d}.jpg")}
        for number in range(PROMPTS)
    ]
    arguments = trl.GRPOConfig(
        output_dir=str(out / "trl"),
        per_device_train_batch_size=PROMPTS * ANSWERS,
        num_generations=ANSWERS,
        max_completion_length=24,
        learning_rate=1e-3,
        max_steps=1,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
    )
    reward = Watched(reward_model, device="cpu")
    trainer = Recording(
        policy,
        reward_funcs=reward,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()),
        processing_class=transformers.AutoProcessor.from_pretrained(model),
    )
    trainer.train()
    (log,) = (entry for entry in trainer.state.log_history if "loss" in entry)
    moved = float((trainer.model.lm_head.weight.detach() - before).abs().max())
    found = {
        **reward.kept,
        "advantages": trainer.advantages,
        "moved": moved,
        "log": {name: value for name, value in log.items() if isinstance(value, float)},
    }
    (out / "grpo.json").write_text(json.dumps(found))
    assert torch.isfinite(trainer.model.lm_head.weight).all()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
