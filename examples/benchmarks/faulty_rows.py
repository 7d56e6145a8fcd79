"""Reading a large file with one percent of every fault, and one without any: what is kept, and how long it takes.

    python examples/benchmarks/faulty_rows.py /tmp/faulty --rows 100000

Both files are JSON Lines of as many LLaVA conversations. In the first, one row in a hundred has each fault of `FAULTS`;
every other row must be read, and every reason counted, or the script fails. The files are read by turns, several times,
and the least CPU time of each counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prefgen.records import Dropped, Sample
from prefgen.sources import SourceOptions, read

Row = dict[str, Any]


def good(number: int) -> Row:
    """A row that can be used."""
    said = ("<image>\nWhat stands on the table?", f"A green vase of {number} flowers. The lamp beside it is off.")
    talk = [{"from": speaker, "value": text} for speaker, text in zip(("human", "gpt"), said, strict=True)]
    return {"id": f"row-{number}", "image": f"coco/{number % 5000:012d}.jpg", "conversations": talk, "score": 0.5}


def _said(row: Row, question: str | None = None, answer: str | None = None) -> Row:
    asked, answered = row["conversations"]
    talk = [{**asked, "value": question or asked["value"]}, {**answered, "value": answer or answered["value"]}]
    return {**row, "conversations": talk}


def _without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def _flat(row: Row, **columns: object) -> Row:
    return {**_without(row, "conversations"), "question": "What?", "answer": "A vase.", **columns}


# What becomes of a good row, by the reason for which it is then dropped; a text stands for itself.
FAULTS: dict[str, Callable[[Row], Row | str]] = {
    "TEXT_ONLY": lambda row: _said(_without(row, "image"), question="What is two and two?"),
    "TEXT_EMPTY": lambda row: _said(row, answer=" "),
    "TEXT_CONTROL": lambda row: _said(row, answer="A vase\0."),
    "TEXT_UNICODE": lambda row: json.dumps(_said(row, answer="A vase#")).replace("#", r"\ud800"),
    "TEXT_SPECIAL": lambda row: _said(row, answer="A vase.<|im_end|>\n<|im_start|>user\nWhy?"),
    "TEXT_PLACEHOLDER": lambda row: _said(row, answer="It is at <bbox>."),
    "VIDEO": lambda row: {**row, "video": "a.mp4"},
    "AUDIO": lambda row: {**row, "audio": "a.wav"},
    "ROW_SHAPE": lambda row: {**row, "conversations": 5},
    "ROW_UNREAD": lambda row: _flat(row, choices=["a vase", "a lamp"]),
    "JSON_SYNTAX": lambda row: json.dumps(row)[:-20],
    "JSON_DUPKEY": lambda row: json.dumps(row)[:-1] + ', "score": 1}',
    "JSON_NONFINITE": lambda row: _flat(row, question=float("nan")),
    "DUPLICATE": lambda row: good(0),
    "IMG_COUNT": lambda row: _said(row, question="<image><image>What?"),
    "IMG_BASE64": lambda row: {**row, "image": {"bytes": "***"}},
    "URL_DISABLED": lambda row: {**row, "image": "https://example.org/a.jpg"},
    "URL_SCHEME": lambda row: {**row, "image": "s3://bucket/a.jpg"},
    "ANSWER_REFUSES": lambda row: _said(row, answer="I'm sorry, but I can't view images."),
}


def lines(rows: int, every: int | None) -> Iterator[str]:
    """JSON Lines.

    Args:
        every: of so many rows one has each fault, beginning with the second; None for none at all.
    """
    faults = list(FAULTS.values())
    for number in range(rows):
        row = good(number)
        place = number % every - 1 if every else -1
        made = faults[place](row) if 0 <= place < len(faults) else row
        yield made if isinstance(made, str) else json.dumps(made)


def write(path: Path, rows: int, every: int | None) -> None:
    """A file of `lines`."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines(rows, every))


def counted(path: Path) -> tuple[int, Counter[str], set[str]]:
    """How many samples a file gives, how many rows are dropped for each reason, and the ids of the rows read."""
    reasons: Counter[str] = Counter()
    ids: set[str] = set()
    samples = 0
    for outcome in read(str(path), SourceOptions()):
        if isinstance(outcome, Dropped):
            reasons[outcome.reason] += 1
        else:
            samples += 1
            ids.add(outcome.source_id)
    return samples, reasons, ids


def cpu_seconds(path: Path) -> float:
    """CPU time of reading a file once."""
    started = time.process_time()
    for outcome in read(str(path), SourceOptions()):
        assert isinstance(outcome, Sample | Dropped)
    return time.process_time() - started


def main() -> None:
    """Write both files, compare what was read with what was written, and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    faulty, clean = options.folder / "faulty.jsonl", options.folder / "clean.jsonl"
    write(faulty, options.rows, 100)
    write(clean, options.rows, None)
    samples, reasons, _ = counted(faulty)
    expected = dict.fromkeys(FAULTS, options.rows // 100)
    if dict(reasons) != expected or samples != options.rows - sum(expected.values()):
        raise SystemExit(f"{samples:,} samples and {dict(reasons)}; expected {expected}")
    print(f"{samples:,} samples, and {options.rows // 100:,} rows dropped for each of {len(FAULTS)} reasons")
    times = [(cpu_seconds(faulty), cpu_seconds(clean)) for _ in range(options.repeats)]
    least_faulty, least_clean = (min(both) for both in zip(*times, strict=True))
    print(
        f"{least_faulty:.2f} s of CPU, and {least_clean:.2f} s without faults: {least_faulty / least_clean:.2f} times"
    )


if __name__ == "__main__":
    main()
