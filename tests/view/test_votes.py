from __future__ import annotations

import csv
from pathlib import Path

import pytest

from prefgen.errors import EnvironmentFault, UsageError
from prefgen.view.votes import HEADER, Votes, harmless


def test_votes_are_kept_and_the_last_one_counts(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "state" / "votes.csv")
    assert votes.current() == {}
    votes.add("a", "row 1", "good", blind=False, rejected_first=False)
    votes.add("b", "row 2", "tie", blind=True, rejected_first=True)
    Votes(votes.path).add("a", "row 1", "bad", blind=False, rejected_first=False)
    assert votes.current() == {"a": "bad", "b": "tie"}
    rows = list(csv.reader(votes.path.read_text().splitlines()))
    assert rows[0] == HEADER
    assert rows[2][:5] == ["b", "row 2", "tie", "yes", "rejected first"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_no_cell_is_a_formula(tmp_path: Path, start: str) -> None:
    votes = Votes(tmp_path / "votes.csv")
    votes.add("a", f'{start}HYPERLINK("x")\n,', "good", blind=False, rejected_first=False)
    assert f"'{start}HYPERLINK" in votes.path.read_bytes().decode()
    assert harmless("plain = text") == "plain = text"


@pytest.mark.parametrize("cut", [1, 3, 20, 45])
def test_a_vote_that_was_cut_off_costs_no_other(tmp_path: Path, cut: int) -> None:
    votes = Votes(tmp_path / "votes.csv")
    votes.add("a", "row 1", "good", blind=False, rejected_first=False)
    votes.add("b", 'a "quoted, row', "bad", blind=False, rejected_first=False)
    votes.path.write_bytes(votes.path.read_bytes()[:-cut])
    assert votes.current() == {"a": "good"}
    votes.add("c", "row\n3", "tie", blind=False, rejected_first=False)
    assert votes.current() == {"a": "good", "c": "tie"}
    assert len(votes.path.read_text().splitlines()) == 3


def test_a_cut_header_is_written_again_and_a_foreign_file_left_alone(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes.csv")
    votes.path.write_text("id,sour")
    assert votes.current() == {}
    votes.add("a", "row", "good", blind=False, rejected_first=False)
    assert votes.current() == {"a": "good"}
    votes.path.write_text("my notes")
    with pytest.raises(UsageError, match="move it away"):
        votes.add("a", "row", "good", blind=False, rejected_first=False)
    assert votes.path.read_text() == "my notes"


def test_rows_that_are_no_votes_are_not_counted(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes.csv")
    votes.add("a", "row 1", "good", blind=False, rejected_first=False)
    with votes.path.open("ab") as file:
        file.write(b"b,row,go\r\nc,row,great,no,x,y\r\n\xff\xfe,row,bad,no,x,y\r\n")
    assert votes.current() == {"a": "good", "\ufffd\ufffd": "bad"}


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vote '=1' is unknown"):
        Votes(tmp_path / "votes.csv").add("a", "b", "=1", blind=False, rejected_first=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot write votes"):
        Votes(tmp_path / "file" / "votes.csv").add("a", "b", "good", blind=False, rejected_first=False)
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match="move it away"):
        Votes(tmp_path / "other.csv").current()
