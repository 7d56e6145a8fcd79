"""`prefgen rank` and `prefgen judge`: options to one library call each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import config, renamed
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods import prompts
from prefgen.methods.rank import BY, CHOSEN, ORDERS, PAIRINGS, Rank
from prefgen.methods.verdicts import COMPARERS

Prompt = Annotated[Path | None, o.method("--prompt", help="A prompt of your own: prefgen prompts export.")]
WithImage = Annotated[bool, o.method("--with-image/--no-image", help="Show an API judge the picture.")]
VerdictTokens = Annotated[int, o.text("--verdict-tokens", help="Limit of a verdict.")]


def rank(
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
    by: Annotated[str, o.method("--by", help="What tells answers apart", choices=BY)] = Rank.by,
    candidates: Annotated[int, o.method("--candidates", "-k", help="Answers per prompt and policy.")] = Rank.candidates,
    pairs: Annotated[str, o.method("--pairs", help="What stands against the best", choices=PAIRINGS)] = Rank.pairs,
    chosen: Annotated[str, o.method("--chosen", help="What is preferred", choices=CHOSEN)] = Rank.chosen,
    min_margin: Annotated[float, o.method("--min-margin", help="Scores are further apart.")] = Rank.min_margin,
    order: Annotated[str, o.method("--order", help="Orders that a judge is asked in", choices=ORDERS)] = Rank.order,
    prompt: Prompt = None,
    with_image: WithImage = Rank.with_image,
    temperature: o.Temperature = Rank.temperature,
    top_p: o.TopP = Rank.top_p,
    max_new_tokens: o.MaxNewTokens = Rank.max_new_tokens,
    verdict_tokens: VerdictTokens = Rank.verdict_tokens,
    revision: o.Revision = None,
    base_model: o.BaseModel = EngineConfig.base_model,
    also: Annotated[
        list[str] | None, o.model("--also", help="A further policy that answers, MODEL or MODEL@REVISION; repeatable.")
    ] = None,
    annotator: o.Annotator = EngineConfig.annotator,
    annotator_revision: o.AnnotatorRevision = None,
    similarity_model: o.SimilarityModel = EngineConfig.similarity_model,
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
    judge: o.Judge = JudgeConfig.judge,
    judge_url: o.JudgeUrl = JudgeConfig.judge_url,
    api_key_env: o.ApiKeyEnv = JudgeConfig.api_key_env,
    concurrency: o.Concurrency = JudgeConfig.concurrency,
    rpm: o.Rpm = JudgeConfig.rpm,
    tpm: o.Tpm = JudgeConfig.tpm,
    request_timeout: o.RequestTimeout = JudgeConfig.request_timeout,
    request_deadline: o.RequestDeadline = JudgeConfig.request_deadline,
    max_cost: o.MaxCost = JudgeConfig.max_cost,
    price_in: o.PriceIn = JudgeConfig.price_in,
    price_out: o.PriceOut = JudgeConfig.price_out,
    reasoning_effort: o.ReasoningEffort = JudgeConfig.reasoning_effort,
    keep_going: o.KeepGoing = JudgeConfig.keep_going,
    seed: o.Seed = Rank.seed,
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
    """Sample answers of the policy, have them judged, and pair the best with a worse one.

    Every two answers are compared in both orders; where the orders disagree it is a tie.

    Example: prefgen rank -i llava_instruct.json -m llava-hf/llava-1.5-7b-hf --annotator ANOTHER -o out
    """
    from prefgen.cli import session

    renamed.judge_url(ctx)
    name = "rank" if by == "api" else "rank-text"
    session.make_pairs(ctx, Rank, prompt=prompts.load(name, prompt), policies=1 + len(also or ()))


def judge(
    ctx: typer.Context,
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN")],
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Votes of `prefgen view` (CSV); else the chosen answer is the better one."),
    ] = None,
    by: Annotated[str, o.method("--by", help="Who compares", choices=COMPARERS)] = COMPARERS[0],
    prompt: Prompt = None,
    with_image: WithImage = Rank.with_image,
    verdict_tokens: VerdictTokens = Rank.verdict_tokens,
    limit: Annotated[int | None, typer.Option("--limit", help="Judge the first N pairs only.")] = None,
    annotator: Annotated[str, o.model("--annotator", help="Model that compares: folder or Hub id.")] = "",
    annotator_revision: o.AnnotatorRevision = None,
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
    judge: o.Judge = JudgeConfig.judge,
    judge_url: o.JudgeUrl = JudgeConfig.judge_url,
    api_key_env: o.ApiKeyEnv = JudgeConfig.api_key_env,
    concurrency: o.Concurrency = JudgeConfig.concurrency,
    rpm: o.Rpm = JudgeConfig.rpm,
    tpm: o.Tpm = JudgeConfig.tpm,
    request_timeout: o.RequestTimeout = JudgeConfig.request_timeout,
    request_deadline: o.RequestDeadline = JudgeConfig.request_deadline,
    max_cost: o.MaxCost = JudgeConfig.max_cost,
    price_in: o.PriceIn = JudgeConfig.price_in,
    price_out: o.PriceOut = JudgeConfig.price_out,
    reasoning_effort: o.ReasoningEffort = JudgeConfig.reasoning_effort,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Test a judge on pairs whose better answer is known (table 10).

    Both orders are asked: accuracy, agreement between the orders, and preference for a place are told.

    Example: prefgen judge vlfeedback --by api --judge gpt4o --limit 500
    """
    from prefgen.cli import judging

    renamed.judge_url(ctx)
    judging.test_judge(run, against, ctx.params, prompts.load("rank" if by == "api" else "rank-text", prompt))
