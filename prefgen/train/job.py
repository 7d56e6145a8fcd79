"""A training run from its first check to the saved model.

Beside the model, ``training/`` holds the configuration, what was dropped, the reference, the metrics and, until the run
is finished, its last checkpoint. The same command goes on from there.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import peft
import torch
import transformers

from prefgen.engines.base import EngineConfig
from prefgen.engines.loading import LoadedModel, load
from prefgen.errors import CorruptRun, ExitCode, Locked, Stopped, UsageError
from prefgen.records import Dropped
from prefgen.stored import Stored, loaded_images
from prefgen.train import card, reference
from prefgen.train.config import Objective, Optimisation
from prefgen.train.logprobs import token_logps, why_separate
from prefgen.train.reference import Logps
from prefgen.train.rows import Item, Reader, Sample
from prefgen.train.trainer import PROJECTORS, PreferenceTrainer, is_projector

_WARMUP = 0.03  # share of the steps, then a cosine: POVID's, which the paper's search space follows
_FREE = ("save_steps", "save", "gradient_checkpointing")  # settings that cannot change what is learned
Metrics = dict[str, float]
Asked = Callable[[], ExitCode | None]


@dataclass(frozen=True)
class Job:
    """What to train on what.

    Attributes:
        runs: folders of finished runs. config: the command's options, as TOML. command: for the model card.
        report_to: ``none``, or a logger of transformers: tensorboard, wandb, trackio …
    """

    runs: tuple[Path, ...]
    output: Path
    engine: EngineConfig
    objective: Objective
    optimisation: Optimisation
    config: str = ""
    command: str = ""
    report_to: str = "none"

    @property
    def records(self) -> Path:
        """Folder of all that is not the model."""
        return self.output / "training"


@dataclass(frozen=True)
class Prepared:
    """A run before its first step.

    Attributes:
        dropped: rows that are not trained on.
        separate: why answers are read in separate sequences; empty where they stand behind one prompt.
        steps: optimizer steps.
    """

    loaded: LoadedModel
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...]
    separate: str
    steps: int
    dataset: Items


class Items(torch.utils.data.Dataset[Item]):
    """Samples with their pixels, prepared when they are asked for; the reference joins them when it is known."""

    def __init__(self, runs: Sequence[Stored], reader: Reader, samples: Sequence[Sample]) -> None:
        self._runs = runs
        self._reader = reader
        self._samples = samples
        self.reference: Sequence[Logps] = ()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Item:
        """One sample by its number."""
        return self.shown(number, number)

    def shown(self, number: int, other: int) -> Item:
        """A sample with the pictures of another one."""
        run, row = self._samples[other].place
        (stored,) = self._runs[run].take([row]).to_pylist()
        pixels = self._reader.pixels(loaded_images(stored))
        return Item(self._samples[number], pixels, self.reference[number] if self.reference else ())


class _Stop(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Ends a run after the step it is at, with a checkpoint, once it is asked to."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def on_step_end(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """After every step."""
        if self._asked() and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True


class _Log(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Writes ``metrics.jsonl``: after a resumption, what the checkpoint knows, then what follows."""

    def __init__(self, file: Path, told: Callable[[Metrics], None]) -> None:
        self._file = file
        self._told = told

    def on_train_begin(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """Before the first step."""
        self._file.write_text("".join(json.dumps(entry) + "\n" for entry in state.log_history), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        """After every step, and at the end."""
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(state.log_history[-1]) + "\n")
        self._told(state.log_history[-1])


def prepare(job: Job) -> Prepared:
    """Load the model, tokenise every row and make the checks that need no training.

    Raises:
        UsageError: nothing can be trained on, or the model does not look at the pictures.
    """
    if job.engine.dtype == "float16":
        raise UsageError("--dtype float16 cannot be trained in; choose bfloat16 or float32")
    loggers = ["none", *transformers.integrations.get_available_reporting_integrations()]
    if job.report_to not in loggers:
        raise UsageError(f"--report-to {job.report_to} is unknown or not installed; here are: {', '.join(loggers)}")
    runs = [Stored(path) for path in job.runs]
    loaded = load(job.engine)
    limit = int(getattr(loaded.model.config.get_text_config(), "max_position_embeddings", 0) or 2**31)
    optimisation = job.optimisation
    longest = min(optimisation.max_length or limit, limit)
    reader = Reader(loaded, optimisation.loss_mask, longest, optimisation.span_weight)
    read = list(reader.read(runs))
    samples = tuple(sample for sample in read if isinstance(sample, Sample))
    dropped = tuple(row for row in read if isinstance(row, Dropped))
    if not samples:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in reasons_of(dropped).items()) or "no rows"
        raise UsageError(f"no row of {', '.join(map(str, job.runs))} can be trained on: {reasons}")
    dataset = Items(runs, reader, samples)
    _check_sight(loaded, dataset, samples, packed=not why_separate(loaded))
    return Prepared(loaded, samples, dropped, why_separate(loaded), _steps(optimisation, len(samples)), dataset)


