"""Checks of a model's files, and errors that say what is missing and what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from prefgen.errors import ModelUnreachable, PrefgenError, RowError, UsageError

_DAMAGED = "a file of it is damaged, or not what its name says: download it again, or name another model"
_GGUF = "GGUF files are llama.cpp's: name the folder of the original weights, or serve the file and use --engine openai"
_ORIGINAL_LLAVA = (
    "the original layout of LLaVA (liuhaotian/llava-*): name its conversion on the Hub (llava-hf/…), or convert "
    "it with transformers/models/llava/convert_llava_weights_to_hf.py"
)
_PICKLES = (
    "its weights are pickles, which may run code and are never read: save it again as safetensors, with "
    "AutoModelForImageTextToText.from_pretrained(…).save_pretrained(…), or name a revision that has them"
)
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Held while transformers builds a model: meanwhile it replaces functions of torch.nn.init for the whole process, and of
# two threads that do so at once, the second puts back what the first had put in.
BUILDING = threading.RLock()


@contextmanager
def reading(what: str, advice: str = _DAMAGED) -> Iterator[None]:
    """Convert whatever is raised while a model's files are read, or its own code runs, to a `PrefgenError`.

    Args:
        what: what cannot be done then; the reason is put behind it.
        advice: what to do, where the reason is none that was written for users.

    Raises:
        UsageError: a package is missing that the model needs.
        ModelUnreachable: anything else.
    """
    try:
        yield
    except (PrefgenError, RowError, torch.OutOfMemoryError):
        raise
    except ImportError as error:
        raise UsageError(f"{what}; a package is missing: {' '.join(str(error).split())}") from error
    except Exception as error:  # which exception it is, is up to the file that is wrong
        raise ModelUnreachable(f"{what}: {_described(error, advice)}") from error


@contextmanager
def loading(what: str) -> Iterator[None]:
    """`reading` of a model's weights, which one thread does at a time."""
    with BUILDING, reading(what):
        yield


def _described(error: Exception, advice: str) -> str:
    if isinstance(error, OSError | ValueError) and not isinstance(error, UnicodeError):
        return f"{error}; {_PICKLES}" if "safetensors" in str(error) else str(error)  # words that are meant for users
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; {advice}"


def find(name: str, of: str = "") -> None:
    """Refuse a path that does not exist.

    Args:
        of: what it belongs to, to be put behind its name.

    Raises:
        ModelUnreachable: saying what it is.
    """
    path = Path(name)
    if path.suffix == ".gguf":
        raise ModelUnreachable(f"model {name} cannot be loaded: {_GGUF}")
    if path.is_file():
        raise ModelUnreachable(f"{name} is a file: name the folder of the model")
    if not path.is_dir() and (name.count("/") > 1 or name.startswith(("/", ".", "~", "\\")) or name.endswith("/")):
        raise ModelUnreachable(f"there is no folder {name}{of}")


def check_layout(name: str, of: str = "") -> None:
    """Refuse a folder without a model in the layout of transformers.

    Raises:
        ModelUnreachable: saying what it is instead, and what to do.
    """
    find(name, of)
    folder = Path(name)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return
    if any(folder.glob("*.gguf")):
        raise ModelUnreachable(f"model {name} cannot be loaded: {_GGUF}")
    inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
    hint = f"; {', '.join(inner[:3])} in it has" if inner else ": it is no model's folder, or not a whole one"
    raise ModelUnreachable(f"{name} has no config.json{hint}")


def check_config(name: str, settings: Mapping[str, Any], *, trusted: bool) -> None:
    """Refuse the configuration of another layout, before transformers looks for its type.

    Args:
        settings: what its config.json holds. trusted: whether code that it brings may run.

    Raises:
        ModelUnreachable: saying what to do.
    """
    if "mm_vision_tower" in settings:
        raise ModelUnreachable(f"model {name} is in {_ORIGINAL_LLAVA}")
    kind = settings.get("model_type")
    if not kind or kind in transformers.CONFIG_MAPPING:
        return
    if "auto_map" not in settings:
        raise ModelUnreachable(
            f"model {name} is of type {kind!r}, which transformers {transformers.__version__} does not know: a newer "
            "one may (pip install -U transformers), or name a conversion of it (…-hf)"
        )
    if not trusted:
        raise ModelUnreachable(
            f"model {name} is of type {kind!r}, for which it brings code of its own: name its conversion for "
            "transformers (…-hf), or read that code and give --trust-remote-code"
        )


def check_weights(name: str) -> None:
    """Refuse a folder without safetensors weights.

    Raises:
        ModelUnreachable: saying what is there instead.
    """
    folder = Path(name)
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
    if pickles:
        raise ModelUnreachable(f"model {name} cannot be loaded: there is no *.safetensors but {pickles[0]}: {_PICKLES}")
    raise ModelUnreachable(f"model {name} cannot be loaded: there is no *.safetensors, so that it has no weights")


def check_modules(name: str, folder: Path) -> None:
    """Refuse a sentence-transformers model with pickled weights in any part, or with a part of another package.

    Raises:
        ModelUnreachable: naming the file.
    """
    with reading(f"similarity model {name} cannot be loaded"):
        listed = folder / "modules.json"
        modules = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
        for module in modules:
            # Before version 6, sentence-transformers imports whatever a local folder names, and calls its `load`.
            if not str(module["type"]).startswith("sentence_transformers."):
                raise ModelUnreachable(
                    f"similarity model {name} cannot be loaded: its part {module['type']} is not of "
                    "sentence-transformers, so it may run any code: name another --similarity-model"
                )
        for part in (folder / str(module["path"]) for module in [{"path": ""}, *modules]):
            pickle = part / "pytorch_model.bin"
            if pickle.exists() and not any(part.glob("*.safetensors")):
                shown = pickle.relative_to(folder)
                raise ModelUnreachable(
                    f"similarity model {name} cannot be loaded: {shown} is a pickle, which may run code and is never "
                    "read, and there is no model.safetensors beside it: name another --similarity-model, or convert it"
                )
