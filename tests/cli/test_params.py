"""An option is declared once; the command line, its checks and its old spellings follow from the declaration."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import prefgen.cli
from prefgen.cli.commands import COMMANDS, load
from prefgen.cli.damage import Command
from prefgen.cli.params import Draft, command, only, without
from prefgen.errors import UsageError
from prefgen.options import check, option, shared
from tests.cli.runs import called


@dataclasses.dataclass(frozen=True)
class Paint:
    name = "paint"

    color: Literal["red", "blue"] = option("red", help="What to paint with", was=("--hue",))
    coats: int = option(2, "--coats", "-c", help="How often.", low=1, high=9)
    share: float = option(0.5, help="How much.", low=0, above=True)
    spots: Sequence[str] = option((), "--spot", help="Where else.")
    seed: int = shared(7)

    def __post_init__(self) -> None:
        check(self)


@dataclasses.dataclass(frozen=True)
class Varnish:
    name = "varnish"

    coats: int = option(1, "--coats", "-c", help="How often.", low=1, high=9)
    gloss: bool = option(False, "--gloss/--no-gloss", help="Whether it shines.")


@dataclasses.dataclass(frozen=True)
class Luck:
    seed: int = option(0, help="Seeds.")


@dataclasses.dataclass(frozen=True)
class Sizes:
    sizes: Sequence[int] = option((), help="In inches.", required=True)


@dataclasses.dataclass(frozen=True)
class Level:
    least: Literal["error", "warning"] | None = option(None, help="From here on.", metavar="error|warning")


def run(function: Any, *arguments: str) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("it", cls=Command)(function)
    return CliRunner().invoke(app, [*arguments])


def test_a_command_gets_one_instance_of_each_dataclass() -> None:
    got: list[Any] = []

    @command
    def it(ctx: typer.Context, word: str, paint: Paint, luck: Luck) -> None:
        got.append((word, paint, luck))

    options = ("--color", "blue", "-c", "3", "--spot", "a", "--spot", "b", "--seed", "5")
    assert run(it, "hello", *options).exit_code == 0
    assert run(it, "hello").exit_code == 0
    assert got == [
        ("hello", Paint("blue", 3, 0.5, ["a", "b"], 5), Luck(5)),
        ("hello", Paint(seed=0), Luck()),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "green"}, "--color 'green' is unknown; choose from red, blue"),
        ({"coats": 10}, "--coats 10 is outside 1 … 9"),
        ({"share": 0.0}, "--share 0.0 must be above 0"),
        ({"share": float("inf")}, "--share inf must be above 0, and finite"),
        ({"share": float("nan")}, "--share nan must be above 0, and finite"),
    ],
)
def test_what_an_option_may_be_is_checked_by_its_declaration(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        Paint(**options)
    assert str(raised.value) == message


def test_two_declarations_of_one_name_do_not_pass_an_import() -> None:
    with pytest.raises(TypeError, match="two declare the option coats"):

        @command
        def it(ctx: typer.Context, paint: Paint, varnish: Varnish) -> None:
            pass

    with pytest.raises(TypeError, match="there is no option colour"):

        @command
        def other(ctx: typer.Context, paint: Annotated[Paint, without("colour")]) -> None:
            pass


def test_a_part_of_a_dataclass_with_another_help_and_default() -> None:
    got: list[Any] = []

    @command
    def it(ctx: typer.Context, paint: Annotated[Paint, only("color", coats={"default": 4, "help": "Times."})]) -> None:
        got.append(paint)

    assert run(it).exit_code == 0
    assert got == [Paint(coats=4)]
    shown = run(it, "--help").output
    assert "Times." in shown
    assert "--share" not in shown
    assert run(it, "--share", "1").exit_code == 2


def test_a_draft_of_one_of_several_refuses_the_options_of_the_others() -> None:
    got: list[Any] = []

    @command
    def it(ctx: typer.Context, kind: str, draft: Draft[Paint | Varnish]) -> None:
        got.append(draft.make(Varnish if kind == "varnish" else Paint, kind))

    assert run(it, "varnish", "--gloss").exit_code == 0
    assert run(it, "paint", "--coats", "5").exit_code == 0
    assert got == [Varnish(gloss=True), Paint(coats=5)]
    refused = run(it, "varnish", "--color", "blue")
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == "--color is no option of varnish"
    assert "varnish: whether it shines" in " ".join(run(it, "--help").output.split())


def test_a_draft_tells_a_value_and_refuses_what_is_on_the_command_line() -> None:
    got: list[str] = []

    @command
    def it(draft: Draft[Paint], luck: Luck) -> None:
        got.append(draft.value("color"))
        draft.refuse("is for a wall")

    assert run(it).exit_code == 0
    refused = run(it, "--spot", "a", "--color", "blue")
    assert got == ["red", "blue"]
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == "--color is for a wall"


def test_an_option_that_repeats_converts_every_value() -> None:
    got: list[Any] = []

    @command
    def it(sizes: Sizes) -> None:
        got.append(sizes)

    assert run(it, "--sizes", "3", "--sizes", "4").exit_code == 0
    assert got == [Sizes([3, 4])]
    assert run(it, "--sizes", "large").exit_code == 2
    assert "Missing option '--sizes'" in run(it).output


def test_no_module_of_the_command_line_writes_an_option_by_hand() -> None:
    """Options are fields of dataclasses; `params` makes Typer's of them, and the program itself has two."""
    folder = Path(inspect.getfile(prefgen.cli)).parent
    by_hand = {path.name: path.read_text().count("typer.Option(") for path in folder.glob("*.py")}
    assert {name: count for name, count in by_hand.items() if count} == {"__init__.py": 2, "params.py": 1}
    values = {path.name for path in folder.glob("*.py") if "ctx.params" in path.read_text()}
    assert values == {"config.py", "damage.py", "params.py"}  # commands are given their options


