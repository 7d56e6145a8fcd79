"""A subclass of transformers' `Trainer` with prefgen's losses, parameter groups and TRL's names of metrics.

All else is the `Trainer`'s: accumulation, schedule, clipping, checkpoints with the states of optimizer, schedule and
random numbers, and loggers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from prefgen.errors import Diverged, UsageError
from prefgen.training import checkpoints, processes, rollouts
from prefgen.training.config import Objective, Optimisation
from prefgen.training.logprobs import Policy
from prefgen.training.losses import Answers, Shift, losses, mean_reward, weights
from prefgen.training.model import is_projector
from prefgen.training.online import Supply
from prefgen.training.policy_gradient import NOT_WHITENED
from prefgen.training.reference import Logps
from prefgen.training.rows import Item

_WEIGHTS = "trained.safetensors"
_SHIFT = "quality.shift"  # beside the weights: δ and the number of batches that it is the mean of


class PreferenceTrainer(transformers.Trainer):  # type: ignore[misc]  # transformers has no types
    """Trains a policy on `Item` batches.

    Args:
        supply: prepares the batches of a step; None takes them as they are loaded.
    """

    def __init__(
        self,
        policy: Policy,
        objective: Objective,
        optimisation: Optimisation,
        *,
        supply: Supply | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model=policy, **settings)
        if supply and self.accelerator.num_processes > 1:
            raise UsageError("--online and --reference live work in one process; start it without torchrun")
        self.model_accepts_loss_kwargs = False  # the loss is a mean over samples: the Trainer divides by `grad_accum`
        self._policy = policy
        self._objective = objective
        self._optimisation = optimisation
        self._supply = supply
        self._shift = Shift()
        self._whitening = NOT_WHITENED  # of the step in hand
        self._measured: dict[str, list[float]] = defaultdict(list)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], None]:
        """The batches of a step; the loss needs no count of tokens."""
        if self._supply is None:
            return list(islice(epoch_iterator, num_batches)), None
        left = self.state.max_steps - self.state.global_step
        batches = self._supply.step(epoch_iterator, num_batches, int(self.state.epoch or 0), left)
        if self._objective.loss == "ppo":
            batches = [{**batch, "items": self._supply.referred(batch["items"])} for batch in batches]
            self._whitening = rollouts.whitening(
                self._objective, [item for batch in batches for item in batch["items"]]
            )
        return batches, None

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **settings: Any) -> torch.Tensor:
        """Mean loss of a batch.

        Args:
            model: the policy, in whatever wraps it.

        Raises:
            Diverged: it is not a number.
        """
        items: list[Item] = self._supply.referred(inputs["items"]) if self._supply else inputs["items"]
        if not items:  # all of them came to nothing; without gradients the optimizer leaves the weights alone
            return torch.zeros((), device=self.args.device, requires_grad=True)
        found = model(items)
        if self._objective.samples:
            loss_B, measured = rollouts.losses(self._objective, items, found, self._whitening)
            for name, values in measured.items():
                self._measured[name] += values
        else:
            answers = gather(items, found, rewards=self._objective.loss == "rm")
            if self._objective.quality_weight and model.training:
                own = processes.gathered(mean_reward(self._objective, answers))
                self._shift.add(sum(own) / len(own))
            loss_B = losses(self._objective, answers, self._shift.mean)
            self._measure(found, answers)
        if not torch.isfinite(loss_B).all():
            ids = ", ".join(item.sample.id for item in items)
            raise Diverged(
                f"the loss of step {self.state.global_step + 1} is not a number; its rows: {ids}. "
                "Try a lower --lr or --dtype float32"
            )
        share: float | None = inputs.get("share")  # of a step whose batches differ in size, see `Supply.step`
        return loss_B.mean() if share is None else loss_B.sum() / share

    def create_optimizer(self, *args: Any) -> torch.optim.Optimizer:
        """AdamW, with an own learning rate for the projector."""
        groups: dict[bool, list[torch.nn.Parameter]] = {False: [], True: []}
        for name, parameter in self._policy.trained():
            groups[is_projector(name)].append(parameter)
        rates = {False: self._optimisation.lr, True: self._optimisation.projector_lr}
        self.optimizer = torch.optim.AdamW(
            [{"params": groups[kind], "lr": rates[kind]} for kind in groups if groups[kind]], weight_decay=0.0
        )
        return self.optimizer

    @torch.no_grad()
    def prediction_step(
        self, model: Any, inputs: dict[str, Any], *args: Any, **settings: Any
    ) -> tuple[Any, None, None]:
        """Measure a held-out batch."""
        loss = self.compute_loss(model, inputs)
        self._measured["loss"] += [loss.item()] * len(inputs["items"])  # the Trainer's mean takes all batches for full
        return loss, None, None

    def log(self, logs: dict[str, float], *args: Any) -> None:
        """Log, with the metrics of all processes since the last call."""
        each = processes.gathered(dict(self._measured))
        self._measured.clear()
        prefix = "eval_" if "eval_loss" in logs else ""  # every step is logged before anything held out is measured
        values = {name: [value for own in each for value in own[name]] for name in each[0]}
        means = {prefix + name: sum(own) / len(own) for name, own in values.items()}
        super().log({**logs, **means, **(self._supply.measured() if self._supply else {})}, *args)

    def trained(self) -> dict[str, torch.Tensor]:
        """The full trained weights on the CPU; all processes must call this."""
        return {name: processes.whole(weight) for name, weight in self._policy.trained()}

    def save_model(self, output_dir: str, *args: Any, **settings: Any) -> None:
        """Save a checkpoint's trained weights.

        The `Trainer` saves whole models under their published names and then does not find them by those of the model
        in memory: a resumed run would start from the first weights, with nothing but a warning.
        """
        trained = self.trained()
        if self._shift.batches:
            trained[_SHIFT] = torch.tensor([self._shift.mean, self._shift.batches], dtype=torch.float64)
        if self.args.should_save:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            save_file(trained, Path(output_dir) / _WEIGHTS)
            if self._supply:
                self._supply.save(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: object = None) -> None:
        """Load what `save_model` wrote."""
        saved = load_file(Path(resume_from_checkpoint) / _WEIGHTS)
        for name, weight in self._policy.trained():
            processes.assign(weight, saved[name])
        if _SHIFT in saved:
            mean, batches = saved[_SHIFT].tolist()
            self._shift = Shift(mean, int(batches))
        if self._supply:
            self._supply.load(Path(resume_from_checkpoint))

    def _get_output_dir(self, *args: Any, **settings: Any) -> str:
        """The folder in which the `Trainer` writes a checkpoint."""
        return str(checkpoints.staging(Path(self.args.output_dir)))

    def _save_checkpoint(self, *args: Any, **settings: Any) -> None:
        """Write a checkpoint to the staging folder, and complete it when every process has written its part."""
        folder = Path(self.args.output_dir)
        if self.args.should_save:
            checkpoints.clear(folder)
        processes.gathered(None)
        super()._save_checkpoint(*args, **settings)
        processes.gathered(None)
        if self.args.should_save:
            checkpoints.complete(folder)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Zero: operations are not counted."""
        return 0

    @torch.no_grad()
    def _measure(self, found: list[list[torch.Tensor]], answers: Answers) -> None:
        """One value per sample, under TRL's names; ``logps/end`` is of the chosen answers' end token."""
        scale = self._objective.scale
        shares_BR = weights(self._objective.gamma, answers.present)
        chosen_B = scale * (answers.chosen - answers.chosen_ref)
        rejected_BR = scale * (answers.rejected - answers.rejected_ref)
        rejected_B = (shares_BR * rejected_BR).sum(-1)
        self._measured["rewards/chosen"] += chosen_B.tolist()
        self._measured["rewards/rejected"] += rejected_B.tolist()
        self._measured["rewards/margins"] += (chosen_B - rejected_B).tolist()
        self._measured["rewards/accuracies"] += (shares_BR * (chosen_B[:, None] > rejected_BR)).sum(-1).tolist()
        if self._objective.loss == "rm":
            return
        self._measured["logps/chosen"] += answers.chosen.tolist()
        self._measured["logps/rejected"] += (shares_BR * answers.rejected).sum(-1).tolist()
        self._measured["logps/end"] += [each[0][-1].item() for each in found]


