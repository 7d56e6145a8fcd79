"""`prefgen bdhs`: options to a frozen job, one library call, a table."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.methods.bdhs import BDHS, FIDELITIES, VARIANTS
from prefgen.text import SPLITTERS


def bdhs(
    ctx: typer.Context,
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
    preset: Annotated[
        str | None,
        o.method(
            "--preset",
            help="A row of the paper: prefgen presets.",
            callback=config.preset_callback,
            is_eager=True,
        ),
    ] = None,
    variant: Annotated[
        str, o.method("--variant", help="Mask image tokens, noise the image", choices=VARIANTS)
    ] = BDHS.variant,
    rho: Annotated[float, o.method("--rho", help="Expected share of image tokens masked.")] = BDHS.rho,
    keep_tokens: Annotated[
        int | None, o.method("--keep-tokens", help="Exactly N image tokens stay visible.")
    ] = BDHS.keep_tokens,
    noise_steps: o.NoiseSteps = BDHS.noise_steps,
    noise_space: o.NoiseSpace = BDHS.noise_space,
    schedule: o.Schedule = BDHS.schedule,
    iterations: Annotated[int, o.method("--iterations", help="Attempts per sample.")] = BDHS.iterations,
    similarity_threshold: Annotated[
        float, o.method("--similarity-threshold", help="Similar from here on: made again.")
    ] = BDHS.similarity_threshold,
    guidance: Annotated[
        bool, o.method("--guidance/--no-guidance", help="Complete the reference by sentences.")
    ] = BDHS.guidance,
    drop_similar: Annotated[
        bool, o.method("--drop-similar", help="Drop what stays similar to the end.")
    ] = BDHS.drop_similar,
    fidelity: Annotated[
        str, o.method("--fidelity", help="Algorithm 1 repaired, or literally", choices=FIDELITIES)
    ] = BDHS.fidelity,
    splitter: Annotated[str, o.text("--splitter", help="Sentence splitter", choices=SPLITTERS)] = BDHS.splitter,
    language: Annotated[str, o.text("--language", help="Language, for abbreviations.")] = BDHS.language,
    temperature: o.Temperature = BDHS.temperature,
    top_p: o.TopP = BDHS.top_p,
    max_sentence_tokens: Annotated[
        int, o.text("--max-sentence-tokens", help="Limit of a completed sentence.")
    ] = BDHS.max_sentence_tokens,
    max_new_tokens: o.MaxNewTokens = BDHS.max_new_tokens,
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
    seed: o.Seed = BDHS.seed,
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
    """Make rejected answers from SFT data alone: BDHS (2407.02477).

    Masks the image, completes the reference answer sentence by sentence, rejects what stays too similar.

    Example: prefgen bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen.cli import session

    session.make_pairs(ctx, BDHS)
