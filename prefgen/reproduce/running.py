"""Runs a recipe: its commands (`prefgen.reproduce.steps`), and the evaluations of its arms.

OUTPUT/
  recipe.json          what was asked: recipe, scale, model and inputs
  steps.jsonl          the commands that have ended
  sets/NAME            preference sets
  ARM/…                an arm's runs and model; EVALUATION.json: its figures
  table.md, table.json the paper's values and these
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prefgen.errors import UsageError
from prefgen.reproduce.recipes import Arm, Recipe, Scale
from prefgen.reproduce.steps import Step, begun, check_evaluations, evaluation, filled

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
        check_evaluations(self.evaluations)

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
            found.append(evaluation(line, model, folder(request, arm)))
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
    with begun(request.output, "recipe", asked, told) as journal:
        for step in steps(request):
            journal.run(step)


def _step(line: str, values: Mapping[str, str]) -> Step:
    return filled(line, values, "the recipe's command")
