"""Recipes: what a table or figure of the paper takes, read from the YAML files in `recipes/`.

A recipe names the preference sets that it needs and its arms, one a row of the table. An arm is a list of prefgen
commands with places in braces, at the end of which stands a model, or a run whose own figures are the result::

    {model}   the model that is aligned          {rows}    SFT rows: prompts, pictures and chosen answers
    {images}  --image-root, if one is given      {NAME}    a preference set as a run
    {sample}  how many rows are used             {similar} options of the similarity model
    {annotator} of online DPO                    {online}  options of online training by scale
    {train}   options of training by scale       {arm}     the arm's folder, {name} its name
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
        commands: by scale, the command that makes or imports it; ``{file}`` is what was given, ``{set}`` the run.
    """

    what: str
    commands: Mapping[str, str]


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Attributes:
        name: in the table.
        steps: commands, in order.
        model: what is evaluated in the end; empty where figures of `run` are the result.
        run: folder, in the arm's, of a finished run whose own figures are the result.
        paper: the paper's values, by column.
    """

    name: str
    steps: tuple[str, ...] = ()
    model: str = ""
    run: str = ""
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A table or figure of the paper.

    Attributes:
        name: as `prefgen reproduce` takes it.
        title: what it shows.
        sets: preference sets by name.
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


def names() -> list[str]:
    """Names of the recipes, in the paper's order."""
    return sorted((path.stem for path in FOLDER.glob("*.yaml")), key=lambda name: (name[:3] != "tab", _number(name)))


def load(name: str) -> Recipe:
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
        return _recipe(path.stem, read)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} has not the form of a recipe: {error!r}") from None


def _recipe(name: str, read: Mapping[str, Any]) -> Recipe:
    return Recipe(
        name,
        read["title"],
        {key: Set(value.pop("what"), value) for key, value in (read.get("sets") or {}).items()},
        tuple(Arm(**{**arm, "steps": tuple(arm.get("steps", ()))}) for arm in read["arms"]),
        read.get("together", ""),
        tuple(read.get("notes", ())),
    )


def _number(name: str) -> int:
    return int("".join(letter for letter in name if letter.isdigit()) or 0)
