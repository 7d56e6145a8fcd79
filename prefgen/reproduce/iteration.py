"""Rounds of making pairs with the current model, training on them and measuring the result, where the next begins.

CSR (arXiv 2405.14622), RLAIF-V (arXiv 2405.17220) and IRIS (arXiv 2602.01769) align a model in such rounds.

OUTPUT/
  iterate.json            what was asked
  steps.jsonl             the commands that have ended
  base/EVALUATION.json    figures of the model that the first round begins with
  round-1/pairs, model    the pairs of a round, and the model that was trained on them
  round-1/EVALUATION.json its figures
  rounds.md, rounds.json  the table of rounds
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefgen import durable
from prefgen.card import summary
from prefgen.errors import UsageError
from prefgen.reproduce.steps import Step, begun, check_evaluations, evaluation, filled
from prefgen.reproduce.tables import Figure, figure, is_figure

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Iteration:
    """Commands and settings of all rounds.

    Attributes:
        output: folder.
        model: that the first round begins with.
        make, train: commands without ``prefgen`` (`train`: nor ``train``), with places in braces: ``{model}``, the
            current model; ``{pairs}``, the pairs of this round; ``{trained}``, its model; ``{folder}``, its folder;
            ``{round}``, its number from 1.
        evaluations: tails of `prefgen eval` commands; the model is added.
        figures: names in their JSON, or with ``EVALUATION.`` before them; the first decides, the others are shown.
        better: where it is better.
        rounds: how many at most.
        patience: rounds in a row that are no better than the best one before, after which it stops.
    """

    output: Path
    model: str
    make: Sequence[str]
    train: Sequence[str]
    evaluations: Sequence[str] = ()
    figures: Sequence[str] = ()
    better: Better = "higher"
    rounds: int = 3
    patience: int = 1

    def check(self) -> None:
        """Check that the commands have the places without which no round goes on from the one before.

        Raises:
            UsageError: naming what is missing.
        """
        for option, lines, needed in (
            ("--make", self.make, ("{model}", "{pairs}")),
            ("--train", self.train, ("{pairs}", "{trained}")),
        ):
            for place in needed:
                if not any(place in line for line in lines):
                    raise UsageError(f"{option} has no {place}: {_MEANING[place]}")
        check_evaluations(self.evaluations)
        if bool(self.evaluations) != bool(self.figures):
            raise UsageError("--eval and --figure go together: a benchmark, and the name of one of its figures")
        self.steps(1)

    def folder(self, number: int) -> Path:
        """A round's folder; that of the model at the beginning for 0."""
        return self.output / (f"round-{number}" if number else "base")

    def trained(self, number: int) -> str:
        """The model of a round."""
        return str(self.folder(number) / "model") if number else self.model

    def steps(self, number: int) -> list[Step]:
        """The commands of a round; 0 is the evaluation of the model at the beginning.

        Raises:
            UsageError: one has a place that nothing fills.
        """
        folder, trained = self.folder(number), self.trained(number)
        found: list[Step] = []
        if number:
            values = {
                "model": shlex.quote(self.trained(number - 1)),
                "pairs": shlex.quote(str(folder / "pairs")),
                "trained": shlex.quote(trained),
                "folder": shlex.quote(str(folder)),
                "round": str(number),
            }
            found += [filled(line, values, "--make") for line in self.make]
            found += [filled(f"train {line}", values, "--train") for line in self.train]
        return [*found, *(evaluation(line, trained, folder) for line in self.evaluations)]


_MEANING = {
    "{model}": "the current model, as in --model {model}",
    "{pairs}": "the folder of the round's pairs, as in --output {pairs}",
    "{trained}": "the folder of the round's model, as in --output {trained}",
}


@dataclass(frozen=True)
class Round:
    """A round that has ended.

    Attributes:
        number: from 1; 0 is the model at the beginning.
        planned, pairs: rows of its data.
        figures: of its model, by name.
    """

    number: int
    model: str
    planned: int
    pairs: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class RoundTable:
    """All rounds, the model at the beginning first, and the one with the best figure; without figures the last."""

    rounds: Sequence[Round]
    best: int

    @property
    def waited(self) -> int:
        """Rounds since the best one."""
        return self.rounds[-1].number - self.best


