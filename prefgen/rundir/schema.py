"""The Parquet schema of pairs, which TRL, ms-swift, LLaMA-Factory and the dataset viewer read unchanged.

Each trainer reads the conversation from columns of its own, so a row stores it three times beside one `images` column;
text is small compared with pictures. Flat scalar columns record how a pair was made, so that SQL and the viewer can
filter by them; records without a fixed shape are in the JSON of `meta`. Safe names were found by measurement: a column
named ``messages``, ``label``, ``completion``, ``image`` or ``solution`` changes the format that some loader detects,
and any key beside ``type`` and ``text`` in a content part makes TRL miscount the pictures.

Two kinds of characters are replaced. Trainers replace ``<image>``, ``<video>`` and ``<audio>`` wherever
they find them, so the angle brackets of such a tag *inside text* become ``‹`` and ``›``, and the row is flagged
``media-tag``; lone surrogates, which UTF-8 cannot hold, become U+FFFD. Both keep the length, so that every recorded
offset still refers to the same character.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import prefgen
from prefgen.records import Image, Pair, Slot, Span, Turn

SCHEMA_VERSION = 3
IMAGE_TAG = "<image>"
LISTED_COLUMNS = {  # by LLaMA-Factory's names
    "prompt": "instruction",
    "history": "history",
    "chosen": "chosen_response",
    "rejected": "rejected_response",
    "images": "images",
}
MEDIA_TAG_FLAG = "media-tag"
ROW_GROUP_ROWS = 100
ROW_GROUP_BYTES = 64 << 20  # the viewer refuses to read much larger ones

_MEDIA_TAG = re.compile("<(image|video|audio)>")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ENCODER = json.JSONEncoder(sort_keys=True)
_IMAGES, _REJECTED_IMAGES = "images", "rejected_images"
_IMAGE_BYTES = tuple(f"{name}.list.element.bytes" for name in (_IMAGES, _REJECTED_IMAGES))
# Chunk borders that follow the content let the Hub store a picture once over all versions of a dataset.
_CHUNKING = {"min_chunk_size": 256 << 10, "max_chunk_size": 1 << 20, "norm_level": 0}


def _list(kind: pa.DataType) -> pa.DataType:
    """A list type whose element is named as in Parquet, so that a file is read back with its own schema."""
    return pa.list_(pa.field("element", kind))


_PARTS = _list(pa.struct([("type", pa.string()), ("text", pa.string())]))
_MESSAGES = _list(pa.struct([("role", pa.string()), ("content", _PARTS)]))
_PICTURES = _list(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
_SPANS = _list(pa.struct([("start", pa.int32()), ("end", pa.int32())]))


@dataclass(frozen=True)
class Column:
    """A column of the data set and its description."""

    name: str
    type: pa.DataType
    meaning: str


COLUMNS = (
    Column("id", pa.string(), "content hash of the sample; unique"),
    Column(
        _IMAGES,
        _PICTURES,
        "the encoded pictures as they were shown, in the order of the prompt's image slots",
    ),
    Column("prompt", _MESSAGES, "TRL: the conversation before the answer; pictures as parts of type `image`"),
    Column("chosen", _MESSAGES, "TRL: one assistant message, the preferred answer"),
    Column("rejected", _MESSAGES, "TRL: one assistant message, the worse answer"),
    Column(
        "conversations",
        _list(pa.struct([("role", pa.string()), ("content", pa.string())])),
        "ms-swift: prompt and preferred answer, pictures as tags in the text",
    ),
    Column("rejected_response", pa.string(), "ms-swift and LLaMA-Factory: the worse answer"),
    Column("chosen_response", pa.string(), "LLaMA-Factory: the preferred answer"),
    Column("instruction", pa.string(), "LLaMA-Factory: the last user turn"),
    Column("history", _list(_list(pa.string())), "LLaMA-Factory: earlier turns as [question, answer]"),
    Column(
        _REJECTED_IMAGES,
        _PICTURES,
        "pictures rejected in place of `images`, both answers being the same; null where the answers differ",
    ),
    Column("method", pa.string(), "method that made the rejected answer"),
    Column("variant", pa.string(), "sub-name within the method"),
    Column("iteration", pa.int32(), "iteration in which the rejected answer was accepted, from 1; 0 if imported"),
    Column(
        "similarity", pa.float32(), "cosine similarity of the two answers' sentence embeddings; null if not computed"
    ),
    Column("flags", _list(pa.string()), "what a reader should know, e.g. `similar`, `truncated`, `media-tag`"),
    Column("seed", pa.int64(), "the run's seed"),
    Column("image_tokens", pa.int32(), "image tokens in the language model's input"),
    Column("kept_image_tokens", pa.int32(), "image tokens that could be attended to"),
    Column("generated_tokens", pa.int32(), "tokens generated for this row, all iterations together"),
    Column("chosen_chars", pa.int32(), "length of the preferred answer in characters"),
    Column("rejected_chars", pa.int32(), "length of the worse answer in characters"),
    Column("finish", _list(pa.string()), "why each generated span ended: `stop`, `eos` or `length`"),
    Column("cuts", _list(pa.int32()), "where each sentence of the preferred answer was cut, in characters"),
    Column("spans", _SPANS, "what was generated, as character offsets into the worse answer"),
    Column("swaps", _SPANS, "exchanged yes/no words, as character offsets into the worse answer"),
    Column("source", pa.string(), "data set or file the sample came from"),
    Column("source_id", pa.string(), "the row's id there"),
    Column("licence", pa.string(), "the source's licence; empty where it states none"),
    Column("turn", pa.int32(), "index of the answer among that row's assistant turns, from 0"),
    Column("model", pa.string(), "model that wrote the worse answer"),
    Column("model_revision", pa.string(), "its revision"),
    Column("engine", pa.string(), "what ran the model"),
    Column("attention", pa.string(), "how hidden image tokens were kept from the model"),
    Column("positions", pa.string(), "how positions were counted over hidden image tokens"),
    Column("dtype", pa.string(), "number format of the weights"),
    Column("device", pa.string(), "kind of device"),
    Column("similarity_model", pa.string(), "sentence embedder"),
    Column("similarity_revision", pa.string(), "its revision"),
    Column("prefgen_version", pa.string(), "version of prefgen"),
    Column(
        "meta",
        pa.string(),
        "JSON: method options, what the method recorded, versions, digest and size of each picture, source columns",
    ),
)


@dataclass(frozen=True)
class Provenance:
    """Values that are the same for every row of one process. Fields are empty where they do not apply.

    Attributes:
        attention: how hidden image tokens are kept from the model, e.g. ``drop`` or ``mask``.
        positions: ``compact`` or ``preserve``.
        device: kind of device, e.g. ``cpu`` or ``NVIDIA H100``; never its index.
        also: further policies, each with its revision.
        versions: of the packages that can change output, by name.
    """

    model: str
    model_revision: str
    engine: str
    attention: str = ""
    positions: str = ""
    dtype: str = ""
    device: str = ""
    similarity_model: str = ""
    similarity_revision: str = ""
    also: Sequence[tuple[str, str]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def policies(self) -> list[tuple[str, str]]:
        """Name and revision of each policy."""
        return [(self.model, self.model_revision), *self.also]

    def plain(self) -> dict[str, Any]:
        """As JSON types."""
        return {**vars(self), "versions": dict(self.versions)}


_PROVENANCE_COLUMNS = tuple(
    constant.name for constant in fields(Provenance) if constant.name in {column.name for column in COLUMNS}
)


def _feature(name: str, kind: pa.DataType) -> object:
    """A type in the notation of `datasets`; lists as brackets, which all its versions read."""
    if name in (_IMAGES, _REJECTED_IMAGES):
        return [{"_type": "Image"}]
    if pa.types.is_list(kind):
        return [_feature("", kind.value_type)]
    if pa.types.is_struct(kind):
        return {child.name: _feature("", child.type) for child in kind}
    return {"dtype": "float32" if pa.types.is_float32(kind) else str(kind), "_type": "Value"}


def _metadata() -> dict[str, str]:
    features = {column.name: _feature(column.name, column.type) for column in COLUMNS}
    return {
        "huggingface": json.dumps({"info": {"features": features}}),
        "prefgen": json.dumps({"schema_version": SCHEMA_VERSION}),
    }


SCHEMA = pa.schema([(column.name, column.type) for column in COLUMNS], metadata=_metadata())


def to_table(pairs: Sequence[Pair], provenance: Provenance) -> pa.Table:
    """The Parquet table of the pairs, in order.

    Raises:
        ValueError: if a pair's pictures were never loaded, or do not fill the image slots of its prompt.
    """
    shared = _Shared(provenance)
    return pa.Table.from_pylist([_row(pair, provenance, shared) for pair in pairs], schema=SCHEMA)


def encode(table: pa.Table) -> pa.Buffer:
    """The bytes of a Parquet file; the same for the same table.

    Pictures are compressed already: leaving their column plain makes reading it many times faster.
    """
    leaves = [path for column in COLUMNS for path in _leaves(column.name, column.type)]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression={path: "none" if path in _IMAGE_BYTES else "zstd" for path in leaves},
        use_dictionary=[path for path in leaves if path not in _IMAGE_BYTES],
        write_page_index=True,
        use_content_defined_chunking=_CHUNKING,
    ) as writer:
        for start, stop in _row_groups(table):
            writer.write_table(table.slice(start, stop - start), row_group_size=stop - start)
    return sink.getvalue()


def llama_factory_info(name: str) -> dict[str, object]:
    """LLaMA-Factory's description of data/, for ``dataset_dir=OUT dataset=NAME``."""
    return {name: {"file_name": "data", "formatting": "alpaca", "ranking": True, "columns": dict(LISTED_COLUMNS)}}


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Names of a column's Parquet leaves."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for child in kind:
            yield from _leaves(f"{path}.{child.name}", child.type)
    else:
        yield path


