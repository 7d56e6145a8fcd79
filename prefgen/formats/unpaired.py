"""Unpaired preferences (KTO): answers that are each marked good or bad; pairs where a prompt has both.

TRL's form, which ``prefgen export --to unpaired`` writes; ms-swift's and LLaMA-Factory's, where the answer is the last
of ``messages`` or ``conversations``, and the mark may be called ``kto_tag``, are read too::

    {"image": "a.jpg", "prompt": "What is this?", "completion": "A cat.", "label": true}
    {"image": "a.jpg", "prompt": "What is this?", "completion": "A dog.", "label": false}

Rows belong together if their pictures and prompts are the same, wherever they are in the file; so it is read twice.
Each good answer is paired with each bad one, side by side as `prefgen join` puts them. Rows of a prompt that has only
good or only bad answers are dropped as ``ANSWER_UNPAIRED``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from prefgen import sources
from prefgen.errors import RowError
from prefgen.formats.base import Exported, Exporter, Format, by_answer
from prefgen.formats.reading import (
    Message,
    PairDraft,
    answer_text,
    import_rows,
    known_images,
    known_prompt,
    messages,
    needed,
    origin,
)
from prefgen.formats.roundtrip_column import COLUMN, PAIRED_WITH, Carried, text_digest
from prefgen.formats.writing import CARRIED_COLUMNS
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.rundir.schema import SCHEMA
from prefgen.sources import SourceOptions
from prefgen.sources.columns import ID_COLUMNS, is_id, refuse_other_media
from prefgen.sources.row import Row, json_value

LABELS = ("label", "kto_tag")
_CONVERSATIONS = ("messages", "conversations")
_MEMBERS = "members"  # the one column of the rows that are given to `import_rows`


@dataclass(frozen=True)
class Unpaired:
    """Reader of answers marked good or bad."""

    name: ClassVar[str] = "unpaired"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_rows(self._grouped(src), origin(src, self.name, self.licence, self.source), _read)

    def _grouped(self, src: str) -> Iterator[Row]:
        """A row for each prompt with both marks, at the position of its last row; other rows unchanged."""
        labels: dict[bytes, list[int]] = {}  # by prompt: bad rows, good rows
        for row in sources.rows(src, self.source):
            answer = _answer_of(row)
            if isinstance(answer, _Answer):
                labels.setdefault(answer.key, [0, 0])[answer.good] += 1
        waiting: dict[bytes, list[_Answer]] = {}
        for row in sources.rows(src, self.source):
            answer = _answer_of(row)
            if isinstance(answer, RowError):
                yield Row(row.where, answer)
                continue
            bad, good = labels[answer.key]
            if not bad or not good:
                mark = "good" if good else "bad"
                yield Row(row.where, RowError("ANSWER_UNPAIRED", f"the prompt has only {mark} answers, {bad + good}"))
                continue
            members = waiting.setdefault(answer.key, [])
            members.append(answer)
            if len(members) == bad + good:
                yield Row(row.where, {_MEMBERS: waiting.pop(answer.key)})


@dataclass(frozen=True)
class _Answer:
    """A row as it was read.

    Attributes:
        key: digest of its pictures and prompt.
    """

    key: bytes
    good: bool
    prompt: list[Message]
    images: object
    text: object
    used: tuple[str, ...]
    columns: Mapping[str, Any]


def _answer_of(row: Row) -> _Answer | RowError:
    if isinstance(row.columns, RowError):
        return row.columns
    try:
        return _answer(row.columns)
    except RowError as error:
        return error


def _answer(columns: Mapping[str, Any]) -> _Answer:
    label_column = next((name for name in LABELS if columns.get(name) is not None), " or ".join(LABELS))
    (label,) = needed(columns, label_column)
    if label not in (True, False):
        raise RowError("ROW_SHAPE", f"{label_column} should be true or false, found {str(label)[:40]!r}")
    refuse_other_media(columns)
    images, image_column = known_images(columns)
    used: tuple[str, ...]
    conversation = next((name for name in _CONVERSATIONS if columns.get(name) is not None), None)
    if conversation is None:
        (text,) = needed(columns, "completion")
        prompt, prompt_column = known_prompt(columns)
        used = (prompt_column, "completion", label_column, image_column)
    else:
        *prompt, (role, text) = messages(conversation, columns[conversation])
        if role != "assistant":
            raise RowError("ROW_SHAPE", f"{conversation} should end with the answer")
        used = (conversation, label_column, image_column)
    return _Answer(_key(images, prompt), bool(label), prompt, images, text, used, columns)


def _key(images: object, prompt: list[Message]) -> bytes:
    def digest(value: object) -> str:
        return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)

    written = json.dumps([images, prompt], sort_keys=True, default=digest)
    return hashlib.blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(columns: Mapping[str, Any]) -> Iterator[PairDraft]:
    members: list[_Answer] = columns[_MEMBERS]
    good, bad = ([member for member in members if member.good is mark] for mark in (True, False))
    for chosen in good:
        for rejected in bad:
            paired_with = rejected.columns.get(PAIRED_WITH)
            if paired_with in (None, text_digest(answer_text("completion", chosen.text))):
                yield _draft(chosen, rejected, grouped=paired_with is None)


def _draft(chosen: _Answer, rejected: _Answer, *, grouped: bool) -> PairDraft:
    used = {*chosen.used, *ID_COLUMNS, COLUMN, PAIRED_WITH}
    return PairDraft(
        chosen.prompt,
        chosen.images,
        chosen.text,
        rejected.text,
        (_MEMBERS,),
        meta={str(name): json_value(value) for name, value in chosen.columns.items() if name not in used},
        row_id=next((str(value) for name in ID_COLUMNS if is_id(value := chosen.columns.get(name))), ""),
        grouped=grouped,
        carried=rejected.columns.get(COLUMN),
    )


def write(stored: Stored, out: Path, name: str) -> Exported:
    """TRL's unpaired vision format, for KTO: Parquet with ``images``, ``prompt``, ``completion`` and ``label``.

    A pair becomes two rows, its chosen answer with the label true and its rejected one with false; an answer that is
    chosen in several pairs of one prompt occurs once. As JSON::

        {"images": [...], "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text",
         "text": "What?"}]}], "completion": [{"role": "assistant", "content": [{"type": "text",
         "text": "A cat."}]}], "label": true}
    """
    folder = out / "data"
    folder.mkdir()
    schema = _schema()
    left_out: Counter[str] = Counter()
    written = 0
    good: set[bytes] = set()
    with pq.ParquetWriter(folder / "train-00000-of-00001.parquet", schema, compression="zstd") as writer:
        for table in stored.tables():
            kept: list[dict[str, Any]] = []
            for row in table.select((*CARRIED_COLUMNS, "prompt", "chosen", "rejected")).to_pylist():
                try:
                    by_answer(row)
                except RowError as error:
                    left_out[error.reason] += 1
                    continue
                kept += _rows(row, good)
                written += 1
            writer.write_table(pa.Table.from_pylist(kept, schema=schema))
    return Exported(written, dict(left_out))


def _rows(row: Mapping[str, Any], good: set[bytes]) -> Iterator[dict[str, Any]]:
    carried = Carried.of_row(row).to_json()
    content = json.dumps([row["prompt"], row["chosen_response"], json.loads(row["meta"])["images"]], sort_keys=True)
    key = hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    answer = text_digest(row["chosen_response"])
    for side, label in (("chosen", True), ("rejected", False)):
        if label and key in good:
            continue
        yield {
            "images": row["images"],
            "prompt": row["prompt"],
            "completion": row[side],
            "label": label,
            COLUMN: carried,
            PAIRED_WITH: None if label else answer,
        }
    good.add(key)


def _schema() -> pa.Schema:
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    kept = {
        "images": features["images"],
        "prompt": features["prompt"],
        "completion": features["chosen"],
        "label": {"dtype": "bool", "_type": "Value"},
        COLUMN: {"dtype": "string", "_type": "Value"},
        PAIRED_WITH: {"dtype": "string", "_type": "Value"},
    }
    columns = [
        SCHEMA.field("images"),
        SCHEMA.field("prompt"),
        SCHEMA.field("chosen").with_name("completion"),
        pa.field("label", pa.bool_()),
        pa.field(COLUMN, pa.string()),
        pa.field(PAIRED_WITH, pa.string()),
    ]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": kept}})})


FORMAT = Format("unpaired", reader=Unpaired, writer=Exporter(write, by_answer, (REJECTED_PATHS,)))