def gather(items: Sequence[Item], found: Sequence[Sequence[torch.Tensor]], *, rewards: bool = False) -> Answers:
    """Weighted sums over tokens.

    Args:
        found: log-probabilities of each answer's tokens, (T,), or with `rewards` its reward, (1,).
    """
    most = max(len(each) for each in found)
    device = found[0][0].device
    sums, refs, tokens = (torch.zeros(len(items), most, device=device) for _ in range(3))
    present = torch.zeros(len(items), most, dtype=torch.bool, device=device)
    rows: list[torch.Tensor] = []
    for number, (item, policy) in enumerate(zip(items, found, strict=True)):
        reference: Logps = item.reference
        row = []
        for place, (answer, own) in enumerate(zip(item.sample.answers, policy, strict=True)):
            weights_T = torch.ones_like(own) if rewards else torch.tensor(answer.weights, device=device)
            row.append((own * weights_T).sum())
            refs[number, place] = 0.0 if rewards else (reference[place].to(device) * weights_T).sum()
            tokens[number, place] = weights_T.sum()
            present[number, place] = True
        rows.append(torch.stack([*row, *sums[number, len(row) :]]))
    sums = torch.stack(rows)
    return Answers(sums[:, 0], refs[:, 0], tokens[:, 0], sums[:, 1:], refs[:, 1:], tokens[:, 1:], present[:, 1:])
