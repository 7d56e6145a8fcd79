"""What `export --to argilla` writes, given to Argilla's own client and server on loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefgen.formats.exporting import export
from prefgen.rundir.reader import Stored
from tests.select.runs import table
from tests.trainers.environments import INSIDE, Environment
from tests.trainers.sets import mixture

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def served(environment: Environment, folder: Path) -> Iterator[int]:
    """The port of a running server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    script = INSIDE / "serve_argilla.py"
    command = [*map(str, (environment.folder / "bin" / "python", script, port, folder / "home"))]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment.variables(folder), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            for _ in range(240):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/version", timeout=5).close()
                    break
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.5)
            yield port
        finally:
            server.terminate()
            server.wait(30)


def test_argilla_takes_the_folder(tmp_path: Path) -> None:
    out = mixture(tmp_path)
    exported = export(Stored(out), "argilla", tmp_path / "exported")
    environment = Environment("argilla")
    with served(environment, tmp_path) as port:
        script = INSIDE / "load_argilla.py"
        found = json.loads(environment.run("python", script, str(port), tmp_path / "exported", folder=tmp_path))
    assert found["name"] == "exported"
    assert found["fields"] == dict.fromkeys(["image", "image_2"], "image") | {
        "prompt": "chat",
        "chosen": "text",
        "rejected": "text",
    }
    assert found["questions"] == ["preference", "correction"]
    assert "similarity" in found["metadata"]
    assert found["same"]  # Argilla's own serialiser writes the records as we do
    with contextlib.closing(sqlite3.connect(tmp_path / "home" / "argilla.db")) as database:
        held = dict(database.execute("select external_id, fields from records"))
        suggested = database.execute("select distinct value from suggestions").fetchall()
    rows = {row["id"]: row for row in table(out).to_pylist()}
    assert held.keys() == rows.keys()
    assert exported.rows == len(rows)
    assert suggested == [('"chosen"',)]
    for row_id, text in held.items():
        fields = json.loads(text)
        pictures = [fields[name].partition(",")[2] for name in ("image", "image_2") if fields.get(name)]
        assert [base64.b64decode(picture) for picture in pictures] == [
            image["bytes"] for image in rows[row_id]["images"]
        ]
        assert fields["prompt"] == rows[row_id]["conversations"][:-1]
        assert (fields["chosen"], fields["rejected"]) == tuple(
            rows[row_id][f"{side}_response"] for side in ("chosen", "rejected")
        )
