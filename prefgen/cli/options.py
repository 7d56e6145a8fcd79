"""Options shared by commands, and helpers for Typer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen import options as declare
from prefgen.addresses import HUB_ID, is_address
from prefgen.cli import config, params
from prefgen.engines.base import EngineConfig
from prefgen.errors import UsageError


def on_disk(path: Path) -> Path:
    """Refuse an address where a local folder or file is written.

    Raises:
        UsageError: saying what to do instead.
    """
    scheme = path.parts[0] if path.parts else ""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", scheme):  # of which Path keeps one slash
        address = str(path).replace(":/", "://", 1)
        raise UsageError(
            f"--output {address}: commits need the renames and locks of a file system, which {scheme}// has not. Write "
            f"to a folder, on disk or shared, then copy it: prefgen push OUT {address}"
        )
    return path


def run_folder(text: str) -> Path:
    """The folder of a run; a run at an address or on the Hub is downloaded first."""
    path = Path(text)
    if not is_address(text) and (path.exists() or not HUB_ID.fullmatch(text)):
        return path
    from prefgen.card.pull import pulled

    return pulled(text)


def option(panel: str, *names: str, help: str, choices: tuple[str, ...] = (), **settings: Any) -> Any:
    """A Typer option; `choices` are listed in its help and checked by its dataclass."""
    text = f"{help}: {', '.join(choices)}." if choices else help
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


def data(*names: str, help: str, **settings: Any) -> Any:
    """An option of the data panel."""
    return option(declare.DATA, *names, help=help, **settings)


def method(*names: str, help: str, **settings: Any) -> Any:
    """An option of the method panel."""
    return option(declare.METHOD, *names, help=help, **settings)


def run(*names: str, help: str, **settings: Any) -> Any:
    """An option of the run panel."""
    return option(declare.RUN, *names, help=help, **settings)


DataSet = Annotated[
    Path,
    typer.Argument(help="Folder of a data set, finished or not; address or Hub id.", metavar="RUN", parser=run_folder),
]
Input = Annotated[
    list[str], data("--input", "-i", help="SFT data: file, 'part-*.jsonl', folder, Hub id, s3://…; repeatable.")
]
Output = Annotated[Path, data("--output", "-o", help="Folder for the preference shards.", callback=on_disk)]
Preset = Annotated[
    str | None,
    method("--preset", help="A row of the paper: prefgen presets.", callback=config.preset_callback, is_eager=True),
]
Prompt = Annotated[Path | None, method("--prompt", help="A prompt of your own: prefgen prompts export.")]

Policy = Annotated[EngineConfig, params.without("also", "annotator", "annotator_revision")]
"""The model that generates, where no other compares its answers."""


@dataclass(frozen=True)
class Printing:
    """Options of a command's printed result."""

    json: bool = declare.option(False, help="Print the final figures as JSON.", panel=declare.RUN)
    quiet: bool = declare.option(False, "--quiet", "-q", help="Only errors and the final figures.", panel=declare.RUN)


def as_json(what: str, panel: str | None = None) -> params.OptionSubset:
    """Annotation of `Printing` that selects ``--json``."""
    return params.only(json={"help": f"Print {what} as JSON.", "panel": panel})


@dataclass(frozen=True)
class RunOptions:
    """Options of carrying out a run.

    Attributes:
        shard_size: rows of a shard.
        max_dropped: largest share of rows that may be dropped, in [0, 1].
        license: of the data, for the dataset card.
        shard: ``i/n``, the part of the shards that is filled from here.
        workers: processes on this machine.
        ray: address of a cluster.
    """

    seed: int = declare.option(0, help="Seeds every draw.", panel=declare.RUN)
    shard_size: int = declare.option(
        declare.SHARD_SIZE, help="Rows of a shard: the unit of commit.", panel=declare.RUN, low=1
    )
    max_dropped: float = declare.option(1.0, help="Exit 3 if a larger share of rows is dropped.", panel=declare.RUN)
    license: str = declare.option(
        "other", was=("--licence",), help="Licence to state in the dataset card.", panel=declare.RUN
    )
    keep_going: bool = declare.option(
        False, help="Go on although the first rows all fail for one reason.", panel=declare.RUN
    )
    shard: str | None = declare.option(
        None, help="Fill part i of n of the shards (0/n …), beside other processes.", panel=declare.RUN
    )
    workers: int = declare.option(
        1, help="Processes on this machine, each with GPUs or cores of its own.", panel=declare.RUN, low=1
    )
    ray: str | None = declare.option(
        None, help="Address of a Ray cluster whose machines do the work: auto, host:port.", panel=declare.RUN
    )
    config_file: Path | None = declare.option(
        None,
        "--config",
        help="TOML or YAML file of options.",
        panel=declare.RUN,
        callback=config.load_callback,
        is_eager=True,
    )
    dry_run: bool = declare.option(False, help="Print the plan and one prompt, then stop.", panel=declare.RUN)
    json: bool = declare.option(False, help="Print the final figures as JSON.", panel=declare.RUN)
    quiet: bool = declare.option(False, "--quiet", "-q", help="Only errors and the final figures.", panel=declare.RUN)

    def __post_init__(self) -> None:
        declare.check(self)