def reasons_of(dropped: Sequence[Dropped]) -> dict[str, int]:
    """How many rows were dropped for each reason."""
    return dict(Counter(row.reason for row in dropped).most_common())


def train(
    job: Job,
    prepared: Prepared,
    told: Callable[[Metrics], None],
    progress: Callable[[int], None] = lambda done: None,
    stop: Asked = lambda: None,
) -> Metrics:
    """Train, or go on training, and save the model.

    Args:
        told: gets the metrics of every step. progress: gets the number of samples the reference has read.
        stop: asked after every step; an exit code ends the run there, with a checkpoint.

    Returns:
        The last step's metrics.

    Raises:
        CorruptRun: the output was begun with other settings. Locked: another process trains there.
        Stopped: as `stop` asked for.
    """
    job.records.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(job.records / "lock", timeout=0):
            return _train(job, prepared, told, progress, stop)
    except filelock.Timeout:
        raise Locked(f"another process is training in {job.output}") from None


def finished(job: Job) -> bool:
    """Whether there is nothing left to do."""
    return (job.records / "finished.json").exists()


def _train(
    job: Job,
    prepared: Prepared,
    told: Callable[[Metrics], None],
    progress: Callable[[int], None],
    stop: Asked,
) -> Metrics:
    loaded, packed = prepared.loaded, not prepared.separate
    check_drift(job, prepared)
    (job.records / "config.toml").write_text(job.config, encoding="utf-8")
    lines = (json.dumps(dataclasses.asdict(row)) + "\n" for row in prepared.dropped)
    (job.records / "dropped.jsonl").write_text("".join(lines), encoding="utf-8")
    digests = [Stored(path).digest for path in job.runs]
    model = attach(loaded, job.optimisation)
    kind = "lora" if job.optimisation.lora else "whole"
    file = reference.path(job.records, loaded, digests, prepared.samples, kind)
    if not file.exists():
        size = job.optimisation.batch_size
        found = reference.compute(
            loaded, prepared.samples, prepared.dataset.__getitem__, size, packed=packed, progress=progress
        )
        reference.save(file, found)
    prepared.dataset.reference = reference.load(file, prepared.samples)

    checkpoints = job.records / "checkpoints"
    trainer = PreferenceTrainer(
        model,
        loaded,
        job.objective,
        job.optimisation,
        packed=packed,
        args=_arguments(job, prepared, checkpoints),
        train_dataset=prepared.dataset,
        data_collator=lambda items: {"items": items},
        callbacks=[_Log(job.records / "metrics.jsonl", told), _Stop(stop)],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, transformers.integrations.TensorBoardCallback):
            callback.logging_dir = str(job.records / "tensorboard")  # not among the checkpoints, which are deleted
    last = transformers.trainer_utils.get_last_checkpoint(checkpoints) if checkpoints.exists() else None
    trainer.train(resume_from_checkpoint=last)
    if trainer.state.global_step < trainer.state.max_steps:
        said = f"stopped after step {trainer.state.global_step}; the same command goes on from there"
        raise Stopped(said, stop() or ExitCode.TERMINATED)
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    _save(job, model, loaded)
    (job.output / "README.md").write_text(
        card.render(job, prepared.loaded.revision, digests, len(prepared.samples), steps), encoding="utf-8"
    )
    (job.records / "finished.json").write_text(json.dumps(steps[-1]) + "\n", encoding="utf-8")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return dict(steps[-1])


