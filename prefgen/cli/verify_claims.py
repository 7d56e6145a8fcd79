"""`prefgen verify-claims`."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods.verify_claims import VerifyClaims
from prefgen.sources import SourceOptions


@command
def verify_claims(
    ctx: typer.Context,
    runs: Annotated[list[str], typer.Argument(help="Folders, addresses or Hub ids of finished runs.", metavar="RUN…")],
    files: Annotated[o.InputOutput, o.folder("Folder to write; resumed if unfinished.")],
    method: Draft[VerifyClaims],
    engine: Annotated[
        Draft[EngineConfig],
        without(
            *("model", "revision", "attention", "positions", *o.SIMILARITY, "also"),
            annotator={"help": "Open model that checks the claims: folder or Hub id.", "required": True},
        ),
    ],
    judge: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
    source: Annotated[SourceOptions, only(limit={"help": "Check the first N pairs of each run only."})],
    run: Annotated[
        o.RunOptions,
        without(license={"default": "", "help": "Licence to state; default: the strictest that a row is under."}),
    ],
    prompt: o.Prompt,
) -> None:
    """Keep the pairs whose claims an open model confirms (2405.17220).

    Splits the answers of finished runs into claims, asks the annotator about each with the picture, and keeps a pair if
    the chosen answer's claims hold and one of the rejected answer's does not.

    Example: prefgen verify-claims out --annotator llava-hf/llava-v1.6-34b-hf --output verified
    """
    import dataclasses

    from prefgen.cli import config, terminal
    from prefgen.engines import build
    from prefgen.runner.verifying import VerifyJob

    asked = engine.make()
    checking = dataclasses.replace(
        build.annotator(asked), base_model=asked.base_model, chat_template=asked.chat_template, annotator=""
    )
    folders = tuple(str(o.run_folder(each)) for each in runs)
    made = method.make(prompt=prompt.load("claims"))
    job = VerifyJob(
        made,
        folders,
        source,
        checking,
        files.output,
        run.shard_size,
        config.lock(ctx),
        judge.make(),
        run.keep_going,
    )
    terminal.carry_out(job, run)
