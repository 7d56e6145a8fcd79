"""Options shared by commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prefgen.addresses import HUB_ID, is_address, on_disk
from prefgen.cli import config, params
from prefgen.engines.base import EngineConfig
from prefgen.methods import prompts
from prefgen.methods.prompts import Template
from prefgen.options import DATA, RUN, SHARD_SIZE, check, option

if TYPE_CHECKING:
    from prefgen.select import Excluded


def run_folder(text: str) -> Path:
    """The folder of a run; a run at an address or on the Hub is downloaded first."""
    path = Path(text)
    if not is_address(text) and (path.exists() or not HUB_ID.fullmatch(text)):
        return path
    from prefgen.card.pull import pulled

    return pulled(text)


DataSet = Annotated[
    Path,
    typer.Argument(help="Folder of a data set, finished or not; address or Hub id.", metavar="RUN", parser=run_folder),
]
Policy = Annotated[EngineConfig, params.without("also", "annotator", "annotator_revision")]
"""The model that generates, where no other compares its answers."""
SIMILARITY = ("similarity_model", "similarity_dtype")
"""Options of the model that measures similarity, which is not every command's."""
NOT_SAMPLING = ("also", "annotator", "annotator_revision", "attention", "positions", *SIMILARITY)
"""Options that a command leaves out where the policy samples answers as it is, and no model compares them."""


@dataclass(frozen=True)
class InputOutput:
    """Input and output of a run."""

    input: Sequence[str] = option(
        (),
        "--input",
        "-i",
        help="SFT data: file, 'part-*.jsonl', folder, Hub id, s3://…; repeatable.",
        panel=DATA,
        required=True,
    )
    output: Path = option(
        Path(),
        "--output",
        "-o",
        help="Folder for the preference shards.",
        panel=DATA,
        required=True,
        callback=on_disk,
    )


@dataclass(frozen=True)
class Prompt:
    """The file of a prompt, where it is not prefgen's own."""

    prompt: Path | None = option(None, help="A prompt of your own: prefgen prompts export.")

    def load(self, name: str) -> Template:
        """That prompt, or prefgen's of this name."""
        return prompts.load(name, self.prompt)


@dataclass(frozen=True)
class Exclusion:
    """Pictures that no row may have."""

    exclude_images: Path | None = option(
        None,
        help="Evaluation pictures that no row may have: a folder, or a file with a name, SHA-256 or JSON a line.",
        panel=None,
    )

    def excluded(self) -> Excluded:
        """The pictures."""
        from prefgen.select import Excluded

        return Excluded.read(self.exclude_images) if self.exclude_images else Excluded()


@dataclass(frozen=True)
class RunOptions:
    """Options of commands that carry out a run or a training.

    Attributes:
        shard_size: rows of a shard.
        max_dropped: largest share of rows that may be dropped, in [0, 1].
        license: of the data, for the dataset card.
        shard: ``i/n``, the part of the shards that is filled from here.
        workers: processes on this machine.
        ray: address of a cluster.
    """

    seed: int = option(0, help="Seeds every draw.", panel=RUN)
    shard_size: int = option(SHARD_SIZE, help="Rows of a shard: the unit of commit.", panel=RUN, low=1)
    max_dropped: float = option(1.0, help="Exit 3 if a larger share of rows is dropped.", panel=RUN)
    license: str = option("other", was=("--licence",), help="Licence to state in the dataset card.", panel=RUN)
    keep_going: bool = option(False, help="Go on although the first rows all fail for one reason.", panel=RUN)
    shard: str | None = option(None, help="Fill part i of n of the shards (0/n …), beside other processes.", panel=RUN)
    workers: int = option(1, help="Processes on this machine, each with GPUs or cores of its own.", panel=RUN, low=1)
    ray: str | None = option(
        None, help="Address of a Ray cluster whose machines do the work: auto, host:port.", panel=RUN
    )
    config_file: Path | None = option(
        None,
        "--config",
        help="TOML or YAML file of options.",
        panel=RUN,
        callback=config.load_callback,
        is_eager=True,
    )
    dry_run: bool = option(False, help="Print the plan and one prompt, then stop.", panel=RUN)
    json: bool = option(False, help="Print the final figures as JSON.", panel=RUN)
    quiet: bool = option(False, "--quiet", "-q", help="Only errors and the final figures.", panel=RUN)

    def __post_init__(self) -> None:
        check(self)


Printing = Annotated[RunOptions, params.only("json", "quiet")]


def as_json(what: str) -> params.OptionSubset:
    """Annotation of `RunOptions` that selects ``--json``."""
    return params.only(json={"help": f"Print {what} as JSON."})


def folder(what: str) -> params.OptionSubset:
    """Annotation of `InputOutput` that selects ``--output``."""
    return params.only(output={"help": what})
