"""`prefgen tune`: a pilot over values of one BDHS option, with the model loaded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.methods.bdhs import BDHS
from prefgen.options import check_choice
from prefgen.sources import SourceOptions

_PILOT = 50  # samples
_RHO = "0.5,0.9,0.98,0.99,1"


@command
def tune(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help="What to tune: bdhs.")],
    input: o.Input,
    source: Annotated[
        SourceOptions, without("allow_urls", sample={"help": f"Use N rows drawn at random; else {_PILOT}."})
    ],
    constants: Annotated[
        Draft[BDHS], only("noise_space", "iterations", "similarity_threshold", "temperature", "top_p")
    ],
    engine: Annotated[EngineConfig, without("also", "annotator", "annotator_revision", "attention", "positions")],
    output: Annotated[Path, o.data("--output", "-o", help="SVG to write: the share after each iteration.")] = Path(
        "tune.svg"
    ),
    rho: Annotated[str, o.method("--rho", help=f"Shares masked to try; {_RHO} if nothing is given.")] = "",
    keep_tokens: Annotated[str, o.method("--keep-tokens", help="Or numbers of visible tokens: 0,5,29.")] = "",
    noise_steps: Annotated[str, o.method("--noise-steps", help="Or diffusion steps, image noised: 300,500.")] = "",
    seed: o.Seed = 0,
    json: Annotated[bool, o.run("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Try values of rho, visible tokens or noise on a few samples.

    Prints a table, draws figure 10 of the paper, and recommends a value with the command that uses it.

    Example: prefgen tune bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model --similarity-model minilm
    """
    import json as json_

    from prefgen import durable
    from prefgen.console import Console
    from prefgen.evaluate import tune as tuning

    check_choice("--method", method, (BDHS.name,))
    durable.refuse_foreign(output, tuning.MARK)
    name, values = _values(ctx)
    if source.sample is None and source.limit is None:
        source = replace(source, sample=_PILOT)
    variant = "noise" if name == "noise_steps" else BDHS.variant

    def tried(value: float) -> dict[str, Any]:
        return {"variant": variant, name: value}

    methods = [(_setting(name, value), constants.make(**tried(value))) for value in values]
    console, data = Console(stderr=True), Console()
    trials = []
    for trial in tuning.pilot(methods, input, source, engine):
        trials.append(trial)
        console.print(f"{trial.setting}: {trial.pairs} pairs of {trial.rows} rows, {trial.seconds:.2f} s each")
    durable.put(output, tuning.plot(trials).encode())
    chosen = tuning.recommend(trials)
    told = _command(ctx, name, getattr(chosen[0].method, name)) if chosen else None
    if json:
        shown = {"trials": [tuning.to_json(trial) for trial in trials], "recommended": told}
        data.print_json(json_.dumps(shown))
        return
    data.print(tuning.render(trials))
    if chosen is None:
        data.print("no setting gave a pair")
        return
    data.print(f"\n{chosen[0].setting}: {chosen[1]}. Drawn in {output}", markup=False, highlight=False)
    data.print(told, markup=False, highlight=False, soft_wrap=True)


def _values(ctx: typer.Context) -> tuple[str, list[float | int]]:
    """The option and its values, the weakest restriction first.

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


def _command(ctx: typer.Context, name: str, value: object) -> str:
    """The `prefgen bdhs` command with this value and all given options."""
    import shlex

    from prefgen.addresses import redact

    left_out = ("method", "output", "limit", "sample", "json", "rho", "keep_tokens", "noise_steps")
    words = ["prefgen", "bdhs"]
    for parameter in ctx.command.params:
        key = str(parameter.name)
        if key not in left_out and config.is_given(ctx, key):
            flag, given = max(parameter.opts, key=len), ctx.params[key]
            for item in given if isinstance(given, list) else [given]:
                words += [flag] if item is True else [flag, str(item)]
    words += ["--variant", "noise"] if name == "noise_steps" else []
    return redact(shlex.join([*words, f"--{name.replace('_', '-')}", str(value), "--output", "out"]))
