"""`prefgen eval`: benchmarks of a model or of given answers, and comparisons of two models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only
from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.sources.options import SourceOptions

evaluations = typer.Typer(help="Measure a model, or answers that are there already.", no_args_is_help=True)
PARSERS = ("official", "strict", "lenient")

Questions = Annotated[list[Path], o.data("--questions", help="File of questions; repeatable.")]
OneFile = Annotated[Path, o.data("--questions", help="File of questions.")]
Answers = Annotated[
    list[Path] | None, o.data("--answers", help="Score these answers: no model is asked. For all, or for each file.")
]
OneAnswers = Annotated[Path | None, o.data("--answers", help="Score these answers: no model is asked.")]
Output = Annotated[Path, o.data("--output", "-o", help="Folder for answers and scores.", callback=o.on_disk)]
ImageRoot = Annotated[Path | None, o.data("--image-root", help="Folder of the pictures; else beside the questions.")]
Limit = Annotated[int | None, o.data("--limit", help="Use the first N questions of a file.")]
Suffix = Annotated[str, o.option("Text and sampling", "--suffix", help="Added to every question.")]
Tokens = Annotated[
    int, o.option("Text and sampling", "--max-new-tokens", help="Limit of an answer; decoding is greedy.")
]
Model = Annotated[str, o.model("--model", "-m", help="Model or adapter to measure: folder or Hub id.")]
JudgePrompt = Annotated[
    Path | None, o.option("Judge", "--judge-prompt", help="A prompt of your own: prefgen prompts export.")
]
JudgeTokens = Annotated[int, o.option("Judge", "--judge-tokens", help="Limit of a judge's reply.")]
Seed = Annotated[int, o.run("--seed", help="Seeds the bootstrap.")]
_OF_ENGINE = (
    *("revision", "base_model", "chat_template", "engine", "base_url", "engine_key_env", "engine_args", "device"),
    *("dtype", "batch_size"),
)
Engine = Annotated[Draft[EngineConfig], only(*_OF_ENGINE, "batch_tokens", "trust_remote_code")]
JudgedEngine = Annotated[Draft[EngineConfig], only(*_OF_ENGINE)]
Asked = Annotated[
    Draft[JudgeConfig],
    only("judge", "judge_url", "api_key_env", "concurrency", "max_cost", "price_in", "price_out", "reasoning_effort"),
]
Json = Annotated[bool, o.run("--json", help="Print all figures as JSON.")]


@evaluations.command()
@command
def pope(
    ctx: typer.Context,
    found: Annotated[Draft[SourceOptions], only("image_match", "follow_links")],
    engine: Engine,
    questions: Questions,
    output: Output,
    model: Model = "",
    answers: Answers = None,
    image_root: ImageRoot = None,
    limit: Limit = None,
    parser: Annotated[
        str, o.option("Text and sampling", "--parser", help="How an answer is read", choices=PARSERS)
    ] = PARSERS[0],
    suffix: Suffix = "",
    max_new_tokens: Tokens = 64,
    seed: Seed = 0,
    json: Json = False,
    quiet: o.Quiet = False,
) -> None:
    """POPE: accuracy, precision, recall, F1 and share of yes about objects in pictures.

    Questions are POPE's JSON lines. Answers are kept; the same command goes on, and scores anew with another --parser.

    Example: prefgen eval pope --questions coco_pope_random.json --image-root coco/val2014 -m aligned -o pope
    """
    from prefgen.cli import evaluating

    evaluating.pope(ctx.params)


@evaluations.command()
@command
def chair(
    ctx: typer.Context,
    found: Annotated[Draft[SourceOptions], only("image_match", "follow_links")],
    engine: Engine,
    instances: Annotated[list[Path], o.data("--instances", help="COCO's instances, JSON; repeatable.")],
    output: Output,
    captions: Annotated[
        list[Path] | None, o.data("--captions", help="COCO's captions, JSON, for the truth; repeatable.")
    ] = None,
    model: Model = "",
    answers: OneAnswers = None,
    image_root: Annotated[Path | None, o.data("--image-root", help="Folder of the pictures.")] = None,
    limit: Annotated[int | None, o.data("--limit", help="Use the first N pictures.")] = None,
    sample: Annotated[int | None, o.data("--sample", help="Use N pictures drawn at random.")] = None,
    synonyms: Annotated[
        Path | None,
        o.option(
            "Text and sampling",
            "--synonyms",
            help="Words of your own: a line a category, its name first, commas between.",
        ),
    ] = None,
    question: Annotated[
        str, o.option("Text and sampling", "--question", help="What is asked.")
    ] = "Describe the image in detail.",
    max_new_tokens: Tokens = 512,
    seed: Annotated[int, o.run("--seed", help="Seeds the bootstrap and --sample.")] = 0,
    json: Json = False,
    quiet: o.Quiet = False,
) -> None:
    """CHAIR: objects in captions that are not in the picture, with recall, F1 and length.

    Captions to be scored: JSON lines or a list with image_id and caption, or image and text.

    Example: prefgen eval chair --instances instances_val2014.json --answers captions.jsonl -o chair
    """
    from prefgen.cli import evaluating

    evaluating.chair(ctx.params)


@evaluations.command()
@command
def mmhal(
    ctx: typer.Context,
    engine: JudgedEngine,
    asked: Asked,
    questions: OneFile,
    output: Output,
    model: Model = "",
    answers: OneAnswers = None,
    image_root: ImageRoot = None,
    with_image: Annotated[bool, o.option("Judge", "--with-image", help="Show the judge the picture: MMHAL-V.")] = False,
    limit: Limit = None,
    max_new_tokens: Tokens = 512,
    judge_prompt: JudgePrompt = None,
    judge_tokens: JudgeTokens = 512,
    seed: Seed = 0,
    json: Json = False,
    quiet: o.Quiet = False,
) -> None:
    """MMHAL-Bench: a judge rates answers from 0 to 6; below 3 they hallucinate.

    Replies are paid once. Replies without a rating count 0, as published; `score_read` leaves them out.

    Example: prefgen eval mmhal --questions response_template.json --image-root mmhal -m aligned --judge gpt4o -o mmhal
    """
    from prefgen.cli import evaluating

    evaluating.mmhal(ctx.params)


@evaluations.command("llava-bench")
@command
def llava_bench(
    ctx: typer.Context,
    engine: JudgedEngine,
    asked: Asked,
    questions: OneFile,
    context: Annotated[Path, o.data("--context", help="File of the pictures' captions.")],
    reference: Annotated[Path, o.data("--reference", help="File of the reference answers.")],
    output: Output,
    model: Model = "",
    answers: OneAnswers = None,
    image_root: ImageRoot = None,
    limit: Limit = None,
    max_new_tokens: Tokens = 1024,
    judge_prompt: JudgePrompt = None,
    judge_tokens: JudgeTokens = 1024,
    seed: Seed = 0,
    json: Json = False,
    quiet: o.Quiet = False,
) -> None:
    """LLaVA-Bench (In-the-Wild): a judge scores answers beside reference answers.

    The figure is the sum of the answers' scores by that of the references'. Replies are paid once.

    Example: prefgen eval llava-bench --questions questions.jsonl --context context.jsonl --reference gpt4.jsonl
    -m aligned -o bench
    """
    from prefgen.cli import evaluating

    evaluating.llava_bench(ctx.params)


@evaluations.command()
def compare(
    one: Annotated[Path, typer.Argument(help="Output of an evaluation.", metavar="OUT_A")],
    other: Annotated[Path, typer.Argument(help="Output of another one, of the same benchmark.", metavar="OUT_B")],
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare two evaluations item by item.

    Differences of all figures with 95% intervals by a paired bootstrap over pictures, and McNemar's exact test.

    Example: prefgen eval compare pope-base pope-aligned
    """
    from prefgen.cli import evaluating

    evaluating.compare(one, other, seed, json=json)


