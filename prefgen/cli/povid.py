"""`prefgen povid`: POVID-style distortion."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.methods.bdhs import FIDELITIES
from prefgen.methods.povid import Povid


def povid(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    model: o.Model,
    image_root: o.ImageRoot = None,
    turns: o.Turns = "all",
    limit: o.Limit = None,
    sample: o.Sample = None,
    split: o.Split = None,
    allow_urls: o.AllowUrls = False,
    noise_steps: o.NoiseSteps = Povid.noise_steps,
    noise_space: o.NoiseSpace = Povid.noise_space,
    schedule: o.Schedule = Povid.schedule,
    fidelity: Annotated[
        str, o.method("--fidelity", help="End with the reference, or a word later as published", choices=FIDELITIES)
    ] = Povid.fidelity,
    temperature: o.Temperature = Povid.temperature,
    top_p: o.TopP = Povid.top_p,
    revision: o.Revision = None,
    similarity_model: o.SimilarityModel = EngineConfig.similarity_model,
    engine: o.Engine = EngineConfig.engine,
    attention: o.Attention = EngineConfig.attention,
    positions: o.Positions = EngineConfig.positions,
    device: o.Device = EngineConfig.device,
    dtype: o.Dtype = EngineConfig.dtype,
    batch_size: o.BatchSize = EngineConfig.batch_size,
    batch_tokens: o.BatchTokens = EngineConfig.batch_tokens,
    trust_remote_code: o.TrustRemoteCode = EngineConfig.trust_remote_code,
    seed: o.Seed = Povid.seed,
    shard_size: o.ShardSize = config.SHARD_SIZE,
    max_dropped: o.MaxDropped = 1.0,
    license: o.License = "other",
    config_file: o.ConfigFile = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make rejected answers by teacher forcing on a noised image (POVID-style distortion).

    Predicts every token of the reference anew, each after the reference before it, in one forward pass.

    Example: prefgen povid -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import session

    session.make_pairs(ctx, Povid)
