"""LLaMA-Factory's ranking formats: https://github.com/hiyouga/LLaMA-Factory, no licence of their own.

ShareGPT; what ``prefgen export --to llamafactory`` writes, and the mirror ``llamafactory/RLHF-V``::

    {"conversations": [{"from": "human", "value": "<image>What is this?"}], "images": ["img/1.jpg"],
     "chosen": {"from": "gpt", "value": "A cat."}, "rejected": {"from": "gpt", "value": "A dog."}}

or Alpaca (``instruction``, ``input``, ``history``, ``chosen``, ``rejected`` as strings). SRC is a file with these
column names, or a folder with ``dataset_info.json``, whose ``columns`` and ``tags`` are followed; `dataset` names the
entry if there are several. ``images`` may be a bare string, though LLaMA-Factory itself needs a list.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from prefgen.errors import RowError, UsageError
from prefgen.formats.base import Attempt, Exported, Exporter, Format, Loader, by_answer
from prefgen.formats.llava import said
from prefgen.formats.reading import Message, PairDraft, import_set, messages, needed
from prefgen.formats.writing import asked, write_list
from prefgen.records import Dropped, Pair
from prefgen.rundir import saved
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.rundir.schema import LISTED_COLUMNS
from prefgen.sources import SourceOptions

SHAREGPT = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
_ROLE_TAGS = {"user_tag": "human", "assistant_tag": "gpt", "system_tag": "system"}
ALPACA = {"prompt": "instruction", "query": "input", "history": "history", "system": "system"}


@dataclass(frozen=True)
class Registered:
    """An entry of ``dataset_info.json``: its file or folder, columns and tags under LLaMA-Factory's names."""

    path: str
    columns: Mapping[str, str] = field(default_factory=lambda: {**ALPACA, **SHAREGPT})
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LlamaFactory:
    """Reader of both formats.

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
    """The entry of `src`: itself, or one of the sets listed in a folder's ``dataset_info.json``.

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


def _find(src: Path) -> tuple[Path, Mapping[str, str]]:
    entry = registered(str(src))
    return Path(entry.path), entry.columns


def _read(columns: Mapping[str, Any], entry: Registered) -> Iterator[PairDraft]:
    names = entry.columns

    def value(role: str) -> Any:
        return _untagged(columns.get(names.get(role, "")), entry.tags)

    needed(columns, names.get("chosen", "chosen"), names.get("rejected", "rejected"))
    said = messages("messages", value("messages")) if value("messages") is not None else _alpaca(value)
    if isinstance(value("system"), str) and value("system"):
        said = [("system", value("system")), *said]
    yield PairDraft(said, value("images"), value("chosen"), value("rejected"), tuple(names.values()))


def _untagged(value: Any, tags: Mapping[str, str]) -> Any:
    """Messages with the keys and speakers of an entry's tags replaced by ShareGPT's."""
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


def write(stored: Stored, out: Path, name: str) -> Exported:
    """LLaMA-Factory's ShareGPT ranking format: ``train.json``, ``images/``, and ``dataset_info.json`` that lists it.

    ::

        llamafactory-cli train dpo.yaml dataset_dir=OUT dataset=NAME

    prefgen's own shards load as well; this is for editing by hand, and for versions that read no Parquet.
    """
    exported = write_list(stored, out / "train.json", _record)
    entry = {"file_name": "train.json", "ranking": True, "formatting": "sharegpt", "columns": SHAREGPT}
    (out / "dataset_info.json").write_text(json.dumps({name: entry}, indent=2) + "\n", encoding="utf-8")
    return exported


