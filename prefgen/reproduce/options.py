"""Options of `prefgen reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prefgen.addresses import on_disk
from prefgen.demo import FOLDER
from prefgen.errors import UsageError
from prefgen.options import DATA, MODELS, RUN, check, option

if TYPE_CHECKING:
    from prefgen.reproduce.recipes import Recipe
    from prefgen.reproduce.running import Request


@dataclass(frozen=True)
class ReproduceOptions:
    """Options of `prefgen reproduce`.

    Attributes:
        output: folder.
        scale: ``paper`` takes the paper's sizes; ``tiny`` runs on the rows and the model that come with prefgen.
        sets: ``NAME=FILE``, what a preference set of the recipe is imported from.
        evaluations: what stands behind `prefgen eval`; each arm's model is added.
        train: further options of every training command.
    """

    output: Path = option(
        Path("reproduced"),
        "--output",
        "-o",
        help="Folder for runs, models and the table.",
        panel=DATA,
        callback=on_disk,
    )
    scale: Literal["paper", "tiny"] = option("paper", help="Sizes", panel=RUN)
    input: str = option("", "--input", "-i", help="SFT rows: file, folder or Hub id.", panel=DATA)
    image_root: Sequence[str] = option((), help="Folder of the pictures; repeatable.", panel=DATA)
    sets: Sequence[str] = option((), "--set", help="NAME=FILE of a preference set; repeatable.", panel=DATA)
    evaluations: Sequence[str] = option(
        (), "--eval", help="A benchmark: 'pope --questions FILE …'; repeatable.", panel=DATA
    )
    model: str = option("", "--model", "-m", help="Model to align: folder or Hub id.", panel=MODELS)
    annotator: str = option("", help="Model that compares answers; else --model.", panel=MODELS)
    judge: str = option("", help="Judge that corrupts answers, with options: 'gpt-4o --max-cost 50'.", panel=MODELS)
    train: str = option("", help="Options of every training command, such as '--beta 0.2'.", panel=RUN)
    list: bool = option(False, help="List the recipes.", panel=RUN)
    dry_run: bool = option(False, help="Print the commands and run none.", panel=RUN)
    json: bool = option(False, help="Print the table as JSON.", panel=RUN)

    def __post_init__(self) -> None:
        check(self)

    def request(self, recipe: Recipe) -> Request:
        """The recipe with what these options give for it.

        Raises:
            UsageError: something is missing.
        """
        from prefgen.reproduce.running import Request  # with YAML: not for the help

        tiny = self.scale == "tiny"
        sets = [each.partition("=") for each in self.sets]
        if wrong := next((name for name, sign, file in sets if not (name and sign and file)), None):
            raise UsageError(f"--set {wrong}: give NAME=FILE")
        return Request(
            recipe,
            self.scale,
            self.output,
            self.model or (str(FOLDER / "model") if tiny else ""),
            self.input or (str(FOLDER / "llava_instruct.json") if tiny else ""),
            self.image_root,
            {name: file for name, _, file in sets},
            self.evaluations or (("scenes --limit 20",) if tiny else ()),
            self.annotator,
            self.judge,
            self.train,
        )
