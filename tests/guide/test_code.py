"""The walk through the code that the guide describes, compared with the calls of a run."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType

import sentence_transformers  # noqa: F401  # imported before calls are counted, which would take minutes

from prefgen import guide
from prefgen.engines.hf import engine  # noqa: F401
from tests.cli.runs import called

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "examples" / "scenes"
_STEP = re.compile(r"^\| \d+ \| `([\w/]+\.py)` \| `([\w.]+)` \|", re.M)


def test_the_walk_is_in_the_order_of_the_calls(tmp_path: Path) -> None:
    steps = _STEP.findall(guide.page("code"))
    assert len(steps) > 10
    assert len({file for file, _ in steps}) <= 10
    seen: list[tuple[str, str]] = []
    wanted = {(str(ROOT / "prefgen" / file), name.rpartition(".")[2]): (file, name) for file, name in steps}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (step := wanted.get((frame.f_code.co_filename, frame.f_code.co_name))):
            seen.append(step)

    sys.setprofile(note)
    try:
        rows = ("-i", SCENES / "llava_instruct.json", "--limit", "2", "-m", SCENES / "model", "--device", "cpu")
        done = called("bdhs", *rows, "--similarity-model", "minilm", "--iterations", "1", "-o", tmp_path / "out")
    finally:
        sys.setprofile(None)
    assert done.returncode == 0, done.stderr
    calls = iter(seen)  # the proof of the model, which comes before, calls some of them as well
    assert [step for step in steps if step not in calls] == []
