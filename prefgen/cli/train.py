"""`prefgen train`: preference training on finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.train.config import AVERAGES, LOSS_MASKS, LOSSES, SAVED, Objective, Optimisation

if TYPE_CHECKING:
    from rich.console import Console

    from prefgen.train.job import Job, Metrics, Prepared

_LINES = 40  # of the table of metrics, about


def _objective(*names: str, help: str, **settings: Any) -> Any:
    return o.option("Objective", *names, help=help, **settings)


def _training(*names: str, help: str, **settings: Any) -> Any:
    return o.option("Training", *names, help=help, **settings)


def train(
    ctx: typer.Context,
    loss: Annotated[str, typer.Argument(help=f"One of {', '.join(LOSSES)}.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    model: o.Model,
    output: Annotated[Path, o.data("--output", "-o", help="Folder for the trained model.")],
    beta: Annotated[float, _objective("--beta", help="β: pull towards the reference.")] = Objective.beta,
    loss_mask: Annotated[
        str, _objective("--loss-mask", help="Tokens that count; spans: where the answers differ", choices=LOSS_MASKS)
    ] = Optimisation.loss_mask,
    gamma: Annotated[
        float, _objective("--gamma", help="γ of eq. 5: weight of the first of several rejected answers.")
    ] = Objective.gamma,
    average: Annotated[
        str, _objective("--average", help="What is averaged over several rejected answers", choices=AVERAGES)
    ] = Objective.average,
    sft_weight: Annotated[
        float, _objective("--sft-weight", help="Weight of the chosen answer's NLL per token.")
    ] = Objective.sft_weight,
    label_smoothing: Annotated[
        float, _objective("--label-smoothing", help="dpo: share of pairs taken to be the wrong way round.")
    ] = Objective.label_smoothing,
    length_normalised: Annotated[
        bool, _objective("--length-normalised", help="dpo, slic: log-ratios per token.")
    ] = Objective.length_normalised,
    lr: Annotated[float, _training("--lr", help="Rate of LoRA or of the language model.")] = Optimisation.lr,
    projector_lr: Annotated[
        float, _training("--projector-lr", help="Rate of the projector; 0 freezes it.")
    ] = Optimisation.projector_lr,
    epochs: Annotated[float, _training("--epochs", help="Passes over the data.")] = Optimisation.epochs,
    max_steps: Annotated[
        int, _training("--max-steps", help="Optimizer steps in all; 0: by --epochs.")
    ] = Optimisation.max_steps,
    batch_size: Annotated[int, _training("--batch-size", help="Samples of a pass.")] = Optimisation.batch_size,
    grad_accum: Annotated[int, _training("--grad-accum", help="Passes of a step.")] = Optimisation.grad_accum,
    max_length: Annotated[
        int, _training("--max-length", help="Drop rows with more tokens; 0: than the model has positions.")
    ] = Optimisation.max_length,
    lora: Annotated[
        bool, _training("--lora/--no-lora", help="Train LoRA, or the whole language model.")
    ] = Optimisation.lora,
    lora_r: Annotated[int, _training("--lora-r", help="LoRA's rank.")] = Optimisation.lora_r,
    lora_alpha: Annotated[int, _training("--lora-alpha", help="LoRA's scale.")] = Optimisation.lora_alpha,
    qlora: Annotated[
        bool, _training("--qlora", help="LoRA beside a language model in 4 bit; with --save adapter.")
    ] = Optimisation.qlora,
    gradient_checkpointing: Annotated[
        bool, _training("--gradient-checkpointing/--no-gradient-checkpointing", help="Less memory, more time.")
    ] = Optimisation.gradient_checkpointing,
    save: Annotated[str, _training("--save", help="What is saved with LoRA", choices=SAVED)] = Optimisation.save,
    save_steps: Annotated[int, _training("--save-steps", help="Steps between checkpoints.")] = Optimisation.save_steps,
    gpus: Annotated[int, _training("--gpus", help="Processes, one on each GPU; with --device cpu, on the CPU.")] = 1,
    report_to: Annotated[str, _training("--report-to", help="tensorboard, wandb, trackio … or none.")] = "none",
    revision: o.Revision = None,
    device: o.Device = EngineConfig.device,
    dtype: o.Dtype = EngineConfig.dtype,
    trust_remote_code: o.TrustRemoteCode = EngineConfig.trust_remote_code,
    seed: o.Seed = 0,
    config_file: o.ConfigFile = None,
    dry_run: Annotated[bool, o.run("--dry-run", help="Make every check, print the plan, then stop.")] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train a model on runs: DPO, IPO or SLiC, with LoRA or whole.

    The vision encoder stays frozen. The same command goes on with a run that was stopped. Metrics are those of TRL's
    DPOTrainer; `logps/end`, of the end token, falls where answers are going to grow longer.

    Example: prefgen train dpo out --model llava-hf/llava-v1.6-vicuna-7b-hf --output aligned
    """
    import json as json_
    import shlex
    import sys

    from rich.console import Console

    from prefgen.cli import config
    from prefgen.engines import build
    from prefgen.errors import UsageError
    from prefgen.pending import Interrupts
    from prefgen.requests import Generate

    objective, optimisation = o.build(Objective, ctx.params), o.build(Optimisation, ctx.params)
    engine = EngineConfig(model, "transformers", revision, device=device, dtype=_dtype(dtype))
    try:
        from prefgen.train import processes

        if processes.count() == 1 and gpus > 1:
            raise typer.Exit(int(processes.start(gpus, device)))
        from prefgen.train import job as job_
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}, which is missing: pip install 'prefgen[train]'") from error
    if gpus not in (1, processes.count()):
        raise UsageError(f"--gpus {gpus} is not the number of processes that were started, {processes.count()}")
    build.hush(engine, (Generate,))
    command = shlex.join(["prefgen", *sys.argv[1:]])
    job = job_.Job(tuple(runs), output, engine, objective, optimisation, config.lock(ctx), command, report_to)
    talk = Console(stderr=True, quiet=quiet or not processes.first(), highlight=False)
    with Interrupts() as interrupts:
        prepared = job_.prepare(job)
        _print_plan(job, prepared, talk)
        if dry_run:
            return
        if job_.finished(job):
            with processes.together():
                job_.check_drift(job, prepared)
            talk.print(f"{output} is finished already; nothing to do")
            return
        table = _Table(prepared.steps, talk)
        last = job_.train(job, prepared, table.add, table.reference, lambda: interrupts.code)
    if json and processes.first():
        Console().print_json(json_.dumps(last))
    talk.print(f"model in {output}", markup=False)


