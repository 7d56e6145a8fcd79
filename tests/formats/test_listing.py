"""The list of formats: every example in it is read, or is what an export writes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from prefgen.errors import UsageError
from prefgen.formats import EXPORTERS, IMPORTERS
from prefgen.formats import listing as formats
from prefgen.records import Dropped, Sample
from prefgen.sources import SourceOptions, read
from prefgen.sources.shapes import SHAPES
from tests.formats.written import picture

DATA = base64.b64encode(picture().data).decode()
KNOWN = formats.formats()


def example_rows(text: str) -> list[Any]:
    """The JSON values of an example, in which ``b"..."`` and ``...`` stand for a picture's bytes."""
    text = re.sub(r'b?"(data:image/jpeg;base64,)?(/9j/)?\.\.\."', lambda found: f'"{found[1] or ""}{DATA}"', text)
    text = text.replace("[...]", f'[{{"bytes": "{DATA}"}}]')
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found += value if isinstance(value, list) else [value]
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: f"{entry.use.split()[0]}-{entry.name}")
def test_every_format_has_a_title_and_an_example(entry: formats.FormatEntry) -> None:
    assert len(entry.title) > 20
    assert example_rows(entry.example)
    assert len(entry.short.splitlines()) == 1
    assert entry.title in entry.text


def test_nothing_of_the_registries_is_missing() -> None:
    listed = {use: {entry.name for entry in KNOWN if entry.use == use} for use in (formats.IMPORTED, formats.WRITTEN)}
    assert listed == {formats.IMPORTED: set(IMPORTERS), formats.WRITTEN: set(EXPORTERS)}
    assert {entry.name for entry in KNOWN if entry.use == formats.READ} == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_sft_examples_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(SHAPES[name].example) + "\n")
    (sample,) = read(str(path), SourceOptions())
    assert isinstance(sample, Sample)
    assert sample.answer
    assert sample.images


@pytest.mark.parametrize("name", sorted(set(IMPORTERS) - {"ha-dpo"}))  # which is an object of pictures
def test_examples_of_importers_have_the_shape_of_the_set(tmp_path: Path, name: str) -> None:
    (entry,) = (entry for entry in KNOWN if entry.name == name and entry.use == formats.IMPORTED)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(example_rows(entry.example)))
    outcomes = list(IMPORTERS[name]()(str(path)))
    # VLFeedback's example shows an answer without a rating
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Dropped)} <= {"ANSWER_UNRATED"}


def test_one_name_may_be_read_and_written() -> None:
    assert [entry.use for entry in formats.named("trl")] == [formats.IMPORTED, formats.WRITTEN]
    assert [entry.use for entry in formats.named("bpo")] == [formats.IMPORTED]


@pytest.mark.parametrize(
    ("name", "near"), [("lama_factory", "llamafactory"), ("MSSWIFT", "ms-swift"), ("rlaifv", "rlaif-v")]
)
def test_unknown_names_suggest_near_ones(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {near}"):
        formats.named(name)
    with pytest.raises(UsageError, match="known: llava"):
        formats.named("zzzzzzzz")
