"""A file with a share of every fault: all good rows are read, every reason is counted."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmarks" / "faulty_rows.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("faulty_rows", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_good_row_is_read_and_every_reason_counted(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "faulty.jsonl"
    bench.write(path, 2000, 100)
    samples, reasons, ids = bench.counted(path)
    assert reasons == dict.fromkeys(bench.FAULTS, 20)
    assert samples == 2000 - 20 * len(bench.FAULTS)
    faulty = range(1, len(bench.FAULTS) + 1)
    assert ids == {f"row-{number}" for number in range(2000) if number % 100 not in faulty}
