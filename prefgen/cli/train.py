"""`prefgen train`: preference training on finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.addresses import redact
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.train.config import (
    AVERAGES,
    FALLBACKS,
    LOSS_MASKS,
    LOSSES,
    MAKERS,
    REFERENCES,
    SAVED,
    SCHEDULES,
    Objective,
    Online,
    Optimisation,
)

if TYPE_CHECKING:
    from prefgen.cli.console import Console
    from prefgen.records import Dropped
    from prefgen.train.callbacks import Asked
    from prefgen.train.rows import Sample
    from prefgen.train.state import Job, Prepared
    from prefgen.train.sweep import Point

_ONLINE = (
    *("online_every", "online_args", "with_stored", "mix", "fallback", "max_fallback", "similarity_model"),
    *("annotator", "annotator_revision", "annotator_prompt"),
)
_SERVED = ("judge", "api_key_env", "max_cost")
_SFT = ("image_root", "image_match", "follow_links", "turns", "limit", "sample", "split", "allow_urls")
_ROWS = 20  # of a sweep's table in the terminal; its README.md has all


def _objective(*names: str, help: str, **settings: Any) -> Any:
    return o.option("Objective", *names, help=help, **settings)


def _training(*names: str, help: str, **settings: Any) -> Any:
    return o.option("Training", *names, help=help, **settings)


def _online(*names: str, help: str, **settings: Any) -> Any:
    return o.option("Online", *names, help=help, **settings)


def train(
    ctx: typer.Context,
    loss: Annotated[str, typer.Argument(help=f"One of {', '.join(LOSSES)}.")],
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs; with --online, SFT data too.")],
    model: o.Model,
    output: Annotated[Path, o.data("--output", "-o", help="Folder for the trained model.", callback=o.on_disk)],
    image_root: o.ImageRoot = None,
    image_match: o.ImageMatch = "exact",
    follow_links: o.FollowLinks = False,
    turns: o.Turns = "all",
    limit: o.Limit = None,
    sample: o.Sample = None,
    split: o.Split = None,
    allow_urls: o.AllowUrls = False,
    beta: Annotated[float, _objective("--beta", help="β: pull towards the reference.")] = Objective.beta,
    loss_mask: Annotated[
        str, _objective("--loss-mask", help="Tokens that count; spans: where the answers differ", choices=LOSS_MASKS)
    ] = Optimisation.loss_mask,
    span_weight: Annotated[
        float, _objective("--span-weight", help="dense: γ of RLHF-V, what a differing token counts.")
    ] = Optimisation.span_weight,
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
    lr_schedule: Annotated[
        str, _training("--lr-schedule", help="What the rates do after the warm-up", choices=SCHEDULES)
    ] = Optimisation.lr_schedule,
    warmup: Annotated[
        float, _training("--warmup", help="Share of the steps in which the rates rise.")
    ] = Optimisation.warmup,
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
    validation: Annotated[
        float | None, _training("--validation", help="Share held out and measured; by default 0, and 0.1 in a sweep.")
    ] = None,
    eval_steps: Annotated[
        int, _training("--eval-steps", help="Steps between their measurements; 0: an epoch's.")
    ] = Optimisation.eval_steps,
    sweep: Annotated[
        list[str] | None, _training("--sweep", help="Grid: paper, or name=value,value; repeatable.", metavar="<grid>")
    ] = None,
    keep_all: Annotated[bool, _training("--keep-all", help="Keep all models of a sweep, not the best alone.")] = False,
    gpus: Annotated[int, _training("--gpus", help="Processes, one on each GPU; with --device cpu, on the CPU.")] = 1,
    report_to: Annotated[str, _training("--report-to", help="tensorboard, wandb, trackio … or none.")] = "none",
    reference: Annotated[
        str, _training("--reference", help="Read before the first step, or in every step", choices=REFERENCES)
    ] = Optimisation.reference,
    online: Annotated[
        str | None, _online("--online", help="Answers that the policy makes meanwhile", choices=MAKERS)
    ] = None,
    online_every: Annotated[
        int, _online("--online-every", help="Steps that one round of answers is made for.")
    ] = Online.online_every,
    online_args: Annotated[
        list[str] | None, _online("--online-arg", help="An option of the method, name=value; repeatable.")
    ] = None,
    with_stored: Annotated[
        bool | None,
        _online("--with-stored/--without-stored", help="Average with the stored answers, eq. 5; povid does."),
    ] = None,
    mix: Annotated[float, _online("--mix", help="Share of the samples trained on as stored, eq. 4.")] = Online.mix,
    fallback: Annotated[
        str | None,
        _online("--fallback", help="Samples whose answers come to nothing; else by --mix", choices=FALLBACKS),
    ] = None,
    max_fallback: Annotated[
        float, _online("--max-fallback", help="Stop if a larger share comes to nothing.")
    ] = Online.max_fallback,
    similarity_model: Annotated[
        str, _online("--similarity-model", help="mpnet (the paper's), minilm, folder or Hub id.")
    ] = Online.similarity_model,
    annotator: Annotated[
        str, _online("--annotator", help="dpo: model that compares answers, or a server's URL.")
    ] = Online.annotator,
    annotator_revision: Annotated[
        str | None, _online("--annotator-revision", help="Its branch, tag or commit.")
    ] = None,
    annotator_prompt: Annotated[
        Path | None, _online("--annotator-prompt", help="A prompt of your own: prefgen prompts export.")
    ] = None,
    judge: Annotated[str, _online("--judge", help="A served annotator's name.")] = JudgeConfig.judge,
    api_key_env: Annotated[
        str, _online("--api-key-env", help="Environment variable that holds its key.")
    ] = JudgeConfig.api_key_env,
    max_cost: Annotated[float | None, _online("--max-cost", help="Dollars it may cost.")] = JudgeConfig.max_cost,
    revision: o.Revision = None,
    base_model: o.BaseModel = EngineConfig.base_model,
    device: o.Device = EngineConfig.device,
    dtype: o.Dtype = EngineConfig.dtype,
    trust_remote_code: o.TrustRemoteCode = EngineConfig.trust_remote_code,
    seed: o.Seed = 0,
    config_file: o.ConfigFile = None,
    dry_run: Annotated[bool, o.run("--dry-run", help="Make every check, print the plan, then stop.")] = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train a model on runs: DPO, IPO, SLiC or SFT; with LoRA or whole.

    The vision encoder stays frozen. The same command goes on with a run that was stopped. Metrics are those of TRL's
    DPOTrainer; `logps/end`, of the end token, falls where answers are going to grow longer.

    With --online bdhs or dpo, SFT data is enough: nothing is stored, all answers are made while training.

    Example: prefgen train dpo out --model llava-hf/llava-v1.6-vicuna-7b-hf --output aligned
    """
    import json as json_
    import shlex
    import sys

    from prefgen.cli import config
    from prefgen.cli.console import Console
    from prefgen.engines import build
    from prefgen.requests import Generate
    from prefgen.runner.pending import Interrupts
    from prefgen.sources import SourceOptions
    from prefgen.train.report import Steps

    if keep_all and not sweep:
        raise UsageError("--keep-all belongs to --sweep")
    objective, optimisation = o.build(Objective, ctx.params), o.build(Optimisation, ctx.params)
    for name in _ONLINE:
        if online is None and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-').removesuffix('s')} needs --online")
    for name in _SFT:
        if online is None and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is for SFT data, which needs --online")
    made = o.build(Online, ctx.params) if online else None
    for name in _SERVED:
        if not (made and made.served) and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is for an --annotator that is a server's URL")
    judged = o.build(JudgeConfig, {**ctx.params, "judge_url": annotator if made and made.served else None})
    engine = EngineConfig(model, "transformers", revision, base_model, device=device, dtype=_dtype(dtype))
    try:
        from prefgen.train import processes

        if sweep and max(gpus, processes.count()) > 1:
            raise UsageError(
                "--sweep trains in one process; give each GPU a part of the grid and an --output of its own"
            )
        if processes.count() == 1 and gpus > 1:
            raise typer.Exit(int(processes.start(gpus, device)))
        from prefgen.train import run as job_
        from prefgen.train.state import Job
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}, which is missing: pip install 'prefgen[train]'") from error
    if gpus not in (1, processes.count()):
        raise UsageError(f"--gpus {gpus} is not the number of processes that were started, {processes.count()}")
    optimisation = _of_adapter(ctx, engine, optimisation)
    build.hush(engine, (Generate,))
    command = redact(shlex.join(["prefgen", *sys.argv[1:]]))
    source = o.build(SourceOptions, {name: ctx.params[name] for name in (*_SFT, "seed")})
    job = Job(
        tuple(runs), output, engine, objective, optimisation, source, config.lock(ctx), command, report_to, made, judged
    )
    talk = Console(stderr=True, quiet=quiet or not processes.first(), highlight=False)
    with Interrupts() as interrupts:
        if sweep:
            best = _sweep(ctx, job, talk, lambda: interrupts.code)
            if json and best:
                Console().print_json(json_.dumps(best.result))
            return
        prepared = job_.prepare(job)
        _print_plan(job, prepared, talk)
        _print_steps(job, prepared, talk)
        if dry_run:
            return
        if job_.finished(job):
            with processes.together():
                job_.check_drift(job, prepared)
            talk.print(f"{output} is finished already; nothing to do")
            return
        with Steps(talk, online=made is not None) as steps:
            steps.begin("", prepared.steps, len(prepared.samples))
            last = job_.train(job, prepared, steps.add, steps.reference, lambda: interrupts.code)
    if steps.asked:
        talk.print(f"online: the answers of {steps.fallen:,} of {steps.asked:,} samples came to nothing")
    if json and processes.first():
        Console().print_json(json_.dumps(last))
    talk.print(f"model in {output}", markup=False)


