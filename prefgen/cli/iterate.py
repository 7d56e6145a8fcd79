"""`prefgen iterate`: rounds of making pairs with the current model, training on them and measuring the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from prefgen.addresses import on_disk
from prefgen.cli.params import command
from prefgen.options import DATA, MODELS, RUN, check, option


@dataclass(frozen=True)
class IterateOptions:
    """Options of `prefgen iterate`; attributes as in `prefgen.reproduce.iteration.Iteration`."""

    model: str = option(
        "", "--model", "-m", help="Model that the first round begins with.", required=True, panel=MODELS
    )
    output: Path = option(
        Path("iterated"), "--output", "-o", help="Folder of all rounds.", panel=DATA, callback=on_disk
    )
    make: Sequence[str] = option(
        (),
        help="Command that makes the pairs: 'rank --input FILE --model {model} --output {pairs}'; several in order.",
        panel=RUN,
    )
    train: Sequence[str] = option(
        (),
        help="What stands behind prefgen train: 'dpo {pairs} --model {model} --output {trained}'; several in order.",
        panel=RUN,
    )
    evaluations: Sequence[str] = option(
        (), "--eval", help="A benchmark: 'pope --questions FILE …'; repeatable.", panel=RUN
    )
    figures: Sequence[str] = option(
        (), "--figure", help="Name in its JSON; the first decides, further ones are shown.", panel=RUN
    )
    better: str = option("higher", help="Where the deciding figure is better", choices=("higher", "lower"), panel=RUN)
    rounds: int = option(3, help="Rounds at most.", low=1, high=100, panel=RUN)
    patience: int = option(1, help="Stop after N rounds in a row without a better figure.", low=1, high=100, panel=RUN)
    dry_run: bool = option(False, help="Print the commands and run none.", panel=RUN)
    json: bool = option(False, help="Print the table as JSON.", panel=RUN)

    def __post_init__(self) -> None:
        check(self)


@command
def iterate(ctx: typer.Context, given: IterateOptions) -> None:
    """Make pairs with the current model, train on them, measure, and go on from there.

    Places in braces are filled in every round: {model}, {pairs}, {trained}, {folder}, {round}. Each command is printed
    and run once; the same command goes on where it was stopped.

    Example: prefgen iterate -m MODEL --make 'rank --by image-gain -i rows.json --model {model} -o {pairs}' --train 'dpo
    {pairs} --model {model} -o {trained}' --eval 'pope --questions FILE' --figure accuracy
    """
    from prefgen.cli import commands
    from prefgen.console import Console
    from prefgen.reproduce import iteration

    data, console = Console(), Console(stderr=True, highlight=False)
    asked = iteration.Iteration(
        given.output,
        given.model,
        given.make,
        given.train,
        given.evaluations,
        given.figures,
        "lower" if given.better == "lower" else "higher",
        given.rounds,
        given.patience,
    )
    asked.check()
    steps = [step for number in range(asked.rounds + 1) for step in asked.steps(number)]
    for step in steps:
        commands.check(step.words)
    if given.dry_run:
        for step in steps:
            data.print(str(step), markup=False, highlight=False, soft_wrap=True)
        return
    found = iteration.run(asked, lambda line: console.print(line, markup=False, soft_wrap=True, style="bold"))
    if given.json:
        data.print_json(data=iteration.as_json(found))
        return
    from rich.markdown import Markdown

    data.print(Markdown(iteration.markdown(found)))
    if asked.figures and found.waited >= asked.patience:
        data.print(
            f"{asked.figures[0]} was no better than in round {found.best} for {found.waited} rounds", soft_wrap=True
        )
    data.print(f"model in {found.rounds[found.best].model}", markup=False, highlight=False, soft_wrap=True)
