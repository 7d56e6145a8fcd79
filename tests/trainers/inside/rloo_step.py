"""One step of TRL's RLOOTrainer on scenes, written down: tokens, rewards, advantages, log-probabilities, loss.

Arguments: the model's folder, the picture's folder, a folder to write to, and optionally a reward model's folder, which
is then a second reward function, as it is.
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

BETA, ANSWERS, PROMPTS = 0.4, 4, 2
QUESTION = "Describe the image."


def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """Any number that depends on the answer."""
    return [len(completion[0]["content"]) % 7 / 3 for completion in completions]


class Recording(trl.RLOOTrainer):  # type: ignore[misc]  # not installed where types are checked
    """Keeps what the step was made of."""

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        found = super()._generate_and_score_completions(inputs)
        self.kept = {
            name: found[name].clone() for name in ("completion_ids", "completion_mask", "advantages", "old_logps")
        }
        self.kept |= {"prompt_ids": found["prompt_ids"].clone(), "prompt_mask": found["prompt_mask"].clone()}
        return found

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(dataset)
        sampler.shuffle = False
        return sampler


def main(model: Path, pictures: Path, out: Path, *rewards: str) -> None:
    """Make the step."""
    policy = transformers.AutoModelForImageTextToText.from_pretrained(model)
    torch.manual_seed(1)
    for name, weight in policy.named_parameters():  # or the KL from the reference, read from the folder, would be 0
        if "language_model" in name and weight.dim() == 2:
            weight.data += 0.05 * weight.data.std() * torch.randn_like(weight)
    policy.model.vision_tower.requires_grad_(False)
    policy.save_pretrained(out / "policy")
    processor = transformers.AutoProcessor.from_pretrained(model)
    processor.save_pretrained(out / "policy")
    rows = [
        {
            "prompt": [{"role": "user", "content": QUESTION}],
            "image": Image.open(pictures / f"{number:012d}.jpg"),
        }
        for number in range(PROMPTS)
    ]
    arguments = trl.RLOOConfig(
        output_dir=str(out / "trl"),
        per_device_train_batch_size=PROMPTS * ANSWERS,
        num_generations=ANSWERS,
        max_completion_length=24,
        beta=BETA,
        temperature=1.0,
        max_steps=1,
        logging_steps=1,
        max_grad_norm=1e9,
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        dataloader_num_workers=0,
    )
    functions: list[Any] = [reward]
    if rewards:
        from prefgen.rewards import Reward

        functions.append(Reward(rewards[0], device="cpu"))
    trainer = Recording(
        policy,
        reward_funcs=functions,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()),
        processing_class=processor,
    )
    trainer.train()
    (log,) = (entry for entry in trainer.state.log_history if "loss" in entry)
    kept = trainer.kept
    answers = [
        [token for token, counts in zip(ids, mask, strict=True) if counts]
        for ids, mask in zip(kept["completion_ids"].tolist(), kept["completion_mask"].tolist(), strict=True)
    ]
    prompts = [
        [token for token, counts in zip(ids, mask, strict=True) if counts]
        for ids, mask in zip(kept["prompt_ids"].tolist(), kept["prompt_mask"].tolist(), strict=True)
    ]
    texts = [
        [{"role": "assistant", "content": trainer.processing_class.decode(ids, skip_special_tokens=True)}]
        for ids in answers
    ]
    (out / "step.json").write_text(
        json.dumps(
            {
                "answers": answers,
                "prompts": prompts,
                "texts": [text[0]["content"] for text in texts],
                "rewards": reward([], texts),
                "advantages": kept["advantages"].tolist(),
                "old_logps": kept["old_logps"].tolist(),
                "log": {name: value for name, value in log.items() if isinstance(value, float)},
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