def _dtype(name: str) -> Any:
    """Checked by `EngineConfig`."""
    return name


def _print_plan(job: Job, prepared: Prepared, talk: Console) -> None:
    from prefgen.train import processes
    from prefgen.train.job import reasons_of

    samples = prepared.samples
    rejected = sum(len(sample.answers) - 1 for sample in samples)
    tokens = sum(sample.length for sample in samples) / len(samples)
    counted = sum(sum(answer.counts) for sample in samples for answer in sample.answers)
    share = counted / sum(len(answer.ids) for sample in samples for answer in sample.answers)
    talk.print(
        f"{len(samples):,} samples, {rejected:,} rejected answers, {tokens:,.0f} tokens a sample on average; "
        f"{share:.0%} of the answers' tokens count ({job.optimisation.loss_mask})"
    )
    for reason, count in reasons_of(prepared.dropped).items():
        talk.print(f"{count:,} rows dropped: {reason}")
    if prepared.separate:
        talk.print(f"answers are read in separate sequences: {prepared.separate}")
    settings = job.optimisation
    lora = f"{'QLoRA' if settings.qlora else 'LoRA'} {settings.lora_r}/{settings.lora_alpha}"
    kind = lora if settings.lora else "whole"
    effective = settings.batch_size * settings.grad_accum * processes.count()
    talk.print(
        f"{job.objective.loss}, β {job.objective.beta:g}, {kind}, {prepared.steps:,} steps of {effective} samples on "
        f"{prepared.loaded.device} in {str(prepared.loaded.dtype).removeprefix('torch.')}"
    )


class _Table:
    """Metrics as they come, a line for every so many steps."""

    _HEADS = ("step", "loss", "margin", "accuracy", "chosen", "rejected", "end")
    _NAMES = ("loss", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected", "logps/end")

    def __init__(self, steps: int, talk: Console) -> None:
        self._steps = steps
        self._talk = talk
        self._headed = False
        self._read = 0

    def reference(self, done: int) -> None:
        """How far the reference is."""
        if done // 1000 > self._read // 1000:
            self._talk.print(f"reference: {done:,} samples")
        self._read = done

    def add(self, metrics: Metrics) -> None:
        """A step's metrics."""
        step = int(metrics["step"])
        if "loss" not in metrics or (step > 1 and step < self._steps and step % max(1, self._steps // _LINES)):
            return
        if not self._headed:
            self._print(self._HEADS)
            self._headed = True
        self._print([f"{step:,}", *(f"{metrics[name]:.3f}" for name in self._NAMES)])

    def _print(self, cells: Sequence[str]) -> None:
        self._talk.print("".join(f"{cell:>10}" for cell in cells), soft_wrap=True)
