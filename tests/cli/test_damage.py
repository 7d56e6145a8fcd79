"""Every damage to a run against every command that reads one: an error about the run, never a traceback."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from prefgen.cli import app
from prefgen.console import plain
from prefgen.errors import CorruptRun, PrefgenError
from prefgen.rundir import verify
from tests.handmade import finished_run

DEEP = "[" * 100_000
ESCAPE = "\x1b]0;owned\x07\u202e"

COMMANDS: dict[str, tuple[str, ...]] = {
    "finalize": ("finalize", "RUN"),
    "filter": ("filter", "RUN", "similarity < 2 or meta['source']['x'] == 1 or iteration >= 0", "-o", "OUT"),
    "dedup": ("dedup", "RUN", "-o", "OUT"),
    "near": ("dedup", "RUN", "--near", "-o", "OUT"),
    "split": ("split", "RUN", "a:0.5", "b:0.5", "-o", "OUT"),
    "sample": ("sample", "RUN", "-n", "3", "-o", "OUT"),
    "mix": ("mix", "RUN:5", "SOUND:3", "-o", "OUT"),
    "join": ("join", "SOUND", "RUN", "-o", "OUT"),
    "relabel": ("relabel", "SOUND", "--rejected-from", "RUN", "-o", "OUT"),
    "lint": ("lint", "RUN"),
    "trl": ("export", "RUN", "--to", "trl", "-o", "OUT"),
    "llava": ("export", "RUN", "--to", "llava", "-o", "OUT"),
    "openai": ("export", "RUN", "--to", "openai", "-o", "OUT"),
    "llamafactory": ("export", "RUN", "--to", "llamafactory", "-o", "OUT"),
    "view": ("view", "RUN", "--static", "OUT"),
    "check": ("check", "RUN", "--with", "ms-swift"),
    "compare": ("compare", "SOUND", "RUN"),
    "push": ("push", "RUN", "me/pairs", "--dry-run"),
    "judge": ("judge", "RUN", "--by", "api", "--judge", "m", "--judge-url", "http://127.0.0.1:9/v1", "--limit", "1"),
    "mmpr": ("export", "RUN", "--to", "mmpr", "-o", "OUT"),
    "unpaired": ("export", "RUN", "--to", "unpaired", "-o", "OUT"),
    "argilla": ("export", "RUN", "--to", "argilla", "-o", "OUT"),
    "jsonl": ("export", "RUN", "--to", "jsonl", "-o", "OUT"),
    "import": ("import", "jsonl", "RUN", "-o", "OUT"),
    "resume": ("mix", "SOUND:3", "-o", "RUN"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("sound") / "run")


def call(command: tuple[str, ...], run: Path, sound: Path, out: Path) -> Result:
    places = {"RUN": str(run), "SOUND": str(sound), "OUT": str(out)}
    words = [places.get(word, word).replace("RUN:", f"{run}:").replace("SOUND:", f"{sound}:") for word in command]
    return CliRunner().invoke(app, words)


def put(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Replace the first file that this pattern names."""

    def damage(run: Path) -> None:
        path = next(iter(sorted((run).glob(name))))
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return damage


def change(name: str, **values: Any) -> Callable[[Path], None]:
    """Change values of the first JSON file that this pattern names."""

    def damage(run: Path) -> None:
        path = next(iter(sorted(run.glob(name))))
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return damage


