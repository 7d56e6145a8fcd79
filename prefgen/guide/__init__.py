"""The guide: one Markdown page per topic, printed by `prefgen guide`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from prefgen.errors import UsageError

FOLDER = Path(__file__).parent
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)  # for the tests of the pages
TOPICS = (
    *("install", "data-in", "bdhs", "methods", "judges", "engines", "architectures", "train", "evaluate", "scale"),
    *("data-out", "quality", "promises", "options", "scenes", "code", "adding"),
)
"""Pages in the order in which one may want to read them."""


def page(topic: str) -> str:
    """The Markdown of a page, without its comments.

    Raises:
        UsageError: there is no such topic; names those that are near.
    """
    if topic not in TOPICS:
        near = difflib.get_close_matches(topic, TOPICS, n=2) or TOPICS
        raise UsageError(f"the guide has no page {topic!r}; perhaps {', '.join(near)}")
    return _COMMENT.sub("", (FOLDER / f"{topic}.md").read_text(encoding="utf-8"))


def title(topic: str) -> str:
    """The heading of a page."""
    return page(topic).partition("\n")[0].removeprefix("# ")


def find(word: str) -> Iterator[tuple[str, str, str]]:
    """Topic, heading and line of every line that contains `word`, ignoring case."""
    for topic in TOPICS:
        heading = title(topic)
        code = False
        for line in page(topic).splitlines():
            if line.startswith("```"):
                code = not code
            elif not code and (found := re.match(r"#+ (.*)", line)):
                heading = found.group(1)
            if word.lower() in line.lower():
                yield topic, heading, line.strip()
