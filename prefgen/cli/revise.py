"""`prefgen revise`."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, without
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods.revise import Revise
from prefgen.sources import SourceOptions


@command
def revise(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Revise],
    judge: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
    engine: Annotated[
        EngineConfig,
        without(
            *("also", "annotator", "annotator_revision", "attention", "positions", "similarity_model"),
            model={"required": False, "help": "The policy: folder or Hub id; none for --answers input."},
        ),
    ],
    run: o.RunOptions,
    prompt: o.Prompt,
) -> None:
    """Have a judge that sees the picture repair the policy's own answers (2501.09695).

    The repaired answer is chosen, the policy's rejected. Train on the chosen ones first, then on the pairs: `prefgen
    train sft`, then `prefgen train dpo --loss-mask spans`.

    Example: prefgen revise -i llava_instruct.json -m llava-hf/llava-1.5-7b-hf --judge gpt4o --max-cost 20 -o out
    """
    from prefgen.cli import terminal

    made = method.make(prompt=prompt.load("revise" if method.value("reply") == "json" else "revise-text"))
    terminal.make(ctx, made, files, source, engine, run, judge.make())
