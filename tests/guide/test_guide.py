"""The guide: its pages, how it is printed, and that what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prefgen import guide
from prefgen.errors import UsageError
from tests.cli.runs import called

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
