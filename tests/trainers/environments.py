"""A virtual environment for each trainer, with the versions that its own requirements lead to (``pins/*.txt``).

They are made once and kept under ``PREFGEN_TEST_ENVIRONMENTS``, or ``~/.cache/prefgen-tests``: some 2 GB each.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import filelock

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).parent / "pins"
INSIDE = Path(__file__).parent / "inside"


class Environment:
    """A trainer's environment, and this working tree's prefgen in it."""

    def __init__(self, name: str) -> None:
        pins = PINS / f"{name}.txt"
        home = Path(os.environ.get("PREFGEN_TEST_ENVIRONMENTS", Path.home() / ".cache" / "prefgen-tests"))
        digest = hashlib.sha256(pins.read_bytes()).hexdigest()[:8]
        self.folder = home / f"{name}-{digest}"
        home.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(home / f"{name}.lock"):
            if not (self.folder / "complete").exists():
                self._make(pins)

    def run(self, program: str, *arguments: str | Path, folder: Path, code: int = 0) -> str:
        """What a program of the environment prints to stdout, run in `folder` to its end with this exit code."""
        command = [str(self.folder / "bin" / program), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=self.variables(folder), timeout=900, check=False
        )
        assert done.returncode == code, done.stderr[-4000:] + done.stdout[-2000:]
        return done.stdout

    def variables(self, folder: Path) -> dict[str, str]:
        """The environment variables of a program that stays offline and writes to `folder` only."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "USE_HF": "1",
            "HF_HOME": str(folder / "hf"),
            "MODELSCOPE_CACHE": str(folder / "modelscope"),
        }

    def _make(self, pins: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        python = self.folder / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", pins], check=True)
        self._unload_cuda(python)
        (self.folder / "complete").touch()

    def _unload_cuda(self, python: Path) -> None:
        """Take out what was compiled for CUDA where torch is a CPU build; no picture or text passes through it."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        loads = [str(python), "-c", "import torchvision"]
        if (site / "torchvision").exists() and subprocess.run(loads, capture_output=True, check=False).returncode:
            (site / "torchvision" / "_meta_registrations.py").write_text("")
            for library in (site / "torchaudio" / "lib").glob("*.so"):
                library.unlink()