def test_a_metavar_stands_for_the_list_of_choices() -> None:
    @command
    def it(level: Level) -> None:
        raise AssertionError

    shown = run(it, "--help").output
    assert "From here on." in shown
    assert "error|warning" in shown
    assert "error, warning" not in shown


def test_an_old_spelling_is_taken_with_a_note() -> None:
    got: list[Any] = []

    @command
    def it(ctx: typer.Context, paint: Paint) -> None:
        got.append(paint)

    for old in (("--hue", "blue"), ("--hue=blue",)):
        told = run(it, *old)
        assert told.exit_code == 0
        assert "note: --hue is now --color" in told.output
    assert got == [Paint("blue"), Paint("blue")]
    assert "--hue" not in run(it, "--help").output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_says(name: str) -> None:
    loaded = load(name)
    assert loaded.name == name
    first = " ".join((loaded.help or "").split("\n\n")[0].split())
    assert first == COMMANDS[name].help


def test_commands_are_listed_in_groups() -> None:
    shown = called("--help").stdout
    for group in ("Make pairs", "Data", "Look", "Train", "Check"):
        assert f"─ {group} ─" in shown
    assert shown.index(" bdhs ") < shown.index("─ Data ─") < shown.index(" import ") < shown.index("─ Look ─")


def test_no_command_imports_anything_heavy_for_its_help() -> None:
    heavy = "torch", "transformers", "sentence_transformers", "datasets", "pyarrow", "vllm", "openai", "PIL"
    code = "import sys; from prefgen.cli.commands import COMMANDS, load; [load(name) for name in COMMANDS]; "
    code += f"print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_choices_and_commands_are_completed() -> None:
    from prefgen.cli import app

    group = get_command(app)
    with group.make_context("prefgen", [], resilient_parsing=True) as ctx:
        assert [item.value for item in group.shell_complete(ctx, "b")] == ["bdhs", "baseline"]
    bdhs = load("bdhs")
    [engine] = [parameter for parameter in bdhs.params if parameter.name == "engine"]
    with bdhs.make_context("bdhs", [], resilient_parsing=True) as ctx:
        assert [item.value for item in engine.shell_complete(ctx, "")] == [
            *("auto", "transformers", "vllm", "openai", "fake"),
        ]
        assert [item.value for item in engine.shell_complete(ctx, "v")] == ["vllm"]
