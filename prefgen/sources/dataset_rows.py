"""Folders that `datasets` opens, and data sets on the Hugging Face Hub, both streamed.

Rows are taken as Arrow tables: images come as their encoded bytes or path, never decoded or re-encoded on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefgen.errors import UsageError
from prefgen.sources.options import SourceOptions
from prefgen.sources.row import Row

BATCH_ROWS = 16


def read_folder(folder: Path, options: SourceOptions) -> Iterator[Row]:
    """The rows of a folder that `save_to_disk` wrote, or of files as `load_dataset` finds them.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``, ``INPUT_UNREADABLE``, or the split is not there.
    """
    import datasets

    try:
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(str(folder), options.dataset_config, streaming=True)
    except FileNotFoundError as error:
        raise UsageError(f"INPUT_NOT_FOUND: {folder} holds no data that `datasets` can open: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"INPUT_UNREADABLE: {folder}: {error}") from error
    yield from _rows(loaded, str(folder), options.split)


def read_hub(name: str, options: SourceOptions) -> Iterator[Row]:
    """The rows of a data set on the Hub, streamed.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``: there is none of that name, or the Hub cannot be reached; or the split or
            configuration is not there.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name, options.dataset_config, revision=options.dataset_revision, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_on_hub(name, error) from error
    yield from _rows(loaded, name, options.split)


def hub_commit(name: str, options: SourceOptions) -> str:
    """The current commit of a Hub set's revision.

    Raises:
        UsageError: ``INPUT_NOT_FOUND``.
    """
    import datasets

    try:
        builder = datasets.load_dataset_builder(name, options.dataset_config, revision=options.dataset_revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_on_hub(name, error) from error
    return f"hub:{builder.hash}"


def _not_on_hub(name: str, error: Exception) -> UsageError:
    return UsageError(f"INPUT_NOT_FOUND: {name} is no file or folder here, and as a data set on the Hub: {error}")


def _rows(loaded: Any, name: str, split: str | None) -> Iterator[Row]:
    import datasets

    if isinstance(loaded, dict):
        chosen = split or ("train" if "train" in loaded or len(loaded) != 1 else next(iter(loaded)))
        if chosen not in loaded:
            raise UsageError(f"{name} has no split {chosen!r}; set --split to one of: {', '.join(loaded)}")
        loaded = loaded[chosen]
    batches = iter(loaded.with_format("arrow").iter(batch_size=BATCH_ROWS))
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetGenerationError) as error:
            raise UsageError(f"INPUT_UNREADABLE: {name}, after row {number}: {error}") from error
        if batch is None:
            return
        for columns in batch.to_pylist():
            number += 1
            yield Row(f"row {number}", columns)
