"""LLaMA-Factory's ranking formats: https://github.com/hiyouga/LLaMA-Factory, no licence of their own.

ShareGPT; what ``prefgen export --to llamafactory`` writes, and the mirror ``llamafactory/RLHF-V``::

    {"conversations": [{"from": "human", "value": "<image>What is this?"}], "images": ["img/1.jpg"],
     "chosen": {"from": "gpt", "value": "A cat."}, "rejected": {"from": "gpt", "value": "A dog."}}

or Alpaca (``instruction``, ``input``, ``history``, ``chosen``, ``rejected`` as strings). SRC is a file with these
column names, or a folder with ``dataset_info.json``, whose ``columns`` and ``tags`` are followed; `dataset` names the
entry if there are several. ``images`` may be a bare string, though LLaMA-Factory itself wants a list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import RowError, UsageError
from prefgen.importers.building import Draft, Message, import_set, messages, needed
from prefgen.records import Dropped, Pair
from prefgen.rundir import saved
from prefgen.rundir.schema import LISTED_COLUMNS
from prefgen.sources import SourceOptions

SHAREGPT = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
_ROLE_TAGS = {"user_tag": "human", "assistant_tag": "gpt", "system_tag": "system"}
ALPACA = {"prompt": "instruction", "query": "input", "history": "history", "system": "system"}


@dataclass(frozen=True)
class Registered:
    """An entry of ``dataset_info.json``: the file or folder it names, its columns and tags by LLaMA-Factory's names."""

    path: str
    columns: Mapping[str, str] = field(default_factory=lambda: {**ALPACA, **SHAREGPT})
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LlamaFactory:
    """Reads both formats.

    Attributes:
        dataset: entry of ``dataset_info.json``; None takes the only one for ranking.
    """

    name: ClassVar[str] = "llamafactory"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)
    dataset: str | None = None

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        entry = registered(src, self.dataset)
        return import_set(entry.path, self.name, self.licence, self.source, lambda columns: _read(columns, entry))


def registered(src: str, dataset: str | None = None) -> Registered:
    """What `src` means: itself, or in a folder with ``dataset_info.json`` one of the sets that are listed there.

    Raises:
        UsageError: the list cannot be read, or does not say which set is meant.
    """
    folder = Path(src).expanduser()
    listing = folder / "dataset_info.json"
    if saved.files(folder):  # a folder of `save_to_disk` has a dataset_info.json of another kind
        return Registered(src, LISTED_COLUMNS)
    if not listing.is_file():
        return Registered(src)
    try:
        entries = {name: entry for name, entry in json.loads(listing.read_bytes()).items() if entry.get("ranking")}
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{listing} is no list of data sets: {error!r}") from error
    names = [dataset] if dataset in entries else list(entries)
    if len(names) != 1 or (dataset and dataset not in entries):
        listed = ", ".join(entries) or "none with ranking: true"
        raise UsageError(f"--dataset is {dataset!r}; {listing} lists {listed}")
    entry = entries[names[0]]
    named = folder / str(entry.get("file_name", names[0]))
    if not named.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{listing} names {named}, which is outside its folder: give that file itself")
    columns = dict(entry.get("columns") or {})
    alpaca = entry.get("formatting", "alpaca") == "alpaca"
    defaults = ALPACA if alpaca else {"messages": "conversations"}
    return Registered(str(named), columns or {**defaults, **SHAREGPT}, dict(entry.get("tags") or {}))


def _read(columns: Mapping[str, Any], entry: Registered) -> Iterator[Draft]:
    names = entry.columns

    def value(role: str) -> Any:
        return _untagged(columns.get(names.get(role, "")), entry.tags)

    needed(columns, names.get("chosen", "chosen"), names.get("rejected", "rejected"))
    said = messages("messages", value("messages")) if value("messages") is not None else _alpaca(value)
    if isinstance(value("system"), str) and value("system"):
        said = [("system", value("system")), *said]
    yield Draft(said, value("images"), value("chosen"), value("rejected"), tuple(names.values()))


def _untagged(value: Any, tags: Mapping[str, str]) -> Any:
    """Messages whose keys and speakers an entry's tags name, in ShareGPT's own."""
    if isinstance(value, list):
        return [_untagged(item, tags) for item in value]
    speaker, content = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    if not tags or not isinstance(value, dict) or speaker not in value:
        return value
    roles = {tags[tag]: role for tag, role in _ROLE_TAGS.items() if tag in tags}
    return {"from": roles.get(value[speaker], value[speaker]), "value": value.get(content)}


def _alpaca(value: Any) -> list[Message]:
    asked = [text for text in (value("prompt"), value("query")) if text]
    history = value("history") or []
    if not asked or not all(isinstance(text, str) for text in asked):
        raise RowError("ROW_SHAPE", "neither messages nor an instruction")
    if not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
        raise RowError("ROW_SHAPE", "history should hold pairs of a question and an answer")
    earlier: list[Message] = [
        message for question, answer in history for message in (("user", question), ("assistant", answer))
    ]
    return [*earlier, ("user", "\n".join(asked))]
