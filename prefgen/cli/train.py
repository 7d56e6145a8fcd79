"""`prefgen train`: preference training on finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.addresses import redact
from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import UsageError
from prefgen.options import check_choice, flag
from prefgen.sources import SourceOptions
from prefgen.training.config import (
    DEFAULTS,
    LOSSES,
    SWEEP_VALIDATION,
    Objective,
    Online,
    Optimisation,
    Training,
    settled,
)

_MAKERS = ("bdhs", "dpo", "povid")


def _known(loss: str) -> str:
    check_choice("the loss", loss, LOSSES)
    return loss


def _data(text: str, *, rows: bool) -> Path | str:
    """The folder of a run, downloaded if need be; with `rows`, an address or Hub id may be SFT data instead."""
    try:
        return o.run_folder(text)
    except UsageError:
        if not rows:
            raise
        return text


@command
def train(
    ctx: typer.Context,
    loss: Annotated[str, typer.Argument(help=f"One of {', '.join(LOSSES)}.", callback=_known)],
    runs: Annotated[
        list[str],
        typer.Argument(help="Finished runs: folder, address or Hub id; with --online, SFT data too.", metavar="RUN…"),
    ],
    files: Annotated[o.InputOutput, o.folder("Folder for the trained model.")],
    source: Draft[SourceOptions],
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

    The vision encoder stays frozen. The same command continues with a run that was stopped. Metrics are those of TRL's
    DPOTrainer; `logps/end`, of the end token, falls where answers are going to grow longer.

    rm trains a reward model, by default as in the paper: --lr 2e-5, constant, 4,000 steps, a tenth held out.

    rloo and ppo sample answers to the prompts of runs or SFT data, which --reward rates, with the paper's settings.

    With --online bdhs or dpo, SFT data is enough: nothing is stored, all answers are made while training.

    Example: prefgen train dpo out --model llava-hf/llava-v1.6-vicuna-7b-hf --output aligned
    """
    import shlex
    import sys

    from prefgen.console import Console
    from prefgen.engines import build
    from prefgen.evaluate.scenes import reward as scenes_reward
    from prefgen.requests import Generate, Rate
    from prefgen.signals import Interrupts

    defaults = _defaults(ctx, loss, sweep=bool(training.sweep))
    objective, optimisation = settled(objective, optimisation, {"loss": loss, **defaults})
    made = None
    if online.value("online") is None and not objective.samples:
        online.refuse("needs --online, or a loss that samples answers")
        source.refuse("is for SFT data, which needs --online")
    elif not objective.samples:
        made = online.make()
    elif online.value("online") is not None:
        raise UsageError(f"--online is for losses of pairs; {objective.loss} samples its answers, rated by --reward")
    else:
        every = {name: defaults[name] for name in ("online_every",) if name in defaults}
        made = online.make(online="sampled", **every)
    served = made is not None and made.served
    if not served:
        asked.refuse("is for an --annotator that is a server's URL")
    judge = asked.make(**({"judge_url": made.annotator} if made and served else {}))
    engines: dict[Any, Any] = {Rate: scenes_reward.engine} if made and made.reward == "scenes" else {}
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
        tuple(_data(run, rows=made is not None) for run in runs),
        files.output,
        policy,
        objective,
        optimisation,
        source.make(),
        config.lock(ctx, defaults),
        command_line,
        training.report_to,
        made,
        judge,
        engines=engines,
    )
    console = Console(stderr=True, quiet=run.quiet or not processes.first(), highlight=False)
    finishing = "the step in hand is finished and a checkpoint written" if processes.first() else ""
    with report.stoppable(job, sweep=bool(training.sweep)), Interrupts(finishing=finishing) as interrupts:
        if training.sweep:
            best = report.sweep(
                job,
                _axes(ctx, training.sweep, objective),
                console,
                lambda: interrupts.code,
                lambda changed: config.lock(ctx, {**defaults, **changed}),
                dry_run=run.dry_run,
                keep_all=training.keep_all,
            )
            if run.json and best:
                Console().print_json(data=best.result)
            return
        saved.refuse_foreign(files.output, job.engine.model)
        prepared = job_.prepare(job)
        report.plan(job, prepared, console)
        if run.dry_run:
            return
        finished = job_.finished(job)
        last = report.train(job, prepared, console, lambda: interrupts.code)
    if finished:
        return
    if run.json and processes.first():
        Console().print_json(data=last)
    console.print(f"model in {files.output}", markup=False)


def _defaults(ctx: typer.Context, loss: str, *, sweep: bool) -> dict[str, Any]:
    """Defaults of a loss, or of a sweep, for options that are not given."""
    found = {**({"validation": SWEEP_VALIDATION} if sweep else {}), **DEFAULTS.get(loss, {})}
    found = {name: value for name, value in found.items() if not config.is_given(ctx, name)}
    found = {name: value for name, value in found.items() if name not in (ctx.default_map or {})}
    if config.is_given(ctx, "epochs"):
        found.pop("max_steps", None)
    return found


def _axes(ctx: typer.Context, grid: Sequence[str], objective: Objective) -> Mapping[str, tuple[float, ...]]:
    """The axes of a grid, none of which is given as an option as well."""
    from prefgen.training import sweep

    axes = sweep.parse(grid, objective.loss)
    for name in axes:
        if config.is_given(ctx, "grad_accum" if name == "batch" else name.replace("-", "_")):
            raise UsageError(f"{name} is swept: give its values with --sweep {name}= alone")
    return axes


def _of_adapter(ctx: typer.Context, engine: EngineConfig, optimisation: Optimisation) -> Optimisation:
    """The settings with the LoRA size of the adapter that is trained further."""
    from prefgen.engines import adapters

    adapter = adapters.find(engine)
    if adapter is None or not optimisation.lora or not adapter.rank:
        return optimisation
    for name, own in (("lora_r", adapter.rank), ("lora_alpha", adapter.alpha)):
        if config.is_given(ctx, name) and getattr(optimisation, name) != own:
            raise UsageError(f"{flag(name)} is that of {adapter.name}, which is trained further: {own}")
    return replace(optimisation, lora_r=adapter.rank, lora_alpha=adapter.alpha)