def _of_adapter(ctx: typer.Context, engine: EngineConfig, optimisation: Optimisation) -> Optimisation:
    """The settings with LoRA's size as it is in an adapter that is trained further."""
    from prefgen.cli import config
    from prefgen.engines import adapters

    adapter = adapters.find(engine)
    if adapter is None or not optimisation.lora or not adapter.rank:
        return optimisation
    for name, own in (("lora_r", adapter.rank), ("lora_alpha", adapter.alpha)):
        if config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is that of {adapter.name}, which is trained further: {own}")
    return replace(optimisation, lora_r=adapter.rank, lora_alpha=adapter.alpha)


def _sweep(ctx: typer.Context, job: Job, talk: Console, stop: Asked) -> Point | None:
    """Every run of the grid that `--sweep` spans; the best one, or None for a dry run."""
    from prefgen.cli import config
    from prefgen.train import run as job_
    from prefgen.train import sweep
    from prefgen.train.report import Steps

    axes = sweep.parse(ctx.params["sweep"], job.objective.loss)
    for name in axes:
        if config.is_given(ctx, "grad_accum" if name == "batch" else name.replace("-", "_")):
            raise UsageError(f"{name} is swept: give its values with --sweep {name}= alone")
    if ctx.params["validation"] is None:
        job = replace(job, optimisation=replace(job.optimisation, validation=sweep.VALIDATION))
    if job_.finished(job):
        raise UsageError(f"{job.output} holds a trained model: give another --output")
    runs = sweep.points(job, axes, lambda changed: config.lock(ctx, changed))
    prepared = job_.prepare(job)
    _print_plan(job, prepared, talk)
    steps = sum(job_.steps_of(run.job.optimisation, len(prepared.trained_on)) for run in runs)
    grid = "; ".join(f"{name} {', '.join(f'{value:g}' for value in values)}" for name, values in axes.items())
    talk.print(f"{job.objective.loss}, {len(runs):,} runs, {steps:,} steps in all: {grid}")
    ended = sum(run.result is not None for run in runs)
    if ended:
        talk.print(f"{ended:,} of the runs have ended")
    if ctx.params["dry_run"]:
        return None
    sweep.check_drift(runs, prepared)
    rows: list[Sample | Dropped] = [*prepared.samples, *prepared.dropped]
    del prepared  # each run loads the model anew
    with Steps(talk, brief=True) as shown:
        ranked = sweep.run(job, runs, rows, shown, stop, keep_all=ctx.params["keep_all"])
    _print_ranked(ranked, talk)
    best = ranked[0]
    kept = "model" if best.has_model else "its model was deleted by an earlier sweep; metrics"
    talk.print(f"best: {kept} in {best.job.output}; table in {job.output}", markup=False, soft_wrap=True)
    return best


