"""What every command that writes promises, from one table: kills, a full disk, a second writer, files of others, moves.

Each format of `prefgen export` has its own tests in tests/formats.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import pytest
import typer

from prefgen.cli.commands import COMMANDS, load
from prefgen.engines.chat.ledger import Ledger
from prefgen.methods import prompts
from prefgen.rundir.layout import Layout
from prefgen.rundir.shards import RunDirectory
from tests import faults
from tests.cli.runs import called, data_digests, start, write_input
from tests.evaluate.benchmarks import world
from tests.handmade import PROVENANCE, outcomes, plan
from tests.judge import MODEL, Judge, good

FAULTS: tuple[faults.Fault, ...] = ("kill", "full")
MOMENTS = 3  # of each command and fault; all of them with -m slow
SCENES = 6


@dataclass(frozen=True)
class Folder:
    """What the commands are given: an SFT file, two finished runs of it, an unfinished one, benchmarks, a judge."""

    path: Path
    judge: str

    def __truediv__(self, name: str) -> Path:
        return self.path / name


Words = tuple[str | Path, ...]
FAKE: Words = ("--engine", "fake", "-m", "none")
CHECKER: Words = ("--engine", "fake", "--annotator", "none", "--chosen-holds", "0.5")
SMALL: Words = ("--shard-size", "3")
OTHERS_FILES = ("README.md", "data/rows.parquet")
WRITERS = ".prefgen/writers/0-of-1.lock"


@dataclass(frozen=True)
class Row:
    """A command that writes.

    Attributes:
        words: the command, given what there is and the folder that it writes or that its file is in.
        lock: what a second writer finds held, in that folder; empty where it has a test of its own.
        foreign: files of others that are in its way there.
        base: name of the folder in `Folder` that it works in, a copy of which it gets.
        is_run: whether it writes a run, or several.
    """

    words: Callable[[Folder, Path], Words]
    lock: str = WRITERS
    foreign: tuple[str, ...] = OTHERS_FILES
    base: str = ""
    is_run: bool = True

    def prepare(self, given: Folder, out: Path) -> None:
        """Make what the command works in."""
        if self.base:
            shutil.copytree(given / self.base, out)


def made(*command: str | Path) -> Row:
    """A command that makes pairs of the SFT file."""
    return Row(lambda given, out: (*command, "-i", given / "input" / "input.json", *SMALL, "-o", out))


def selected(words: Callable[[Folder], Words]) -> Row:
    return Row(lambda given, out: (*words(given), *SMALL, "-o", out))


def drawn(name: str, words: Callable[[Folder, Path], Words]) -> Row:
    """A command that writes one file."""
    return Row(lambda given, out: words(given, out / name), f".{name}.partial", (name,), is_run=False)


def evaluated(words: Callable[[Folder], Words]) -> Row:
    return Row(lambda given, out: ("eval", *words(given), "-o", out), ".lock", is_run=False)


def asked(given: Folder) -> Words:
    return ("--judge", MODEL, "--judge-url", given.judge, "--concurrency", "1")


def answers(given: Folder, name: str) -> Words:
    return ("--answers", given / "benchmarks" / f"{name}-answers.jsonl")


def pope(given: Folder) -> Words:
    return ("pope", "--questions", given / "benchmarks" / "pope_random.json")


def chair(given: Folder) -> Words:
    truth = given / "benchmarks"
    files = {"--instances": "instances.json", "--captions": "captions.json", "--synonyms": "words.txt"}
    return ("chair", *(word for option, name in files.items() for word in (option, truth / name)))


def llava_bench(given: Folder) -> Words:
    files = {"--questions": "bench.jsonl", "--context": "context.jsonl", "--reference": "reference.jsonl"}
    named = (word for option, name in files.items() for word in (option, given / "benchmarks" / name))
    return ("llava-bench", *named, *answers(given, "bench"), *asked(given))


TABLE: dict[str, Row] = {
    "bdhs": made("bdhs", *FAKE),
    "povid": made("povid", *FAKE),
    "povid --pairs image": made("povid", "--pairs", "image"),
    **{
        f"baseline {name}": made("baseline", name, *FAKE)
        for name in ("dropout-ntp", "blind", "weakened", "contrastive", "append")
    },
    "rank": made("rank", *FAKE, "--by", "similarity"),
    "sentences": Row(
        lambda given, out: (
            *made("sentences", *FAKE).words(given, out),
            *("--objects", given / "objects.json", "--words", given / "words.txt"),
        )
    ),
    "corrupt": Row(lambda given, out: (*made("corrupt", *asked(given)).words(given, out),)),
    "revise": Row(lambda given, out: (*made("revise", *FAKE, *asked(given)).words(given, out),)),
    "demo": Row(lambda given, out: ("demo", "--limit", "3", "-o", out)),
    "import": selected(lambda given: ("import", "ms-swift", given / "swift")),
    "mix": selected(lambda given: ("mix", f"{given / 'one'}:0.5", f"{given / 'two'}:4")),
    "sample": selected(lambda given: ("sample", given / "one", "--rows", "4")),
    "filter": selected(lambda given: ("filter", given / "one", "length_ratio > 0")),
    "verify-claims": selected(lambda given: ("verify-claims", given / "one", given / "two", *CHECKER)),
    "dedup": selected(lambda given: ("dedup", given / "one")),
    "join": selected(lambda given: ("join", given / "one", given / "two")),
    "relabel": selected(lambda given: ("relabel", given / "one", "--rejected-from", given / "two")),
    "split": Row(
        lambda given, out: ("split", given / "one", "train:0.5", "val:0.5", *SMALL, "-o", out),
        f"train/{WRITERS}",
        tuple(f"train/{name}" for name in OTHERS_FILES),
    ),
    "finalize": Row(lambda given, out: ("finalize", out), "", (), base="unfinished"),
    "export": Row(
        lambda given, out: ("export", given / "one", "--to", "llava", "-o", out), "../.out.partial/.lock", is_run=False
    ),
    "judge": Row(lambda given, out: ("judge", out, "--by", "api", *asked(given)), "", (), base="one"),
    "eval pope": evaluated(lambda given: (*pope(given), *answers(given, "pope"))),
    "eval pope --model": evaluated(lambda given: (*pope(given), *FAKE, "--image-root", given / "benchmarks/images")),
    "eval chair": evaluated(lambda given: (*chair(given), *answers(given, "chair"))),
    "eval mmhal": evaluated(lambda given: ("mmhal", "--questions", given / "benchmarks/mmhal.json", *asked(given))),
    "eval llava-bench": evaluated(llava_bench),
    "tune": drawn(
        "tune.svg",
        lambda given, file: ("tune", "bdhs", "-i", given / "input/input.json", *FAKE, "--rho", "0.5,1", "-o", file),
    ),
    "noise": drawn("noise.png", lambda given, file: ("noise", given / "input/images/000000000001.jpg", "-o", file)),
    "view --static": drawn("page.html", lambda given, file: ("view", given / "one", "--static", file)),
    "prompts export": Row(
        lambda given, out: ("prompts", "export", out), ".corrupt.txt.partial", (), is_run=False
    ),  # a file that is there is kept, not in the way
}
ELSEWHERE = {
    "train": "tests/train/test_saved.py",
    "push": "tests/card/test_push_store.py",
    "view": "tests/view/test_votes.py",
    "iterate": "tests/reproduce/test_iterate.py",
    "reproduce": "tests/reproduce/test_reproduce.py",
    "eval lmms": "tests/evaluate/benchmarks/test_lmms.py",
}
"""Commands that write and have the same promises tested in files of their own."""

READING: dict[str, Callable[[Folder], Words]] = {
    "plan": lambda given: ("plan", "--model-size", "7b", "--samples", "10"),
    "prompts list": lambda given: ("prompts", "list"),
    "formats": lambda given: ("formats",),
    "lint": lambda given: ("lint", given / "one"),
    "compare": lambda given: ("compare", given / "one", given / "two"),
    "eval compare": lambda given: ("eval", "compare", given / "evaluation", given / "evaluation"),
    "eval scenes": lambda given: ("eval", "scenes", "--help"),  # it prints what it measures, and has no --output
    "eval rm": lambda given: ("eval", "rm", "--help"),  # likewise
    "verify": lambda given: ("verify", given / "one"),
    "check": lambda given: ("check", given / "one", "--with", "llamafactory"),
    "doctor": lambda given: ("doctor", "-o", given.path),
    "guide": lambda given: ("guide", "bdhs"),
    "presets": lambda given: ("presets",),
}
"""Commands that write nothing."""


def judged(number: int, body: dict[str, Any]) -> str:
    """The reply of a judge that is asked for anything."""
    said = json.dumps(body["messages"])
    for words, reply in (
        ("answer to be graded", "It invents nothing.\nRating: 4"),
        ("answer of assistant 2", "8 7\nBecause."),
        ("You compare two answers", '{"reason": "it is shorter", "verdict": "A"}'),
    ):
        if words in said:
            return reply
    return good(number, body)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = tmp_path_factory.mktemp("given")
    source = write_input(folder / "input", 8)
    for name, seed in (("one", "1"), ("two", "2")):
        done = called("bdhs", *FAKE, "-i", source, "--seed", seed, *SMALL, "-o", folder / name)
        assert done.returncode == 0, done.stderr
    assert called("export", folder / "one", "--to", "ms-swift", "-o", folder / "swift").returncode == 0
    (folder / "words.txt").write_text("circle\nsquare\n")  # words of the fake engine
    pictures = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in range(7)]
    circles = [{"image_id": number, "category_id": 1} for number in range(7)]
    listed = {"images": pictures, "annotations": circles, "categories": [{"id": 1, "name": "circle"}]}
    (folder / "objects.json").write_text(json.dumps(listed))
    with RunDirectory.open(folder / "unfinished", plan()) as run:
        for shard in run.pending():
            run.commit(shard, outcomes(run.plan.shards[shard]), PROVENANCE, seconds=0.5)
    benchmarks(folder / "benchmarks")
    with Judge(judged) as judge:
        there = Folder(folder, judge.url)
        done = called(*TABLE["eval pope"].words(there, folder / "evaluation"))
        assert done.returncode == 0, done.stderr
        yield there


def benchmarks(folder: Path) -> None:
    """Questions of every benchmark, and answers to them."""
    world.write(folder, SCENES)
    rows = [json.loads(line) for line in (folder / "pope_random.json").read_text().splitlines()]
    said = [{"question_id": row["question_id"], "text": f"{row['label']}, it seems."} for row in rows]
    world.write_lines(folder / "pope-answers.jsonl", said)
    captions = json.loads((folder / "captions.json").read_text())["annotations"]
    one = {caption["image_id"]: caption for caption in captions}  # of each picture's references
    world.write_lines(folder / "chair-answers.jsonl", one.values())
    mmhal = [
        {"question": f"Question {n}?", "gt_answer": "A dog.", "model_answer": f"Answer {n}.", "image_id": f"i{n}"}
        for n in range(4)
    ]
    (folder / "mmhal.json").write_text(json.dumps(mmhal))
    asked = [{"question_id": n, "image": f"{n}.jpg", "text": f"Question {n}?"} for n in range(3)]
    world.write_lines(folder / "bench.jsonl", asked)
    world.write_lines(folder / "context.jsonl", [{"image": f"{n}.jpg", "caption": "A dog."} for n in range(3)])
    for name in ("reference", "bench-answers"):
        world.write_lines(folder / f"{name}.jsonl", [{"question_id": n, "text": f"Text {n}."} for n in range(3)])


def leaves() -> Iterator[str]:
    """Every command, those of a group by both names."""
    for name in COMMANDS:
        command = load(name)
        subcommands = list(command.commands) if isinstance(command, typer.core.TyperGroup) else []
        yield from (f"{name} {sub}" for sub in subcommands)
        if not subcommands:
            yield name


def test_every_command_is_in_the_table_or_writes_nothing() -> None:
    listed = {*TABLE, *ELSEWHERE, *READING}
    known = {*leaves()}
    assert {leaf for leaf in known if not any(name == leaf or name.startswith(f"{leaf} ") for name in listed)} == set()
    assert {name for name in listed if not any(name == leaf or name.startswith(f"{leaf} ") for leaf in known)} == set()
    assert all((Path(__file__).parents[2] / file).exists() for file in ELSEWHERE.values())


@pytest.mark.parametrize("name", READING)
def test_a_command_that_reads_writes_nothing(name: str, given: Folder) -> None:
    done = faults.run(partial(called, *READING[name](given)), given.path)
    assert (done.error, done.steps) == ("", 0), done
    assert done.value.returncode == (8 if name == "doctor" and "not in order" in done.value.stderr else 0), done


def contents(out: Path, *, is_run: bool) -> dict[str, str]:
    """What a command made: the digests of all data, or of all files where it is no run."""
    if is_run:
        runs = [path.parent for path in out.rglob(".prefgen")]
        return {f"{run.relative_to(out)}/{name}": digest for run in runs for name, digest in data_digests(run).items()}
    kept = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("judge.sqlite"))
    return {str(path.relative_to(out)): _without_seconds(path) for path in kept}


def _without_seconds(path: Path) -> str:
    """The content, without what is measured in seconds or was paid."""
    return re.sub(rb"\d+\.\d+ s\b", b"", path.read_bytes()).hex()


def moments(steps: int, config: pytest.Config) -> list[int]:
    return faults.sample(steps, steps if "not slow" not in str(config.getoption("-m")) else MOMENTS)


OFTEN = ("bdhs", "export", "eval pope", "prompts export", "view --static")  # in every run of the tests


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in TABLE]
)
def test_after_a_kill_or_a_full_disk_the_same_command_ends_as_if_nothing_had_been(
    name: str, given: Folder, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    row, out = TABLE[name], tmp_path / "out"
    act = partial(called, *row.words(given, out))

    def fresh() -> None:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        row.prepare(given, out)

    fresh()
    whole = faults.run(act, tmp_path)
    assert whole.error == "", whole
    assert whole.value.returncode == 0, whole
    expected = contents(out, is_run=row.is_run)
    assert expected
    assert whole.steps > 1
    for at in moments(whole.steps, request.config):
        for fault in FAULTS:
            fresh()
            broken = faults.run(act, tmp_path, fault, at)
            if fault == "kill":
                assert broken.killed, at
            else:
                assert broken.error == "", (at, broken)
                done = is_readable(out, row) and contents(out, is_run=row.is_run) == expected
                assert broken.value.returncode in (8, 0 if done else 8), (at, broken)
            resumed = faults.run(act, tmp_path)
            assert (resumed.value.returncode, resumed.error) == (0, ""), (fault, at, resumed)
            assert contents(out, is_run=row.is_run) == expected, (fault, at)
        for run in out.rglob(".prefgen"):
            assert called("verify", run.parent).returncode == 0, at


def is_readable(out: Path, row: Row) -> bool:
    """Whether the data of every run is in its place."""
    return not row.is_run or all((run.parent / "data").exists() for run in out.rglob(".prefgen"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "demo" else ()) for name, row in TABLE.items() if row.lock],
)
def test_a_second_writer_stops_at_once_and_what_was_moved_is_whole(name: str, given: Folder, tmp_path: Path) -> None:
    row, out = TABLE[name], tmp_path / "out"
    row.prepare(given, out)
    lock = out / row.lock
    lock.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(lock):
        second = called(*row.words(given, out))
    assert second.returncode == 7, second.stderr
    assert "is being written by" in second.stderr
    for _ in range(2):
        done = called(*row.words(given, out))
        assert done.returncode == 0, done.stderr
    expected = contents(out, is_run=row.is_run)
    moved = out.rename(tmp_path / "moved")
    again = called(*row.words(given, moved))
    assert again.returncode == 0, again.stderr
    assert contents(moved, is_run=row.is_run) == expected
    for run in moved.rglob(".prefgen"):
        assert called("verify", run.parent).returncode == 0


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.foreign])
def test_files_of_others_are_refused_and_left(name: str, given: Folder, tmp_path: Path) -> None:
    row, out = TABLE[name], tmp_path / "out"
    foreign = [out / file for file in row.foreign]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    done = called(*row.words(given, out))
    assert done.returncode == 2, done.stderr
    assert re.search("is not empty|is not an empty folder|is there, and not of", done.stderr)
    assert [path for path in out.rglob("*") if path.is_file()] == sorted(foreign)
    assert {path.read_text() for path in foreign} == {"mine"}


def test_a_prompt_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "rank.txt").write_text("mine")
    done = called("prompts", "export", tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "rank.txt").read_text() == "mine"
    assert {path.stem for path in tmp_path.iterdir()} == {*prompts.NAMES}


def test_a_page_takes_the_place_of_an_earlier_one_but_not_of_a_runs_own(given: Folder, tmp_path: Path) -> None:
    run = shutil.copytree(given / "one", tmp_path / "one")
    refused = called("view", run, "--static", run / "preview.html")
    assert refused.returncode == 2
    assert "would no longer verify" in refused.stderr
    assert called("verify", run).returncode == 0


@pytest.mark.parametrize("name", ["judge", "eval mmhal"])
def test_a_judges_ledger_has_one_writer(name: str, given: Folder, tmp_path: Path) -> None:
    row, out = TABLE[name], tmp_path / "out"
    row.prepare(given, out)
    assert called(*row.words(given, out)).returncode == 0
    with closing(Ledger(Layout(out).judgements if name == "judge" else out / "judge.sqlite")):
        second = called(*row.words(given, out))
    assert second.returncode == 7, second.stderr
    assert called(*row.words(given, out)).returncode == 0


@pytest.mark.parametrize("name", ["mix", "import"])
def test_killed_for_real_it_goes_on(name: str, given: Folder, tmp_path: Path) -> None:
    out, row = tmp_path / "out", TABLE[name]
    process = start(*row.words(given, out))
    while process.poll() is None and not (out / ".prefgen" / "plan.json").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = called(*row.words(given, out))
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole"
    assert called(*row.words(given, whole)).returncode == 0
    assert data_digests(out) == data_digests(whole)
