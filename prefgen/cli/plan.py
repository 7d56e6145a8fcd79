"""`prefgen plan`: what a run would take, before there is data, a model or a machine."""

from __future__ import annotations

from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.engines.chat.config import JudgeConfig
from prefgen.methods.bdhs import BDHS, VARIANTS


def plan(
    ctx: typer.Context,
    method: Annotated[
        str, typer.Argument(help="As pairs carry it: bdhs, povid-style, rank, corrupt, blind …")
    ] = "bdhs",
    samples: Annotated[int, o.data("--samples", help="Answers to make pairs of.")] = 5000,
    image_tokens: Annotated[int, o.data("--image-tokens", help="Of a picture; LLaVA-1.6 at 640 x 480: 2340.")] = 2340,
    answer_tokens: Annotated[int, o.data("--answer-tokens", help="Of a reference answer.")] = 100,
    variant: Annotated[str, o.method("--variant", help="Of bdhs", choices=VARIANTS)] = BDHS.variant,
    rho: Annotated[float, o.method("--rho", help="Expected share of image tokens masked.")] = BDHS.rho,
    iterations: Annotated[int, o.method("--iterations", help="Attempts per sample.")] = BDHS.iterations,
    model_size: Annotated[str, o.model("--model-size", help="Parameters of the language model: 7b, 500m.")] = "7b",
    model: Annotated[str, o.model("--model", "-m", help="Folder or Hub id; its configuration instead of a size.")] = "",
    gpu: Annotated[str, o.model("--gpu", help="h100, a100-80gb, l40s …; an unknown name lists all.")] = "h100",
    gpus: Annotated[int, o.model("--gpus", help="How many share the samples.")] = 1,
    price_per_hour: Annotated[float | None, o.model("--price-per-hour", help="Dollars of one GPU.")] = None,
    judge: o.Judge = JudgeConfig.judge,
    judge_url: o.JudgeUrl = JudgeConfig.judge_url,
    price_in: o.PriceIn = None,
    price_out: o.PriceOut = None,
    batch_api: o.BatchApi = False,
) -> None:
    """Say what a run would take: GPU-hours, tokens, disk, money.

    An estimate from first principles. `--dry-run` of every command says the same of your data, model and device.

    Example: prefgen plan --model-size 7b --samples 5000 --gpu h100 --price-per-hour 2.5
    """
    from prefgen.cli.console import Console
    from prefgen.estimate import outlook
    from prefgen.methods import METHODS, prompts
    from prefgen.methods.base import check_choices, check_ranges

    check_choices(method=(method, tuple(METHODS)))
    check_ranges(samples=(samples, 1, 1e12), image_tokens=(image_tokens, 1, 1e6), answer_tokens=(answer_tokens, 1, 1e5))
    check_ranges(gpus=(gpus, 1, 1e6), price_per_hour=(price_per_hour, 0, 1e6))
    o.refuse_foreign(ctx, METHODS[method], ("variant", "rho", "iterations"), f"prefgen plan {method}")
    prompt = {"corrupt": "corrupt", "rank": "rank-text"}.get(method)
    given = {**ctx.params, "prompt": prompts.load(prompt) if prompt else None}
    assumed = {**ctx.params, "method": o.build(METHODS[method], given), "judge": o.build(JudgeConfig, ctx.params)}
    Console().print(outlook.render(o.build(outlook.Outlook, assumed)))