def attach(loaded: LoadedModel, optimisation: Optimisation) -> Any:
    """Choose what is trained, and put LoRA into the language model's linear layers. What is trained is float32.

    The vision encoder stays frozen; with LoRA, so does the output layer.
    """
    model = loaded.model
    decoder = model.model.get_decoder()
    (name,) = (name for name, module in model.named_modules() if module is decoder)
    trains_projector = optimisation.projector_lr > 0
    if optimisation.lora:
        layers = {key.rsplit(".", 1)[-1] for key, part in decoder.named_modules() if isinstance(part, torch.nn.Linear)}
        found = [part for part in PROJECTORS if any(key.split(".")[-1] == part for key, _ in model.named_modules())]
        torch.manual_seed(optimisation.seed)  # LoRA's first matrices are drawn
        settings = peft.LoraConfig(
            r=optimisation.lora_r,
            lora_alpha=optimisation.lora_alpha,
            target_modules=rf"{re.escape(name)}\..*\.({'|'.join(sorted(layers))})",
            modules_to_save=found if trains_projector and found else None,
        )
        model = peft.get_peft_model(model, settings)
    else:
        model.requires_grad_(False)
        decoder.requires_grad_(True)
        model.get_output_embeddings().requires_grad_(True)
        for key, parameter in model.named_parameters():
            if is_projector(key):
                parameter.requires_grad_(trains_projector)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _arguments(job: Job, prepared: Prepared, checkpoints: Path) -> Any:
    optimisation, device = job.optimisation, prepared.loaded.device
    arguments = transformers.TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=optimisation.batch_size,
        gradient_accumulation_steps=optimisation.grad_accum,
        max_steps=prepared.steps,
        learning_rate=optimisation.lr,
        lr_scheduler_type="cosine",
        warmup_steps=_WARMUP,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=optimisation.save_steps,
        save_total_limit=1,
        seed=optimisation.seed,
        gradient_checkpointing=optimisation.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        remove_unused_columns=False,
        report_to=job.report_to,
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=False,
    )
    if arguments.world_size > 1:
        raise UsageError("this version trains in one process, on one device; start it without torchrun")
    arguments._n_gpu = min(arguments.n_gpu, 1)  # else the Trainer would split batches over all GPUs that it sees
    return arguments


def _steps(optimisation: Optimisation, samples: int) -> int:
    """Optimizer steps of the whole run; an epoch's last step may have fewer samples."""
    if optimisation.max_steps:
        return optimisation.max_steps
    passes = -(-samples // optimisation.batch_size)
    return max(1, round(optimisation.epochs * -(-passes // optimisation.grad_accum)))


def _check_sight(loaded: LoadedModel, dataset: Items, samples: Sequence[Sample], *, packed: bool) -> None:
    """See that another picture changes what the model says.

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


def check_drift(job: Job, prepared: Prepared) -> None:
    """See that an output that was begun is gone on with in the same way.

    Raises:
        CorruptRun: naming what differs.
    """
    settings: dict[str, Any] = {
        **dataclasses.asdict(job.objective),
        **{k: v for k, v in dataclasses.asdict(job.optimisation).items() if k not in _FREE},
        "model": prepared.loaded.revision,
        "dtype": str(prepared.loaded.dtype),
        "data": [Stored(path).digest for path in job.runs],
    }
    file = job.records / "settings.json"
    if not file.exists():
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    differing = [name for name in settings if settings[name] != before.get(name)]
    if differing:
        raise CorruptRun(
            f"{job.output} was begun with other settings ({', '.join(differing)}): give another --output, or delete it"
        )


def _save(job: Job, model: Any, loaded: LoadedModel) -> None:
    """The model, or its adapter in PEFT's layout, with the processor."""
    if job.optimisation.lora and job.optimisation.save == "merged":
        model = model.merge_and_unload()
    if job.optimisation.save == "merged":
        model.to(loaded.dtype)
    model.save_pretrained(job.output)
    loaded.processor.save_pretrained(job.output)