def _print_ranked(ranked: Sequence[Point], talk: Console) -> None:
    from rich.table import Table

    from prefgen.train.sweep import table

    head, *lines = table(ranked)
    shown = Table(*head, box=None)
    for cells in lines[:_ROWS]:
        shown.add_row(*cells)
    talk.print(shown)


def _dtype(name: str) -> Any:
    """Checked by `EngineConfig`."""
    return name


def _print_plan(job: Job, prepared: Prepared, talk: Console) -> None:
    from prefgen.train.run import reasons_of

    samples = prepared.samples
    rejected = sum(len(sample.answers) - 1 for sample in samples)
    tokens = sum(sample.length for sample in samples) / len(samples)
    counted = sum(weight > 0 for sample in samples for answer in sample.answers for weight in answer.weights)
    share = counted / sum(len(answer.ids) for sample in samples for answer in sample.answers)
    talk.print(
        f"{len(samples):,} samples, {rejected:,} rejected answers, {tokens:,.0f} tokens a sample on average; "
        f"{share:.0%} of the answers' tokens count ({job.optimisation.loss_mask})"
    )
    for reason, count in reasons_of(prepared.dropped).items():
        talk.print(f"{count:,} rows dropped: {reason}")
    if prepared.separate:
        talk.print(f"answers are read in separate sequences: {prepared.separate}")
    if prepared.held_out:
        talk.print(f"{len(prepared.held_out):,} samples are held out, {len(prepared.trained_on):,} trained on")


