"""The public surface: all options of all commands, as a page that is generated and compared.

A change here is a change of the public surface: it belongs into the changelog. To write the page anew:
``python -m tests.cli.test_reference``.
"""

from __future__ import annotations

from prefgen import guide
from prefgen.cli.reference import page

GOLDEN = guide.FOLDER / "options.md"


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
