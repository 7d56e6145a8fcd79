"""`prefgen import`: a published set, or data in a trainer's format, as a run directory."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import command, only, without
from prefgen.options import DATA, RUN, option
from prefgen.sources import SourceOptions

NAMES = (
    "povid, rlhf-v, rlaif-v, vlfeedback, llava-rlhf, ha-dpo, seva, mmpr, mm-rlhf, bpo, trl, llamafactory, ms-swift, "
    "openai, ranked, ab, unpaired, jsonl, prefgen; or a data set of the paper's tables 3 to 5, see --list"
)
_RATED, _OTHER = "Options of vlfeedback and ranked", "Options of other sets"


@dataclass(frozen=True)
class ImporterOptions:
    """Options that some importers have; one that is None was not given, and the importer's own default holds."""

    pairing: str | None = option(None, help="all, best-worst (default) or best-random.", panel=_RATED)
    aspect: str | None = option(None, help="Rating to rank by: mean (default) or one aspect.", panel=_RATED)
    min_margin: float | None = option(None, help="Least difference of the ratings.", panel=_RATED)
    chosen_model: str | None = option(None, help="Pattern of the best answer's model.", panel=_RATED)
    prompt_source: str | None = option(None, help="Pattern of the row's id.", panel=_RATED)
    descriptions: str | None = option(None, help="ha-dpo: one (default) pair or all.", panel=_OTHER)
    image_data: Path | None = option(None, help="ha-dpo: Visual Genome's image_data.json.", panel=_OTHER)
    dataset: str | None = option(None, help="llamafactory: Entry of dataset_info.json.", panel=_OTHER)
    image_column: str | None = option(None, help="jsonl: Name of the column.", panel=_OTHER)
    prompt_column: str | None = option(None, help="jsonl: Name of the column.", panel=_OTHER)
    chosen_column: str | None = option(None, help="jsonl: Name of the column.", panel=_OTHER)
    rejected_column: str | None = option(None, help="jsonl: Name of the column.", panel=_OTHER)
    id_column: str | None = option(None, help="jsonl: Name of the column.", panel=_OTHER)
    license: str | None = option(
        None, help="Licence of the rows; default: the set's own.", panel=DATA, was=("--licence",)
    )

    def given(self) -> dict[str, Any]:
        """Those that were given, by the importers' names."""
        found = {name: value for name, value in vars(self).items() if value not in (None, "")}
        return {"licence" if name == "license" else name: value for name, value in found.items()}


def _list(show: bool) -> None:
    if show:
        from prefgen.formats import IMPORTERS, PRESETS

        for name, kind in IMPORTERS.items():
            typer.echo(f"{name:30}{(sys.modules[kind.__module__].__doc__ or '').splitlines()[0]}")
        for name, preset in PRESETS.items():
            options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in preset.options.items())
            size = f"--sample {preset.sample} " if preset.sample else ""
            typer.echo(f"{name:30}{preset.importer} {size}{options} (table {preset.table})")
        raise typer.Exit


@dataclass(frozen=True)
class ListOption:
    """The list of sets and presets, in place of an import."""

    list_: bool = option(False, "--list", help="List sets and presets.", panel=RUN, callback=_list, is_eager=True)


@command
def import_(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help=NAMES, metavar="NAME")],
    src: Annotated[str, typer.Argument(help="File, folder, Hub id or address (s3://…).", metavar="SRC")],
    files: Annotated[o.InputOutput, o.folder("Folder to write; resumed if unfinished.")],
    source: Annotated[
        SourceOptions,
        only(
            *(
                "image_root",
                "image_match",
                "follow_links",
                "columns",
                "roles",
                "allow_urls",
                "split",
                "dataset_config",
                "dataset_revision",
            ),
            image_root={"help": "Where images are; default: beside SRC."},
            allow_urls={"help": "Download images by URL."},
            split={"help": "Split of a folder or Hub set."},
            dataset_revision={"was": ("--revision",)},
            limit={"help": "Take the first so many pairs."},
            sample={"help": "Draw so many pairs at random."},
        ),
    ],
    run: Annotated[
        o.RunOptions,
        without(
            *("keep_going", "shard", "workers", "ray", "license"),
            seed={"panel": "Data"},
            shard_size={"help": "Pairs of a shard: the unit of commit."},
            dry_run={"help": "Print the plan and one pair, then stop."},
        ),
    ],
    own: ImporterOptions,
    listing: ListOption,
) -> None:
    """Import a published set, or data in a trainer's format, as a run.

    The output has the form of any other run: shards, card, dropped rows with reasons; `prefgen verify` checks it.

    Example: prefgen import povid POVID_preference_data_for_VLLMs_version_1.json --image-root coco/train2014 -o povid
    """
    from prefgen.cli import terminal
    from prefgen.runner.import_job import ImportJob, import_pairs
    from prefgen.runner.reporter import Terminal

    job = ImportJob.of(name, own.given(), src, source, files.output, run.shard_size, config.lock(ctx))
    reporter = Terminal(quiet=run.quiet)
    result = import_pairs(job, terminal.card(own.license), reporter, dry_run=run.dry_run)
    terminal.finish(files.output, result, reporter.console, json=run.json, max_dropped=run.max_dropped)
