"""The notebook runs from the top, and is stored without output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)


def test_it_is_stored_without_output(notebook: Any) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) > 4
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_it_runs(notebook: Any, tmp_path: Path) -> None:
    (tmp_path / "scenes").symlink_to(EXAMPLES / "scenes")
    done = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = {number: cell.get("outputs", []) for number, cell in enumerate(done.cells)}
    shown = [str(output) for found in outputs.values() for output in found]
    assert any("image/png" in text for text in shown)
    assert any("chosen:" in text for text in shown)
    assert (tmp_path / "quickstart-pairs" / "README.md").exists()
