"""`prefgen baseline`: the simple methods that BDHS is compared with, under the same options."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.errors import UsageError
from prefgen.methods import BASELINES
from prefgen.visibility import NOISE_SPACES, SCHEDULES


def baseline(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help=f"One of {', '.join(BASELINES)}.")],
    input: o.Input,
    output: o.Output,
    model: o.Model,
    image_root: o.ImageRoot = None,
    image_match: o.ImageMatch = "exact",
    follow_links: o.FollowLinks = False,
    columns: o.Columns = "",
    roles: o.Roles = "",
    question: o.Question = "",
    keep_refusals: o.KeepRefusals = False,
    turns: o.Turns = "all",
    limit: o.Limit = None,
    sample: o.Sample = None,
    split: o.Split = None,
    dataset_config: o.DatasetConfig = None,
    dataset_revision: o.DatasetRevision = None,
    allow_urls: o.AllowUrls = False,
    keep_share: Annotated[float | None, o.method("--keep-share", help="dropout-ntp: share of words kept.")] = None,
    noise_steps: Annotated[
        int | None, o.method("--noise-steps", help="weakened, contrastive: diffusion steps.")
    ] = None,
    noise_space: Annotated[
        str | None, o.method("--noise-space", help="weakened, contrastive: what is noised", choices=NOISE_SPACES)
    ] = None,
    schedule: Annotated[
        str | None, o.method("--schedule", help="weakened, contrastive: noise schedule", choices=SCHEDULES)
    ] = None,
    alpha: Annotated[float | None, o.method("--alpha", help="contrastive: how much of what is seen is taken.")] = None,
    plausibility: Annotated[
        float | None, o.method("--plausibility", help="contrastive: least share of the likeliest token's probability.")
    ] = None,
    rho: Annotated[float | None, o.method("--rho", help="append: share of image tokens masked.")] = None,
    keep_tokens: Annotated[int | None, o.method("--keep-tokens", help="append: N image tokens stay visible.")] = None,
    temperature: Annotated[float | None, o.text("--temperature", help="0 is greedy.")] = None,
    top_p: Annotated[float | None, o.text("--top-p", help="Nucleus sampling.")] = None,
    max_new_tokens: Annotated[int | None, o.text("--max-new-tokens", help="Limit of what is written.")] = None,
    revision: o.Revision = None,
    base_model: o.BaseModel = EngineConfig.base_model,
    similarity_model: o.SimilarityModel = EngineConfig.similarity_model,
    engine: o.Engine = EngineConfig.engine,
    attention: o.Attention = EngineConfig.attention,
    positions: o.Positions = EngineConfig.positions,
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
    keep_going: o.KeepGoing = False,
    seed: o.Seed = 0,
    shard_size: o.ShardSize = config.SHARD_SIZE,
    max_dropped: o.MaxDropped = 1.0,
    license: o.License = "other",
    shard: o.Shard = None,
    workers: o.Workers = 1,
    ray: o.Ray = None,
    config_file: o.ConfigFile = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make rejected answers by a simpler method, for comparison.

    dropout-ntp writes the second half of the answer without the image, blind the whole of it; weakened answers a noised
    image, contrastive does so away from what the clean one shows; append adds an imagined sentence. What a method's
    option is by default stands in its file in prefgen/methods.

    Example: prefgen baseline blind -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    if method not in BASELINES:
        raise UsageError(f"method {method!r} is unknown; choose from {', '.join(BASELINES)}")
    own = ("keep_share", "noise_steps", "noise_space", "schedule", "alpha", "plausibility", "rho", "keep_tokens")
    o.refuse_foreign(ctx, BASELINES[method], own, method)
    from prefgen.cli import session

    session.make_pairs(ctx, BASELINES[method])
