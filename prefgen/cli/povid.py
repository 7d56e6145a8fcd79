"""`prefgen povid`: POVID-style distortion."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.methods.base import Method, check_choices
from prefgen.methods.bdhs import FIDELITIES
from prefgen.methods.image_pairs import DISTORTIONS, ImagePairs
from prefgen.methods.povid import Povid
from prefgen.visibility import NOISE_SPACES

PAIRS = ("text", "image")
OWN = ("fidelity", "temperature", "top_p", "distortion", "side", "crop_area", "rho")  # of one kind of pairs only


def povid(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
    model: Annotated[str, o.model("--model", "-m", help="The policy: folder or Hub id. Image pairs need none.")] = "",
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
    pairs: Annotated[
        str, o.method("--pairs", help="What is rejected: another answer, or a distorted image", choices=PAIRS)
    ] = "text",
    noise_steps: o.NoiseSteps = Povid.noise_steps,
    noise_space: Annotated[
        str | None,
        o.method("--noise-space", help="What is noised; image pairs: pixels, clamped by default", choices=NOISE_SPACES),
    ] = None,
    schedule: o.Schedule = Povid.schedule,
    distortion: Annotated[
        str | None, o.method("--distortion", help="Image pairs: how the image is spoilt", choices=DISTORTIONS)
    ] = None,
    side: Annotated[int | None, o.method("--side", help="downscale: pixels that are left.")] = None,
    crop_area: Annotated[float | None, o.method("--crop-area", help="crop: largest share that is left.")] = None,
    rho: Annotated[float | None, o.method("--rho", help="patches: share of the grid that is hidden.")] = None,
    fidelity: Annotated[
        str, o.method("--fidelity", help="End with the reference, or a word later as published", choices=FIDELITIES)
    ] = Povid.fidelity,
    temperature: o.Temperature = Povid.temperature,
    top_p: o.TopP = Povid.top_p,
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
    seed: o.Seed = Povid.seed,
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
    """Make rejected answers by teacher forcing on a noised image.

    Predicts every token of the reference anew, each after the reference before it, in one forward pass. With --pairs
    image the answer stays and a distorted image is rejected.

    Example: prefgen povid -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    check_choices(pairs=(pairs, PAIRS))
    from prefgen.cli import session

    method: type[Method] = Povid if pairs == "text" else ImagePairs
    o.refuse_foreign(ctx, method, OWN, f"--pairs {pairs}")
    session.make_pairs(ctx, method)
