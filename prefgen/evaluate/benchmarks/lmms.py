"""lmms-eval's benchmarks: its own command in an environment of its own, and its results as answers and scores.

OUTPUT/
  settings.json   what was asked; answers.jsonl, scores.json: as of every benchmark
  lmms/TASK/      a task's log, results and samples, as lmms-eval writes them; a task that has results is not run again
  lmms/cache      answers of deterministic requests, from which a stopped task resumes

Read in lmms-eval 0.7.3: a run that fails exits with 0, and a generation that fails is an empty answer. So results are
looked for, and empty answers are counted.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefgen import durable
from prefgen.engines import adapters, model_files
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import loading
from prefgen.errors import CommandFailed, CorruptRun, ExitCode, UsageError
from prefgen.evaluate.benchmarks import asking
from prefgen.evaluate.benchmarks import compare as compare_

FAMILIES: Mapping[str, str] = {
    "llava": "llava_hf",
    "llava_next": "llava_hf",
    "llava_onevision": "llava_hf",
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
}
"""Name of the model in lmms-eval, by `config.model_type`; these take a device and a device map."""

WRONG_FIGURES: Mapping[str, str] = {
    "pope": "compares whole answers with yes and no, and its yes_ratio is that of the truth: use `prefgen eval pope`",
    "mmvet": "scores an answer 0 for which its judge gives no score, such as without a key",
}
"""Figures that are not what their name says, by the beginning of a task's name."""

_PROBE = (
    "import json; from importlib.metadata import version; found = version('lmms_eval'); "
    "import torch; print(json.dumps([found, torch.cuda.is_available()]))"
)
_PAUSE = 0.2  # seconds between two looks at the process
_SHOWN = 12  # lines of a log


@dataclass(frozen=True)
class LmmsJob:
    """An evaluation by lmms-eval.

    Attributes:
        python: interpreter of the environment that lmms-eval is installed in.
        tasks: their names there.
        model: that is measured; an adapter is merged into its base.
        family: name of the model's class there; empty for the one of its type.
        arguments: further ones of that class, ``name=value,name=value``.
        include: folder of further tasks.
        limit: first questions of a task.
    """

    output: Path
    python: Path
    tasks: Sequence[str]
    model: EngineConfig
    family: str = ""
    arguments: str = ""
    include: Path | None = None
    limit: int | None = None

    def folder(self, task: str) -> Path:
        """The folder of a task's log and results."""
        return self.output / "lmms" / task


def evaluate(job: LmmsJob, told: Callable[[str], None], check: Callable[[], None]) -> dict[str, Any]:
    """Run every task that has no results yet; returns the scores, which are written beside the answers.

    Args:
        told: gets a line for each task. check: called while a task runs; may raise.

    Raises:
        UsageError: the environment, a task or the model cannot be used. CommandFailed: a task ended without results.
        CorruptRun: the output was started with other settings, or results are damaged.
    """
    for task in job.tasks:
        if not task or "/" in task or task.startswith("."):
            raise UsageError(f"--tasks has {task!r}, which is no name of a task")
    version, cuda = _probe(job.python)
    family = job.family or _family(job.model)
    settings = {
        "benchmark": "lmms",
        "lmms_eval": version,
        "model": job.model.model,
        "model_revision": loading.pin(job.model),
        "family": family,
        "arguments": job.arguments,
        "dtype": job.model.dtype,
        "include": str(job.include or ""),
        "limit": job.limit,
    }
    with asking.held(job.output, settings):
        left = [task for task in job.tasks if not _results(job.folder(task))]
        with _whole(job, needed=bool(left)) as model:
            for task in left:
                told(f"{task}: log in {job.folder(task) / 'log.txt'}")
                _run(job, task, _arguments(job, model, family, cuda), family, check)
        found = _scores(job, settings)
        with durable.environment(job.output):
            durable.replace(job.output / asking.ANSWERS, durable.json_bytes("".join(_answers(job))))
            durable.replace_json(job.output / compare_.SCORES, found)
    return found