def _row_groups(table: pa.Table) -> Iterator[tuple[int, int]]:
    """Ranges of rows of at most `ROW_GROUP_ROWS` rows and, unless one row alone is larger, `ROW_GROUP_BYTES`."""
    start, size = 0, 0
    for row, columns in enumerate(zip(table[_IMAGES], table[_REJECTED_IMAGES], strict=True)):
        weight = sum(image["bytes"].as_buffer().size for images in columns if images.is_valid for image in images)
        if row > start and (row - start == ROW_GROUP_ROWS or size + weight > ROW_GROUP_BYTES):
            yield start, row
            start, size = row, 0
        size += weight
    if table.num_rows:
        yield start, table.num_rows


@dataclass(frozen=True)
class _StoredTurn:
    """A turn as its columns hold it.

    Attributes:
        text: with image slots as tags.
        message: in TRL's form; parts have only these two keys, and image parts no text.
        tagged: whether its text holds a media tag.
    """

    role: str
    text: str
    message: dict[str, Any]
    images: int
    tagged: bool


class _Shared:
    """Values that rows of a table share, each converted once.

    The answers of a conversation share its turns and pictures, and all rows the method's options. Turns and pictures
    are compared by identity: the pairs hold them as long as the table is made.
    """

    def __init__(self, provenance: Provenance) -> None:
        self.versions = _json(dict(provenance.versions))
        self.columns = {name: getattr(provenance, name) for name in _PROVENANCE_COLUMNS}
        self._turns: dict[int, _StoredTurn] = {}
        self._images: dict[int, str] = {}
        self._options: dict[str, str] = {}

    def turn(self, turn: Turn) -> _StoredTurn:
        """A turn of a prompt."""
        if (found := self._turns.get(id(turn))) is None:
            tagged = _MEDIA_TAG.search(turn.text) is not None
            message = {"role": turn.role, "content": _content(turn)}
            found = _StoredTurn(turn.role, _tagged_text(turn), message, turn.image_count, tagged)
            self._turns[id(turn)] = found
        return found

    def options(self, params: Mapping[str, Any]) -> str:
        """The JSON of a method's options."""
        key = repr(params)  # not their values, of which 1, 1.0 and True are equal
        if key not in self._options:
            self._options[key] = _json(params)
        return self._options[key]

    def described(self, images: Sequence[Image]) -> str:
        """The JSON list of digests and sizes of pictures."""
        for image in images:
            if id(image) not in self._images:
                self._images[id(image)] = _json(_described(image))
        return f"[{', '.join(self._images[id(image)] for image in images)}]"


