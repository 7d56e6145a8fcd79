"""Print the answers of a data set as a trainer's own loader gives them: ``python load_rows.py TRAINER FOLDER``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def trl(folder: Path) -> list[str]:
    from trl import DatasetMixtureConfig, get_dataset
    from trl.scripts.utils import DatasetConfig

    rows = get_dataset(DatasetMixtureConfig(datasets=[DatasetConfig(path=str(folder))]))["train"]
    return [row["rejected"][0]["content"][0]["text"] for row in rows.select_columns(["rejected"])]


def ms_swift(folder: Path) -> list[str]:
    from swift.dataset import load_dataset

    rows, _ = load_dataset([str(folder)], split_dataset_ratio=0.0, strict=True)
    return [_text(row) for row in rows]


def _text(row: dict[str, Any]) -> str:
    answer: str = row.get("rejected_response") or row["rejected_messages"][-1]["content"]
    return answer


def llamafactory(folder: Path) -> list[str]:
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import Seq2SeqTrainingArguments

    settings = DataArguments(dataset_dir=str(folder), dataset=folder.name)
    (attributes,) = get_dataset_list([folder.name], str(folder))
    training = Seq2SeqTrainingArguments(output_dir=tempfile.gettempdir(), use_cpu=True)
    rows = _load_single_dataset(attributes, ModelArguments(model_name_or_path="none"), settings, training)
    return [row["_response"][1]["content"] for row in rows]


LOADERS = {"trl": trl, "ms-swift": ms_swift, "llamafactory": llamafactory}

if __name__ == "__main__":
    trainer, given = sys.argv[1:]
    sys.stdout.write("\n" + json.dumps(LOADERS[trainer](Path(given))) + "\n")
