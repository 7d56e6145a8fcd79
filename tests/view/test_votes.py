from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefgen.errors import EnvironmentFault, UsageError
from prefgen.view.votes import HEADER, Votes, harmless
from tests import faults


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


def test_two_servers_over_one_run_lose_no_vote(tmp_path: Path) -> None:
    servers = [Votes(tmp_path / "votes.csv") for _ in range(4)]

    def vote(server: int) -> None:
        for number in range(25):
            servers[server].add(f"{server}-{number}", "row", "good", blind=False, rejected_first=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(vote, range(4)))
    assert len(servers[0].current()) == 100
    assert len(servers[0].path.read_text().splitlines()) == 101


@pytest.mark.parametrize("fault", ["kill", "full"])
def test_a_vote_is_whole_or_not_there_whatever_befalls_it(fault: faults.Fault, tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes.csv")
    votes.add("a", "row 1", "good", blind=False, rejected_first=False)
    before = votes.path.read_bytes()

    def add() -> int:
        try:
            votes.add("b", "row 2", "bad", blind=False, rejected_first=False)
        except EnvironmentFault as error:
            return int(error.exit_code)
        return 0

    steps = faults.run(add, tmp_path).steps
    assert steps
    for at in range(1, steps + 1):
        votes.path.write_bytes(before)
        broken = faults.run(add, tmp_path, fault, at)
        assert broken.killed if fault == "kill" else broken.value == 8, (at, broken)
        assert votes.current() in ({"a": "good"}, {"a": "good", "b": "bad"}), at
        votes.add("c", "row 3", "tie", blind=False, rejected_first=False)
        assert {**votes.current(), "b": "bad"} == {"a": "good", "b": "bad", "c": "tie"}, at


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
