"""`prefgen corrupt` and the prompts of chat models: options to a frozen job, one library call, a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods import prompts as prompts_
from prefgen.methods.corrupt import KINDS, REPLY_FORMS, Corrupt
from prefgen.methods.replies import CHECKS


def corrupt(
    ctx: typer.Context,
    input: o.Input,
    output: o.Output,
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
    prompt: Annotated[Path | None, o.method("--prompt", help="A prompt of your own: prefgen prompts export.")] = None,
    kinds: Annotated[
        str, o.method("--kinds", help="Kinds of hallucination, joined by commas", choices=KINDS)
    ] = Corrupt.kinds,
    reply: Annotated[
        str, o.method("--reply", help="Record the kinds, or the answer alone", choices=REPLY_FORMS)
    ] = Corrupt.reply,
    with_image: Annotated[
        bool, o.method("--with-image", help="Show the judge the picture (the paper: no).")
    ] = Corrupt.with_image,
    attempts: Annotated[int, o.method("--attempts", help="How often to ask for one row.")] = Corrupt.attempts,
    similarity_threshold: Annotated[
        float | None, o.method("--similarity-threshold", help="Similar from here on: asked again.")
    ] = Corrupt.similarity_threshold,
    length_ratio: Annotated[
        float, o.method("--length-ratio", help="Times as long, or as short, as an answer may become.")
    ] = Corrupt.length_ratio,
    checks: Annotated[
        str,
        o.method("--checks", help="Checks of a reply, joined by commas; none: only that it differs", choices=CHECKS),
    ] = Corrupt.checks,
    temperature: o.Temperature = Corrupt.temperature,
    top_p: o.TopP = Corrupt.top_p,
    max_new_tokens: o.MaxNewTokens = Corrupt.max_new_tokens,
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
    batch_api: o.BatchApi = JudgeConfig.batch_api,
    batch_files: o.BatchFiles = JudgeConfig.batch_files,
    similarity_model: o.SimilarityModel = EngineConfig.similarity_model,
    device: o.Device = EngineConfig.device,
    keep_going: o.KeepGoing = JudgeConfig.keep_going,
    seed: o.Seed = Corrupt.seed,
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
    """Let a language model make hallucinations of the chosen answers (paper: section 5.3).

    Replies are paid once: they are kept before they are used, whatever dies afterwards.

    Example: prefgen corrupt -i examples/scenes/llava_instruct.json -o out --judge gpt4 --max-cost 5
    """
    from prefgen.cli import session

    name = "corrupt" if reply == "json" else "corrupt-text"
    session.make_pairs(ctx, Corrupt, prompt=prompts_.load(name, prompt))


prompts = typer.Typer(help="The prompts that chat models are given: list or export them.", no_args_is_help=True)


@prompts.command("list")
def list_() -> None:
    """List the prompts that are part of prefgen."""
    for name in prompts_.NAMES:
        typer.echo(str(prompts_.load(name)))


@prompts.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write them; files that are there are kept.", metavar="DIR")],
) -> None:
    """Write the prompts out as files, to be changed and given back by --prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in prompts_.NAMES:
        path = folder / f"{name}.txt"
        if path.exists():
            typer.echo(f"{path} is there already", err=True)
        else:
            path.write_text(prompts_.load(name).text, encoding="utf-8")
            typer.echo(path)
