"""OpenAI's preference fine-tuning (DPO): https://developers.openai.com/api/docs/guides/direct-preference-optimization.

JSON Lines; Together and Fireworks take the same rows, and ``prefgen export --to openai`` writes them::

    {"input": {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/..."}}]}],
      "tools": [], "parallel_tool_calls": true},
     "preferred_output": [{"role": "assistant", "content": "A cat."}],
     "non_preferred_output": [{"role": "assistant", "content": "A dog."}]}

A picture's address may be a ``data:`` URI, a path or ``file:`` address under ``--image-root``, or with ``--allow-urls``
one of http. ``input`` may be the list of messages itself. ``tools`` that are not empty are kept in ``meta``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.carried import read_beside, row_digest
from prefgen.importers.building import Draft, decoded, import_set, messages, needed
from prefgen.records import Dropped, Pair
from prefgen.sources import SourceOptions

TRAIN = "train.jsonl"
_USED = ("input", "preferred_output", "non_preferred_output")


@dataclass(frozen=True)
class OpenAi:
    """Reads preference rows for fine-tuning."""

    name: ClassVar[str] = "openai"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        path = Path(src).expanduser()
        path = path / TRAIN if (path / TRAIN).is_file() else path
        kept = read_beside(path)

        def read(columns: Mapping[str, Any]) -> Iterator[Draft]:
            return _read(columns, kept.get(row_digest(columns)) if kept else None)

        return import_set(str(path) if path.exists() else src, self.name, self.licence, self.source, read)


def _read(columns: Mapping[str, Any], kept: str | None) -> Iterator[Draft]:
    given, preferred, other = needed(columns, *_USED)
    given = decoded("input", given)
    if isinstance(given, Mapping):
        (said,) = needed(given, "messages")
        rest = {name: value for name, value in given.items() if name == "tools" and value}
    else:
        said, rest = given, {}
    prompt = messages("input.messages", said)
    meta = {"input": rest} if rest else {}
    yield Draft(prompt, None, preferred, other, _USED, meta=meta, carried=kept)