def _row(pair: Pair, provenance: Provenance, shared: _Shared) -> dict[str, Any]:
    sample = pair.sample
    turns = [shared.turn(turn) for turn in sample.prompt]
    images = [image for image in sample.images if isinstance(image, Image)]
    if not len(images) == len(sample.images) == sum(turn.images for turn in turns):
        raise ValueError(f"pair {sample.id}: {len(images)} loaded images do not fill the prompt's image slots")
    rejected = [image for image in pair.rejected_images if isinstance(image, Image)]
    if pair.rejected_images and not len(rejected) == len(pair.rejected_images) == len(images):
        raise ValueError(f"pair {sample.id}: {len(rejected)} loaded rejected images for {len(images)} images")
    tagged = any(_MEDIA_TAG.search(text) for text in (pair.chosen, pair.rejected)) or any(t.tagged for t in turns)
    preferred, author = pair.authors
    wrote, revision = provenance.policies[author]
    record = pair.record
    if provenance.also and preferred is not None:
        record = {**record, "chosen_model": provenance.policies[preferred][0]}
    found_by = [f"image-{image.how}" for image in images if image.how]
    meta = {  # in alphabetical order, as all keys of the JSON are
        _IMAGES: shared.described(images),
        **({"joined": _json(pair.joined)} if pair.joined else {}),
        "options": shared.options(pair.params),
        "record": _json(record),
        _REJECTED_IMAGES: shared.described(rejected),
        "source": _json(sample.meta),
        "versions": shared.versions,
    }
    return {
        "id": sample.row_id,
        _IMAGES: _encoded(images),
        _REJECTED_IMAGES: _encoded(rejected) if rejected else None,
        **_conversation_columns(turns, storable(pair.chosen), storable(pair.rejected)),
        "method": pair.method,
        "variant": pair.variant,
        "iteration": pair.iteration,
        "similarity": pair.similarity,
        "flags": list(dict.fromkeys([*pair.flags, *found_by, *([MEDIA_TAG_FLAG] if tagged else [])])),
        "seed": pair.seed,
        "image_tokens": pair.image_tokens,
        "kept_image_tokens": pair.kept_tokens,
        "generated_tokens": pair.tokens,
        "chosen_chars": len(pair.chosen),
        "rejected_chars": len(pair.rejected),
        "finish": list(pair.finish),
        "cuts": list(pair.cuts),
        "spans": _spans(pair.spans),
        "swaps": _spans(pair.swaps),
        "source": storable(sample.source),
        "source_id": storable(sample.source_id),
        "licence": storable(sample.licence),
        "turn": sample.turn,
        **shared.columns,
        "model": wrote,
        "model_revision": revision,
        "prefgen_version": prefgen.__version__,
        "meta": "{" + ", ".join(f'"{name}": {value}' for name, value in meta.items()) + "}",
    }


