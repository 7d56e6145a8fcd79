from __future__ import annotations

import ast
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prefgen.errors import UsageError
from prefgen.records import Image, Pair, Span, Turn
from prefgen.rundir import schema, verify
from prefgen.rundir.shards import RunDirectory
from prefgen.rundir.verify import Verification
from tests.handmade import PROVENANCE, ask, card, finished_run, outcomes, pair, picture, plan, sample


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("verify") / "out")


def committed(out: Path, *pairs: Pair) -> Path:
    with RunDirectory.open(out, plan(len(pairs), len(pairs))) as opened:
        opened.commit(0, pairs, PROVENANCE)
        opened.finalize(card)
    return out


def details(out: Path) -> list[str]:
    return [problem.detail for problem in verify.verify(out).problems]


def test_it_shares_nothing_with_the_writer() -> None:
    tree = ast.parse(Path(verify.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if module and module.startswith("prefgen")} == {"prefgen.errors"}


def test_a_finished_run_is_sound(run: Path) -> None:
    assert verify.verify(run) == Verification((), planned=18, pairs=12, dropped=6, pending=0, finished=True)


def test_so_is_one_under_way(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, plan()) as opened:
        assert verify.verify(tmp_path) == Verification((), 18, 0, 0, 18, finished=False)
        opened.commit(3, outcomes(range(12, 16)), PROVENANCE)
        opened.commit(1, outcomes(range(4, 8)), PROVENANCE)
        assert verify.verify(tmp_path) == Verification((), 18, 6, 2, 10, finished=False)


def test_and_one_killed_while_it_was_finalised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunDirectory.open(tmp_path, plan()) as opened:
        for shard in opened.pending():
            opened.commit(shard, outcomes(opened.plan.shards[shard]), PROVENANCE)
        moved = iter(range(2))
        replace = os.replace

        def replace_twice(source: Path, target: Path) -> None:
            next(moved)
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace_twice)
            with pytest.raises(StopIteration):
                opened.finalize(card)
    assert len(list((tmp_path / "data").iterdir())) == 2
    assert verify.verify(tmp_path) == Verification((), 18, 12, 6, 0, finished=False)


def test_every_kind_of_row_is_sound(tmp_path: Path) -> None:
    earlier = (Turn("system", ("Be brief.",)), ask("Hm?", images=2), Turn("assistant", ("A <image>.",)), ask("So?"))
    made = committed(
        tmp_path / "out",
        pair(0, prompt=earlier),
        pair(1, prompt=(ask(images=0),)),
        pair(2, cuts=(), spans=(), finish=(), rejected="No.", similarity=None),
        pair(
            3,
            chosen="Yes, it is.",
            rejected="No, it was.",
            cuts=(6,),
            spans=(Span(6, 11),),
            swaps=(Span(0, 2),),
            finish=("eos",),
        ),
    )
    assert details(made) == []


def damage(out: Path, way: random.Random, truncate: bool) -> str:
    """Flip a bit of some file, or cut it; which."""
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.stat().st_size]
    path = way.choice(files)
    content = bytearray(path.read_bytes())
    place = way.randrange(len(content))
    if truncate:
        del content[place:]
    else:
        content[place] ^= 1 << way.randrange(8)
    path.write_bytes(content)
    return f"{path} at {place}"


