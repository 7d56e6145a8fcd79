"""`prefgen train`: preference training on finished runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prefgen.addresses import redact
from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import ExitCode, Stopped, UsageError
from prefgen.options import check, option
from prefgen.sources import SourceOptions
from prefgen.training.config import DEFAULTS, LOSSES, Loss, Objective, Online, Optimisation

if TYPE_CHECKING:
    from prefgen.console import Console
    from prefgen.records import Dropped
    from prefgen.training.callbacks import Asked
    from prefgen.training.rows import TrainingSample
    from prefgen.training.state import Prepared, TrainingJob
    from prefgen.training.sweep import Point

_ONLINE = (
    *("online_every", "online_args", "with_stored", "mix", "fallback", "max_fallback", "similarity_model"),
    *("annotator", "annotator_revision", "annotator_prompt"),
)
_MAKERS = ("bdhs", "dpo", "povid")
_SERVED = ("judge", "api_key_env", "max_cost")
_SFT = ("image_root", "image_match", "follow_links", "turns", "limit", "sample", "split", "allow_urls")
_ROWS = 20  # of a sweep's table in the terminal; its README.md has all


@dataclass(frozen=True)
class Training:
    """Options of carrying out a training run.

    Attributes:
        sweep: the grid, several runs in place of one.
        keep_all: whether all their models are kept.
        gpus: processes.
        report_to: where Hugging Face's callbacks report to.
    """

    sweep: Sequence[str] = option(
        (), help="Grid: paper, or name=value,value; repeatable.", panel="Training", metavar="<grid>"
    )
    keep_all: bool = option(False, help="Keep all models of a sweep, not the best alone.", panel="Training")
    gpus: int = option(1, help="Processes, one on each GPU; with --device cpu, on the CPU.", panel="Training", low=1)
    report_to: str = option("none", help="tensorboard, wandb, trackio … or none.", panel="Training")

    def __post_init__(self) -> None:
        check(self)
        if self.keep_all and not self.sweep:
            raise UsageError("--keep-all belongs to --sweep")


@command
def train(
    ctx: typer.Context,
    loss: Annotated[str, typer.Argument(help=f"One of {', '.join(LOSSES)}.")],
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs; with --online, SFT data too.", metavar="RUN…")
    ],
    output: Annotated[Path, o.data("--output", "-o", help="Folder for the trained model.", callback=o.on_disk)],
    source: Annotated[SourceOptions, only(*_SFT)],
    objective: Objective,
    optimisation: Annotated[Optimisation, without(validation={"default": None, "optional": True})],
    training: Training,
    online: Annotated[Draft[Online], without(online={"default": None, "optional": True, "choices": _MAKERS})],
    asked: Annotated[
        Draft[JudgeConfig],
        only(
            judge={"help": "A served annotator's name.", "panel": "Online"},
            api_key_env={"help": "Environment variable that holds its key.", "panel": "Online"},
            max_cost={"help": "Dollars it may cost.", "panel": "Online"},
        ),
    ],
    policy: Annotated[
        EngineConfig,
        only("model", "revision", "base_model", "chat_template", "device", "dtype", "trust_remote_code"),
    ],
    run: Annotated[
        o.RunOptions,
        only(
            *("seed", "config_file", "dry_run", "json", "quiet"),
            dry_run={"help": "Make every check, print the plan, then stop."},
        ),
    ],
) -> None:
    """Train on runs: DPO, IPO, SLiC, SFT, reward models, RLOO, PPO; with LoRA or whole.

    The vision encoder stays frozen. The same command goes on with a run that was stopped. Metrics are those of TRL's
    DPOTrainer; `logps/end`, of the end token, falls where answers are going to grow longer.

    rm trains a reward model, by default as in the paper: --lr 2e-5, constant, 4,000 steps, a tenth held out.

    rloo and ppo sample answers to the prompts of runs or SFT data, which --reward rates, with the paper's settings.

    With --online bdhs or dpo, SFT data is enough: nothing is stored, all answers are made while training.

    Example: prefgen train dpo out --model llava-hf/llava-v1.6-vicuna-7b-hf --output aligned
    """
    import json as json_
    import shlex
    import sys

    from prefgen.cli import config
    from prefgen.console import Console
    from prefgen.engines import build
    from prefgen.evaluate.scenes import reward as scenes_reward
    from prefgen.requests import Generate, Rate
    from prefgen.signals import Interrupts

    defaults = _defaults(ctx, _loss(loss))
    own = {field.name for field in fields(Objective)}
    objective = replace(objective, loss=_loss(loss), **{name: defaults[name] for name in defaults.keys() & own})
    of_training = {field.name for field in fields(Optimisation)} - own
    optimisation = replace(optimisation, **{name: defaults[name] for name in defaults.keys() & of_training})
    generates = ctx.params["online"] is not None or objective.samples
    if objective.samples and ctx.params["online"] is not None:
        raise UsageError(f"--online is for losses of pairs; {objective.loss} samples its answers, rated by --reward")
    for name in _ONLINE:
        if not generates and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-').removesuffix('s')} needs --online")
    for name in _SFT:
        if not generates and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is for SFT data, which needs --online")
    made = _made(online, objective, defaults) if generates else None
    for name in _SERVED:
        if not (made and made.served) and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is for an --annotator that is a server's URL")
    engines: dict[Any, Any] = {Rate: scenes_reward.engine} if made and made.reward == "scenes" else {}
    judged = asked.make(judge_url=made.annotator) if made and made.served else asked.make()
    try:
        from prefgen.training import processes

        if training.sweep and max(training.gpus, processes.count()) > 1:
            raise UsageError(
                "--sweep trains in one process; give each GPU a part of the grid and an --output of its own"
            )
        if processes.count() == 1 and training.gpus > 1:
            raise typer.Exit(int(processes.start(training.gpus, policy.device)))
        from prefgen.training import report, saved
        from prefgen.training import run as job_
        from prefgen.training.state import TrainingJob
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}, which is missing: pip install 'prefgen[train]'") from error
    if training.gpus not in (1, processes.count()):
        raise UsageError(
            f"--gpus {training.gpus} is not the number of processes that were started, {processes.count()}"
        )
    optimisation = _of_adapter(ctx, policy, optimisation)
    build.hush(policy, (Generate,))
    command_line = redact(shlex.join(["prefgen", *sys.argv[1:]]))
    job = TrainingJob(
        tuple(runs),
        output,
        policy,
        objective,
        optimisation,
        source,
        config.lock(ctx, defaults),
        command_line,
        training.report_to,
        made,
        judged,
        engines=engines,
    )
    console = Console(stderr=True, quiet=run.quiet or not processes.first(), highlight=False)
    finishing = "the step in hand is finished and a checkpoint written" if processes.first() else ""
    with _stoppable(job, sweep=bool(training.sweep)), Interrupts(finishing=finishing) as interrupts:
        if training.sweep:
            best = _sweep(ctx, job, console, lambda: interrupts.code)
            if run.json and best:
                Console().print_json(json_.dumps(best.result))
            return
        saved.refuse_foreign(output, job.engine.model)
        prepared = job_.prepare(job)
        _print_plan(job, prepared, console)
        _print_steps(job, prepared, console)
        if run.dry_run:
            return
        finished = job_.finished(job)
        last = report.train(job, prepared, console, lambda: interrupts.code)
    if finished:
        return
    if run.json and processes.first():
        Console().print_json(json_.dumps(last))
    console.print(f"model in {output}", markup=False)


def _made(online: Draft[Online], objective: Objective, defaults: Mapping[str, Any]) -> Online:
    """How answers are made while training."""
    if not objective.samples:
        return online.make()
    every: dict[str, Any] = {name: defaults[name] for name in ("online_every",) if name in defaults}
    made: Online = online.make(online="sampled", **every)
    return made


def _defaults(ctx: typer.Context, loss: Loss) -> dict[str, Any]:
    """Defaults of a loss for options that are not given."""
    from prefgen.cli import config

    found = {name: value for name, value in DEFAULTS.get(loss, {}).items() if not config.is_given(ctx, name)}
    found = {name: value for name, value in found.items() if name not in (ctx.default_map or {})}
    if config.is_given(ctx, "epochs"):
        found.pop("max_steps", None)
    return found


@contextmanager
def _stoppable(job: TrainingJob, *, sweep: bool) -> Iterator[None]:
    """Report what is kept when a second Ctrl-C ends training at once.

    Raises:
        Stopped: it was interrupted. SystemExit: likewise, in a process beside the first one.
    """
    from prefgen.training import processes
    from prefgen.training.run import kept

    try:
        yield
    except KeyboardInterrupt:
        if not processes.first():
            raise SystemExit(ExitCode.INTERRUPTED) from None
        said = "interrupted; the same command goes on with the runs that have not ended" if sweep else kept(job)
        raise Stopped(said, ExitCode.INTERRUPTED) from None


def _of_adapter(ctx: typer.Context, engine: EngineConfig, optimisation: Optimisation) -> Optimisation:
    """The settings with the LoRA size of the adapter that is trained further."""
    from prefgen.cli import config
    from prefgen.engines import adapters

    adapter = adapters.find(engine)
    if adapter is None or not optimisation.lora or not adapter.rank:
        return optimisation
    for name, own in (("lora_r", adapter.rank), ("lora_alpha", adapter.alpha)):
        if config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is that of {adapter.name}, which is trained further: {own}")
    return replace(optimisation, lora_r=adapter.rank, lora_alpha=adapter.alpha)


def _sweep(ctx: typer.Context, job: TrainingJob, console: Console, stop: Asked) -> Point | None:
    """Run the grid of `--sweep`; returns the best point, or None for a dry run."""
    from prefgen.cli import config
    from prefgen.training import run as job_
    from prefgen.training import saved, sweep
    from prefgen.training.report import Steps

    axes = sweep.parse(ctx.params["sweep"], job.objective.loss)
    for name in axes:
        if config.is_given(ctx, "grad_accum" if name == "batch" else name.replace("-", "_")):
            raise UsageError(f"{name} is swept: give its values with --sweep {name}= alone")
    if ctx.params["validation"] is None:
        job = replace(job, optimisation=replace(job.optimisation, validation=sweep.VALIDATION))
    if job_.finished(job):
        raise UsageError(f"{job.output} holds a trained model: give another --output")
    saved.refuse_foreign(job.output, job.engine.model, "sweep")
    runs = sweep.points(job, axes, lambda changed: config.lock(ctx, changed))
    prepared = job_.prepare(job)
    _print_plan(job, prepared, console)
    steps = sum(job_.steps_of(run.job.optimisation, len(prepared.trained_on)) for run in runs)
    grid = "; ".join(f"{name} {', '.join(f'{value:g}' for value in values)}" for name, values in axes.items())
    console.print(f"{job.objective.loss}, {len(runs):,} runs, {steps:,} steps in all: {grid}")
    ended = sum(run.result is not None for run in runs)
    if ended:
        console.print(f"{ended:,} of the runs have ended")
    if ctx.params["dry_run"]:
        return None
    sweep.check_drift(runs, prepared)
    rows: list[TrainingSample | Dropped] = [*prepared.samples, *prepared.dropped]
    del prepared  # each run loads the model anew
    with Steps(console, brief=True) as shown:
        ranked = sweep.run(job, runs, rows, shown, stop, keep_all=ctx.params["keep_all"])
    _print_ranked(ranked, console)
    best = ranked[0]
    if best.has_model:
        job_.check_finished(best.job)
    kept = "model" if best.has_model else "its model was deleted by an earlier sweep; metrics"
    console.print(f"best: {kept} in {best.job.output}; table in {job.output}", markup=False, soft_wrap=True)
    return best


def _print_ranked(ranked: Sequence[Point], console: Console) -> None:
    from rich.table import Table

    from prefgen.training.sweep import table

    head, *lines = table(ranked)
    shown = Table(*head, box=None)
    for cells in lines[:_ROWS]:
        shown.add_row(*cells)
    console.print(shown)


def _loss(name: str) -> Any:
    """The loss, which `Objective` checks."""
    return name


def _print_plan(job: TrainingJob, prepared: Prepared, console: Console) -> None:
    from prefgen.training.run import reasons_of

    samples = prepared.samples
    rejected = sum(len(sample.answers) - 1 for sample in samples)
    tokens = sum(sample.length for sample in samples) / len(samples)
    counted = sum(weight > 0 for sample in samples for answer in sample.answers for weight in answer.weights)
    share = counted / sum(len(answer.ids) for sample in samples for answer in sample.answers)
    console.print(
        f"{len(samples):,} samples, {rejected:,} rejected answers, {tokens:,.0f} tokens a sample on average; "
        f"{share:.0%} of the answers' tokens count ({job.optimisation.loss_mask})"
    )
    for reason, count in reasons_of(prepared.dropped).items():
        console.print(f"{count:,} rows dropped: {reason}")
    if prepared.separate:
        console.print(f"answers are read in separate sequences: {prepared.separate}")
    if prepared.held_out:
        console.print(f"{len(prepared.held_out):,} samples are held out, {len(prepared.trained_on):,} trained on")


def _print_steps(job: TrainingJob, prepared: Prepared, console: Console) -> None:
    from prefgen.training import processes

    settings = job.optimisation
    lora = f"{'QLoRA' if settings.qlora else 'LoRA'} {settings.lora_r}/{settings.lora_alpha}"
    kind = lora if settings.lora else "whole"
    effective = settings.batch_size * settings.grad_accum * processes.count()
    pull = "" if job.objective.loss == "rm" else f" β {job.objective.beta:g},"
    console.print(
        f"{job.objective.loss},{pull} {kind}, {prepared.steps:,} steps of {effective} samples on "
        f"{prepared.loaded.device} in {str(prepared.loaded.dtype).removeprefix('torch.')}"
    )
    if job.online:
        _print_online(job.online, console)


def _print_online(online: Online, console: Console) -> None:
    if online.online == "sampled":
        method: Any = online.method(0)
        every = "new in every step" if online.online_every == 1 else f"for {online.online_every:,} steps at a time"
        console.print(f"{method.candidates} answers of the policy to a prompt, {every}", markup=False)
        console.print(f"reward: {online.reward}, normalised by the first model's answers", markup=False)
        console.print(
            f"a prompt whose answers cannot be rated is left out; the run stops if {online.max_fallback:.0%} are"
        )
        return
    made = {"bdhs": "rejected answers by BDHS", "povid": "rejected answers by distortion", "dpo": "both answers"}
    beside = "averaged with the stored ones" if online.averages else "in place of the stored ones"
    given = f" ({', '.join(online.online_args)})" if online.online_args else ""
    every = "every step" if online.online_every == 1 else f"{online.online_every:,} steps at a time"
    console.print(f"online: {made[online.online]}{given} from the policy, {every}, {beside}", markup=False)
    if online.annotator:
        console.print(f"annotator: {online.annotator}, in random order", markup=False)
    if online.mix:
        console.print(f"mix: {online.mix:.0%} of the samples as they are stored, drawn anew in every epoch")
    fate = {"drop": "is left out of its step", "stored": "is trained on as stored"}[online.falls_back]
    console.print(f"a sample whose answers come to nothing {fate}; the run stops if {online.max_fallback:.0%} do")