def _print_steps(job: Job, prepared: Prepared, talk: Console) -> None:
    from prefgen.train import processes

    settings = job.optimisation
    lora = f"{'QLoRA' if settings.qlora else 'LoRA'} {settings.lora_r}/{settings.lora_alpha}"
    kind = lora if settings.lora else "whole"
    effective = settings.batch_size * settings.grad_accum * processes.count()
    talk.print(
        f"{job.objective.loss}, β {job.objective.beta:g}, {kind}, {prepared.steps:,} steps of {effective} samples on "
        f"{prepared.loaded.device} in {str(prepared.loaded.dtype).removeprefix('torch.')}"
    )
    if job.online:
        _print_online(job.online, talk)


def _print_online(online: Online, talk: Console) -> None:
    made = {"bdhs": "rejected answers by BDHS", "povid": "rejected answers by distortion", "dpo": "both answers"}
    beside = "averaged with the stored ones" if online.averages else "in place of the stored ones"
    given = f" ({', '.join(online.online_args)})" if online.online_args else ""
    every = "every step" if online.online_every == 1 else f"{online.online_every:,} steps at a time"
    talk.print(f"online: {made[online.online]}{given} from the policy, {every}, {beside}", markup=False)
    if online.annotator:
        talk.print(f"annotator: {online.annotator}, in random order", markup=False)
    if online.mix:
        talk.print(f"mix: {online.mix:.0%} of the samples as they are stored, drawn anew in every epoch")
    fate = {"drop": "is left out of its step", "stored": "is trained on as stored"}[online.falls_back]
    talk.print(f"a sample whose answers come to nothing {fate}; the run stops if {online.max_fallback:.0%} do")