def _probe(python: Path) -> tuple[str, bool]:
    """The version of lmms-eval in an environment, and whether its torch sees a GPU."""
    try:
        done = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=False, env=_environment())
    except OSError as error:
        raise UsageError(f"--python {python} cannot be run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise UsageError(f"--python {python} has no lmms-eval ({last}): pip install lmms-eval there")
    version, cuda = json.loads(done.stdout.strip().splitlines()[-1])
    return str(version), bool(cuda)


def _environment() -> dict[str, str]:
    """The environment variables, without those that would lend this process's packages to another interpreter."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _family(model: EngineConfig) -> str:
    base = adapters.base_of(model)
    model_files.find(base.model)
    with model_files.reading(f"model {base.model} cannot be loaded"):
        from transformers import PretrainedConfig

        settings, _ = PretrainedConfig.get_config_dict(base.model, revision=base.revision)
    kind = settings.get("model_type")
    if kind not in FAMILIES:
        raise UsageError(
            f"model {model.model} is of type {kind!r}: name its class in lmms-eval with --lmms-model "
            "(python -m lmms_eval models)"
        )
    return FAMILIES[kind]


@contextmanager
def _whole(job: LmmsJob, *, needed: bool) -> Iterator[str]:
    """The model as lmms-eval loads it: a folder or Hub id; an adapter is merged into its base meanwhile."""
    if not needed or adapters.find(job.model) is None:
        yield job.model.model
        return
    folder = job.output / "lmms" / "merged"  # always there, since the cache knows the model by its path
    loading.save_merged(job.model, folder)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder)


def _arguments(job: LmmsJob, model: str, family: str, cuda: bool) -> str:
    """The value of ``--model_args``.

    Raises:
        UsageError: the model's name has a comma, which separates arguments.
    """
    path = str(Path(model).resolve()) if Path(model).is_dir() else model
    if "," in path or "=" in path:
        raise UsageError(f"--model {path}: lmms-eval takes no comma and no = in it")
    given = {"model" if family in ("vllm", "sglang") else "pretrained": path}
    if job.model.revision:
        given["revision"] = job.model.revision
    if family in FAMILIES.values():
        device = job.model.device if job.model.device != "auto" else "cuda" if cuda else "cpu"
        given |= {"device": device, "device_map": device}  # with transformers 5.24 the latter has no default that works
    if job.model.dtype != "auto":
        given["dtype"] = job.model.dtype
    return ",".join([*(f"{name}={value}" for name, value in given.items()), *([job.arguments] * bool(job.arguments))])


def _run(job: LmmsJob, task: str, arguments: str, family: str, check: Callable[[], None]) -> None:
    folder = job.folder(task)
    command = [str(job.python), "-m", "lmms_eval", "eval", "--model", family, "--model_args", arguments]
    command += ["--tasks", task, "--batch_size", str(job.model.batch_size), "--output_path", str(folder)]
    command += ["--log_samples", "--use_cache", str(job.output / "lmms" / "cache")]
    command += ["--limit", str(job.limit)] if job.limit else []
    command += ["--include_path", str(job.include)] if job.include else []
    with durable.environment(folder):
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
            )
    try:
        while process.poll() is None:
            check()
            time.sleep(_PAUSE)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
    if not _results(folder):
        shown = "\n".join(log.read_text(errors="replace").strip().splitlines()[-_SHOWN:])
        raise CommandFailed(f"{task} ended without results; the end of {log}:\n{shown}", ExitCode.UNREACHABLE)


def _results(folder: Path) -> list[Path]:
    """Result files of a task, the newest last; those without their samples are left out."""
    found = sorted(folder.glob("*/*_results.json"), key=lambda path: path.name)
    return [path for path in found if _samples(path)]


def _samples(results: Path) -> list[Path]:
    return sorted(results.parent.glob(results.name.removesuffix("results.json") + "samples_*.jsonl"))


def _scores(job: LmmsJob, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of all tasks, ``TASK/FIGURE``, with intervals from lmms-eval's standard errors."""
    figures: dict[str, float] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    questions: dict[str, int] = {}
    empty: dict[str, int] = {}
    for task in job.tasks:
        path = _results(job.folder(task))[-1]
        for name, found in durable.read_record(path)["results"].items():
            for key, value in found.items():
                figure, _, kind = key.partition(",")
                if not isinstance(value, int | float) or not kind or "_stderr" in figure:
                    continue
                error = found.get(f"{figure}_stderr,{kind}")
                figures[f"{name}/{figure}"] = value
                intervals[f"{name}/{figure}"] = _interval(value, error)
        for samples in _samples(path):
            name = samples.stem.partition("_samples_")[2]
            texts = [_text(row) for row in _rows(samples)]
            questions[name], empty[name] = len(texts), sum(not text.strip() for text in texts)
    if not figures:
        raise CorruptRun(f"{job.output / 'lmms'} has results without a figure: remove them to run the tasks again")
    told = {name: settings[name] for name in ("benchmark", "lmms_eval", "model", "model_revision")}
    return {**told, **figures, "intervals": intervals, "questions": questions, "empty_answers": empty}


def _interval(value: float, error: object) -> tuple[float, float] | None:
    if not isinstance(error, int | float) or not math.isfinite(error) or not error:
        return None
    return value - 1.96 * error, value + 1.96 * error


def _answers(job: LmmsJob) -> Iterator[str]:
    """Lines of the answers to all tasks."""
    for task in job.tasks:
        for samples in _samples(_results(job.folder(task))[-1]):
            name = samples.stem.partition("_samples_")[2]
            for row in _rows(samples):
                line = {
                    "question_id": str(row["doc_id"]),
                    "task": name,
                    "prompt": row.get("input"),
                    "text": _text(row),
                    "truth": row.get("target"),
                }
                yield json.dumps(line, ensure_ascii=False) + "\n"


def _rows(samples: Path) -> Iterator[dict[str, Any]]:
    with samples.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                row["doc_id"], row["filtered_resps"]
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise CorruptRun(
                    f"{samples} line {number} is damaged: remove the folder to run its task again"
                ) from error
            yield row


def _text(row: Mapping[str, Any]) -> str:
    """The answer of a sample, which stands in a list where there are several."""
    found = row["filtered_resps"]
    while isinstance(found, list):
        found = found[0] if found else ""
    return str(found)
