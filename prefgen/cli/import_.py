"""`prefgen import`: a published set, or data in a trainer's format, as a run directory."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli import config
from prefgen.cli.options import RunOptions, on_disk, option
from prefgen.cli.params import command, only, without
from prefgen.errors import UsageError
from prefgen.sources import SourceOptions

NAMES = (
    "povid, rlhf-v, rlaif-v, vlfeedback, llava-rlhf, ha-dpo, seva, mmpr, mm-rlhf, bpo, trl, llamafactory, ms-swift, "
    "openai, ranked, ab, unpaired, jsonl, prefgen; or a data set of the paper's tables 3 to 5, see --list"
)
_OWN = ("pairing", "aspect", "min_margin", "chosen_model", "prompt_source", "descriptions", "image_data", "dataset")
_COLUMNS = ("image_column", "prompt_column", "chosen_column", "rejected_column", "id_column")


def _vl(name: str, help: str) -> Any:
    return option("Options of vlfeedback and ranked", name, help=help)


def _of(importer: str, name: str, help: str) -> Any:
    return option("Options of other sets", name, help=f"{importer}: {help}")


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


@command
def import_(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help=NAMES, metavar="NAME")],
    src: Annotated[str, typer.Argument(help="File, folder, Hub id or address (s3://…).", metavar="SRC")],
    output: Annotated[
        Path, option("Data", "--output", "-o", help="Folder to write; resumed if unfinished.", callback=on_disk)
    ],
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
        RunOptions,
        without(
            *("keep_going", "shard", "workers", "ray"),
            seed={"panel": "Data"},
            shard_size={"help": "Pairs of a shard: the unit of commit."},
            license={
                "help": "Licence of the rows; default: the set's own.",
                "default": None,
                "optional": True,
                "panel": "Data",
            },
            dry_run={"help": "Print the plan and one pair, then stop."},
        ),
    ],
    pairing: Annotated[str | None, _vl("--pairing", "all, best-worst (default) or best-random.")] = None,
    aspect: Annotated[str | None, _vl("--aspect", "Rating to rank by: mean (default) or one aspect.")] = None,
    min_margin: Annotated[float | None, _vl("--min-margin", "Least difference of the ratings.")] = None,
    chosen_model: Annotated[str | None, _vl("--chosen-model", "Pattern of the best answer's model.")] = None,
    prompt_source: Annotated[str | None, _vl("--prompt-source", "Pattern of the row's id.")] = None,
    descriptions: Annotated[str | None, _of("ha-dpo", "--descriptions", "one (default) pair or all.")] = None,
    image_data: Annotated[Path | None, _of("ha-dpo", "--image-data", "Visual Genome's image_data.json.")] = None,
    dataset: Annotated[str | None, _of("llamafactory", "--dataset", "Entry of dataset_info.json.")] = None,
    image_column: Annotated[str | None, _of("jsonl", "--image-column", "Name of the column.")] = None,
    prompt_column: Annotated[str | None, _of("jsonl", "--prompt-column", "Name of the column.")] = None,
    chosen_column: Annotated[str | None, _of("jsonl", "--chosen-column", "Name of the column.")] = None,
    rejected_column: Annotated[str | None, _of("jsonl", "--rejected-column", "Name of the column.")] = None,
    id_column: Annotated[str | None, _of("jsonl", "--id-column", "Name of the column.")] = None,
    list_: Annotated[
        bool, option("Run", "--list", help="List sets and presets.", callback=_list, is_eager=True)
    ] = False,
) -> None:
    """Import a published set, or data in a trainer's format, as a run.

    The output has the form of any other run: shards, card, dropped rows with reasons; `prefgen verify` checks it.

    Example: prefgen import povid POVID_preference_data_for_VLLMs_version_1.json --image-root coco/train2014 -o povid
    """
    from prefgen.cli import terminal
    from prefgen.runner.import_job import ImportJob, import_pairs
    from prefgen.runner.reporter import Terminal

    given = {key: ctx.params[key] for key in (*_OWN, *_COLUMNS) if ctx.params[key] is not None}
    license = ctx.params["license"]
    given |= {"licence": license} if license else {}
    kind, options, size = _importer(name, given)
    source = replace(source, sample=source.sample or size)
    common = {"source": source, "seed": run.seed}
    importer = kind(**options, **{key: value for key, value in common.items() if key in field_names(kind)})
    job = ImportJob(importer, src, source, output, run.shard_size, config.lock(ctx))
    reporter = Terminal(quiet=run.quiet)
    result = import_pairs(job, terminal.card(license), reporter, dry_run=run.dry_run)
    terminal.finish(output, result, reporter.console, json=run.json, max_dropped=run.max_dropped)


def field_names(kind: Any) -> frozenset[str]:
    """The fields of a dataclass."""
    return frozenset(field.name for field in fields(kind))


def _importer(name: str, given: dict[str, Any]) -> tuple[Any, dict[str, Any], int | None]:
    """The importer's class, its options, and the number of pairs to draw.

    Raises:
        UsageError: for an unknown name, or an option that this importer does not have.
    """
    from prefgen.formats import IMPORTERS, PRESETS

    preset = PRESETS.get(name)
    kind = IMPORTERS.get(preset.importer if preset else name)
    if kind is None:
        from prefgen.formats.listing import unknown

        raise UsageError(unknown(f"no set {name!r}", name, [*IMPORTERS, *PRESETS]))
    options = {**(preset.options if preset else {}), **given}
    for given_name in options:
        if given_name not in field_names(kind):
            having = [other for other, value in IMPORTERS.items() if given_name in field_names(value)]
            raise UsageError(f"--{given_name.replace('_', '-')} is an option of {', '.join(having)}, not of {name}")
    return kind, options, preset.sample if preset else None
