"""The guide: its pages, how it is printed, and that what it says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from prefgen import guide
from prefgen.cli.commands import COMMANDS
from prefgen.errors import UsageError
from tests.cli.runs import called
from tests.guide.commands import check_options

ROOT = Path(__file__).parents[2]


def test_every_page_has_a_topic_and_a_title() -> None:
    assert {path.stem for path in guide.FOLDER.glob("*.md")} == set(guide.TOPICS)
    titles = [guide.title(topic) for topic in guide.TOPICS]
    assert len(set(titles)) == len(titles)
    assert all(page.startswith("# ") for page in map(guide.page, guide.TOPICS))


@pytest.mark.parametrize("topic", guide.TOPICS)
def test_links_lead_somewhere(topic: str) -> None:
    text = guide.page(topic)
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (guide.FOLDER / path).resolve() if path else guide.FOLDER / f"{topic}.md"
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, link


def test_the_readme_is_one_page_and_names_every_topic() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 150
    assert all(f"prefgen/guide/{topic}.md" in readme for topic in guide.TOPICS)


def test_it_is_printed_and_searched() -> None:
    listed = called("guide")
    assert all(f"prefgen guide {topic}" in listed.stdout for topic in guide.TOPICS)
    assert called("guide", "promises").stdout == guide.page("promises")
    found = called("guide", "--find", "IMG_BOMB")
    assert found.returncode == 0
    assert found.stdout.startswith("data-in")
    assert called("guide", "--find", "no such word").returncode == 2


def test_an_unknown_topic_is_refused_with_a_near_one() -> None:
    with pytest.raises(UsageError, match="perhaps promises"):
        guide.page("promise")


def commands_shown() -> list[list[str]]:
    """The words of every `prefgen` command in a block of README or guide."""
    pages = [(ROOT / "README.md").read_text(), *map(guide.page, guide.TOPICS)]
    found = [block for page in pages for block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.M | re.S)]
    blocks = [text for kind, text in found if kind in ("", "bash")]
    commands = []
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True) if re.search(r"\bprefgen [a-z]", line) else []
        while "prefgen" in words:
            words = words[words.index("prefgen") + 1 :]
            end = next((at for at, word in enumerate(words) if word in ("&&", "prefgen")), len(words))
            if words and words[0] in COMMANDS:
                commands.append(words[:end])
    return commands


def test_every_command_shown_exists_with_its_options() -> None:
    shown = commands_shown()
    assert len(shown) > 50
    for words in shown:
        check_options(words)
