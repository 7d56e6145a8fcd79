"""Small inputs, and running the command line as a user would."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
import PIL.Image

from prefgen.cli import main

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "100"}


def prefgen(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [sys.executable, "-m", "prefgen", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=600)


def called(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which spares the start of another one."""
    command = ["prefgen", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    shown = patch.dict(os.environ, {"NO_COLOR": "1", "COLUMNS": "100"})
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err), shown:
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(command, code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command line in the background."""
    command = [sys.executable, "-m", "prefgen", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=_heed_ctrl_c,
    )


class Forked:
    """The command line in a fork of this process, which has imported already what a new one would import anew.

    Attributes:
        returncode: as of `subprocess.Popen`; None while it runs.
    """

    def __init__(self, *arguments: str | Path) -> None:
        self._out, self._err = (tempfile.TemporaryFile("w+") for _ in range(2))  # noqa: SIM115  # `communicate` closes
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which idle
            self.pid = os.fork()
        if not self.pid:
            self._live(["prefgen", *map(str, arguments)])

    def _live(self, command: list[str]) -> None:
        """The child's life; it never returns."""
        gc.freeze()  # a collection would copy every page that is shared with the parent
        code: object = 1
        try:
            _heed_ctrl_c()
            os.environ.update(NO_COLOR="1", COLUMNS="100")
            for stream, number in ((self._out, 1), (self._err, 2)):
                os.dup2(stream.fileno(), number)  # where processes that it starts write, too
            sys.argv, sys.stdout, sys.stderr = command, self._out, self._err
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:  # noqa: BLE001  # the parent shows it
            traceback.print_exc()
        self._out.flush()
        self._err.flush()
        os._exit(code if isinstance(code, int) else 1)

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; its standard output and error."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        said = []
        for stream in (self._out, self._err):
            with stream:
                stream.seek(0)
                said.append(stream.read())
        return said[0], said[1]


def _heed_ctrl_c() -> None:
    """A shell without job control lets its background children ignore SIGINT, and so theirs."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_input(folder: Path, rows: int) -> Path:
    """A LLaVA-Instruct file of two-sentence answers over a few pictures."""
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(images / f"{number:012d}.jpg")
    records = [
        {
            "id": f"row-{number}",
            "image": f"{number % 7:012d}.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nDescribe it."},
                {"from": "gpt", "value": f"There are {number} cats on the mat. One of them is red."},
            ],
        }
        for number in range(rows)
    ]
    path = folder / "input.json"
    path.write_text(json.dumps(records))
    return path


def data_digests(out: Path) -> dict[str, str]:
    """SHA-256 of every file of the data set."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((out / "data").iterdir())}