@pytest.mark.parametrize(
    ("flips", "truncations"), [(100, 20), pytest.param(1000, 200, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_all_damage_is_found(run: Path, tmp_path: Path, flips: int, truncations: int) -> None:
    way = random.Random(20240702)
    out = tmp_path / "out"
    for attempt in range(flips + truncations):
        shutil.copytree(run, out)
        done = damage(out, way, truncate=attempt >= flips)
        assert verify.verify(out).problems, done
        shutil.rmtree(out)


@pytest.mark.parametrize(
    "name", ["data/train-00001-of-00004.parquet", ".prefgen/dropped/000000.jsonl", ".prefgen/plan.json"]
)
def test_lost_and_strange_files_are_found(run: Path, tmp_path: Path, name: str) -> None:
    lost = shutil.copytree(run, tmp_path / "lost")
    missing = lost / (name if (lost / name).exists() else ".prefgen/dropped/000001.jsonl")
    missing.rename(tmp_path / "elsewhere")
    assert any("missing" in detail for detail in details(lost))
    missing.symlink_to(tmp_path / "elsewhere")
    assert any("no plain file" in detail for detail in details(lost))


def test_a_file_that_nobody_listed_is_found(run: Path, tmp_path: Path) -> None:
    out = shutil.copytree(run, tmp_path / "out")
    shutil.copy(out / "data" / "train-00000-of-00004.parquet", out / "data" / "train-00004-of-00004.parquet")
    assert any("not listed" in detail for detail in details(out))


BAD_ROWS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "equal answers": (lambda row: answer(row, "rejected", row["chosen_response"]), "are equal"),
    "other rejected": (lambda row: row.update(rejected_response="B"), "rejected and rejected_response differ"),
    "length": (lambda row: row.update(chosen_chars=1), "chosen_chars is 1"),
    "similarity": (lambda row: row.update(similarity=1.01), "outside -1 ... 1"),
    "NaN": (lambda row: row.update(similarity=float("nan")), "outside -1 ... 1"),
    "kept": (lambda row: row.update(kept_image_tokens=577), "577 of 576"),
    "no image": (lambda row: row.update(images=[]), "0 images for 1"),
    "other image": (lambda row: row["images"][0].update(bytes=b"x"), "differs from its digest"),
    "tag missing": (lambda row: row["conversations"][0].update(content="What is on the table?"), "prompt differ"),
    "tag in text": (lambda row: row["prompt"][0]["content"][1].update(text="<image>"), "holds an image tag"),
    "roles": (lambda row: row["prompt"][0].update(role="assistant"), "other turns"),
    "answer": (lambda row: row["conversations"][1].update(content="B"), "end with the chosen"),
    "instruction": (lambda row: row.update(instruction="<image>"), "history and instruction"),
    "history": (lambda row: row.update(history=[["a", "b"]]), "history and instruction"),
    "cuts": (lambda row: row.update(cuts=[37, 5]), "cuts [37, 5]"),
    "cut outside": (lambda row: row.update(cuts=[99]), "outside the chosen"),
    "span outside": (lambda row: row["spans"][1].update(end=99), "overlaps another, or is outside"),
    "span overlaps": (lambda row: row["spans"][1].update(start=10), "overlaps another"),
    "span order": (lambda row: row["spans"].reverse(), "spans are not in order"),
    "span moved": (lambda row: row["spans"][0].update(start=9), "the chosen answer does not have it"),
    "finish": (lambda row: row.update(finish=[]), "0 finish reasons"),
}


def answer(row: dict[str, Any], side: str, text: str) -> None:
    row[side][0]["content"][0]["text"] = row[f"{side}_response"] = text
    row[f"{side}_chars"] = len(text)


@pytest.mark.parametrize("name", BAD_ROWS)
def test_what_is_wrong_in_a_row_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil, expected = BAD_ROWS[name]
    to_table = schema.to_table

    def spoilt(*args: Any) -> pa.Table:
        rows = to_table(*args).to_pylist()
        spoil(rows[0])
        return pa.Table.from_pylist(rows, schema=schema.SCHEMA)

    monkeypatch.setattr(schema, "to_table", spoilt)
    found = verify.verify(committed(tmp_path / "out", pair(0), pair(1)))
    assert {problem.row for problem in found.problems} == {"0" * 16}
    assert expected in " ".join(problem.detail for problem in found.problems)


def test_pictures_that_cannot_be_decoded_are_found(tmp_path: Path) -> None:
    broken = pair(0, sample=sample(0, images=(Image(b"GIF89a", "a.gif", 1, 1),)))
    resized = pair(1, sample=sample(1, images=(Image(picture().data, "b.png", 4, 4),)))
    first, second = details(committed(tmp_path / "out", broken, resized))
    assert "a.gif cannot be decoded" in first
    assert "b.png is of size" in second


def test_a_row_that_stands_twice_is_found(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, plan(2, 1)) as opened:
        opened.commit(0, [pair(1)], PROVENANCE)
        opened.commit(1, [pair(1)], PROVENANCE)
    assert details(tmp_path) == ["occurs twice in the data set"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pairs": 4}, "do not make 4 rows"),
        ({"pairs": 2, "dropped": {"X": 2}}, "but 2 were committed"),
        ({"start": 1}, "are not those that the plan gives"),
        ({"shard": "0"}, "has another type"),
        ({"dropped": {"OTHER": 1}}, "were committed"),
        ({"part": {"sha254": ""}}, "differs from its digest"),
        ({"drops": {"sha254": ""}}, "differs from its digest"),
    ],
)
def test_a_false_commit_record_is_found(tmp_path: Path, changes: dict[str, object], expected: str) -> None:
    with RunDirectory.open(tmp_path, plan()) as opened:
        opened.commit(1, outcomes(range(4, 8)), PROVENANCE)
    path = tmp_path / ".prefgen" / "shards" / "000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert expected in " ".join(details(tmp_path))


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no prefgen run"):
        verify.verify(tmp_path)
