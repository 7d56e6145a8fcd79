"""How good a judge is, on pairs whose better answer is known."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefgen.evaluate.judge import Accuracy, Judged, tally
from prefgen.methods.verdicts import Comparison, Verdict
from prefgen.records import Dropped
from prefgen.rundir.reader import Stored
from prefgen.view.votes import Votes
from tests.cli.runs import called, write_input
from tests.handmade import finished_run
from tests.judge import MODEL, Act, Judge, corrupted, fail, say

RIGHT, WRONG, FIRST, TIE = ("first", "second"), ("second", "first"), ("first", "first"), ("tie", "tie")


def judged(*verdicts: tuple[Verdict, Verdict]) -> list[Judged | Dropped]:
    return [Judged(str(number), Comparison(*both)) for number, both in enumerate(verdicts)]


def test_the_figures_of_a_judge() -> None:
    found = tally([*judged(RIGHT, RIGHT, WRONG, FIRST, TIE), Dropped("API_400", "", "", "")])  # type: ignore[arg-type]
    resampled = [sum(hits) / 10 for hits in itertools.product((2, 2, 0, 1, 0), repeat=5)]  # the whole bootstrap
    assert found == Accuracy(
        pairs=5,
        failed={"API_400": 1},
        accuracy=5 / 10,  # of single verdicts: 2 + 2 + 0 + 1 + 0
        interval=tuple(np.percentile(resampled, [2.5, 97.5])),
        agreed=3 / 5,
        agreed_accuracy=2 / 3,
        first=5 / 8,
        ties=2 / 10,
        unclear=0.0,
    )


def test_votes_say_which_answer_is_better() -> None:
    labels = {"0": "bad", "1": "good", "2": "tie"}
    found = tally(judged(WRONG, RIGHT, RIGHT, RIGHT), labels)  # type: ignore[arg-type]
    assert (found.pairs, found.accuracy, found.agreed_accuracy) == (2, 1.0, 1.0)
    found = tally(judged(RIGHT, ("second", "tie")), {"0": "bad", "1": "bad"})  # type: ignore[arg-type]
    assert (found.accuracy, found.agreed, found.agreed_accuracy) == (1 / 4, 1 / 2, 0.0)


def test_nothing_judged_has_no_figures() -> None:
    assert tally([]) == Accuracy(0, {}, None, None, None, None, None, None, None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose rejected answer says Nowhere."""
    folder = tmp_path_factory.mktemp("run")
    with Judge(lambda _, body: corrupted(body)) as judge:
        source = write_input(folder / "input", 12)
        made = called("corrupt", "-i", source, "-o", folder / "out", "--judge", MODEL, "--judge-url", judge.url)
    assert made.returncode == 0, made.stderr
    return folder / "out"


def script(number: int, body: dict[str, Any]) -> str | Act:
    """Finds the corrupted answer, but for one row, where it takes whatever comes first, and one, where it fails."""
    content = body["messages"][-1]["content"]
    assert [part["type"] for part in content] == ["image_url", "text"]
    found = re.search(r"answer A\n(.*)\n--- \w+ answer B\n(.*)\n--- \w+ end", content[1]["text"], re.DOTALL)
    assert found
    if " 3 cats" in found[1]:
        return say(json.dumps({"reason": "so", "verdict": "A"}))
    if " 4 cats" in found[1]:
        return fail(400)
    return say(json.dumps({"reason": "so", "verdict": "B" if "Nowhere" in found[1] else "A"}))


def test_a_judge_behind_an_api_is_tested_in_both_orders_and_paid_once(run: Path) -> None:
    with Judge(script) as judge:
        command = ("judge", run, "--by", "api", "--judge", MODEL, "--judge-url", judge.url, "--json")
        told = called(*command)
        assert told.returncode == 0, told.stderr
        figures = json.loads(told.stdout)
        low, high = figures["interval"]
        assert 0.8 < low < 21 / 22 < high == 1.0
        assert figures == {
            "interval": [low, high],
            "pairs": 11,
            "failed": {"API_400": 1},
            "accuracy": 21 / 22,
            "agreed": 10 / 11,
            "agreed_accuracy": 1.0,
            "first": 12 / 22,
            "ties": 0.0,
            "unclear": 0.0,
        }
        sent = len(judge.bodies)
        assert json.loads(called(*command).stdout) == figures
        assert len(judge.bodies) - sent <= 2  # the row that was rejected
    assert called("verify", run).returncode == 0


def test_pairs_whose_pictures_cannot_be_shown_are_counted(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")  # of pictures of 4 x 3 pixels
    with Judge(lambda _, body: corrupted(body)) as judge:
        done = called("judge", run, "--by", "api", "--judge", MODEL, "--judge-url", judge.url, "--json")
        assert judge.bodies == []
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["failed"] == {"IMG_TOO_SMALL": 12}


def test_the_table_and_votes(run: Path, tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes.csv")
    ids = [row["id"] for row in Stored(run).scan(["id"])]
    for place, vote in ((0, "bad"), (1, "good"), (2, "tie")):
        votes.add(ids[place], "", vote, blind=True, rejected_first=False)
    with Judge(script) as judge:
        told = called(
            *("judge", run, "--by", "api", "--judge", MODEL, "--judge-url", judge.url, "--against", votes.path)
        )
        assert told.returncode == 0, told.stderr
        assert re.search(r"pairs judged +│ 2 ", told.stdout)
        assert re.search(r"accuracy of a verdict, 95% interval +│ 50.0% \[0.0%, 100.0%\]", told.stdout)
        nothing = called("judge", run, "--by", "api", "--judge-url", judge.url, "--against", tmp_path / "none.csv")
        assert nothing.returncode == 2


def test_an_annotator_here_is_tested_too(run: Path) -> None:
    scenes = Path(__file__).parents[2] / "examples" / "scenes" / "model"
    told = called(
        "judge", run, "--annotator", scenes, "--limit", "2", "--verdict-tokens", "8", "--json", "--device", "cpu"
    )
    assert told.returncode == 0, told.stderr
    figures = json.loads(told.stdout)
    assert figures["pairs"] == 2
    assert figures["unclear"] == 1.0  # it describes pictures and knows nothing of verdicts
