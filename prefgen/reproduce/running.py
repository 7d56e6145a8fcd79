"""Runs a recipe: each command as a process of its own, once; evaluates its arms and keeps their figures.

OUTPUT/
  recipe.json          what was asked: recipe, scale, model and inputs
  steps.jsonl          the commands that have ended, in order; they are not run again
  sets/NAME            preference sets
  ARM/…                an arm's runs and model; EVALUATION.json: its figures
  table.md, table.json the paper's values and these
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prefgen import durable
from prefgen.errors import CommandFailed, UsageError
from prefgen.reproduce.recipes import Arm, Recipe, Scale

_SCALED: Mapping[Scale, Mapping[str, str]] = {
    "paper": {
        "sample": "--sample 5000",
        "few": "--rows 5000",
        "judged": "--limit 500",
        "similar": "",
        "online": "",
        "held": "",
        "train": "",
    },
    "tiny": {
        "sample": "--limit 32",
        "few": "--rows 8",
        "judged": "--limit 4",
        "online": "--fallback stored --max-fallback 1",
        "similar": "--similarity-model minilm",
        "held": "--validation 0.5",
        "train": "--max-steps 12 --batch-size 4 --grad-accum 1 --lora-r 8 --lora-alpha 16 --lr 2e-4",
    },
}


@dataclass(frozen=True)
class Request:
    """A recipe with the model, data and evaluations that it is run on.

    Attributes:
        output: folder.
        model: that is aligned.
        rows: SFT rows; empty where the recipe needs none.
        images: folders of pictures; empty where they are beside the rows.
        files: what the recipe's preference sets are imported from, by name.
        evaluations: tails of `prefgen eval` commands, such as ``pope --questions FILE``; the model is added.
        annotator: model that compares answers; empty for the one that is aligned.
        judge: judge that corrupts answers, with its options.
        also: further options of every training command.
    """

    recipe: Recipe
    scale: Scale
    output: Path
    model: str
    rows: str
    images: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    evaluations: Sequence[str] = ()
    annotator: str = ""
    judge: str = ""
    also: str = ""

    def check(self) -> None:
        """Check that everything the recipe needs is given.

        Raises:
            UsageError: naming what is missing or not known.
        """
        files = self.recipe.files
        if unknown := sorted(set(self.files) - set(files)):
            known = ", ".join(files) or "none"
            raise UsageError(f"--set {unknown[0]}: {self.recipe.name} has no such set; its sets: {known}")
        for name, what in files.items():
            if name not in self.files:
                raise UsageError(f"--set {name}=FILE is missing: {what}")
        missing = {
            "--model": not self.model,
            "--input": self.recipe.has("rows") and not self.rows,
            "--judge": self.recipe.has("judge") and not self.judge,
            "--eval": self.recipe.evaluates and not self.evaluations,
        }
        if lacks := [flag for flag, lacking in missing.items() if lacking]:
            raise UsageError(f"{self.recipe.name} needs {', '.join(lacks)}; --scale tiny needs nothing")
        for line in self.evaluations:
            if not line.split():
                raise UsageError("--eval is empty: it takes what stands behind `prefgen eval`")
        if len({_evaluation(line) for line in self.evaluations}) < len(self.evaluations):
            raise UsageError("--eval names one benchmark twice")

    def values(self) -> dict[str, str]:
        """Values of the places in commands, quoted where one is a single word."""
        scaled = _SCALED[self.scale]
        return {
            **scaled,
            "train": f"{scaled['train']} {self.also}".strip(),
            "model": shlex.quote(self.model),
            "annotator": shlex.quote(self.annotator or self.model),
            "rows": shlex.quote(self.rows),
            "images": " ".join(f"--image-root {shlex.quote(folder)}" for folder in self.images),
            "judge": f"--judge {self.judge}",
            **{name: shlex.quote(str(self.output / "sets" / name)) for name in self.recipe.sets},
        }


@dataclass(frozen=True)
class Step:
    """A command and, where its standard output is kept, the file for it."""

    words: tuple[str, ...]
    kept: Path | None = None

    def __str__(self) -> str:
        return shlex.join(["prefgen", *self.words])


def steps(request: Request) -> list[Step]:
    """All commands of a request, in order.

    Raises:
        UsageError: a command of the recipe has a place that nothing fills.
    """
    values = request.values()
    found = [
        _step(each.command, {**values, "set": values[name], "file": shlex.quote(request.files.get(each.file, ""))})
        for name, each in request.recipe.sets.items()
    ]
    models = []
    for arm in request.recipe.arms:
        own = {**values, "arm": shlex.quote(str(folder(request, arm))), "name": folder(request, arm).name}
        found += [_step(line, own) for line in arm.steps]
        if arm.judge:
            for name in request.recipe.sets:
                step = _step(arm.judge, {**own, "set": values[name]})
                found.append(Step((*step.words, "--json"), judgement(request, arm, name)))
        if not arm.model:
            continue
        (model,) = _step(arm.model, own).words
        models.append(model)
        for line in request.evaluations if request.recipe.evaluates else ():
            kept = folder(request, arm) / f"{_evaluation(line)}.json"
            answers = [] if _evaluation(line) == "scenes" else ["--output", str(kept.with_suffix(""))]
            found.append(Step(("eval", *shlex.split(line), "--model", model, *answers, "--json"), kept))
    if request.recipe.together:
        sets = shlex.join(str(request.output / "sets" / name) for name in request.recipe.sets)
        step = _step(request.recipe.together, {**values, "models": shlex.join(models), "sets": sets})
        found.append(Step((*step.words, "--json"), request.output / "together.json"))
    return found


def folder(request: Request, arm: Arm) -> Path:
    """An arm's folder."""
    return request.output / (re.sub(r"[^a-z0-9]+", "-", arm.name.lower()).strip("-") or "arm")


