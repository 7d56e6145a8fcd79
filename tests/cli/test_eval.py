"""`prefgen eval` as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from prefgen.evaluate.benchmarks import pope
from prefgen.evaluate.scenes.export import SPLITS
from prefgen.evaluate.scenes.language import detail
from prefgen.evaluate.scenes.truth import KINDS, TEXT_STREAM
from tests.cli.runs import called
from tests.engines.test_openai import ANSWER, Server, server
from tests.evaluate.benchmarks import world
from tests.evaluate.benchmarks.world import write_lines
from tests.judge import MODEL as JUDGE
from tests.judge import Judge
from tests.trainers.sets import SCENES

__all__ = ["server"]  # the fixture
COUNT = 12
ASKING = {
    *(
        "--answers",
        "--base-model",
        "--base-url",
        "--chat-template",
        "--batch-size",
        "--device",
        "--dtype",
        "--engine",
        "--engine-arg",
    ),
    *("--engine-key-env", "--help", "--image-root", "--json", "--limit", "--max-new-tokens", "--model", "--output"),
    *("--quiet", "--revision", "--seed"),
}
PICTURES = {"--batch-tokens", "--follow-links", "--image-match", "--trust-remote-code"}
JUDGED = {
    *("--api-key-env", "--concurrency", "--judge", "--judge-prompt", "--judge-tokens", "--judge-url", "--max-cost"),
    *("--price-in", "--price-out", "--reasoning-effort"),
}
MODEL = ("--model", SCENES / "model", "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write(tmp_path_factory.mktemp("benchmarks"), COUNT)


def questions(folder: Path) -> list[Path]:
    return [folder / f"pope_{split}.json" for split in SPLITS]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scored(out: Path, *arguments: str | Path) -> dict[str, Any]:
    done = called("eval", *arguments, "--output", out, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found == json.loads((out / "scores.json").read_text())
    return found


def of(option: str, paths: list[Path]) -> list[str | Path]:
    return [part for path in paths for part in (option, path)]


@pytest.mark.parametrize("form", ["llava", "pope"])
@pytest.mark.parametrize("right", [True, False])
def test_pope_gives_the_known_truth_in_both_directions(right: bool, form: str, folder: Path, tmp_path: Path) -> None:
    paths = []
    for path in questions(folder):
        said = [("Yes" if (row["label"] == "yes") is right else "No") + ", I think." for row in rows(path)]
        if form == "llava":
            answers = [
                {"question_id": row["question_id"], "text": text} for row, text in zip(rows(path), said, strict=True)
            ]
        else:
            answers = [{"question": row["text"], "answer": text} for row, text in zip(rows(path), said, strict=True)]
        paths.append(write_lines(tmp_path / f"answers-{path.name}", answers))
    found = scored(tmp_path / "out", "pope", *of("--questions", questions(folder)), *of("--answers", paths))
    figure = 1.0 if right else 0.0
    assert list(found["files"]) == [path.name for path in questions(folder)]
    for figures in (found, *found["files"].values()):
        assert [figures[name] for name in ("accuracy", "recall", "f1")] == [figure] * 3
        assert figures["precision"] == figure
        assert figures["intervals"]["accuracy"] == [figure, figure]
    for path in questions(folder):
        yes = sum(row["label"] == "yes" for row in rows(path)) / len(rows(path))
        assert found["files"][path.name]["yes_ratio"] == pytest.approx(yes if right else 1 - yes)
    assert found["unanswered"] == {}


@pytest.mark.parametrize("right", [True, False])
def test_chair_gives_the_known_truth_in_both_directions(right: bool, folder: Path, tmp_path: Path) -> None:
    captions: list[dict[str, Any]] = []
    for scene in world.scenes(COUNT):
        absent = [kind for kind in KINDS if kind not in scene.kinds]
        text = detail(scene, scene.rng(TEXT_STREAM)) if right else f"There is a {absent[0]} and a {absent[1]}."
        captions.append({"image_id": scene.index, "caption": text})
    answers = tmp_path / "captions.json"
    answers.write_text(json.dumps(captions))
    truth = ("--instances", folder / "instances.json", "--captions", folder / "captions.json")
    found = scored(tmp_path / "out", "chair", *truth, "--synonyms", folder / "words.txt", "--answers", answers)
    expected = {"chair_i": 0.0, "chair_s": 0.0, "recall_coco": 1.0, "f1": 1.0}
    assert {name: found[name] for name in expected} == {
        name: value if right else 1 - value for name, value in expected.items()
    }
    assert found["true_objects"] == sum(len(scene.kinds) for scene in world.scenes(COUNT))
    assert found["words"] == pytest.approx(sum(len(row["caption"].split()) for row in captions) / COUNT, abs=1e-6)


def test_a_model_answers_once_and_is_scored_by_any_parser(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("pope", *of("--questions", questions(folder)), "--image-root", folder / "images", *MODEL)
    first = scored(out, *asked, "--max-new-tokens", "24")
    lines = (out / "answers.jsonl").read_text().splitlines()
    assert len(lines) == sum(len(rows(path)) for path in questions(folder))
    assert first["accuracy"] > 0.7  # the scenes' model sees
    truth = {(path.name, str(row["question_id"])): row["label"] for path in questions(folder) for row in rows(path)}
    own = [json.loads(line) for line in lines]
    right = [pope.official(row["text"]) == truth[row["questions"], row["question_id"]] for row in own]
    by_file = [
        sum(r for r, row in zip(right, own, strict=True) if row["questions"] == path.name) / len(rows(path))
        for path in questions(folder)
    ]
    assert first["accuracy"] == pytest.approx(sum(by_file) / 3, abs=1e-6)
    (out / "answers.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])  # killed amid a line
    again = called("eval", *asked, "--max-new-tokens", "24", "--output", out, "--parser", "strict", "--json")
    assert again.returncode == 0, again.stderr
    assert "5 of" in again.stderr
    assert sorted((out / "answers.jsonl").read_text().splitlines()) == sorted(lines)
    assert json.loads(again.stdout)["parser"] == "strict"
    drifted = called("eval", *asked, "--max-new-tokens", "25", "--output", out)
    assert drifted.returncode == 6
    assert "max_new_tokens" in drifted.stderr
    reread = scored(
        tmp_path / "read", "pope", *of("--questions", questions(folder)), "--answers", out / "answers.jsonl"
    )
    assert reread["accuracy"] == first["accuracy"]
    compared = called("eval", "compare", out, out, "--json")
    assert json.loads(compared.stdout)["mcnemar_p"] == 1.0
    assert "McNemar's p 1" in called("eval", "compare", out, out).stdout


def test_a_served_model_answers_too(server: Server, folder: Path, tmp_path: Path) -> None:
    served = ("--model", "scenes", "--engine", "openai", "--base-url", server.url)
    asked = ("pope", "--questions", questions(folder)[0], "--image-root", folder / "images", *served)
    found = scored(tmp_path / "out", *asked, "--parser", "strict")
    wanted = rows(questions(folder)[0])
    assert (found["yes_ratio"], found["unparsed"]) == (0.0, 1.0)  # it talks of something blue
    contents = [body["messages"][-1]["content"] for body in server.bodies]
    assert sorted(part["text"] for content in contents for part in content if part["type"] == "text") == sorted(
        row["text"] for row in wanted
    )
    assert all(content[0]["type"] == "image_url" for content in contents)
    assert {row["text"] for row in rows(tmp_path / "out" / "answers.jsonl")} == {"".join(ANSWER).strip()}


def test_captions_of_a_model(folder: Path, tmp_path: Path) -> None:
    truth = ("--instances", folder / "instances.json", "--captions", folder / "captions.json")
    words = ("--synonyms", folder / "words.txt", "--question", "Describe the image in detail.")
    found = scored(
        *(tmp_path / "out", "chair", *truth, *words, "--image-root", folder / "images", *MODEL, "--sample", "6"),
    )
    assert found["count"] == 6
    assert found["recall_coco"] > 0.7
    assert found["chair_i"] < 0.4
    assert len(rows(tmp_path / "out" / "items.jsonl")) == 6


def test_pictures_that_are_missing_are_counted(folder: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(folder / "images", pictures)
    gone = rows(questions(folder)[0])[0]["image"]
    (pictures / gone).unlink()
    asked = ("pope", "--questions", questions(folder)[0], "--image-root", pictures, *MODEL, "--limit", "9")
    done = called("eval", *asked, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    missing = sum(row["image"] == gone for row in rows(questions(folder)[0])[:9])
    assert 0 < missing < 9
    assert f"{missing} questions have no answer and are left out: IMG_MISSING" in done.stderr
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["unanswered"] == {"IMG_MISSING": missing}
    assert scores["files"]["pope_random.json"]["count"] == 9 - missing
    none = called("eval", *asked[:4], tmp_path, *MODEL, "--output", tmp_path / "none")
    assert none.returncode == 2
    assert "no question could be asked: IMG_MISSING" in none.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("pope", "--questions", "{folder}/instances.json", "--answers", "{folder}/instances.json"), "question_id"),
        (("pope", "--questions", "{folder}/pope_random.json"), "give --model"),
        (("pope", "--questions", "{folder}/pope_random.json", "--model", "x", "--answers", "y"), "give --model"),
        (("pope", "--questions", "{folder}/pope_random.json", "--answers", "{folder}/none"), "cannot be read"),
        (("pope", "--questions", "{folder}/pope_random.json", "--limit", "0", "--answers", "x"), "--limit 0"),
        (("chair", "--instances", "{folder}/captions.json", "--answers", "x"), "no annotation file"),
        (("chair", "--instances", "{folder}/instances.json", "--answers", "x"), "--synonyms"),
        (("mmhal", "--questions", "{folder}/pope_random.json", "--answers", "x"), "gt_answer"),
        (("compare", "{folder}", "{folder}"), "holds no scores.json"),
    ],
)
def test_bad_input_is_named(arguments: tuple[str, ...], named: str, folder: Path, tmp_path: Path) -> None:
    output = () if arguments[0] == "compare" else ("--output", tmp_path / "out")
    done = called("eval", *(argument.format(folder=folder) for argument in arguments), *output)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr


def mmhal(folder: Path, count: int = 16) -> Path:
    made = [
        {
            "question_type": ["attribute", "counting"][n % 2],
            "image_id": f"i{n}",
            "image_src": f"https://example.org/{n}.jpg",
            "image_content": ["Dog", "Car"],
            "question": f"Question {n}?",
            "gt_answer": f"Truth {n}.",
            "model_answer": f"Answer {n}.",
        }
        for n in range(count)
    ]
    (folder / "mmhal.json").write_text(json.dumps(made))
    return folder / "mmhal.json"


def rating(number: int, body: dict[str, Any]) -> str:
    """Grades by the number of the question; the last two replies cannot be read."""
    found = re.search(r"Question (\d+)\?", body["messages"][-1]["content"])
    assert found
    grade = int(found[1])
    return f"It invents a cat.\nRating: {grade % 7}" if grade < 14 else "Rating: 3, or rather Rating: 4"


def test_mmhal_is_judged_once_and_unread_replies_are_told_apart(tmp_path: Path) -> None:
    path, out = mmhal(tmp_path), tmp_path / "out"
    with Judge(rating) as judge:
        given = ("mmhal", "--questions", path, "--judge", JUDGE, "--judge-url", judge.url)
        found = scored(out, *given)
        asked = len(judge.bodies)
        assert scored(out, *given) == found
        assert len(judge.bodies) == asked == 16  # paid once
        assert all(f"Truth {n}." in str(judge.bodies) for n in range(16))
    grades = [n % 7 for n in range(14)]
    assert found["score"] == pytest.approx(sum(grades) / 16)  # 42 / 16
    assert found["score_read"] == pytest.approx(sum(grades) / 14)
    assert found["hallucination_rate"] == pytest.approx((sum(grade < 3 for grade in grades) + 2) / 16)
    assert found["unparsed"] == pytest.approx(2 / 16)
    assert set(found["kinds"]) == {"attribute", "counting"}
    assert sum(kind["count"] for kind in found["kinds"].values()) == 16


def test_a_judge_over_budget_ends_resumable(tmp_path: Path) -> None:
    path, out = mmhal(tmp_path), tmp_path / "out"
    with Judge(rating) as judge:
        given = ("mmhal", "--questions", path, "--judge", JUDGE, "--judge-url", judge.url, "--concurrency", "1")
        prices = ("--price-in", "1", "--price-out", "1000")
        poor = called("eval", *given, *prices, "--judge-tokens", "100", "--max-cost", "0.3", "--output", out)
        assert poor.returncode == 4, poor.stderr
        assert not (out / "scores.json").exists()
        done = len(judge.bodies)
        assert 0 < done < 16
        rich = called("eval", *given, *prices, "--judge-tokens", "100", "--max-cost", "30", "--output", out, "--json")
        assert rich.returncode == 0, rich.stderr
        assert json.loads(rich.stdout)["count"] == 16
        assert len(judge.bodies) <= 17  # one that was in flight may be asked again


def test_llava_bench_is_the_models_score_by_the_references(tmp_path: Path) -> None:
    asked = [
        {"question_id": n, "image": f"{n // 2}.jpg", "text": f"Question {n}?", "category": ["conv", "detail"][n % 2]}
        for n in range(6)
    ]
    questions = write_lines(tmp_path / "questions.jsonl", asked)
    context = write_lines(
        tmp_path / "context.jsonl", [{"image": f"{n}.jpg", "caption": f"Context {n}."} for n in range(3)]
    )
    reference = write_lines(tmp_path / "gpt4.jsonl", [{"question_id": n, "text": f"Reference {n}."} for n in range(6)])
    answers = write_lines(tmp_path / "answers.jsonl", [{"question_id": n, "text": f"Answer {n}."} for n in range(6)])
    files = ("--questions", questions, "--context", context, "--reference", reference, "--answers", answers)

    def scores(number: int, body: dict[str, Any]) -> str:
        found = re.search(r"Question (\d)\?", body["messages"][-1]["content"])
        assert found
        n = int(found[1])
        assert f"Context {n // 2}." in body["messages"][-1]["content"]
        return f"{10 - n} {n + 1}\nBecause." if n < 5 else "I cannot say."

    with Judge(scores) as judge:
        found = scored(tmp_path / "out", "llava-bench", *files, "--judge", JUDGE, "--judge-url", judge.url)
    assert found["relative_score"] == pytest.approx((1 + 2 + 3 + 4 + 5 - 1) / (10 + 9 + 8 + 7 + 6 - 1), abs=1e-6)
    assert found["relative_score_read"] == pytest.approx(15 / 40)
    assert found["unparsed"] == pytest.approx(1 / 6, abs=1e-6)
    assert found["kinds"]["conv"]["relative_score"] == pytest.approx((1 + 3 + 5) / (10 + 8 + 6))
    context.write_text(json.dumps({"image": "0.jpg", "caption": "x"}) + "\n")
    lacking = called("eval", "llava-bench", *files, "--output", tmp_path / "other")
    assert lacking.returncode == 2
    assert "question 2 about 1.jpg has not a caption" in lacking.stderr
