"""TRL's vision preference format: https://huggingface.co/docs/trl/dataset_formats, no licence of its own.

Conversational; what ``prefgen export --to trl`` writes, and ``HuggingFaceH4/rlaif-v_formatted``::

    {"images": [{"bytes": b"...", "path": "a.jpg"}],
     "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}],
     "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "A cat."}]}],
     "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "A dog."}]}]}

Also read: a single ``image``; content as plain text, whose pictures then go in front of the first user turn; answers
and prompts as plain strings (the standard format, where ``<image>`` may be in the prompt; another model's own image
token cannot be told from text); and no ``prompt`` at all, when both answers are whole conversations that share it.
Text parts that hold ``<image>`` beside image parts are text. Parquet pads every part with every key: nulls are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefgen.errors import ModelUnreachable, RowError
from prefgen.formats.base import REJECTED_BY_IMAGE, Attempt, Exported, Exporter, Format, Loader, by_answer
from prefgen.formats.reading import Message, PairDraft, import_set, messages, needed, question
from prefgen.formats.roundtrip_column import COLUMN, Carried
from prefgen.records import Dropped, Pair
from prefgen.rundir.reader import REJECTED_PATHS, Stored
from prefgen.rundir.schema import SCHEMA
from prefgen.sources import SourceOptions


@dataclass(frozen=True)
class Trl:
    """Reader of both of TRL's formats."""

    name: ClassVar[str] = "trl"
    licence: str = "other"
    source: SourceOptions = field(default_factory=SourceOptions)

    def __call__(self, src: str) -> Iterator[Pair | Dropped]:
        """The pairs of `src`, streamed, images not loaded."""
        return import_set(src, self.name, self.licence, self.source, self._read)

    def _read(self, columns: Mapping[str, Any]) -> Iterator[PairDraft]:
        chosen, rejected = needed(columns, "chosen", "rejected")
        prompt = columns.get("prompt")
        if prompt is None:
            prompt, chosen, rejected = _shared(chosen, rejected)
        asked = question(prompt, "prompt") if isinstance(prompt, str) else messages("prompt", prompt)
        image = next((columns[name] for name in ("images", "image") if columns.get(name)), None)
        yield PairDraft(asked, image, chosen, rejected, ("images", "image", "prompt", "chosen", "rejected"))


def _shared(chosen: object, rejected: object) -> tuple[object, object, object]:
    """Prompt and answers of two conversations that differ only in their last turn."""
    if not (isinstance(chosen, list) and isinstance(rejected, list) and len(chosen) > 1):
        raise RowError("ROW_SHAPE", "no prompt, and chosen and rejected are no conversations")
    better: list[Message] = messages("chosen", chosen)
    if better[:-1] != messages("rejected", rejected)[:-1]:
        raise RowError("ROW_SHAPE", "no prompt, and chosen and rejected differ before their last turn")
    return chosen[:-1], chosen[-1], rejected[-1]


_KEPT = ("images", "prompt", "chosen", "rejected")
_GROUPS_PER_FILE = 5  # of some hundred rows each

CONFIG = """\
# Vision data: no token may be cut, or pictures and their placeholders differ in number.
dataset_name: {name}
max_length: null
"""


def write(stored: Stored, out: Path, name: str) -> Exported:
    """TRL's conversational vision format: Parquet with ``images``, ``prompt``, ``chosen`` and ``rejected``.

    ``dpo.yaml`` sets what a vision run needs: TRL's default ``max_length`` of 1024 cuts image tokens away::

        trl dpo --config OUT/dpo.yaml --model_name_or_path MODEL
    """
    folder = out / "data"
    folder.mkdir()
    (out / "dpo.yaml").write_text(CONFIG.format(name=json.dumps(f"./{name}")), encoding="utf-8")
    schema = _schema()
    rows = left_out = 0
    writer: pq.ParquetWriter | None = None
    paths: list[Path] = []
    for number, whole in enumerate(stored.tables()):
        table = whole.filter(pc.is_null(whole["rejected_images"]))  # TRL has no place for preferences between pictures
        left_out += whole.num_rows - table.num_rows
        if number % _GROUPS_PER_FILE == 0:
            if writer is not None:
                writer.close()
            paths.append(folder / f"{len(paths):05d}.parquet")
            writer = pq.ParquetWriter(paths[-1], schema, compression="zstd", use_dictionary=False)
        carried = pa.array(
            [Carried.of_row(row).to_json() for row in table.drop_columns(["images", "rejected_images"]).to_pylist()]
        )
        if writer is not None:
            writer.write_table(table.select(_KEPT).append_column(COLUMN, carried).cast(schema))
        rows += table.num_rows
    if writer is not None:
        writer.close()
    for number, path in enumerate(paths):
        path.rename(folder / f"train-{number:05d}-of-{len(paths):05d}.parquet")
    return Exported(rows, {REJECTED_BY_IMAGE: left_out} if left_out else {})


