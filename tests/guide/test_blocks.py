"""Every block of commands and of Python in README and guide is run on small files, models and servers.

A comment above a block names its placeholders: what a reader replaces by something of their own. Here each is a file, a
model or a server. Models that are placeholders generate by the fake engine.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen import guide
from prefgen.cli.commands import load
from prefgen.evaluate.scenes.export import SPLITS
from prefgen.view.server import Server
from tests.cli.runs import called
from tests.evaluate.benchmarks import world
from tests.evaluate.benchmarks.test_chair import coco_files
from tests.formats.written import povid_row, vlfeedback_row, write_json, write_lines
from tests.judge import Judge, good
from tests.store import s3

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "examples" / "scenes"
ROWS, PUBLISHED = 4, 60  # rows of the SFT files, and of the published sets
MODELS = [
    *("llava-hf/llava-v1.6-vicuna-7b-hf", "llava-hf/llava-v1.6-34b-hf", "llava-hf/llava-1.5-7b-hf"),
    *("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/Qwen2.5-VL-72B-Instruct"),
]
PICTURES = ["coco/train2014", "coco/train2017", "coco/val2014"]
POPE = [f"coco_pope_{kind}.json" for kind in SPLITS]
FILES = [
    *("llava_instruct_150k.json", "llava_instruct.json", "vlfeedback_80k.jsonl", "HuggingFaceM4/the_cauldron"),
    *("POVID_preference_data_for_VLLMs_version_1.json", "pope_images.txt", "pope_coco.jsonl", *POPE),
    *("instances_val2014.json", "captions_val2014.json", "captions.jsonl", "instances_train2017.json"),
]
JUDGES = ["gpt4", "gpt4o", "my-judge"]
PLACES = ["http://localhost:8000/v1", "USER/NAME", "s3://bucket/path"]
PLACEHOLDERS = {*MODELS, *PICTURES, *FILES, *JUDGES, *PLACES}
# What a line needs that is not here, and the file that runs it where it is.
ELSEWHERE = {
    "pip": ".ci/run",
    "pytest": ".ci/run",
    "trl": "tests/trainers/test_trainers.py",
    "swift": "tests/trainers/test_trainers.py",
    "llamafactory-cli": "tests/trainers/test_trainers.py",
    "torchrun": "tests/train/test_processes.py",
    "accelerate": "tests/train/test_processes.py",
    "sbatch": "tests/cli/test_workers.py",
    "--gpus": "tests/train/test_processes.py",
    "--qlora": "tests/train/test_run.py",
    "--ray": "tests/cli/test_ray.py",
    "--detector": "tests/engines/test_detectors.py",
    "--python": "tests/evaluate/benchmarks/test_lmms.py",
}
SLOW = {"--workers", "--online", "iterate"}  # run with -m slow
GIVEN = {
    "train": {"out": "out"},
    "evaluate": {"aligned": "aligned", "pope-base": "pope-base"},
    "data-out": {"out": "out-povid", "corrupted": "corrupted"},
    "quality": {"out": "out"},
}
"""Runs that a page takes from an earlier one, and what they are here."""


@dataclass(frozen=True)
class Block:
    page: str
    number: int
    kind: str
    text: str
    placeholders: set[str]

    @property
    def lines(self) -> list[list[str]]:
        """The words of its commands, one command an entry."""
        if self.kind == "bash":
            told = self.text.replace("\\\n", " ").replace(" && ", "\n").splitlines()
        else:
            told = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        return [words for line in told if (words := shlex.split(line, comments=True))]


def blocks(page: str) -> list[Block]:
    path = ROOT / "README.md" if page == "README" else guide.FOLDER / f"{page}.md"
    found = re.findall(r"^(?:<!-- placeholders: ([^\n]*) -->\n)?```(\w*)\n(.*?)^```", path.read_text(), re.M | re.S)
    return [
        Block(page, number, kind, text, set(told.split(", ")) if told else set())
        for number, (told, kind, text) in enumerate(found)
        if kind == "bash" or (kind == "python" and not text.startswith("# ")) or text.startswith("$ ")
    ]


PAGES = [page for page in ("README", *guide.TOPICS) if blocks(page)]
BLOCKS = [block for page in PAGES for block in blocks(page)]


def runs_here(words: list[str]) -> bool:
    return not ELSEWHERE.keys() & {*words} and words[0] != "cd"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}-{block.number}")
def test_placeholders_are_marked(block: Block) -> None:
    assert {word for words in block.lines for word in words} & PLACEHOLDERS == block.placeholders


def test_what_is_not_run_here_is_run_elsewhere() -> None:
    assert all((ROOT / path).exists() for path in ELSEWHERE.values())
    programs = {words[0] for block in BLOCKS for words in block.lines if runs_here(words)}
    assert programs == {"prefgen"}
    assert sum(runs_here(words) for block in BLOCKS for words in block.lines) > 36


def reply(number: int, body: dict[str, Any]) -> str:
    """The judge: corrupts or repairs an answer, or prefers the shorter of two."""
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    if found := re.search(r"--- \w+ answer A\n(.*)\n--- \w+ answer B\n(.*)\n--- \w+ end", text, re.DOTALL):
        return json.dumps({"reason": "length", "verdict": "A" if len(found[1]) < len(found[2]) else "B"})
    return good(number, body)


@dataclass
class World:
    """A folder with all that placeholders name.

    Attributes:
        folder: where the pages' own folders are made.
        words: by placeholder that is no file: what is said instead.
    """

    folder: Path
    words: dict[str, str] = field(default_factory=dict)

    def run(self, words: list[str], placeholders: set[str]) -> str:
        """Run a command of a page, its placeholders replaced; gives its standard output."""
        rest = [self.words.get(word, re.sub(r":[1-9]\d+$", f":{PUBLISHED // 2}", word)) for word in words[1:]]
        command: Any = load(rest[0])
        for word in rest[1:]:
            command = getattr(command, "commands", {}).get(word, command)
        known = {flag for each in command.params for flag in each.opts}
        if "--engine" in known and rest[0] not in ("eval", "train") and placeholders & {*MODELS} & {*words}:
            rest += ["--engine", "fake"]
        if rest[0] == "rank" and "--annotator" in rest:  # so small a model gives no verdict that can be read
            at = rest.index("--annotator")
            rest[at : at + 2] = ["--by", "similarity"]
        if "--judge" in rest and "--judge-url" not in rest:
            rest += ["--judge-url", self.words["http://localhost:8000/v1"]]
        if "--max-cost" in rest:
            rest += ["--price-in", "2", "--price-out", "8"]
        if rest[0] == "push" and "USER/NAME" in words:
            rest.append("--dry-run")  # tests/cli/test_push.py pushes to a Hub on loopback
        if words[1:3] == ["eval", "scenes"]:
            rest += ["--limit", "2"]
        if rest[0] == "iterate":
            rest = [re.sub(r"(--limit|--max-steps) \d+", r"\1 2", word) for word in [*rest, "--rounds", "1"]]
        if rest[0] == "train":  # that it runs is what is asked here, not what it learns
            rest += ["--max-steps", "1", "--grad-accum", "1"]
        done = called(*rest)
        none = (
            3 if {"sentences", "correctness", "verify-claims"} & {*words} else 0
        )  # few rows, and a small model, may give no pair
        assert done.returncode in (0, none), f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fill(self, page: str, suffix: str = "") -> Path:
        """The folder of a page."""
        folder = self.folder / (page + suffix)
        shutil.copytree(self.folder / "files", folder, symlinks=True)
        for name, run in GIVEN.get(page, {}).items():
            (folder / name).symlink_to(self.folder / "runs" / run)
        return folder


def write_world(files: Path) -> None:
    """The files and models."""
    rows = json.loads((SCENES / "llava_instruct.json").read_text())[:ROWS]
    scenes = files / "examples" / "scenes"
    scenes.mkdir(parents=True)
    for name in ("images", "instances.json", "model", "words.txt"):
        (scenes / name).symlink_to(SCENES / name)
    for path in (scenes / "llava_instruct.json", files / "llava_instruct_150k.json", files / "llava_instruct.json"):
        path.write_text(json.dumps(rows))
    for model in MODELS:
        (files / model).parent.mkdir(exist_ok=True)
        (files / model).symlink_to(SCENES / "model")
    (files / "coco").mkdir()
    for name in ("images", "coco/train2017"):
        (files / name).symlink_to(SCENES / "images")
    asked = world.write(files / "asked", ROWS)
    (asked / "images").rename(files / "coco" / "val2014")
    for split, name in zip(SPLITS, POPE, strict=True):
        (asked / f"pope_{split}.json").rename(files / name)
    (files / "pope_images.txt").write_text("COCO_val2014_000000000042\n")
    write_lines(files / "pope_coco.jsonl", [{"image": "COCO_val2014_000000000042.jpg"}])
    chair = {1: ["dining table", "dog"], 2: ["tv"]}
    told = coco_files(files, chair, {1: ["A dog under a table."], 2: ["A tv."]})
    for path, new in zip(told, ("instances_val2014.json", "captions_val2014.json"), strict=True):
        path.rename(files / new)
    shutil.copy(files / "instances_val2014.json", files / "instances_train2017.json")
    write_lines(files / "captions.jsonl", [{"image_id": number, "caption": "A dog on a table."} for number in chair])
    picture = [(SCENES / "images" / f"{number:012d}.jpg").read_bytes() for number in range(PUBLISHED)]
    (files / "coco" / "train2014").mkdir()
    (files / "merged_images").mkdir()
    for number in range(PUBLISHED):
        (files / "coco" / "train2014" / f"COCO_train2014_{number:012d}.jpg").write_bytes(picture[number])
        (files / "merged_images" / f"svit-detail-{number}.jpg").write_bytes(picture[number])
    povid = [povid_row(number) for number in range(PUBLISHED)]
    write_json(files / "POVID_preference_data_for_VLLMs_version_1.json", povid)
    write_json(files / "povid_rows.json", [{**row, "image": Path(row["image"]).name} for row in povid])
    names = [f"svit-detail-{number}" for number in range(PUBLISHED)]
    feedback = [
        vlfeedback_row(id=name, img_path=f"merged_images/{name}.jpg", prompt=f"Describe scene {number}.")
        for number, name in enumerate(names)
    ]
    write_lines(files / "vlfeedback_80k.jsonl", feedback)
    cauldron = files / "HuggingFaceM4" / "the_cauldron"
    (cauldron / "vqav2").mkdir(parents=True)
    texts = [
        {
            "user": row["conversations"][0]["value"].replace("<image>", "").strip(),
            "assistant": row["conversations"][1]["value"],
        }
        for row in rows
    ]
    table = pa.table({"images": [[{"bytes": each}] for each in picture[:ROWS]], "texts": [[text] for text in texts]})
    pq.write_table(table, cauldron / "vqav2" / "train.parquet")
    configs = [f"- config_name: {name}\n  data_files: vqav2/*.parquet\n" for name in ("ai2d", "vqav2")]
    (cauldron / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder / "files")
    runs = folder / "runs"
    runs.mkdir()
    with Judge(reply) as judge, s3(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "files")
        fake = ["bdhs", "-m", "none", "--engine", "fake"]
        feedback = ["import", "vlfeedback", "vlfeedback_80k.jsonl", "--image-root", "."]
        commands: list[list[str | Path]] = [
            [*fake, "-i", "examples/scenes/llava_instruct.json", "-o", runs / "out"],
            [*fake, "-i", "povid_rows.json", "--image-root", "coco/train2014", "-o", runs / "out-povid"],
            [
                "eval",
                "pope",
                "--questions",
                POPE[0],
                "--image-root",
                "coco/val2014",
                "-m",
                SCENES / "model",
                "-o",
                runs / "pope-base",
            ],
            [*feedback, "--pairing", "all", "-o", runs / "corrupted"],
        ]
        for command in commands:
            done = called(*command)
            assert done.returncode == 0, done.stderr
        (runs / "aligned").symlink_to(SCENES / "model")
        yield World(folder, {"http://localhost:8000/v1": judge.url})


@pytest.fixture
def quiet_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer that shows its page once and is then stopped as if by Ctrl-C."""

    def serve_once(server: Server) -> None:
        thread = threading.Thread(target=ThreadingHTTPServer.serve_forever, args=(server, 0.01))
        thread.start()
        with urllib.request.urlopen(server.url, timeout=30) as page:
            assert b"pairs" in page.read()
        server.shutdown()
        thread.join()
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", serve_once)


def run_python(text: str) -> None:
    """Run a block of Python, typed at a prompt or not."""
    if text.startswith(">>> "):
        text = "\n".join(line[4:] for line in text.splitlines() if line.startswith((">>> ", "... ")))
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(text, "block", "exec"), {})


@pytest.mark.usefixtures("quiet_server")
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.fill(page))
    for block in blocks(page):
        if block.kind == "python":
            run_python(block.text)
        for words in block.lines:
            if runs_here(words) and not SLOW & {*words}:
                made.run(words, block.placeholders)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["scale", "train"])
def test_the_slow_commands_of_a_page_run(page: str, made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.fill(page, "-slow"))
    slow = [(words, block) for block in blocks(page) for words in block.lines if SLOW & {*words} and runs_here(words)]
    assert slow
    for words, block in slow:
        made.run(words, block.placeholders)
