"""Common to all benchmarks: their options, and the JSON file with command, commit, date, machine and versions."""

from __future__ import annotations

import argparse
import json
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


def command_line(description: str | None, *options: str) -> argparse.ArgumentParser:
    """A parser with ``--output`` and these options, of ``device`` and ``dtype``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in options:
        parser.add_argument(f"--{option}", default="auto")
    parser.add_argument("--output", type=Path, help="JSON file; default: results/ beside this script")
    return parser


def write(report: dict[str, Any], output: Path | None, *name: str) -> None:
    """Write a report to a file, by default to ``results/``, whose name ends with the kind of device."""
    path = output or HERE / "results" / f"{'-'.join(name).split(':')[0]}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


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
