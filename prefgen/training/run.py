"""A training run: checks, training loop, saved model.

Beside the model, ``training/`` holds the configuration, what was dropped, the reference, the metrics and, until the run
is finished, its last checkpoint. The same command goes on from there.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from prefgen import durable
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import proof
from prefgen.engines.hf.loading import LoadedModel
from prefgen.errors import CorruptRun, ExitCode, Stopped, UnusableReplies, UsageError
from prefgen.records import Dropped
from prefgen.training import card, checkpoints, online, processes, reference, reward, rollouts, saved
from prefgen.training.callbacks import Asked, Log, Metrics, Stop, Watch
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.logprobs import Policy, token_logps, why_not_packed
from prefgen.training.model import attach, loaded_for, save
from prefgen.training.rows import Reader, TrainingSample, held_out, pictures
from prefgen.training.state import Items, Prepared, TrainingJob
from prefgen.training.trainer import PreferenceTrainer

_DISK_WAIT_S = 30  # for a file to be seen on another machine
_FREE = ("save_steps", "eval_steps", "save", "gradient_checkpointing")  # settings that cannot change what is learned


def prepare(job: TrainingJob, rows: Iterable[TrainingSample | Dropped] | None = None) -> Prepared:
    """Load the model, tokenize every row and run the checks that need no training.

    Args:
        rows: what another run with this model, mask and limit of length has read of these runs; None: read them.

    Raises:
        UsageError: nothing can be trained on, or the model does not look at the pictures.
    """
    _check_loss(job)
    if job.engine.dtype == "float16":
        raise UsageError("--dtype float16 cannot be trained in; choose bfloat16 or float32")
    loggers = ["none", *transformers.integrations.get_available_reporting_integrations()]
    if job.report_to not in loggers:
        raise UsageError(f"--report-to {job.report_to} is unknown or not installed; here are: {', '.join(loggers)}")
    engine = processes.join(job.engine)
    with processes.together():
        return _prepare(job, engine, rows)


def _prepare(job: TrainingJob, engine: EngineConfig, rows: Iterable[TrainingSample | Dropped] | None) -> Prepared:
    runs = job.opened()
    online.identified(job)
    loaded = loaded_for(engine, job.optimisation)
    if not (loaded.family.is_listed or loaded.adapter or job.optimisation.qlora):  # whose weights are others
        proof.ensure(loaded, engine)
    optimisation = job.optimisation
    longest = min(optimisation.max_length or loaded.longest, loaded.longest)
    reader = Reader(loaded, optimisation.loss_mask, longest, optimisation.span_weight)
    read = list(reader.read(runs) if rows is None else rows)
    samples = tuple(sample for sample in read if isinstance(sample, TrainingSample))
    dropped = tuple(row for row in read if isinstance(row, Dropped))
    if not samples:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in reasons_of(dropped).items()) or "no rows"
        raise UsageError(f"no row of {', '.join(map(str, job.runs))} can be trained on: {reasons}")
    held = held_out(runs, samples, job.optimisation.validation, job.optimisation.seed)
    dataset = Items(runs, reader, samples)
    separate = why_not_packed(loaded, dataset[0])
    _check_sight(loaded, dataset, samples, packed=not separate)
    steps = steps_of(optimisation, len(samples) - len(held))
    return Prepared(loaded, samples, tuple(held), dropped, separate, steps, dataset)


def _check_loss(job: TrainingJob) -> None:
    """Refuse options that do not apply to reward models, or to losses over sampled answers.

    Raises:
        UsageError: naming it.
    """
    loss, how = job.objective.loss, job.optimisation
    if job.objective.samples != (job.online is not None and job.online.online == "sampled"):
        raise UsageError("--reward is for rloo and ppo, which train on answers that the policy samples")
    if loss == "rm" and (job.online or how.reference == "live"):
        raise UsageError("--online and --reference belong to losses with a reference; rm has none")
    if (loss == "rm" or job.objective.samples) and how.loss_mask != "all":
        raise UsageError(f"--loss-mask belongs to losses of pairs; {loss} takes whole answers")
    if job.objective.samples and how.validation:
        raise UsageError(f"--validation measures pairs; {loss} samples its answers: leave it out")
    if loss == "rm" and processes.sharding():
        raise UsageError("rm works in one process or several, but not with FSDP or DeepSpeed")


def reasons_of(dropped: Sequence[Dropped]) -> dict[str, int]:
    """Number of dropped rows for each reason."""
    return dict(Counter(row.reason for row in dropped).most_common())


def train(
    job: TrainingJob,
    prepared: Prepared,
    told: Callable[[Metrics], None],
    progress: Callable[[int], None] = lambda done: None,
    stop: Asked = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> Metrics:
    """Train, or resume training, and save the model.

    Args:
        told: gets the metrics of every step.
        progress: gets the number of samples the reference has read.
        stop: asked after every step; an exit code ends the run there, with a checkpoint.
        say: gets what a person should know.

    Returns:
        The last step's metrics, and those of the held-out samples.

    Raises:
        CorruptRun: the output was begun with other settings. Locked: another process trains there.
        Stopped: as `stop` asked for. UnusableReplies: most answers of online training come to nothing.
        EnvironmentFault: the disk is full; the last checkpoint is kept.
    """
    with ExitStack() as held:
        with processes.together():
            if processes.first():
                held.enter_context(_begun(job, prepared))
        with processes.together():
            _refuse_unshared(job.records / "config.toml")
        return _train(job, prepared, told, progress, stop, say, held)


@contextmanager
def _begun(job: TrainingJob, prepared: Prepared) -> Iterator[None]:
    """Lock the output and write what is known before the first step."""
    saved.refuse_foreign(job.output, job.engine.model)
    with ExitStack() as held:
        with checkpoints.environment(job.output):
            held.enter_context(saved.hold(job.output))
            saved.claim(job.output, "model", ())
            check_drift(job, prepared)
            durable.replace(job.records / "config.toml", job.config.encode())
            lines = (json.dumps(dataclasses.asdict(row)) + "\n" for row in prepared.dropped)
            durable.replace(job.records / "dropped.jsonl", "".join(lines).encode())
            seen = pictures(prepared.dataset.runs, prepared.samples, prepared.trained_on)
            durable.replace(job.records / saved.PICTURES, "".join(f"{each}\n" for each in seen).encode())
        yield


def _refuse_unshared(file: Path) -> None:
    """Check that every process sees the file system of the first one, which writes checkpoints for all.

    Raises:
        UsageError: this one does not.
    """
    seen = file.stat().st_mtime_ns if processes.first() else None
    written = processes.gathered(seen)[0]
    for _ in range(_DISK_WAIT_S):
        # Listing the folder has a network file system look at the server.
        if file.parent.is_dir() and file.name in os.listdir(file.parent) and file.stat().st_mtime_ns == written:
            return
        time.sleep(1)
    raise UsageError(
        f"process {processes.number()} on {socket.gethostname()} does not see {file.absolute()}, which the first one "
        "wrote: --output must be on a disk that all machines share"
    )


def finished(job: TrainingJob) -> bool:
    """True if the run is finished."""
    return saved.is_finished(job.output)


def check_finished(job: TrainingJob) -> None:
    """Check that the finished model is as it was saved, and delete leftovers of a kill.

    Raises:
        CorruptRun: it is not.
    """
    saved.check(job.output)
    for leftover in (job.records / "checkpoints", saved.staged_model(job.output)):
        shutil.rmtree(leftover, ignore_errors=True)


def kept(job: TrainingJob) -> str:
    """A message about what is kept of a run that was interrupted in a step."""
    last = checkpoints.last(job.records / "checkpoints", lambda text: None)
    if last is None:
        return "interrupted before a checkpoint was written; the same command starts again"
    step = int(last.name.rpartition("-")[2])
    return (
        f"interrupted; the checkpoint after step {step:,} is kept in {job.output}; the same command goes on from there"
    )


def result(job: TrainingJob) -> Metrics:
    """The metrics that `train` returned for a finished run."""
    return saved.result(job.output)


def _train(
    job: TrainingJob,
    prepared: Prepared,
    told: Callable[[Metrics], None],
    progress: Callable[[int], None],
    stop: Asked,
    say: Callable[[str], None],
    held: ExitStack,
) -> Metrics:
    loaded, packed = prepared.loaded, not prepared.separate
    digests = prepared.dataset.digests
    model = attach(loaded, job.optimisation)
    settings = job.optimisation
    kind = "qlora" if settings.qlora else "lora" if settings.lora else "whole"
    kind = f"{kind}, projector {settings.projector_lr > 0}"
    file = reference.path(job.reference or job.records, loaded, digests, prepared.samples, kind)
    rates = job.objective.loss == "rm"
    ahead = settings.reference == "precompute" and not (rates or (job.online and job.online.is_pure))
    if ahead and not file.exists():
        size = job.optimisation.batch_size
        read = reference.compute(
            loaded, prepared.samples, prepared.dataset.__getitem__, size, packed=packed, progress=progress
        )
        with processes.together(), checkpoints.environment(job.output):
            if processes.first():
                file.parent.mkdir(parents=True, exist_ok=True)
                reference.save(file, read)
    prepared.dataset.reference = reference.load(file, prepared.samples) if ahead else ()

    folder = job.records / "checkpoints"
    last = checkpoints.last(folder, say if processes.first() else lambda text: None)
    spare = prepared.dataset.spare() if processes.count() > 1 else None
    kinds = {"rm": reward.RewardPolicy, "ppo": rollouts.ValuePolicy}
    torch.manual_seed(settings.seed)  # a head's first weights are drawn
    policy = kinds.get(job.objective.loss, Policy)(model, loaded, packed=packed, spare=spare)
    with checkpoints.environment(job.output):
        supply = held.enter_context(online.supply(job, prepared, model, partial(rollouts.read, policy)))
    why_stop = supply.why_stop if supply else str
    logs = [Log(job.records, told), Watch(say)] if processes.first() else []
    trainer = PreferenceTrainer(
        policy,
        job.objective,
        job.optimisation,
        supply=supply,
        args=_arguments(job, prepared, folder, resumed=last is not None),
        train_dataset=torch.utils.data.Subset(prepared.dataset, prepared.trained_on),
        eval_dataset=torch.utils.data.Subset(prepared.dataset, prepared.held_out),
        data_collator=lambda items: {"items": items},
        callbacks=[*logs, Stop(lambda: stop() or (ExitCode.UNUSABLE_REPLIES if why_stop() else None))],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, transformers.integrations.TensorBoardCallback):
            callback.logging_dir = str(job.records / "tensorboard")  # not among the checkpoints, which are deleted
    with checkpoints.environment(job.output):
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.state.global_step < trainer.state.max_steps:
        said = f"stopped after step {trainer.state.global_step}; the same command goes on from there"
        if not stop() and (why := why_stop()):
            raise UnusableReplies(f"stopped after step {trainer.state.global_step}: {why}")
        with processes.together():
            raise Stopped(said, ExitCode(processes.most(stop() or 0) or ExitCode.TERMINATED))
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    measured = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    found: Metrics = {**steps[-1], **(measured[-1] if measured else {})}
    trained = trainer.trained() if processes.sharding() else None
    with processes.together(), checkpoints.environment(job.output):
        if processes.first():
            staged = saved.staged_model(job.output)
            if staged.exists():  # of a run that was killed here
                shutil.rmtree(staged)
            if isinstance(policy, reward.RewardPolicy):
                staged.mkdir(parents=True)
                own = [prepared.dataset[number] for number in prepared.trained_on[: reward.MEASURED]]
                reward.save(policy.head, reward.measure(policy, own, settings.batch_size), staged)
            save(model, loaded, trained, job.engine, job.optimisation, staged)
            durable.write(staged / "README.md", card.render(job, prepared, digests, steps, measured).encode())
            saved.finish(job.output, found)
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _arguments(job: TrainingJob, prepared: Prepared, folder: Path, *, resumed: bool) -> Any:
    optimisation, device = job.optimisation, prepared.loaded.device
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=optimisation.batch_size,
        gradient_accumulation_steps=optimisation.grad_accum,
        max_steps=prepared.steps,
        learning_rate=optimisation.lr,
        lr_scheduler_type="cosine" if optimisation.lr_schedule == "cosine" else "constant_with_warmup",
        warmup_steps=optimisation.warmup,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=optimisation.save_steps,
        save_total_limit=1,
        per_device_eval_batch_size=optimisation.batch_size,
        eval_strategy="steps" if prepared.held_out else "no",
        eval_steps=optimisation.eval_steps or _steps_of_epoch(optimisation, len(prepared.trained_on)),
        eval_on_start=bool(prepared.held_out) and not resumed,
        seed=optimisation.seed,
        remove_unused_columns=False,
        report_to=job.report_to,
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,  # `Policy` sees to it that there are none
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else the Trainer would split batches over all GPUs that it sees
    return arguments


def steps_of(optimisation: Optimisation, samples: int) -> int:
    """Number of optimizer steps of a run on so many samples."""
    return optimisation.max_steps or max(1, round(optimisation.epochs * _steps_of_epoch(optimisation, samples)))


def _steps_of_epoch(optimisation: Optimisation, samples: int) -> int:
    """Number of steps of an epoch; the last one may have fewer samples.

    Of several processes, though, each gets a whole batch, which the epoch's first samples fill up.
    """
    passes = -(-samples // (optimisation.batch_size * processes.count()))
    return -(-passes // optimisation.grad_accum)


def _check_sight(loaded: LoadedModel, dataset: Items, samples: Sequence[TrainingSample], *, packed: bool) -> None:
    """Check that another picture changes the model's answer.

    Raises:
        UsageError: it does not.
    """
    own = [dataset[number] for number in range(min(len(samples), 16))]
    for number, item in enumerate(own):
        for other, shown in enumerate(own):
            same = item.pixels.expansions == shown.pixels.expansions and item.pixels.shape == shown.pixels.shape
            if other == number or not item.pixels.inputs or not same:
                continue
            if all(torch.equal(values, shown.pixels.inputs[name]) for name, values in item.pixels.inputs.items()):
                continue
            with torch.no_grad():
                one, two = token_logps(loaded, [item, dataset.shown(number, other)], packed=packed)
            if all(torch.equal(a, b) for a, b in zip(one, two, strict=True)):
                raise UsageError(
                    f"{loaded.name} gives the answers of row {item.sample.id} the same probabilities with another "
                    "row's picture: it does not see its images, and cannot learn from them"
                )
            return


def check_drift(job: TrainingJob, prepared: Prepared) -> None:
    """Check that a started output is resumed with the same settings.

    Raises:
        CorruptRun: naming what differs.
    """
    settings: dict[str, Any] = {
        **dataclasses.asdict(job.objective),
        **{k: v for k, v in dataclasses.asdict(job.optimisation).items() if k not in _FREE},
        "model": prepared.loaded.revision,
        "dtype": str(prepared.loaded.dtype),
        "data": prepared.dataset.digests,
        "online": online.identified(job),
        "processes": processes.count(),
        "sharding": processes.sharding(),
    }
    file = job.records / "settings.json"
    if not file.exists():
        durable.replace_json(file, settings)
        return
    before = durable.read_record(file)
    usual = {**dataclasses.asdict(Objective()), **dataclasses.asdict(Optimisation())}
    if isinstance(before.get("online"), dict) and job.online is not None:
        if job.online.served:
            # Earlier versions recorded the address as well, in front of the model; a server may move.
            before["online"]["annotator"] = str(before["online"].get("annotator")).split(" ")[-1]
        before["online"] = {**_defaults(job.online), **before["online"]}
    # What a version without an option did is the option's default.
    differing = [name for name in settings if settings[name] != before.get(name, usual.get(name))]
    if differing:
        raise CorruptRun(
            f"{job.output} was begun with other settings ({', '.join(differing)}): give another --output, or delete it"
        )


def _defaults(made: Online) -> dict[str, Any]:
    """Defaults of the method's options."""
    each = dataclasses.fields(made.method(0))
    return {field.name: field.default for field in each if field.default is not dataclasses.MISSING}
