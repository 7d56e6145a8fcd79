"""Facts that every benchmark's JSON file states of its run: command, commit, date, machine and versions."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def circumstances(device: str = "", **machine: Any) -> dict[str, Any]:
    """The first entries of a report.

    Args:
        device: its name; empty where no model is run.
        machine: more facts about it.
    """
    packages = ("torch", "transformers") if device else ()
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            **({"device": device} if device else {}),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            **machine,
        },
        "versions": {
            "python": platform.python_version(),
            **{package: metadata.version(package) for package in packages},
        },
    }


def commit() -> str:
    """The commit of this checkout, with ``-dirty`` behind it if files differ; "unknown" in a copy without git."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(asked, cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
