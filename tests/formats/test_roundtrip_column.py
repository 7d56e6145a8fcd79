from __future__ import annotations

import json

import pytest

from prefgen.errors import RowError
from prefgen.formats.roundtrip_column import Carried
from prefgen.rundir import schema
from tests.handmade import PROVENANCE, pair, sample

CARRIED = Carried(
    "a.json", "7", 1, "mit", "bdhs", "attn", ["similar"], {"rho": 0.5}, {"extra": [1, None]}, [{"sha256": "ab"}]
)


def test_it_comes_back() -> None:
    assert Carried.from_json(CARRIED.to_json()) == CARRIED


def test_what_a_row_carries() -> None:
    made = pair(sample=sample(5, licence="mit", meta={"extra": 1}), flags=("similar",))
    (row,) = schema.to_table([made], PROVENANCE).to_pylist()
    carried = Carried.of_row(row)
    assert (carried.source, carried.source_id, carried.licence) == ("rows.json", "5", "mit")
    assert (carried.method, carried.variant, carried.flags) == ("bdhs", "attn", ["similar"])
    assert carried.params == {"rho": 0.99, "rejected_model": "tiny/model"}
    assert carried.meta == {"extra": 1}
    assert [image["path"] for image in carried.images] == ["folder/cat.png"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '"x"',
        json.dumps({**vars(CARRIED), "turn": "1"}),
        json.dumps({**vars(CARRIED), "flags": [1]}),
        json.dumps({**vars(CARRIED), "other": 1}),
        json.dumps({**vars(CARRIED), "images": [{"path": "a.png"}]}),
        json.dumps({**vars(CARRIED), "images": [{"sha256": 1}]}),
        7,
    ],
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(RowError, match="ROW_SHAPE"):
        Carried.from_json(text)