def _schema() -> pa.Schema:
    features = json.loads(SCHEMA.metadata[b"huggingface"])["info"]["features"]
    kept = {name: features[name] for name in _KEPT} | {COLUMN: {"dtype": "string", "_type": "Value"}}
    columns = [*(SCHEMA.field(name) for name in _KEPT), pa.field(COLUMN, pa.string())]
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": kept}})})


_ANY_IMAGE_TOKEN = re.compile(r"<\|?[^<>|]*(?:image|img|vision)[^<>|]*\|?>", re.IGNORECASE)


def problems(columns: Mapping[str, Any]) -> Iterator[str]:
    """TRL's rules for vision preferences (``dpo_trainer.py``, ``DataCollatorForVisionPreference``)."""
    images = columns.get("images")
    if images is not None and not isinstance(images, list):
        yield f"images should be a list, found {type(images).__name__}"
        return
    count = len(images) if images is not None else int(columns.get("image") is not None)
    if not count and "images" not in columns:
        yield "neither images nor image; a row of text alone needs images: []"
    prompt, chosen, rejected = (columns.get(name) for name in ("prompt", "chosen", "rejected"))
    if prompt is None:
        yield "no prompt; TRL does not take it out of the answers for vision data"
        return
    if isinstance(prompt, str) and isinstance(chosen, str) and isinstance(rejected, str):
        yield from _standard(prompt, count)
    elif all(isinstance(side, list) and side for side in (prompt, chosen, rejected)):
        yield from _conversational(prompt, chosen or [], rejected or [], count)
    else:
        kinds = ", ".join(type(side).__name__ for side in (prompt, chosen, rejected))
        yield f"prompt, chosen and rejected should all be strings or all lists of messages, found {kinds}"
    if chosen == rejected:
        yield "chosen and rejected are identical"


def _standard(prompt: str, count: int) -> Iterator[str]:
    found = len(_ANY_IMAGE_TOKEN.findall(prompt))
    if found < count:
        yield f"a prompt of plain text must hold the model's own image token: {found} for {count} images"


def _conversational(prompt: list[Any], chosen: list[Any], rejected: list[Any], count: int) -> Iterator[str]:
    messages = [*prompt, *chosen, *rejected]
    if not all(isinstance(message, dict) and {"role", "content"} <= message.keys() for message in messages):
        yield "a message should have role and content"
        return
    if prompt[-1]["role"] != "user":
        yield f"the prompt ends with the {prompt[-1]['role']}'s turn"
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if side[0]["role"] != "assistant":
            yield f"{name} starts with the {side[0]['role']}'s turn"
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    texts = [message["content"] for message in messages if isinstance(message["content"], str)]
    texts += [part.get("text") or "" for part in parts]
    if any("image" in part or "image_url" in part for part in parts):
        yield "a content part has a key 'image', even if null: TRL then counts no placeholder"
        return
    if any("<image>" in text for text in texts):
        yield "a text holds <image>, which the processor takes for a picture"
    placeholders = sum(part.get("type") == "image" for part in parts)
    if placeholders != count and (placeholders or parts):  # with plain strings TRL puts the pictures in itself
        yield f"{placeholders} image parts for {count} images"
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if not _text(side).strip():
            yield f"{name} has no text"


def _text(messages: list[Any]) -> str:
    contents = (message["content"] for message in messages)
    return "".join(
        content if isinstance(content, str) else "".join(part.get("text") or "" for part in content or [])
        for content in contents
    )


def load(folder: Path, names: Mapping[str, str], processor: str | None) -> Attempt:
    """TRL's `prepare_multimodal_messages`; with a processor, its `DataCollatorForVisionPreference`.

    Raises:
        ModelUnreachable: the processor cannot be read.
    """
    from trl.data_utils import is_conversational, prepare_multimodal_messages
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

    if processor is not None:
        from transformers import AutoProcessor

        try:
            collate = DataCollatorForVisionPreference(AutoProcessor.from_pretrained(processor))
        except (OSError, ValueError) as error:
            raise ModelUnreachable(f"the processor of {processor} cannot be read: {error}") from error

    def attempt(rows: Any) -> None:
        for row in rows:
            if processor is not None:
                collate([row])
            elif is_conversational(row):
                images = row["images"] if "images" in row else [row["image"]]
                prepare_multimodal_messages(row["prompt"], images=images)
                prepare_multimodal_messages(row["chosen"])
                prepare_multimodal_messages(row["rejected"])

    return attempt


FORMAT = Format(
    "trl",
    reader=Trl,
    writer=Exporter(write, by_answer, (REJECTED_PATHS,)),
    loader=Loader(problems, "trl", "trl", load, max_length=1024, turns_pictures=True),
)
