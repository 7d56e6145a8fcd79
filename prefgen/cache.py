"""Cache of results that take a while to make, in ``~/.cache/prefgen`` or ``XDG_CACHE_HOME``."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any


def folder(kind: str) -> Path:
    """The cache folder of a kind; it may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "prefgen" / kind


def load(kind: str, key: str) -> Any:
    """The JSON value that `store` kept under a key, or None."""
    try:
        kept = json.loads(_path(kind, key).read_bytes())
    except (OSError, ValueError):  # nothing there, or half of a file by a disk that was full
        return None
    return kept[1] if isinstance(kept, list) and kept[:1] == [key] else None


def store(kind: str, key: str, value: object) -> None:
    """Cache a value of JSON types. If that fails, it is made again next time."""
    path = _path(kind, key)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogatepass") as file:
                json.dump([key, value], file)
            os.replace(aside, path)
        except OSError:
            os.unlink(aside)
            raise


def _path(kind: str, key: str) -> Path:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return folder(kind) / f"{digest[:32]}.json"
