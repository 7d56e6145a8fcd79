"""`prefgen bdhs`: options to a frozen job, one library call, a table."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from prefgen.cli import config
from prefgen.engines.base import ATTENTIONS, DTYPES, ENGINES, POSITIONS, EngineConfig
from prefgen.methods.bdhs import BDHS, FIDELITIES, VARIANTS
from prefgen.restrict import NOISE_SPACES, SCHEDULES
from prefgen.text import SPLITTERS

T = TypeVar("T")


def _build(kind: type[T], options: Mapping[str, Any]) -> T:
    """The dataclass whose fields these options name."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    return kind(**{name: options[name] for name in names if name in options})


def _option(panel: str, *names: str, help: str, choices: tuple[str, ...] = (), **settings: Any) -> Any:
    """A Typer option; `choices` are listed in its help and checked by the dataclass that owns the field."""
    text = f"{help}: {', '.join(choices)}." if choices else help
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


def _data(*names: str, help: str, **settings: Any) -> Any:
    return _option("Data", *names, help=help, **settings)


def _method(*names: str, help: str, **settings: Any) -> Any:
    return _option("Method", *names, help=help, **settings)


def _text(*names: str, help: str, **settings: Any) -> Any:
    return _option("Text and sampling", *names, help=help, **settings)


def _model(*names: str, help: str, **settings: Any) -> Any:
    return _option("Models", *names, help=help, **settings)


def _run(*names: str, help: str, **settings: Any) -> Any:
    return _option("Run", *names, help=help, **settings)