def _conversation_columns(prompt: Sequence[_StoredTurn], chosen: str, rejected: str) -> dict[str, Any]:
    """The conversation in the forms of TRL, ms-swift and LLaMA-Factory."""
    said = [turn.text for turn in prompt if turn.role != "system"]
    system = "".join(f"{turn.text}\n\n" for turn in prompt if turn.role == "system")
    said[0] = system + said[0]  # LLaMA-Factory's columns have no place for it that ms-swift would not read as well
    return {
        "prompt": [turn.message for turn in prompt],
        "chosen": [_assistant(chosen)],
        "rejected": [_assistant(rejected)],
        "conversations": [
            *({"role": turn.role, "content": turn.text} for turn in prompt),
            {"role": "assistant", "content": chosen},
        ],
        "rejected_response": rejected,
        "chosen_response": chosen,
        "instruction": said[-1],
        "history": [list(pair) for pair in zip(said[:-1:2], said[1:-1:2], strict=True)],
    }


def _parts(turn: Turn) -> Iterator[str | Slot]:
    """A turn's parts as they are stored; adjacent texts are joined, so that no tag arises between them."""
    text: str | None = None
    for part in turn.parts:
        if isinstance(part, str):
            text = part if text is None else text + part
            continue
        if text is not None:
            yield storable(text)
        text = None
        yield part
    if text is not None:
        yield storable(text)


def _content(turn: Turn) -> list[dict[str, str | None]]:
    return [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "text": None}
        for part in _parts(turn)
    ]


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def _tagged_text(turn: Turn) -> str:
    """A turn as one string in which image slots are tags, on a line of their own unless white space parts them."""
    text = ""
    for part in _parts(turn):
        piece = part if isinstance(part, str) else IMAGE_TAG
        if text and piece and not (text[-1].isspace() or piece[0].isspace()):
            text += "\n"
        text += piece
    return text


def storable(text: str) -> str:
    """The text as it is stored: media tags made harmless, lone surrogates replaced, offsets unchanged."""
    if text.isascii() and "<" not in text:  # nearly every one
        return text
    return _SURROGATE.sub("\ufffd", _MEDIA_TAG.sub(r"‹\1›", text))


def _spans(spans: tuple[Span, ...]) -> list[dict[str, int]]:
    return [{"start": span.start, "end": span.end} for span in spans]


def _encoded(images: Sequence[Image]) -> list[dict[str, Any]]:
    return [{"bytes": image.data, "path": _base_name(image)} for image in images]


def _described(image: Image) -> dict[str, Any]:
    return {
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        **({"path": storable(image.path)} if image.path else {}),
        **({"found_by": image.how} if image.how else {}),
        **({"original_sha256": image.original} if image.original else {}),
    }


def _base_name(image: Image) -> str:
    """The file's name without its folder, which tells more of a machine than of the data."""
    return storable(image.path.replace("\\", "/").rsplit("/", 1)[-1]) or image.sha256[:16]


def _json(value: Mapping[str, Any]) -> str:
    return _ENCODER.encode(_json_value(value)) if value else "{}"  # most records and sources are empty


def _json_value(value: object) -> object:
    """`value` with anything that JSON cannot hold as a string, and NaN and infinities as null."""
    if value is None or isinstance(value, (str, bool, int)):  # nearly every one
        return value
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
