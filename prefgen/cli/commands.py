"""The table of commands, by group. Each is imported when it is called; listing them imports none."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from prefgen.cli.damage import Command
from prefgen.cli.params import check_values
from prefgen.errors import ExitCode, Stopped, UsageError

_WRONG: Any = typer.BadParameter.__mro__[1]  # UsageError of Click, or of the copy of Click that newer Typers hold
MAKE, DATA, LOOK, TRAIN, CHECK = "Make pairs", "Data", "Look", "Train", "Check"


@dataclass(frozen=True)
class Entry:
    """A command of the table.

    Attributes:
        group: heading that it is listed under; empty for a command that is not listed.
        help: first sentence of its own help.
        place: module below `prefgen.cli`, and function behind a colon, where they are not called as the command is.
    """

    group: str
    help: str
    place: str = ""


COMMANDS = {
    "demo": Entry(MAKE, "Make pairs on a small LLaVA and rows that come with prefgen."),
    "bdhs": Entry(MAKE, "Make rejected answers from SFT data alone: BDHS (2407.02477).", "make"),
    "povid": Entry(MAKE, "Make rejected answers by teacher forcing on a noised image.", "make"),
    "baseline": Entry(MAKE, "Make rejected answers by a simpler method, for comparison.", "make"),
    "corrupt": Entry(MAKE, "Let a language model make hallucinations of the chosen answers (section 5.3).", "make"),
    "revise": Entry(MAKE, "Have a judge that sees the picture repair the policy's own answers (2501.09695).", "make"),
    "rank": Entry(MAKE, "Sample answers of the policy, have them judged, pair the best with a worse one.", "make"),
    "sentences": Entry(MAKE, "Pair a true and an invented next sentence of the policy (2507.12455)."),
    "plan": Entry(MAKE, "Estimate GPU-hours, tokens, disk space and cost of a run."),
    "tune": Entry(MAKE, "Try values of rho, visible tokens or noise on a few samples."),
    "prompts": Entry(MAKE, "The prompts that chat models are given: list or export them.", "make"),
    "import": Entry(DATA, "Import a published set, or data in a trainer's format, as a run.", "import_:import_"),
    "mix": Entry(DATA, "Mix runs: a share or number of rows of each, interleaved.", "select"),
    "sample": Entry(DATA, "Draw rows of a run at random, kept in their order.", "select"),
    "filter": Entry(DATA, "Keep the rows that meet a condition.", "select:filter_"),
    "verify-claims": Entry(DATA, "Keep the pairs whose claims an open model confirms (2405.17220)."),
    "dedup": Entry(DATA, "Drop rows with the same, or nearly the same, texts and pictures.", "select"),
    "split": Entry(DATA, "Split a run by pictures, so that none is in two splits.", "select"),
    "join": Entry(DATA, "Join runs: several rejected answers for one chosen, side by side.", "select"),
    "relabel": Entry(DATA, "Replace chosen or rejected answers by another run's.", "select"),
    "export": Entry(DATA, "Write a run in the format of a trainer."),
    "formats": Entry(DATA, "List the formats that are read and written, each with an example."),
    "push": Entry(DATA, "Check a run, then upload it to the Hub or copy it to an object store."),
    "view": Entry(LOOK, "Show pairs and their differences in a browser; search and vote."),
    "lint": Entry(LOOK, "Check a dataset for shortcuts, duplicates and other flaws."),
    "compare": Entry(LOOK, "Compare runs of several methods over the same samples."),
    "judge": Entry(LOOK, "Test a judge on pairs whose better answer is known (table 10).", "make"),
    "noise": Entry(LOOK, "Draw a picture under noise of all strengths and kinds."),
    "train": Entry(TRAIN, "Train on runs: DPO, IPO, SLiC, SFT, reward models, RLOO, PPO; with LoRA or whole."),
    "eval": Entry(TRAIN, "Measure a model, or answers that are there already.", "eval:evaluations"),
    "iterate": Entry(TRAIN, "Make pairs with the current model, train on them, measure, and go on from there."),
    "reproduce": Entry(TRAIN, "Make, train and measure all rows of a table of the paper (2407.02477)."),
    "verify": Entry(CHECK, "Check a run: every file, every row, every count.", "finished"),
    "finalize": Entry(CHECK, "Finalize the data set of a run that several processes filled.", "finished"),
    "check": Entry(CHECK, "Check which rows would fail in a trainer.", "export"),
    "doctor": Entry(CHECK, "Check the installation, and whether a model works."),
    "guide": Entry(CHECK, "Print or search the guide."),
    "presets": Entry("", "List what `--preset` takes: rows of the paper's tables.", "finished"),
}


class Commands(TyperGroup):
    """The Typer group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._listing = False
        self._leading = True  # whether options stand before the command
        for name, entry in COMMANDS.items():
            self.commands[name] = TyperCommand(
                name, callback=None, help=entry.help, rich_help_panel=entry.group, hidden=not entry.group
            )

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The imported command; while commands are listed, a stub with its help."""
        if self._listing or cmd_name not in COMMANDS:
            return self.commands.get(cmd_name)
        return load(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse the options before the command."""
        self._leading = args[:1] == [] or args[0] not in COMMANDS
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> Any:
        """The options; those with a value alone, where the first argument is the command.

        Typer imports pydantic to coerce an option that is not given, and `prefgen COMMAND --help` needs none.
        """
        known = super().get_params(ctx)
        return known if self._leading else [each for each in known if each.default is not None]

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Ctrl-C ends any command with the exit code of an interrupted run.

        Raises:
            Stopped: it was interrupted.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped("interrupted", ExitCode.INTERRUPTED) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help with the list of commands."""
        with self._listed():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """The commands with this prefix."""
        with self._listed():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _listed(self) -> Iterator[None]:
        self._listing = True
        try:
            yield
        finally:
            self._listing = False


def load(name: str) -> Any:
    """Import a command."""
    entry = COMMANDS[name]
    module, _, function = entry.place.partition(":")
    own = name.replace("-", "_")
    made = getattr(import_module(f"prefgen.cli.{module or own}"), function or own)
    if not isinstance(made, typer.Typer):
        single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        single.command(name, cls=Command)(made)
        made = single
    command = typer.main.get_command(made)
    command.name = name
    return command


def check(words: Sequence[str]) -> None:
    """Check that a command exists and takes its arguments, without running it.

    Raises:
        UsageError: naming the command and what is wrong with it.
    """
    try:
        _check(*words)
    except UsageError as error:
        raise UsageError(f"{shlex.join(['prefgen', *words])}: {error}") from None


def _check(name: str = "", *rest: str) -> None:
    left = [*rest]
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name!r}; choose from {', '.join(COMMANDS)}")
    command = load(name)
    while inner := getattr(command, "commands", {}):
        name, *left = left or [""]
        if name not in inner:
            raise UsageError(f"there is no command {name!r}; choose from {', '.join(inner)}")
        command = inner[name]
    try:
        context = command.make_context(name, left)
    except _WRONG as error:
        raise UsageError(error.format_message()) from None
    check_values(command.callback, context.params)
