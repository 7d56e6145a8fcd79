"""Recipes: what a table or figure of the paper takes, read from the YAML files in `recipes/`.

A recipe names the preference sets that it needs and its arms, one a row of the table. An arm is a list of prefgen
commands with places in braces, at the end of which stands a model, or a run whose own figures are the result::

    {model}   the model that is aligned          {rows}    SFT rows: prompts, pictures and chosen answers
    {images}  --image-root, if one is given      {NAME}    a preference set as a run
    {sample}  how many SFT rows are used         {few}     how many rows are drawn of a set
    {judged}  how many pairs are judged          {size}    of those in `sizes`
    {judge}   the judge that corrupts answers    {similar} options of the similarity model
    {annotator} of online DPO                    {online}  options of online training by scale
    {train}   options of training by scale       {held}    the share that reward models are tried on
    {arm}     the arm's folder, {name} its name

A set has a command for each scale (``paper``, ``tiny``) or one for both (``command``). ``{file}`` in it is what was
given for the set by `--set`, or for the set that ``of`` names, and ``{set}`` the run that it makes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from prefgen.errors import UsageError

FOLDER = Path(__file__).parent / "recipes"
Scale = Literal["paper", "tiny"]
SCALES: tuple[Scale, ...] = get_args(Scale)


@dataclass(frozen=True)
class Set:
    """A preference set that a recipe needs.

    Attributes:
        what: it is in the paper.
        command: that makes or imports it.
        file: name in `--set` of the file that it is imported from; empty where it is made without one.
    """

    what: str
    command: str
    file: str = ""


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        name: in the table.
        steps: commands, in order.
        model: what is evaluated in the end; empty where other figures are the result.
        run: folder, in the arm's, of a finished run whose own figures are the result.
        judge: command on every ``{set}`` whose accuracy is the cell under the set's name.
        paper: the paper's values, by column.
    """

    name: str
    steps: tuple[str, ...] = ()
    model: str = ""
    run: str = ""
    judge: str = ""
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A table or figure of the paper, at one scale.

    Attributes:
        name: as `prefgen reproduce` takes it.
        title: what it shows.
        sets: preference sets by name, in the order in which they are made.
        arms: its rows.
        together: a command on all arms' ``{models}`` and all ``{sets}`` whose cells are the result, as in table 7.
        notes: departures, and where the paper contradicts itself.
    """

    name: str
    title: str
    sets: Mapping[str, Set]
    arms: tuple[Arm, ...]
    together: str = ""
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """Description of each file that sets are imported from, by its name in `--set`."""
        found: dict[str, str] = {}
        for each in self.sets.values():
            if each.file:
                found.setdefault(each.file, each.what)
        return found

    @property
    def evaluates(self) -> bool:
        """True if its arms end in models that are measured one by one."""
        return not self.together and any(arm.model for arm in self.arms)

    def has(self, place: str) -> bool:
        """True if one of its commands has this place."""
        lines = [each.command for each in self.sets.values()]
        lines += [line for arm in self.arms for line in (*arm.steps, arm.model, arm.judge)]
        return any(f"{{{place}}}" in line for line in (*lines, self.together))


def names() -> list[str]:
    """Names of the recipes, in the paper's order."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name[:3] != "tab", _number(name)))


def load(name: str, scale: Scale = "paper") -> Recipe:
    """A recipe by its name, or by the path of a YAML file of the same form.

    Raises:
        UsageError: there is none of that name, or it has another form.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(
            f"there is no recipe {name!r}: choose from {', '.join(names())}, or give a YAML file"
        ) from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML: {error}") from None
    try:
        return _recipe(path.stem, read, scale)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} has not the form of a recipe: {error!r}") from None


def _recipe(name: str, read: Mapping[str, Any], scale: Scale) -> Recipe:
    sizes = read.get("sizes", {}).get(scale, ())
    arms = [Arm(**{**arm, "steps": tuple(arm.get("steps", ()))}) for arm in read["arms"]]
    return Recipe(
        name,
        read["title"],
        {name: _set(name, each, scale) for name, each in (read.get("sets") or {}).items()},
        tuple(each for arm in arms for each in _sized(arm, sizes)),
        read.get("together", ""),
        tuple(read.get("notes", ())),
    )


def _set(name: str, read: Mapping[str, str], scale: Scale) -> Set:
    command = read["command"] if "command" in read else read[scale]
    return Set(read.get("what", ""), command, read.get("of", name) if "{file}" in command else "")


def _sized(arm: Arm, sizes: Sequence[int]) -> list[Arm]:
    """The arm; one for each size where its name has the place ``{size}``."""
    if "{size}" not in arm.name:
        return [arm]
    return [
        replace(
            arm,
            name=arm.name.replace("{size}", f"{size:,}"),
            steps=tuple(line.replace("{size}", str(size)) for line in arm.steps),
        )
        for size in sizes
    ]


def _number(name: str) -> int:
    return int("".join(letter for letter in name if letter.isdigit()) or 0)