def run(asked: Iteration, told: Callable[[str], None]) -> RoundTable:
    """Run every command that has not ended before, to the last round or until patience is at its end.

    Args:
        told: gets a line for each.

    Raises:
        CommandFailed: one of them ended with another exit code than 0; the same rounds go on there.
        CorruptRun: the output was begun with other commands, or figures are damaged.
        UsageError: an evaluation has no such figure.
    """
    settings = {
        "model": asked.model,
        "make": [*asked.make],
        "train": [*asked.train],
        "evaluations": [*asked.evaluations],
    }
    found = RoundTable((), 0)
    with begun(asked.output, "iterate", settings, told) as journal:
        for number in range(asked.rounds + 1):
            for step in asked.steps(number):
                journal.run(step)
            found = _with(asked, [*found.rounds, _round(asked, number)])
            if asked.figures and found.waited >= asked.patience:
                break
        with durable.environment(asked.output):
            durable.replace(asked.output / "rounds.md", markdown(found).encode())
            durable.replace_json(asked.output / "rounds.json", as_json(found))
    return found


def _round(asked: Iteration, number: int) -> Round:
    made = summary.summarise(asked.folder(number) / "pairs") if number else None
    figures = dict(_figures(asked, number))
    return Round(number, asked.trained(number), made.planned if made else 0, made.pairs if made else 0, figures)


def _figures(asked: Iteration, number: int) -> Iterator[tuple[str, Figure]]:
    files = [step.kept for step in asked.steps(number) if step.kept]
    known = {file.stem: durable.read_record(file) for file in files}
    for name in asked.figures:
        of, _, rest = name.partition(".")
        places = {of: rest} if of in known else dict.fromkeys(known, name)
        having = [(each, key) for each, key in places.items() if key in known[each]]
        if not having:
            listed = "; ".join(f"{each}: {', '.join(_names(values))}" for each, values in known.items())
            raise UsageError(f"--figure {name} is not known; there are, of {listed}")
        if len(having) > 1:
            raise UsageError(f"--figure {name} is of several: give {having[0][0]}.{name} or {having[1][0]}.{name}")
        [(each, key)] = having
        yield name, figure(known[each], key)


def _names(found: Mapping[str, Any]) -> list[str]:
    return [name for name, value in found.items() if is_figure(value)]


def _with(asked: Iteration, rounds: Sequence[Round]) -> RoundTable:
    """Rounds with the number of the best one, the first of equals."""
    if not asked.figures:
        return RoundTable(rounds, rounds[-1].number)
    sign = 1 if asked.better == "higher" else -1
    values = [sign * each.figures[asked.figures[0]].value for each in rounds]
    known = [-math.inf if math.isnan(value) else value for value in values]
    return RoundTable(rounds, known.index(max(known)))


def markdown(found: RoundTable) -> str:
    """The table in Markdown: figures with their 95% intervals."""
    names = [*found.rounds[0].figures]
    lines = [f"| {' | '.join(['round', 'pairs', 'of rows', *names, 'model'])} |", "| --- " * (len(names) + 4) + "|"]
    for each in found.rounds:
        made = [f"{each.pairs:,}", f"{each.planned:,}"] if each.number else ["", ""]
        best = "**best** " if each.number == found.best else ""
        cells = [str(each.number), *made, *(f"{each.figures[name]:.4f}" for name in names), f"{best}{each.model}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_json(found: RoundTable) -> dict[str, Any]:
    """The table as a JSON object."""
    rounds = [
        {**vars(each), "figures": {name: _known(figure) for name, figure in each.figures.items()}}
        for each in found.rounds
    ]
    return {"best": found.best, "model": found.rounds[found.best].model, "rounds": rounds}


def _known(found: Figure) -> dict[str, float | None]:
    return {name: None if value is None or math.isnan(value) else value for name, value in vars(found).items()}