@evaluations.command()
@command
def rm(
    ctx: typer.Context,
    engine: Annotated[EngineConfig, only("device", "dtype")],
    places: Annotated[
        list[Path], typer.Argument(help="Folders of reward models, then of finished runs.", metavar="RM… RUN…")
    ],
    implicit: Annotated[
        list[str] | None,
        o.data("--implicit", help="A policy trained by DPO, for its implicit reward: folder or Hub id; repeatable."),
    ] = None,
    reference: Annotated[
        str, o.data("--reference", help="What these policies were trained from; else an adapter's base.")
    ] = "",
    limit: Annotated[int | None, o.data("--limit", help="Use the first N pairs of a run.")] = None,
    seed: Seed = 0,
    json: Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Accuracy of reward models on every run (table 7), beside baselines.

    Pairs count of whose pictures none of the models was trained on. Baselines: the longer answer, words alone
    (cross-validated on the run), and with --implicit the log-ratio of a policy.

    Example: prefgen eval rm RM povid rlhf-v vlfeedback
    """
    from prefgen.cli import evaluating

    evaluating.rewards(ctx.params, engine)


@evaluations.command()
@command
def scenes(
    ctx: typer.Context,
    engine: Annotated[
        EngineConfig,
        only(
            *("model", "base_model", "chat_template", "device", "batch_size"),
            model={"help": "Model to measure: folder or Hub id."},
            batch_size={"help": "Questions of a batch.", "default": 64},
        ),
    ],
    limit: Annotated[int, o.data("--limit", help="Use the first N of the 600 held-out scenes.")] = 600,
    scenes: Annotated[Path | None, typer.Option("--scenes", hidden=True)] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Measure hallucination on drawn scenes whose truth is known.

    CHAIR, recall, yes/no accuracy and caption length, with 95% bootstrap intervals. Read CHAIR with recall and length:
    who says less invents less.

    Example: prefgen eval scenes --model aligned
    """
    if scenes is not None:
        typer.echo(f"--scenes {scenes} is not needed any more: the scenes are part of prefgen", err=True)
    from prefgen.cli import evaluating

    evaluating.scenes(replace(engine, dtype="float32"), limit, engine.batch_size, seed, json=json)
