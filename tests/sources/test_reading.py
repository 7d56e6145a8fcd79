"""Whole inputs: what each container gives, what is refused with which code word, and in which order rows come."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefgen.errors import UsageError
from prefgen.records import Dropped, ImageRef, Sample
from prefgen.sources import Position, SourceOptions, fingerprint, read, reading

ALL = SourceOptions()


def llava(number: int, **extra: Any) -> dict[str, Any]:
    talk = [{"from": "human", "value": f"What is {number}?\n<image>"}, {"from": "gpt", "value": f"A number, {number}."}]
    return {"id": f"{number:012}", "image": f"{number:012}.jpg", "conversations": talk, **extra}


def samples(path: Path, options: SourceOptions = ALL) -> list[Sample]:
    return [outcome for outcome in read(str(path), options) if isinstance(outcome, Sample)]


def answers(outcomes: Iterable[Sample | Dropped]) -> list[str]:
    return [outcome.answer or "" if isinstance(outcome, Sample) else outcome.reason for outcome in outcomes]


def refusal(path: Path, options: SourceOptions = ALL) -> str:
    with pytest.raises(UsageError) as caught:
        list(read(str(path), options))
    return str(caught.value)


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    path = tmp_path / "ten.json"
    path.write_text(json.dumps([llava(number) for number in range(10)]))
    return path


@pytest.mark.parametrize("limit", [None, 9])
def test_reading_from_any_place_gives_the_rest(tmp_path: Path, limit: int | None) -> None:
    several = llava(1)
    several["conversations"] *= 3
    rows = [llava(0), several, {"nothing": 1}, llava(2), llava(0), llava(3)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\nno JSON\n")
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, [several, llava(4), several, llava(2)])))
    given, options = str(tmp_path / "*.jsonl"), SourceOptions(limit=limit)
    place = Position()
    places = [(place.rows, place.given, place.number) for _ in read(given, options, place)]
    whole = list(read(given, options))
    assert limit or sum(isinstance(outcome, Dropped) and outcome.reason == "DUPLICATE" for outcome in whole) > 5
    assert any(inside for _, inside, _ in places)
    repeats = {n for n, outcome in enumerate(whole) if isinstance(outcome, Dropped) and outcome.reason == "DUPLICATE"}
    for number, (before, inside, _) in enumerate(places):
        assert list(read(given, options, Position(before, inside, number, frozenset(repeats)))) == whole[number:]
    assert [number for *_, number in places] == [*range(len(whole))]


# --- containers -----------------------------------------------------------------------------------------------------


def test_rows_are_passed_over_in_every_container(tmp_path: Path) -> None:
    """Blank lines, marks of byte order, bad rows, row groups, and columns of the first rows alone included."""
    listed = [{**llava(number), "n": 10**number if number != 3 else math.nan, "deep": [[[{}]]]} for number in range(7)]
    flat = [{"question": f"What is {number}?", "answer": "x", "ask": ""} for number in range(7)]
    flat[0]["ask"] = "only here"
    lines = [json.dumps(row) for row in listed]
    (tmp_path / "list.json").write_text(json.dumps(listed, indent=1))
    (tmp_path / "one.json").write_text(json.dumps({"data": listed}))
    (tmp_path / "lines.jsonl").write_bytes("\ufeff\r\n \n".encode() + "\n\t\n".join(lines).encode() + b"\nno JSON\n{}")
    (tmp_path / "first.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    pq.write_table(pa.Table.from_pylist(flat), tmp_path / "rows.parquet", row_group_size=3)
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(flat[0]))
        table.writeheader()
        table.writerows(flat)
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        for number, row in enumerate(flat):
            content = json.dumps(row).encode()
            member = tarfile.TarInfo(f"{number}.json")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    datasets.Dataset.from_list(flat).save_to_disk(str(tmp_path / "saved"))
    inputs = [str(path) for path in sorted(tmp_path.iterdir())]
    assert len(inputs) == 8
    options = SourceOptions(columns="context=ask")
    for given in (*inputs, inputs):
        whole = list(reading.rows(given, options if given == inputs else ALL))
        assert len(whole) >= 7
        for first in range(1, len(whole) + 2):
            assert repr(list(reading.rows(given, options if given == inputs else ALL, first))) == repr(whole[first:])
    csv_options = list(reading.rows(str(tmp_path / "rows.csv"), options, 3))
    assert [row.where for row in csv_options] == [f"row {number}" for number in range(4, 8)]


def test_every_container_gives_the_same_samples(ten: Path, tmp_path: Path) -> None:
    rows = json.loads(ten.read_text())
    (tmp_path / "pretty.json").write_text(json.dumps(rows, indent=4))
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "windows.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf \r\n" + ten.read_bytes())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet", row_group_size=3)
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "folder" / "train-00000-of-00001.parquet")
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)}).save_to_disk(str(tmp_path / "dict"))
    expected = samples(ten)
    assert len(expected) == 10
    for name in ("pretty.json", "lines.jsonl", "windows.jsonl", "bom.json", "rows.parquet", "folder", "saved", "dict"):
        found = samples(tmp_path / name)
        assert [sample.id for sample in found] == [sample.id for sample in expected], name
        assert [sample.prompt for sample in found] == [sample.prompt for sample in expected], name
        assert {sample.source for sample in found} == {name}


def test_embedded_images_come_as_their_original_bytes(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (20, 10), "red").save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    row = {"image": {"bytes": data, "path": "a.png"}, "question": "Colour?", "answer": "Red."}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    )
    datasets.Dataset.from_list([row], features=features).save_to_disk(str(tmp_path / "saved"))
    for name in ("rows.parquet", "saved"):
        assert [sample.images for sample in samples(tmp_path / name)] == [(ImageRef(path="a.png", data=data),)]


def test_an_image_folder_is_read_by_path_under_the_folder_itself(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    PIL.Image.new("RGB", (20, 10)).save(folder / "a.png")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "question": "What?", "answer": "Black."}))
    [sample] = samples(folder)
    [image] = sample.images
    assert isinstance(image, ImageRef)
    assert ALL.root(str(folder)).find(image.path or "") == (folder / "a.png").resolve()


def test_the_split_is_train_or_the_only_one_or_the_one_asked_for(ten: Path, tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list(json.loads(ten.read_text()))
    datasets.DatasetDict({"test": rows.select([0]), "train": rows.select([1])}).save_to_disk(str(tmp_path / "two"))
    datasets.DatasetDict({"test": rows.select([0])}).save_to_disk(str(tmp_path / "one"))
    assert answers(samples(tmp_path / "two")) == ["A number, 1."]
    assert answers(samples(tmp_path / "two", SourceOptions(split="test"))) == ["A number, 0."]
    assert answers(samples(tmp_path / "one")) == ["A number, 0."]
    assert "one of: test" in refusal(tmp_path / "one", SourceOptions(split="dev"))


def test_a_hub_set_is_streamed_with_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*args: Any, **kwargs: Any) -> Any:
        asked.append((args, kwargs))
        return datasets.IterableDatasetDict({"train": datasets.Dataset.from_list([llava(1)]).to_iterable_dataset()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    [sample] = read("owner/name", SourceOptions(dataset_config="small", dataset_revision="abc"))
    assert isinstance(sample, Sample)
    assert sample.source == "owner/name"
    assert asked == [(("owner/name", "small"), {"revision": "abc", "streaming": True})]


def test_an_unreachable_hub_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    with pytest.raises(UsageError, match=r"INPUT_NOT_FOUND: owner/name is no file or folder here.*reach the Hub"):
        list(read("owner/name", ALL))
    with pytest.raises(UsageError, match="INPUT_NOT_FOUND"):
        fingerprint("owner/name", ALL)


# --- bad inputs: files ----------------------------------------------------------------------------------------------


def test_a_missing_input_is_named_with_the_closest_name(ten: Path) -> None:
    message = refusal(ten.with_name("tne.json"))
    assert message.startswith("INPUT_NOT_FOUND")
    assert "is it" in message
    assert "ten.json" in message


def test_a_folder_without_data_is_not_found(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("INPUT_NOT_FOUND")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_input_without_read_permission_is_unreadable(ten: Path) -> None:
    ten.chmod(0)
    assert refusal(ten).startswith("INPUT_UNREADABLE")


def test_an_input_that_cannot_be_opened_is_unreadable(ten: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(ten).startswith("INPUT_UNREADABLE")
    assert str(ten) in refusal(ten)
    with pytest.raises(UsageError, match="INPUT_UNREADABLE"):
        fingerprint(str(ten), ALL)


def test_a_pipe_as_input_is_refused_without_hanging(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe").startswith("INPUT_UNREADABLE")


@pytest.mark.parametrize("content", [b"", b"[]", b" \n[ ]\n", b"\n\n", b"\xef\xbb\xbf"])
def test_an_input_without_rows_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert refusal(tmp_path / "a.json").startswith("INPUT_EMPTY")


def test_a_parquet_file_of_no_rows_is_empty(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert refusal(tmp_path / "a.parquet").startswith("INPUT_EMPTY")


def test_an_unknown_schema_names_what_was_found_and_what_is_expected(tmp_path: Path) -> None:
    rows = [{"caption": "x", "photo": "y"}] * 60
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("a.parquet", "a.jsonl"):
        message = refusal(tmp_path / name)
        assert message.startswith("SCHEMA: none of the 60 rows")
        assert "caption, photo" in message
        assert "conversations, messages" in message


def test_columns_of_the_wrong_type_are_a_schema_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": ["a.jpg"], "conversations": [17]}), tmp_path / "a.parquet")
    assert "conversations should be a list of messages, found int" in refusal(tmp_path / "a.parquet")


def test_one_good_row_makes_bad_ones_mere_rows(tmp_path: Path) -> None:
    rows = [{"caption": "x"}, llava(1), *[{"caption": "x"}] * 60]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert answers(read(str(tmp_path / "a.jsonl"), ALL)).count("ROW_SHAPE") == 61


def test_an_input_that_changes_while_it_is_read_is_noticed(ten: Path) -> None:
    stream = read(str(ten), ALL)
    next(stream)
    os.utime(ten, ns=(1, 1))
    with pytest.raises(UsageError, match="INPUT_CHANGED"):
        list(stream)


# --- order, subsets, counts -----------------------------------------------------------------------------------------


def test_limit_takes_the_first_outcomes_and_reads_no_further(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" + ",".join(json.dumps(llava(number)) for number in range(3)) + ", broken")
    assert answers(read(str(tmp_path / "a.json"), SourceOptions(limit=3))) == [f"A number, {n}." for n in range(3)]


def test_a_sample_is_seeded_and_keeps_the_order_of_the_source(ten: Path) -> None:
    everything = [sample.id for sample in samples(ten)]
    drawn = [sample.id for sample in samples(ten, SourceOptions(sample=4, seed=1))]
    assert len(set(drawn)) == 4
    assert drawn == [id for id in everything if id in drawn]
    assert drawn == [sample.id for sample in samples(ten, SourceOptions(sample=4, seed=1))]
    assert drawn[:2] == [sample.id for sample in samples(ten, SourceOptions(sample=4, seed=1, limit=2))]
    assert len({tuple(s.id for s in samples(ten, SourceOptions(sample=4, seed=seed))) for seed in range(20)}) > 10
    assert [sample.id for sample in samples(ten, SourceOptions(sample=99))] == everything


def test_a_sample_is_uniform(ten: Path) -> None:
    drawn = [sample.source_id for seed in range(300) for sample in samples(ten, SourceOptions(sample=3, seed=seed))]
    counts = [drawn.count(f"{number:012}") for number in range(10)]
    assert sum(counts) == 900
    assert all(60 < count < 120 for count in counts), counts  # mean 90, standard deviation 8


def test_a_sample_does_not_depend_on_where_rows_stand(ten: Path, tmp_path: Path) -> None:
    (tmp_path / "turned.json").write_text(json.dumps(json.loads(ten.read_text())[::-1]))
    options = SourceOptions(sample=4, seed=1)
    assert {s.id for s in samples(tmp_path / "turned.json", options)} == {s.id for s in samples(ten, options)}


def test_an_exact_repetition_is_dropped_and_a_repeated_id_is_not(tmp_path: Path) -> None:
    rows = [llava(1), {**llava(2), "id": llava(1)["id"]}, llava(1)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    assert answers(read(str(tmp_path / "a.json"), ALL)) == ["A number, 1.", "A number, 2.", "DUPLICATE"]


def test_rows_without_an_id_are_named_by_place_but_identified_by_content(tmp_path: Path) -> None:
    rows = [{**llava(number), "id": None} for number in (1, 2)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps(rows[::-1]))
    first, second = samples(tmp_path / "a.json"), samples(tmp_path / "b.json")
    assert [sample.source_id for sample in first] == ["row 1", "row 2"]
    assert [sample.id for sample in first] == [sample.id for sample in second][::-1]


def test_every_row_gives_an_outcome_and_only_samples_are_drawn(tmp_path: Path) -> None:
    two = llava(1)
    two["conversations"] += [{"from": "human", "value": "And?"}, {"from": "gpt", "value": "That is all."}]
    text_only = {key: value for key, value in llava(3).items() if key != "image"}
    text_only["conversations"][0]["value"] = "Write a poem."
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, [two, text_only, text_only, llava(4)])) + "\n{")
    found = list(read(str(path), ALL))
    assert [type(outcome).__name__ for outcome in found] == [
        "Sample",
        "Sample",
        "Dropped",
        "Dropped",
        "Sample",
        "Dropped",
    ]
    assert [outcome for outcome in found if isinstance(outcome, Sample)] == samples(
        path, SourceOptions(sample=3, seed=5)
    )
    assert len(list(read(str(path), SourceOptions(sample=99)))) == 3


def test_the_fingerprint_changes_with_content_and_names_only(ten: Path, tmp_path: Path) -> None:
    before = fingerprint(str(ten), ALL)
    os.utime(ten, ns=(1, 1))
    assert fingerprint(str(ten), ALL) == before
    ten.write_text(ten.read_text() + " ")
    assert fingerprint(str(ten), ALL) != before
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    seen = [fingerprint(str(folder), ALL)]
    (folder / ".hidden").write_text("log")
    assert fingerprint(str(folder), ALL) == seen[0]
    for change in (lambda: (folder / "a").rename(folder / "b"), lambda: (folder / "b").write_text("2")):
        change()
        seen.append(fingerprint(str(folder), ALL))
    assert len(set(seen)) == 3


def test_the_fingerprint_of_a_hub_set_is_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Builder:
        hash = "0123abcd"

    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: Builder())
    assert fingerprint("owner/name", ALL) == "hub:0123abcd"


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"sample": -1}])
def test_senseless_counts_are_refused_with_the_value(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(wrong.values()))} must be at least 1"):
        SourceOptions(**wrong)  # type: ignore[arg-type]


def test_images_are_looked_for_beside_the_input_unless_a_root_is_given(ten: Path, tmp_path: Path) -> None:
    assert ALL.root(str(ten)).folders == (tmp_path, tmp_path / "images")
    assert ALL.root("owner/name").folders == ()
    assert SourceOptions(image_root=(str(tmp_path),)).root(str(ten)).folders == (tmp_path,)
    with pytest.raises(UsageError, match="is no folder, zip or tar"):
        SourceOptions(image_root=(str(ten),)).root(str(ten))


def test_importing_the_readers_does_not_import_datasets() -> None:
    source = Path(reading.__file__).parent
    for file in source.glob("*.py"):
        assert not any(line.startswith(("import datasets", "from datasets")) for line in file.read_text().splitlines())