def bdhs(
    ctx: typer.Context,
    input: Annotated[str, _data("--input", "-i", help="SFT data: JSON, JSONL, Parquet, folder or Hub id.")],
    output: Annotated[Path, _data("--output", "-o", help="Folder for the preference shards.")],
    model: Annotated[str, _model("--model", "-m", help="The policy: folder or Hub id.")],
    image_root: Annotated[
        Path | None, _data("--image-root", help="Folder of the images; else beside the input.")
    ] = None,
    turns: Annotated[str, _data("--turns", help="Assistant turns to use", choices=("all", "first", "last"))] = "all",
    limit: Annotated[int | None, _data("--limit", help="Use the first N rows only.")] = None,
    sample: Annotated[int | None, _data("--sample", help="Use N rows drawn at random (the paper: 5000).")] = None,
    split: Annotated[str | None, _data("--split", help="Split of a datasets folder or Hub id.")] = None,
    allow_urls: Annotated[bool, _data("--allow-urls", help="Fetch images given by URL.")] = False,
    preset: Annotated[
        str | None,
        _method(
            "--preset",
            help="A row of the paper: prefgen presets.",
            callback=config.preset_callback,
            is_eager=True,
        ),
    ] = None,
    variant: Annotated[
        str, _method("--variant", help="Mask image tokens, noise the image", choices=VARIANTS)
    ] = BDHS.variant,
    rho: Annotated[float, _method("--rho", help="Expected share of image tokens masked.")] = BDHS.rho,
    keep_tokens: Annotated[
        int | None, _method("--keep-tokens", help="Exactly N image tokens stay visible.")
    ] = BDHS.keep_tokens,
    noise_steps: Annotated[int, _method("--noise-steps", help="Diffusion steps, 0 … 1000.")] = BDHS.noise_steps,
    noise_space: Annotated[
        str, _method("--noise-space", help="What is noised", choices=NOISE_SPACES)
    ] = BDHS.noise_space,
    schedule: Annotated[str, _method("--schedule", help="Noise schedule", choices=SCHEDULES)] = BDHS.schedule,
    iterations: Annotated[int, _method("--iterations", help="Attempts per sample.")] = BDHS.iterations,
    similarity_threshold: Annotated[
        float, _method("--similarity-threshold", help="Similar from here on: made again.")
    ] = BDHS.similarity_threshold,
    guidance: Annotated[
        bool, _method("--guidance/--no-guidance", help="Complete the reference by sentences.")
    ] = BDHS.guidance,
    drop_similar: Annotated[
        bool, _method("--drop-similar", help="Drop what stays similar to the end.")
    ] = BDHS.drop_similar,
    fidelity: Annotated[
        str, _method("--fidelity", help="Algorithm 1 repaired, or literally", choices=FIDELITIES)
    ] = BDHS.fidelity,
    splitter: Annotated[str, _text("--splitter", help="Sentence splitter", choices=SPLITTERS)] = BDHS.splitter,
    language: Annotated[str, _text("--language", help="Language, for abbreviations.")] = BDHS.language,
    temperature: Annotated[float, _text("--temperature", help="0 is greedy.")] = BDHS.temperature,
    top_p: Annotated[float, _text("--top-p", help="Nucleus sampling.")] = BDHS.top_p,
    max_sentence_tokens: Annotated[
        int, _text("--max-sentence-tokens", help="Limit of a completed sentence.")
    ] = BDHS.max_sentence_tokens,
    max_new_tokens: Annotated[
        int, _text("--max-new-tokens", help="Limit of an unguided answer.")
    ] = BDHS.max_new_tokens,
    revision: Annotated[str | None, _model("--revision", help="Branch, tag or commit of the Hub.")] = None,
    similarity_model: Annotated[
        str, _model("--similarity-model", help="mpnet (the paper's), minilm, folder or Hub id.")
    ] = EngineConfig.similarity_model,
    engine: Annotated[str, _model("--engine", help="What generates", choices=ENGINES)] = EngineConfig.engine,
    attention: Annotated[
        str, _model("--attention", help="Drop hidden image tokens, or mask them", choices=ATTENTIONS)
    ] = EngineConfig.attention,
    positions: Annotated[
        str, _model("--positions", help="Positions of the tokens left", choices=POSITIONS)
    ] = EngineConfig.positions,
    device: Annotated[str, _model("--device", help="auto, cpu, cuda, cuda:1 …")] = EngineConfig.device,
    dtype: Annotated[str, _model("--dtype", help="Floating-point type", choices=DTYPES)] = EngineConfig.dtype,
    batch_size: Annotated[int, _model("--batch-size", help="Rows of a batch at most.")] = EngineConfig.batch_size,
    batch_tokens: Annotated[
        int, _model("--batch-tokens", help="Tokens of a batch at most.")
    ] = EngineConfig.batch_tokens,
    engine_args: Annotated[
        list[str] | None, _model("--engine-arg", help="An option of vLLM's own, name=value; repeatable.")
    ] = None,
    base_url: Annotated[
        str | None, _model("--base-url", help="A server's address, for --engine openai.")
    ] = EngineConfig.base_url,
    trust_remote_code: Annotated[
        bool, _model("--trust-remote-code", help="Run code that the model brings.")
    ] = EngineConfig.trust_remote_code,
    seed: Annotated[int, _run("--seed", help="Seeds every draw.")] = BDHS.seed,
    shard_size: Annotated[int, _run("--shard-size", help="Rows of a shard: the unit of commit.")] = config.SHARD_SIZE,
    max_dropped: Annotated[float, _run("--max-dropped", help="Exit 3 if a larger share of rows is dropped.")] = 1.0,
    license: Annotated[str, _run("--license", help="Licence to state in the dataset card.")] = "other",
    config_file: Annotated[
        Path | None,
        _run("--config", help="TOML or YAML file of options.", callback=config.load_callback, is_eager=True),
    ] = None,
    dry_run: Annotated[bool, _run("--dry-run", help="Print the plan and one prompt, then stop.")] = False,
    json: Annotated[bool, _run("--json", help="Print the final figures as JSON.")] = False,
    quiet: Annotated[bool, _run("--quiet", "-q", help="Only errors and the final figures.")] = False,
) -> None:
    """Make rejected answers from SFT data alone (BDHS, arXiv 2407.02477).

    Masks the image, completes the reference answer sentence by sentence, rejects what stays too similar.

    Example: prefgen bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model -o out
    --similarity-model minilm
    """
    from prefgen import launch
    from prefgen.cli import session
    from prefgen.cli.ending import Manner
    from prefgen.engines import build
    from prefgen.sources import SourceOptions

    job = launch.Job(
        method=_build(BDHS, ctx.params),
        input=input,
        source=_build(SourceOptions, ctx.params),
        engine=_build(EngineConfig, ctx.params | {"engine_args": tuple(engine_args or ())}),
        output=output,
        shard_size=shard_size,
        config=config.lock(ctx),
    )
    build.check_view(job.engine, job.method.view("", 1))
    session.run(
        job,
        Manner(
            command=shlex.join(["prefgen", *sys.argv[1:]]),
            licence=license,
            max_dropped=max_dropped,
            dry_run=dry_run,
            json=json,
            quiet=quiet,
        ),
    )
