"""`prefgen compare`: methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.methods.bdhs import BDHS


def compare(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs over the same samples.")],
    model: Annotated[
        str, o.model("--model", "-m", help="Policy under which answers are fluent or not; else that is left out.")
    ] = "",
    similarity_threshold: Annotated[
        float, o.method("--similarity-threshold", help="Similar from here on.")
    ] = BDHS.similarity_threshold,
    revision: o.Revision = None,
    base_model: o.BaseModel = EngineConfig.base_model,
    engine: o.Engine = EngineConfig.engine,
    device: o.Device = EngineConfig.device,
    dtype: o.Dtype = EngineConfig.dtype,
    batch_size: o.BatchSize = EngineConfig.batch_size,
    batch_tokens: o.BatchTokens = EngineConfig.batch_tokens,
    image_workers: o.ImageWorkers = EngineConfig.image_workers,
    engine_args: o.EngineArgs = None,
    base_url: o.BaseUrl = None,
    engine_key_env: o.EngineKeyEnv = EngineConfig.engine_key_env,
    engine_timeout: o.EngineTimeout = EngineConfig.engine_timeout,
    trust_remote_code: o.TrustRemoteCode = EngineConfig.trust_remote_code,
    json: Annotated[bool, o.run("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Compare runs of several methods over the same samples.

    Edit size, length and log-probability are taken over the samples that all have a pair of; yield, tokens and seconds
    per pair over each run.

    Example: prefgen compare bdhs povid blind --model examples/scenes/model
    """
    import dataclasses
    import json as json_

    from prefgen.cli.console import Console
    from prefgen.engines import build
    from prefgen.evaluate import compare as compare_
    from prefgen.requests import Score

    config = o.build(EngineConfig, ctx.params)
    build.hush(config, (Score,))
    policy = None
    if model:
        config, _ = build.resolve(config, (Score,))
        build.identify(config, (Score,))
        policy = build.build(config, (Score,))[Score]
    found = compare_.compare(runs, policy, similarity_threshold)
    console = Console()
    if json:
        console.print_json(json_.dumps(dataclasses.asdict(found)))
        return
    console.print(compare_.render(found))
    chosen = "" if found.chosen_fluency is None else f"; log-prob of the chosen answers {found.chosen_fluency:.2f}"
    console.print(f"edited, length, log-prob: over the {found.samples:,} samples in common{chosen}")
