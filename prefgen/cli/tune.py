"""`prefgen tune`: a pilot over one of BDHS's constants, in this process, the model loaded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.engines.base import EngineConfig
from prefgen.methods.bdhs import BDHS

_PILOT = 50  # samples
_RHO = "0.5,0.9,0.98,0.99,1"


def tune(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help="What to tune: bdhs.")],
    input: o.Input,
    model: o.Model,
    output: Annotated[Path, o.data("--output", "-o", help="SVG to write: the share after each iteration.")] = Path(
        "tune.svg"
    ),
    image_root: o.ImageRoot = None,
    image_match: o.ImageMatch = "exact",
    follow_links: o.FollowLinks = False,
    columns: o.Columns = "",
    roles: o.Roles = "",
    question: o.Question = "",
    keep_refusals: o.KeepRefusals = False,
    turns: o.Turns = "all",
    limit: o.Limit = None,
    sample: Annotated[int | None, o.data("--sample", help=f"Use N rows drawn at random; else {_PILOT}.")] = None,
    split: o.Split = None,
    dataset_config: o.DatasetConfig = None,
    dataset_revision: o.DatasetRevision = None,
    rho: Annotated[str, o.method("--rho", help=f"Shares masked to try; {_RHO} if nothing is given.")] = "",
    keep_tokens: Annotated[str, o.method("--keep-tokens", help="Or numbers of visible tokens: 0,5,29.")] = "",
    noise_steps: Annotated[str, o.method("--noise-steps", help="Or diffusion steps, image noised: 300,500.")] = "",
    noise_space: o.NoiseSpace = BDHS.noise_space,
    iterations: Annotated[int, o.method("--iterations", help="Attempts per sample.")] = BDHS.iterations,
    similarity_threshold: Annotated[
        float, o.method("--similarity-threshold", help="Similar from here on: made again.")
    ] = BDHS.similarity_threshold,
    temperature: o.Temperature = BDHS.temperature,
    top_p: o.TopP = BDHS.top_p,
    revision: o.Revision = None,
    base_model: o.BaseModel = EngineConfig.base_model,
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
    seed: o.Seed = BDHS.seed,
    json: Annotated[bool, o.run("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Try values of rho, visible tokens or noise on a few samples.

    Prints a table, draws figure 10 of the paper, and recommends a value with the command that uses it.

    Example: prefgen tune bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model --similarity-model minilm
    """
    import json as json_

    from prefgen.cli.console import Console
    from prefgen.engines import build
    from prefgen.errors import EnvironmentFault
    from prefgen.evaluate import tune
    from prefgen.methods.base import check_choices
    from prefgen.sources import SourceOptions

    check_choices(method=(method, (BDHS.name,)))
    name, values = _values(ctx)
    source = o.build(SourceOptions, {**ctx.params, "sample": sample or (None if limit else _PILOT)})
    plain = {key: value for key, value in ctx.params.items() if key not in ("rho", "keep_tokens", "noise_steps")}
    given = {**plain, "variant": "noise" if name == "noise_steps" else BDHS.variant}
    methods = [(_setting(name, value), o.build(BDHS, {**given, name: value})) for value in values]
    engine_config, _ = build.resolve(o.build(EngineConfig, ctx.params), BDHS.asks)
    build.hush(engine_config, BDHS.asks)
    for _, each in methods:
        build.check_view(engine_config, each.view("", 1))
    build.identify(engine_config, BDHS.asks)
    samples = _samples(input, source)
    talk, data = Console(stderr=True), Console()
    trials = []
    for trial in tune.run(methods, samples, build.build(engine_config, BDHS.asks)):
        trials.append(trial)
        talk.print(f"{trial.setting}: {trial.pairs} pairs of {trial.rows} rows, {trial.seconds:.2f} s each")
    try:
        output.write_text(tune.plot(trials), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(f"cannot write {output}: {error}") from error
    chosen = tune.recommend(trials)
    command = _command(ctx, name, getattr(chosen[0].method, name)) if chosen else None
    if json:
        shown = {"trials": [tune.to_json(trial) for trial in trials], "recommended": command}
        data.print_json(json_.dumps(shown))
        return
    data.print(tune.render(trials))
    if chosen is None:
        data.print("no setting gave a pair")
        return
    data.print(f"\n{chosen[0].setting}: {chosen[1]}. Drawn in {output}", markup=False, highlight=False)
    data.print(command, markup=False, highlight=False, soft_wrap=True)


def _values(ctx: typer.Context) -> tuple[str, list[float | int]]:
    """Which constant, and its values, the weakest restriction first.

    Raises:
        UsageError: if there are several constants, or what is given is no list of numbers.
    """
    from prefgen.errors import UsageError

    lists = {name: ctx.params[name] for name in ("rho", "keep_tokens", "noise_steps") if ctx.params[name]}
    if len(lists) > 1:
        raise UsageError("--rho, --keep-tokens and --noise-steps are tuned one at a time")
    name, text = next(iter(lists.items())) if lists else ("rho", _RHO)
    kind = float if name == "rho" else int
    try:
        values = sorted({kind(value) for value in text.split(",")}, reverse=name == "keep_tokens")
    except ValueError:
        raise UsageError(f"--{name.replace('_', '-')} {text!r} should be numbers with commas between them") from None
    return name, list(values)


def _setting(name: str, value: float) -> str:
    return {"rho": f"ρ = {value:g}", "keep_tokens": f"{value:g} tokens", "noise_steps": f"N = {value:g}"}[name]


def _samples(input: list[str], source: Any) -> list[Any]:
    """The samples of the pilot, images loaded.

    Raises:
        UsageError: if there is none.
    """
    from prefgen import sources
    from prefgen.errors import UsageError
    from prefgen.records import Sample
    from prefgen.runner.pending import load_images
    from prefgen.sources.reasons import Reasons, listed, note

    root = source.root(input)
    rows = (load_images(row, root, None) if isinstance(row, Sample) else row for row in sources.read(input, source))
    samples: list[Sample] = []
    reasons: Reasons = {}
    for row in rows:
        if isinstance(row, Sample):
            samples.append(row)
        else:
            note(reasons, row)
    if not samples:
        raise UsageError(
            f"{sources.shown(input)} has no row with an answer and an image that is there:\n{listed(reasons)}"
        )
    return samples


def _command(ctx: typer.Context, name: str, value: object) -> str:
    """`prefgen bdhs` with this value and all that was given here."""
    import shlex

    left_out = ("method", "output", "limit", "sample", "json", "rho", "keep_tokens", "noise_steps")
    words = ["prefgen", "bdhs"]
    for parameter in ctx.command.params:
        key = str(parameter.name)
        if key not in left_out and config.is_given(ctx, key):
            flag, given = max(parameter.opts, key=len), ctx.params[key]
            for item in given if isinstance(given, list) else [given]:
                words += [flag] if item is True else [flag, str(item)]
    words += ["--variant", "noise"] if name == "noise_steps" else []
    return shlex.join([*words, f"--{name.replace('_', '-')}", str(value), "--output", "out"])