def judgement(request: Request, arm: Arm, name: str) -> Path:
    """File of a judge's figures on a set."""
    return folder(request, arm) / f"judge-{name}.json"


def run(request: Request, told: Callable[[str], None]) -> None:
    """Run every command that has not ended before.

    Args:
        told: gets a line for each.

    Raises:
        CommandFailed: one of them ended with another exit code than 0; the same request goes on there.
        CorruptRun: the output was begun with another request.
    """
    asked = {
        "recipe": request.recipe.name,
        "scale": request.scale,
        "model": request.model,
        "rows": request.rows,
        "images": list(request.images),
        "sets": dict(request.files),
        "annotator": request.annotator,
        "judge": request.judge,
        "also": request.also,
    }
    record, journal, lock = (request.output / name for name in ("recipe.json", "steps.jsonl", ".lock"))
    with durable.environment(request.output):
        request.output.mkdir(parents=True, exist_ok=True)
        if not record.exists() and any(path.name[:1] != "." for path in request.output.iterdir()):
            raise UsageError(f"--output {request.output} holds files of others: choose another folder")
    with durable.settled(record, lock, asked):
        ended = _ended(journal)
        for step in steps(request):
            if str(step) in ended and (step.kept is None or step.kept.exists()):
                continue
            told(str(step))
            started = time.monotonic()
            _call(step)
            line = {"command": str(step), "seconds": round(time.monotonic() - started, 1)}
            with durable.environment(request.output):
                durable.replace(journal, _text(journal) + durable.json_bytes(json.dumps(line) + "\n"))


def _text(journal: Path) -> bytes:
    return journal.read_bytes() if journal.exists() else b""


def _call(step: Step) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefgen", *step.words],
        stdout=subprocess.PIPE if step.kept else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(
            f"{step} ended with exit code {done.returncode}; the same command goes on there", done.returncode
        )
    if step.kept:
        with durable.environment(step.kept.parent):
            step.kept.parent.mkdir(parents=True, exist_ok=True)
            durable.replace(step.kept, done.stdout.encode())


def _ended(journal: Path) -> set[str]:
    return {json.loads(line)["command"] for line in _text(journal).splitlines()}


def _step(line: str, values: Mapping[str, str]) -> Step:
    try:
        return Step(tuple(shlex.split(line.format_map(values))))
    except (KeyError, ValueError) as error:
        raise UsageError(f"the recipe's command {line!r} has a place that nothing fills: {error}") from None


def _evaluation(line: str) -> str:
    return shlex.split(line)[0]
