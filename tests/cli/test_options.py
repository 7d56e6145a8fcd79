"""Options reach what they are named after, in every command that has them; old names are still taken."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from tests.cli.runs import called, write_input
from tests.engines.test_openai import Server
from tests.judge import MODEL, Judge, corrupted

FAKE = ("-m", "none", "--engine", "fake")
SCENES = Path(__file__).parents[2] / "examples" / "scenes"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is loaded of the Hub: name, configuration and revision; every set has one row."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(name: str, config: str | None = None, *, revision: str | None, streaming: bool) -> Any:
        asked.append((name, config, revision))
        row = {"image": "a.jpg", "prompt": "What is it?", "chosen": "A cat.", "rejected": "A dog."}
        row |= {"question": "What is it?", "answer": "A cat."}
        return datasets.IterableDatasetDict({"train": datasets.Dataset.from_list([row]).to_iterable_dataset()})

    def builder(name: str, config: str | None = None, *, revision: str | None) -> Any:
        asked.append((name, config, revision))
        return type("Builder", (), {"hash": "0123"})()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    return asked


@pytest.mark.parametrize(
    "command",
    [("bdhs", *FAKE), ("povid", *FAKE), ("baseline", "blind", *FAKE), ("rank", *FAKE), ("corrupt",)],
    ids=lambda command: str(command[0]),
)
def test_a_hub_set_has_a_revision_of_its_own(
    command: tuple[str, ...], asked_of_the_hub: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    of_model = () if command[0] == "corrupt" else ("--revision", "model-branch")
    of_set = ("--dataset-revision", "v2", "--dataset-config", "small")
    called(*command, "-i", "owner/rows", *of_model, *of_set, "-o", tmp_path / "out")
    called(*command, "-i", "owner/plain", *of_model, "-o", tmp_path / "other")
    assert set(asked_of_the_hub) == {("owner/rows", "small", "v2"), ("owner/plain", None, None)}


def test_import_takes_the_old_name_of_the_revision_with_a_note(
    asked_of_the_hub: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    path = tmp_path / "options.toml"
    path.write_text('revision = "v1"\n')
    for old in (["--revision", "v1"], ["--revision=v1"], ["--config", str(path)]):
        asked_of_the_hub.clear()
        told = called("import", "trl", "owner/pairs", "-o", tmp_path / "out", "--dry-run", *old)
        assert set(asked_of_the_hub) == {("owner/pairs", None, "v1")}
        assert "is now" in told.stderr
        assert "dataset" in told.stderr
    asked_of_the_hub.clear()
    assert (
        "is now"
        not in called("import", "trl", "owner/pairs", "--dry-run", "--dataset-revision", "v1", "-o", "x").stderr
    )
    assert set(asked_of_the_hub) == {("owner/pairs", None, "v1")}


def test_the_names_that_a_run_is_pinned_by_are_those_of_earlier_versions(tmp_path: Path) -> None:
    called("bdhs", "-i", write_input(tmp_path / "in", 2), *FAKE, "-o", tmp_path / "out")
    settings = json.loads((tmp_path / "out/.prefgen/plan.json").read_text())["fingerprint"]
    assert {"source.revision", "source.config", "source.image_root"} <= settings.keys()
    assert not [name for name in settings if "dataset" in name]


def test_a_served_model_answers_where_whole_pictures_are_shown(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address, key and limits are options of the command; the judge's address is another one."""
    monkeypatch.setenv("OTHER_KEY", "secret-1")
    source = write_input(tmp_path / "in", 2)
    served = ("-m", "scenes", "--engine", "openai", "--base-url", server.url, "--engine-key-env", "OTHER_KEY")
    limits = ("--engine-timeout", "20", "--batch-size", "2")
    common = ("-i", source, *served, *limits, "--similarity-model", "minilm", "--device", "cpu")
    weak = ("--noise-space", "pixel-clamp", "--noise-steps", "300")
    done = called("baseline", "weakened", *common, *weak, "-o", tmp_path / "weakened")
    assert done.returncode == 0, done.stderr
    done = called("tune", "bdhs", *common, *weak, "--limit", "1", "-o", tmp_path / "tune.svg", "--json")
    assert json.loads(done.stdout)["recommended"].count(f"--base-url {server.url}") == 1
    made = pq.read_table(tmp_path / "weakened" / "data").to_pylist()
    assert {row["rejected_response"] for row in made} == {"blue square on the left. It is small."}
    assert set(server.keys) == {"Bearer secret-1"}


