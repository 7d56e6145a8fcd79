"""What every command that writes promises, from one table: kills, a full disk, a second writer, files of others, moves.

`prefgen train` has its own in tests/train/test_saved.py, each format of `prefgen export` in tests/formats.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import filelock
import pytest

from prefgen.rundir.layout import Layout
from tests import faults
from tests.cli.runs import called, data_digests, start, write_input
from tests.judge import MODEL, Judge, good

FAULTS: tuple[faults.Fault, ...] = ("kill", "full")
MOMENTS = 3  # of each command and fault; all of them with -m slow


@dataclass(frozen=True)
class Folder:
    """What the commands are given: an SFT file, two finished runs of it, an unfinished one, a judge."""

    path: Path
    judge: str

    def __truediv__(self, name: str) -> Path:
        return self.path / name


Words = tuple[str | Path, ...]
FAKE: Words = ("--engine", "fake", "-m", "none")
SMALL: Words = ("--shard-size", "3")


def made(*command: str | Path) -> Callable[[Folder], Words]:
    """A command that makes pairs of the SFT file."""
    return lambda given: (*command, "-i", given / "input" / "input.json", *SMALL)


def judged(given: Folder) -> Words:
    return (*made("corrupt", "--judge", MODEL, "--judge-url", given.judge)(given), "--concurrency", "1")


RUNS: dict[str, Callable[[Folder], Words]] = {
    "bdhs": made("bdhs", *FAKE),
    "povid": made("povid", *FAKE),
    "povid --pairs image": made("povid", "--pairs", "image"),
    **{name: made("baseline", name, *FAKE) for name in ("dropout-ntp", "blind", "weakened", "contrastive", "append")},
    "rank": made("rank", *FAKE, "--by", "similarity"),
    "sentences": lambda given: (
        *made("sentences", *FAKE)(given),
        *("--objects", given / "instances.json", "--words", given / "words.txt", "--max-new-tokens", "64"),
    ),
    "corrupt": judged,
    "import": lambda given: ("import", "ms-swift", given / "swift", *SMALL),
    "mix": lambda given: ("mix", f"{given / 'one'}:0.5", f"{given / 'two'}:4", *SMALL),
    "sample": lambda given: ("sample", given / "one", "--rows", "4", *SMALL),
    "filter": lambda given: ("filter", given / "one", "length_ratio > 0", *SMALL),
    "dedup": lambda given: ("dedup", given / "one", *SMALL),
    "join": lambda given: ("join", given / "one", given / "two", *SMALL),
    "relabel": lambda given: ("relabel", given / "one", "--rejected-from", given / "two", *SMALL),
}
"""Commands that write a run, without --output."""

OTHERS: dict[str, Callable[[Folder, Path], Words]] = {
    "split": lambda given, out: ("split", given / "one", "train:0.5", "val:0.5", *SMALL, "-o", out),
    "export": lambda given, out: ("export", given / "one", "--to", "llava", "-o", out),
    "view --static": lambda given, out: ("view", given / "one", "--static", out / "page.html"),
    "prompts export": lambda given, out: ("prompts", "export", out),
    "noise": lambda given, out: ("noise", given / "input" / "images" / "000000000001.jpg", "-o", out / "noise.png"),
}
"""Commands that write something else, or several runs."""

COMMANDS: dict[str, Callable[[Folder, Path], Words]] = {
    **{name: lambda given, out, words=words: (*words(given), "-o", out) for name, words in RUNS.items()},  # type: ignore[misc]
    **OTHERS,
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = tmp_path_factory.mktemp("given")
    source = write_input(folder / "input", 8)
    for name, seed in (("one", "1"), ("two", "2")):
        done = called("bdhs", *FAKE, "-i", source, "--seed", seed, *SMALL, "-o", folder / name)
        assert done.returncode == 0, done.stderr
    assert called("export", folder / "one", "--to", "ms-swift", "-o", folder / "swift").returncode == 0
    (folder / "words.txt").write_text("circle\nsquare\n")
    pictures = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in range(7)]
    circles = [{"image_id": number, "category_id": 1} for number in range(7)]
    listed = {"images": pictures, "annotations": circles, "categories": [{"id": 1, "name": "circle"}]}
    (folder / "instances.json").write_text(json.dumps(listed))
    with Judge(good) as judge:
        yield Folder(folder, judge.url)


def contents(out: Path) -> dict[str, str]:
    """What a command made: the digests of all data, or of all files where it is no run."""
    runs = [path.parent for path in out.rglob(".prefgen")]
    if runs:
        return {f"{run.relative_to(out)}/{name}": digest for run in runs for name, digest in data_digests(run).items()}
    return {str(path.relative_to(out)): path.read_bytes().hex() for path in out.rglob("*") if path.is_file()}


def moments(steps: int, config: pytest.Config) -> list[int]:
    return faults.sample(steps, steps if "not slow" not in str(config.getoption("-m")) else MOMENTS)


OFTEN = ("bdhs", "export")  # in every run of the tests; the others take minutes


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in COMMANDS]
)
def test_after_a_kill_or_a_full_disk_the_same_command_ends_as_if_nothing_had_been(
    name: str, given: Folder, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "out"
    act = partial(called, *COMMANDS[name](given, out))

    def fresh() -> None:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if name in ("view --static", "noise"):
            out.mkdir()

    fresh()
    whole = faults.run(act, tmp_path)
    assert (whole.value.returncode, whole.error) == (0, ""), whole
    expected = contents(out)
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
                assert broken.value.returncode in (8, 0 if contents_or_none(out) == expected else 8), (at, broken)
            resumed = faults.run(act, tmp_path)
            assert (resumed.value.returncode, resumed.error) == (0, ""), (fault, at, resumed)
            assert contents(out) == expected, (fault, at)
        for run in out.rglob(".prefgen"):
            assert called("verify", run.parent).returncode == 0, at


def contents_or_none(out: Path) -> dict[str, str] | None:
    """What there is, if data can be there."""
    runs = list(out.rglob(".prefgen"))
    return contents(out) if all((run.parent / "data").exists() for run in runs) else None


@pytest.mark.parametrize("name", RUNS)
def test_a_second_writer_stops_at_once_and_a_moved_run_verifies(name: str, given: Folder, tmp_path: Path) -> None:
    command = COMMANDS[name](given, tmp_path / "out")
    at = Layout(tmp_path / "out")
    at.writers.mkdir(parents=True)
    with filelock.FileLock(at.writers / "0-of-1.lock"):
        second = called(*command)
    assert second.returncode == 7, second.stderr
    assert "is being written by" in second.stderr
    done = called(*command)
    assert done.returncode == 0, done.stderr
    again = called(*command)
    assert again.returncode == 0, again.stderr
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert called("verify", moved).returncode == 0


@pytest.mark.parametrize("name", [*RUNS, "split", "export"])
def test_files_of_others_are_refused_and_left(name: str, given: Folder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    foreign = [(out / "train" if name == "split" else out) / file for file in ("README.md", "data/rows.parquet")]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    done = called(*COMMANDS[name](given, out))
    assert done.returncode == 2, done.stderr
    assert "empty" in done.stderr
    assert [path for path in out.rglob("*") if path.is_file()] == sorted(foreign)
    assert {path.read_text() for path in foreign} == {"mine"}


@pytest.mark.parametrize("name", ["mix", "import"])
def test_killed_for_real_it_goes_on(name: str, given: Folder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = COMMANDS[name](given, out)
    process = start(*command)
    while process.poll() is None and not (out / ".prefgen" / "plan.json").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = called(*command)
    assert done.returncode == 0, done.stderr
    whole = tmp_path / "whole"
    assert called(*COMMANDS[name](given, whole)).returncode == 0
    assert data_digests(out) == data_digests(whole)