def _record(row: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    return {
        "conversations": [said(turn) for turn in asked(row)],
        "chosen": {"from": "gpt", "value": row["chosen_response"]},
        "rejected": {"from": "gpt", "value": row["rejected_response"]},
        "images": images,
        "id": row["source_id"],
    }


_ROLES = {"human": 0, "user": 0, "gpt": 1, "assistant": 1}
_MEDIA = {"<image>": "images", "<video>": "videos", "<audio>": "audios"}


def problems(values: Mapping[str, Any]) -> Iterator[str]:
    """LLaMA-Factory's rules for ranking data with pictures (``data/converter.py``, ``mm_plugin.py``).

    Args:
        values: of a row, under the names that ``dataset_info.json`` has for its columns.
    """
    sharegpt = values.get("messages") is not None
    yield from _answers(values, sharegpt)
    texts = list(_turns(values["messages"])) if sharegpt else _alpaca_texts(values)
    yield from (_order(values["messages"]) if sharegpt else ())
    yield from _media(values, texts)


def _answers(values: Mapping[str, Any], sharegpt: bool) -> Iterator[str]:
    kind, article = (dict, "one message") if sharegpt else (str, "a string")
    for side in ("chosen", "rejected"):
        answer = values.get(side)
        if isinstance(answer, list):
            yield f"{side} is a list, which is silently read as no preference at all; it should be {article}"
        elif not isinstance(answer, kind):
            yield f"{side} should be {article}, found {type(answer).__name__}"
        elif not _text(answer).strip():
            yield f"{side} has no text"
    if values.get("chosen") is not None and values.get("chosen") == values.get("rejected"):
        yield "chosen and rejected are identical"


def _order(messages: object) -> Iterator[str]:
    roles = [_role(message) for message in messages] if isinstance(messages, list) else []
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if len(spoken) % 2 == 0:
        yield f"{len(spoken)} turns before the answer; with ranking their number must be odd"
    elif [_ROLES.get(role) for role in spoken] != [place % 2 for place in range(len(spoken))]:
        yield f"turns should alternate, the user first: {', '.join(spoken)[:100]}"


def _media(values: Mapping[str, Any], texts: list[str]) -> Iterator[str]:
    images = values.get("images")
    if images is not None and not isinstance(images, list):
        yield f"images should be a list, found {type(images).__name__}"
        return
    for tag, column in _MEDIA.items():
        wanted = len(values.get(column) or [])
        for side in ("chosen", "rejected"):
            answer = values.get(side)
            found = sum(text.count(tag) for text in texts) + (_text(answer).count(tag) if answer else 0)
            if found != wanted:
                yield f"{found} {tag} tags in prompt and {side} for {wanted} {column}"


def _turns(messages: object) -> Iterator[str]:
    yield from (_text(message) for message in (messages if isinstance(messages, list) else []))


def _alpaca_texts(values: Mapping[str, Any]) -> list[str]:
    texts = [values.get(name) for name in ("prompt", "query", "system")]
    history = values.get("history") or []
    texts += [text for turn in history if isinstance(turn, list) for text in turn]
    return [text for text in texts if isinstance(text, str)]


def _role(message: object) -> str:
    return str(message.get("from", message.get("role"))) if isinstance(message, dict) else "?"


def _text(message: object) -> str:
    found = message.get("value", message.get("content")) if isinstance(message, dict) else message
    return found if isinstance(found, str) else ""


def load(folder: Path, names: Mapping[str, str], processor: str | None) -> Attempt:
    """LLaMA-Factory's `align_dataset`, and the refusals of its pairwise processor and multimodal plugin."""
    from llamafactory.data.converter import align_dataset
    from llamafactory.data.mm_plugin import get_mm_plugin
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments
    from transformers import Seq2SeqTrainingArguments

    settings = DataArguments(media_dir=str(folder), overwrite_cache=True)
    training = Seq2SeqTrainingArguments(output_dir=tempfile.gettempdir(), use_cpu=True)
    plugin = get_mm_plugin("base", image_token="<image>", video_token="<video>", audio_token="<audio>")

    def attempt(rows: Any) -> None:
        there = {role: column for role, column in names.items() if column in rows.column_names}
        formatting = "sharegpt" if "messages" in there else "alpaca"
        entry = {"file_name": "data", "ranking": True, "formatting": formatting, "columns": there}
        (attributes,) = get_dataset_list(["data"], {"data": entry})
        for row in align_dataset(rows, attributes, settings, training):
            prompt, answers = row["_prompt"], row["_response"]
            if len(prompt) % 2 != 1 or len(answers) < 2:
                raise ValueError(f"dropped as invalid: {len(prompt)} turns and {len(answers)} answers")
            images, videos, audios = (row[kind] or [] for kind in ("_images", "_videos", "_audios"))
            for answer in answers:
                plugin._validate_messages([*prompt, answer], images, videos, audios)

    return attempt


FORMAT = Format(
    "llamafactory",
    reader=LlamaFactory,
    writer=Exporter(write, by_answer, (REJECTED_PATHS,)),
    loader=Loader(problems, "llamafactory", "llamafactory", load, max_length=2048, turns_pictures=False, find=_find),
)