def test_a_served_policy_and_a_judge_elsewhere(server: Server, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in", 1)
    served = ("-i", source, "-m", "scenes", "--engine", "openai", "--base-url", server.url)
    with Judge(lambda _, body: corrupted(body)) as judge:
        judged = ("--by", "api", "--judge", MODEL, "--judge-url", judge.url)
        done = called("rank", *served, *judged, "-o", tmp_path / "out")
    assert "answers, all of them alike" in " ".join(done.stderr.split())
    assert done.returncode == 3, done.stderr  # the server always says the same, so no pair is left
    assert len(server.bodies) == 4
    done = called("rank", *served, "--annotator", "other", "-o", tmp_path / "annotated")
    assert "does not serve 'other'" in done.stderr


@pytest.mark.parametrize("command", [("povid", "-o", "out"), ("compare", "out", "out")], ids=lambda command: command[0])
def test_what_reads_given_answers_says_why_no_server_will_do(command: tuple[str, ...], server: Server) -> None:
    source = ("-i", SCENES / "llava_instruct.json") if command[0] == "povid" else ()
    done = called(*command, *source, "-m", "scenes", "--engine", "openai", "--base-url", server.url)
    assert done.returncode == 2
    assert "reads given answers" in done.stderr
    assert "use --engine transformers" in done.stderr


@pytest.mark.parametrize(
    "command", ["bdhs", "povid", "baseline blind", "rank", "tune bdhs", "compare a b", "judge run"]
)
def test_options_of_an_engine_are_wherever_an_engine_is(command: str, tmp_path: Path) -> None:
    """All of these are read: vLLM's own are refused for another engine."""
    words = command.split()
    if words[0] == "judge":
        words[1] = str(tmp_path / "run")
        assert called("bdhs", "-i", write_input(tmp_path / "in", 2), *FAKE, "-o", words[1]).returncode == 0
    for option in (("--engine-arg", "max_num_seqs=3"), ("--image-workers", "-1"), ("--engine-timeout", "0")):
        input = () if words[0] in ("compare", "judge") else ("-i", SCENES / "llava_instruct.json")
        model = ("--annotator", "m") if words[0] == "judge" else ("-m", "m")
        output = ("-o", "nowhere") if words[0] in ("bdhs", "povid", "baseline", "rank") else ()
        done = called(*words, *input, *model, *output, *option)
        assert done.returncode == 2, (option, done.stderr)
        assert f"error: {option[0]}" in done.stderr


def test_the_old_name_of_a_judge_s_address(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in", 2)
    with Judge(lambda _, body: corrupted(body)) as judge:
        old = ("--judge", MODEL, "--base-url", judge.url)
        done = called("corrupt", "-i", source, *old, "-o", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert "note: --base-url is now --judge-url" in done.stderr
        for command in (("judge", tmp_path / "out", "--by", "api"), ("plan", "corrupt")):
            assert "note: --base-url is now --judge-url" in called(*command, *old).stderr
        before = len(judge.bodies)
        scenes = ("-i", SCENES / "llava_instruct.json", "-m", SCENES / "model", "--device", "cpu", "--limit", "1")
        done = called("rank", *scenes, "--by", "api", *old, "-k", "2", "-o", tmp_path / "ranked")
        assert "note: --base-url is now --judge-url" in done.stderr
        assert len(judge.bodies) > before
    lock = (tmp_path / "ranked/.prefgen/config.lock").read_text()
    assert f'judge_url = "{judge.url}"' in lock
    assert "base_url" not in lock


def test_the_model_that_compares_is_an_annotator_in_every_command(tmp_path: Path) -> None:
    source = write_input(tmp_path / "in", 2)
    assert called("bdhs", "-i", source, *FAKE, "-o", tmp_path / "out").returncode == 0
    tested = ("judge", tmp_path / "out", "--limit", "1", "--verdict-tokens", "4", "--json", "--device", "cpu")
    new, old = called(*tested, "--annotator", SCENES / "model"), called(*tested, "-m", SCENES / "model")
    assert new.stdout == old.stdout
    assert json.loads(new.stdout)["pairs"] == 1
    assert new.stderr == ""
    assert old.stderr == "note: -m is now --annotator\n"
    assert "--annotator is missing" in called(*tested).stderr
