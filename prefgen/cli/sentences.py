"""`prefgen sentences`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, without
from prefgen.engines.base import Engine, EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.evaluate.checkers import Checking
from prefgen.methods.sentences import Sentences
from prefgen.requests import Detect, Request
from prefgen.sources import SourceOptions


@command
def sentences(
    ctx: typer.Context,
    files: o.InputOutput,
    source: SourceOptions,
    method: Draft[Sentences],
    checking: Draft[Checking],
    engine: Annotated[EngineConfig, without(*o.NOT_SAMPLING)],
    judge: Annotated[Draft[JudgeConfig], without("batch_api", "batch_files")],
    run: o.RunOptions,
    prompt: o.Prompt,
) -> None:
    """Pair a true and an invented next sentence of the policy (2507.12455).

    Both follow the same true beginning; the true one joins it, and so on to the end of the answer. Train on these pairs
    with `prefgen train dpo --loss-mask spans`.

    Example: prefgen sentences -i llava_instruct.json -m llava-hf/llava-1.5-7b-hf --objects instances_train2017.json
    --turns first -o out
    """
    from prefgen.cli import terminal

    settings = checking.make()
    made = method.make(checker=settings.checker(prompt.prompt, engine))
    others: Mapping[type[Request], Callable[[EngineConfig], Engine]] = (
        {Detect: settings.load} if settings.check == "detector" else {}
    )
    terminal.make(ctx, made, files, source, engine, run, judge.make(), others)
