"""The trainers' own loading code, where they are installed: rows go through it as they would before training.

- TRL: `prepare_multimodal_messages`; with a processor the whole `DataCollatorForVisionPreference`.
- ms-swift: `AutoPreprocessor`, then `TemplateInputs`.
- LLaMA-Factory: `align_dataset`, then what its pairwise processor and multimodal plugin refuse.

What raises is given again by halves, until it is known which rows it was.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefgen.errors import ModelUnreachable

PACKAGES = {"trl": ("trl", "trl"), "llamafactory": ("llamafactory", "llamafactory"), "ms-swift": ("swift", "ms-swift")}
ROWS_AT_ONCE = 100
_DETAIL_CHARS = 300

Attempt = Callable[[Any], None]  # of a datasets.Dataset; raises whatever the trainer raises


def version(trainer: str) -> str | None:
    """Version of the trainer that is installed here, if it is."""
    module, distribution = PACKAGES[trainer]
    return importlib.metadata.version(distribution) if importlib.util.find_spec(module) else None


def broken(
    trainer: str, src: Path, files: list[Path], columns: Mapping[str, str], processor: str | None, rows: int | None
) -> Iterator[tuple[str, str]]:
    """Names of the rows that the installed trainer's loader does not take, and what it says.

    Args:
        src: as given to `prefgen.checks.check`; `files` are those that it holds.
        columns: for LLaMA-Factory, those of ``dataset_info.json``.
        processor: folder or Hub id of the model whose processor TRL collates with.
        rows: look at the first so many; None is all.

    Raises:
        ModelUnreachable: the processor cannot be read.
    """
    if trainer == "trl":
        attempt = _trl(processor)
    else:
        attempt = _ms_swift() if trainer == "ms-swift" else _llamafactory(files[0].parent, columns)
    first = 1
    try:
        for chunk in _chunks(src, files, rows):
            yield from _isolated(chunk, first, attempt)
            first += len(chunk)
    except Exception as error:  # noqa: BLE001  # whatever `datasets` raises where it can make no table of it
        yield f"from row {first:,} on", _told(error)


def _chunks(src: Path, files: list[Path], rows: int | None) -> Iterator[Any]:
    """`datasets.Dataset`s of some rows, read by the `load_dataset` of the trainer's environment."""
    import datasets

    if files == [src] and src.is_dir():
        loaded = datasets.load_from_disk(str(src))
        stream = loaded.get("train", next(iter(loaded.values()))) if isinstance(loaded, dict) else loaded
        stream = stream.to_iterable_dataset()
    elif src.is_dir() and files[0].suffix == ".parquet":
        stream = datasets.load_dataset(str(src), split="train", streaming=True)
    else:
        kind = "parquet" if files[0].suffix == ".parquet" else "json"
        stream = datasets.load_dataset(kind, data_files=[str(file) for file in files], split="train", streaming=True)
    tables = stream.with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    seen = 0
    for table in tables:
        left = table.num_rows if rows is None else rows - seen
        if left <= 0:
            return
        seen += table.num_rows
        yield datasets.Dataset(table.slice(0, left), info=datasets.DatasetInfo(features=stream.features))


def _isolated(chunk: Any, first: int, attempt: Attempt) -> Iterator[tuple[str, str]]:
    try:
        attempt(chunk)
    except Exception as error:  # noqa: BLE001  # whatever a trainer raises is the answer
        if len(chunk) == 1:
            own = f" (id {chunk[0]['id']})" if "id" in chunk.column_names else ""
            yield f"row {first:,}{own}", _told(error)
            return
        middle = len(chunk) // 2
        halves = ((0, middle), (middle, len(chunk)))
        found = [
            problem
            for start, stop in halves
            for problem in _isolated(chunk.select(range(start, stop)), first + start, attempt)
        ]
        yield from found or [(f"rows {first:,} to {first + len(chunk) - 1:,} together", _told(error))]


def _told(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _DETAIL_CHARS else text[: _DETAIL_CHARS - 1] + "…"


def _trl(processor: str | None) -> Attempt:
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


def _ms_swift() -> Attempt:
    from swift.dataset import AutoPreprocessor
    from swift.template.template_inputs import TemplateInputs

    def attempt(rows: Any) -> None:
        prepared = AutoPreprocessor()(rows, strict=True, load_from_cache_file=False, enable_auto_mapping=True)
        for row in prepared:
            TemplateInputs.from_dict(row)

    return attempt


def _llamafactory(folder: Path, columns: Mapping[str, str]) -> Attempt:
    from llamafactory.data.converter import align_dataset
    from llamafactory.data.mm_plugin import get_mm_plugin
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments
    from transformers import Seq2SeqTrainingArguments

    settings = DataArguments(media_dir=str(folder), overwrite_cache=True)
    training = Seq2SeqTrainingArguments(output_dir=tempfile.gettempdir(), use_cpu=True)
    plugin = get_mm_plugin("base", image_token="<image>", video_token="<video>", audio_token="<audio>")

    def attempt(rows: Any) -> None:
        there = {role: column for role, column in columns.items() if column in rows.column_names}
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
