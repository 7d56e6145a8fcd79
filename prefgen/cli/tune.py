"""`prefgen tune`: a pilot over values of one BDHS option, with the model loaded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from prefgen.cli import config
from prefgen.cli import options as o
from prefgen.cli.params import Draft, command, only, without
from prefgen.engines.base import EngineConfig
from prefgen.errors import UsageError
from prefgen.methods.bdhs import BDHS
from prefgen.options import DATA, RUN, check_choice, flag, option
from prefgen.sources import SourceOptions

_TUNED = ("rho", "keep_tokens", "noise_steps")
_PILOT = 50  # samples
_RHO = "0.5,0.9,0.98,0.99,1"


@dataclass(frozen=True)
class TuneOptions:
    """Values of the one option that is tuned, and the file for its figure."""

    output: Path = option(
        Path("tune.svg"), "--output", "-o", help="SVG to write: the share after each iteration.", panel=DATA
    )
    rho: str = option("", help=f"Shares masked to try; {_RHO} if nothing is given.")
    keep_tokens: str = option("", help="Or numbers of visible tokens: 0,5,29.")
    noise_steps: str = option("", help="Or diffusion steps, image noised: 300,500.")
    seed: int = option(0, help="Seeds every draw.", panel=RUN)

    def axis(self) -> tuple[str, str]:
        """The option that is tuned, and its values as they were given.

        Raises:
            UsageError: there are several.
        """
        given = {name: text for name in _TUNED if (text := getattr(self, name))}
        if len(given) > 1:
            raise UsageError("--rho, --keep-tokens and --noise-steps are tuned one at a time")
        return next(iter(given.items()), ("rho", _RHO))


@command
def tune(
    ctx: typer.Context,
    method: Annotated[str, typer.Argument(help="What to tune: bdhs.")],
    files: Annotated[o.InputOutput, only("input")],
    source: Annotated[
        SourceOptions, without("allow_urls", sample={"help": f"Use N rows drawn at random; else {_PILOT}."})
    ],
    constants: Annotated[
        Draft[BDHS], only("noise_space", "iterations", "similarity_threshold", "temperature", "top_p")
    ],
    engine: Annotated[EngineConfig, without("also", "annotator", "annotator_revision", "attention", "positions")],
    options: TuneOptions,
    printing: Annotated[o.RunOptions, o.as_json("the figures")],
) -> None:
    """Try values of rho, visible tokens or noise on a few samples.

    Prints a table, draws figure 10 of the paper, and recommends a value with the command that uses it.

    Example: prefgen tune bdhs -i examples/scenes/llava_instruct.json -m examples/scenes/model --similarity-model minilm
    """
    from prefgen import durable
    from prefgen.console import Console
    from prefgen.evaluate import tune as tuning

    check_choice("--method", method, (BDHS.name,))
    durable.refuse_foreign(options.output, tuning.MARK)
    name, text = options.axis()
    if source.sample is None and source.limit is None:
        source = replace(source, sample=_PILOT)
    console, data = Console(stderr=True), Console()
    trials = []
    for trial in tuning.pilot(tuning.settings(name, text, constants.make), files.input, source, engine):
        trials.append(trial)
        console.print(f"{trial.setting}: {trial.pairs} pairs of {trial.rows} rows, {trial.seconds:.2f} s each")
    durable.put(options.output, tuning.plot(trials).encode())
    chosen = tuning.recommend(trials)
    told = _command(ctx, name, getattr(chosen[0].method, name)) if chosen else None
    if printing.json:
        data.print_json(data={"trials": [tuning.to_json(trial) for trial in trials], "recommended": told})
        return
    data.print(tuning.render(trials))
    if chosen is None:
        data.print("no setting gave a pair")
        return
    data.print(f"\n{chosen[0].setting}: {chosen[1]}. Drawn in {options.output}", markup=False, highlight=False)
    data.print(told, markup=False, highlight=False, soft_wrap=True)


def _command(ctx: typer.Context, name: str, value: object) -> str:
    """The `prefgen bdhs` command with this value and all given options."""
    import shlex

    from prefgen.addresses import redact

    given = config.given(ctx, ("method", "output", "limit", "sample", "json", *_TUNED))
    noise = ("--variant", "noise") if name == "noise_steps" else ()
    return redact(shlex.join(["prefgen", "bdhs", *given, *noise, flag(name), str(value), "--output", "out"]))