def cut(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        path = next(iter(sorted(run.glob(name))))
        path.write_bytes(path.read_bytes()[:-20])

    return damage


def forge(**values: Any) -> Callable[[Path], None]:
    """Change the first row, and every digest that would tell."""

    def damage(run: Path) -> None:
        path = min((run / "data").glob("*.parquet"))
        table = pq.read_table(path)
        rows = table.to_pylist()
        rows[0] |= {name: value(rows[0]) if callable(value) else value for name, value in values.items()}
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
        digest = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        state = run / ".prefgen"
        record = min(state.glob("shards/*.json"))
        record.write_text(json.dumps(json.loads(record.read_text()) | {"part": digest}))
        manifest = json.loads((state / "manifest.json").read_text())
        manifest["files"][path.relative_to(run).as_posix()] = digest
        text = record.read_bytes()
        listed = record.relative_to(run).as_posix()
        if listed in manifest["files"]:
            manifest["files"][listed] = {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}
        (state / "manifest.json").write_text(json.dumps(manifest))
        whole = hashlib.sha256((state / "manifest.json").read_bytes()).hexdigest()
        (state / "manifest.sha256").write_text(f"{whole}  manifest.json\n")

    return damage


def of_meta(**values: Any) -> Callable[[Path], None]:
    return forge(meta=lambda row: json.dumps(json.loads(row["meta"]) | values))


def image(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda row: [{**picture, **values} for picture in row["images"]]


DAMAGES: dict[str, Callable[[Path], None]] = {
    "plan deep": put(".prefgen/plan.json", DEEP),
    "plan list": put(".prefgen/plan.json", "[1]"),
    "plan types": change(".prefgen/plan.json", rows="many", shard_size=None),
    "plan no shards": change(".prefgen/plan.json", shard_size=0),
    "plan negative": change(".prefgen/plan.json", rows=-5),
    "plan settings": change(".prefgen/plan.json", fingerprint=[1, 2]),
    "config binary": put(".prefgen/config.lock", b"\xff\xfe\x00"),
    "config deep": put(".prefgen/config.lock", f"a = {DEEP}"),
    "manifest deep": put(".prefgen/manifest.json", DEEP),
    "manifest empty": put(".prefgen/manifest.json", b""),
    "manifest files": change(".prefgen/manifest.json", files={"README.md": 7}),
    "manifest outside": change(".prefgen/manifest.json", files={"../../../etc/hosts": {"sha256": "", "bytes": 0}}),
    "digest empty": put(".prefgen/manifest.sha256", b""),
    "digest binary": put(".prefgen/manifest.sha256", b"\xff\x00\xfe"),
    "record deep": put(".prefgen/shards/*.json", DEEP),
    "record list": put(".prefgen/shards/*.json", "[]"),
    "record types": change(".prefgen/shards/*.json", pairs="x", dropped=[1], part=3),
    "record counts": change(".prefgen/shards/*.json", dropped={"IMG_MISSING": "x"}),
    "record provenance": change(".prefgen/shards/*.json", provenance=3, tokens=None),
    "dropped deep": put(".prefgen/dropped/*.jsonl", DEEP),
    "dropped cut": cut(".prefgen/dropped/*.jsonl"),
    "dropped other": put(".prefgen/dropped/*.jsonl", '{"a": 1}\n[2]\n'),
    "Parquet cut": cut("data/*.parquet"),
    "Parquet empty": put("data/*.parquet", b""),
    "Parquet text": put("data/*.parquet", ESCAPE),
    "meta deep": forge(meta='{"images": ' + DEEP),
    "meta list": forge(meta="[]"),
    "meta null": forge(meta="null"),
    "meta text": forge(meta=ESCAPE),
    "meta images": of_meta(images=7),
    "meta picture": of_meta(images=[{"sha256": 5, "width": "x"}]),
    "meta digests": of_meta(images=[{}]),
    "meta options": of_meta(options=None, source=[]),
    "meta joined": of_meta(joined=[1]),
    "id foreign": forge(id="a/../../b"),
    "id control": forge(id=ESCAPE),
    "id surrogate": forge(id="\u0660" * 16),
    "id empty": forge(id=""),
    "no prompt": forge(prompt=[], conversations=[], images=[]),
    "spans": forge(spans=[{"start": -5, "end": 2_000_000_000}], finish=["stop"]),
    "cuts": forge(cuts=[2_000_000_000, -1]),
    "similarity": forge(similarity=float("nan")),
    "counts": forge(chosen_chars=-1, rejected_chars=0, iteration=-7, image_tokens=-1),
    "picture": forge(images=image(bytes=b"not a picture")),
    "no picture": forge(images=image(bytes=b"")),
    "null picture": forge(images=image(bytes=None, path=None)),
    "null texts": forge(chosen_response=None, rejected_response=None),
    "null flags": forge(flags=None, spans=None, source_id=None, meta=None),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_finds_it_and_no_command_ends_in_a_traceback(damage: str, sound: Path, tmp_path: Path) -> None:
    turn = list(DAMAGES).index(damage)  # an eighth of the table, in which every command meets every kind
    refused_by(damage, [name for number, name in enumerate(COMMANDS) if (number + turn) % 8 == 0], sound, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_whole_table(damage: str, sound: Path, tmp_path: Path) -> None:
    refused_by(damage, list(COMMANDS), sound, tmp_path)


def refused_by(damage: str, names: list[str], sound: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(sound, run)
    DAMAGES[damage](run)
    found = call(("verify", "RUN"), run, sound, tmp_path / "out")
    assert isinstance(found.exception, CorruptRun), found.output
    for name in names:
        done = call(COMMANDS[name], run, sound, tmp_path / name)
        if done.exception is None:
            continue  # what is damaged is not read by this command
        assert isinstance(done.exception, PrefgenError), (name, done.exception)
        told = plain(str(done.exception))
        assert isinstance(done.exception, CorruptRun) or "Traceback" not in told, (name, told)
        if isinstance(done.exception, CorruptRun):
            assert str(run) in told, (name, told)


@pytest.mark.parametrize("name", ["Parquet cut", "meta deep", "id foreign", "null picture"])
def test_a_data_set_without_its_records_is_named_as_well(name: str, sound: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(sound, run)
    DAMAGES[name](run)
    shutil.rmtree(run / ".prefgen")
    for command in ("lint", "view", "check"):
        done = call(COMMANDS[command], run, sound, tmp_path / command)
        assert done.exception is None or isinstance(done.exception, PrefgenError), (command, done.exception)


def test_a_command_that_fails_for_another_reason_blames_no_run(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("prefgen.select.keep", fail)
    done = call(COMMANDS["filter"], sound, sound, tmp_path / "out")
    assert isinstance(done.exception, ValueError)


def test_what_a_run_holds_cannot_control_the_terminal(sound: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(sound, run)
    forge(id=ESCAPE, source_id=ESCAPE, meta="{")(run)
    done = call(("verify", "RUN"), run, sound, tmp_path / "out")
    assert "\\u001b]0;owned\\u202e" in done.output  # rich itself leaves out a bell
    for command in (("verify", "RUN", "--json"), ("verify", "RUN"), COMMANDS["lint"], COMMANDS["check"]):
        done = call(command, run, sound, tmp_path / "out")
        assert not {"\x1b", "\x07", "\u202e"} & set(done.output), command
    stated = call(("verify", "RUN", "--json"), run, sound, tmp_path / "out").stdout
    assert ESCAPE in {problem["row"] for problem in json.loads(stated)["problems"]}


def test_plain_text_stays_as_it_is() -> None:
    assert plain("Grüße,\n\t日本語 🙂") == "Grüße,\n\t日本語 🙂"
    assert plain("\x1b[2J\r\x9b\u2067") == "\\u001b[2J\\u000d\\u009b\\u2067"


def test_verify_reads_nothing_outside_of_the_run(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(sound, run)
    (tmp_path / "secret").write_text("x")
    state = run / ".prefgen"
    change(".prefgen/manifest.json", files={"../secret": {"sha256": "", "bytes": 0}})(run)
    whole = hashlib.sha256((state / "manifest.json").read_bytes()).hexdigest()
    (state / "manifest.sha256").write_text(f"{whole}  manifest.json\n")
    opened: list[Path] = []
    read = Path.open

    def watched(path: Path, *args: Any, **more: Any) -> Any:
        opened.append(path)
        return read(path, *args, **more)

    monkeypatch.setattr(Path, "open", watched)
    assert any("outside of the folder: '../secret'" in problem.detail for problem in verify.verify(run).problems)
    assert not [path for path in opened if path.name == "secret"]
