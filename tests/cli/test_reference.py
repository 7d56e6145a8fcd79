"""The public surface: all options of all commands, as a page that is generated and compared.

A change here is a change of the public surface: it belongs into the changelog. To write the page anew:
``python -m tests.cli.test_reference``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefgen import guide
from prefgen.cli.commands import COMMANDS, load

GOLDEN = guide.FOLDER / "options.md"


def page() -> str:
    """The page: a section for each command, a row for each argument and option."""
    return "# Options\n\n" + "\n".join(_section(f"prefgen {name}", load(name)) for name in COMMANDS)


def _section(called: str, command: Any) -> str:
    inner = getattr(command, "commands", None)
    if inner:
        return "\n".join(_section(f"{called} {name}", each) for name, each in inner.items())
    rows = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in _rows(command))
    first = " ".join((command.help or "").split("\n\n")[0].split())
    return f"## {called}\n\n{first}\n\n| option | default | what |\n| --- | --- | --- |\n{rows}"


def _rows(command: Any) -> Iterator[tuple[str, str, str]]:
    for parameter in sorted(command.params, key=lambda each: str(each.param_type_name)):  # arguments come first
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            named = parameter.metavar or str(parameter.name).upper()
        else:
            named = ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))
        yield named, _default(parameter), " ".join((parameter.help or "").split())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default in (None, "", False, ()) or callable(parameter.default):
        return ""
    return str(parameter.default)


def test_the_options_of_all_commands_are_the_agreed_ones() -> None:
    assert page() == GOLDEN.read_text(encoding="utf-8")


def test_the_page_says_what_a_declaration_says() -> None:
    shown = page()
    assert "| `--rho` | 0.99 | Expected share of image tokens masked. |" in shown
    assert "| `--guidance`, `--no-guidance` | True | Complete the reference by sentences. |" in shown
    assert "## prefgen eval pope" in shown
    assert "| `--model`, `-m` | required |" in shown


if __name__ == "__main__":
    GOLDEN.write_text(page(), encoding="utf-8")
