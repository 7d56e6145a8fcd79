"""Time and memory of the commands that work on finished runs, on a large set.

    python examples/benchmarks/data.py /tmp/data-benchmark --rows 100000

The set is made once: answers of the fake engine about the scenes' 500 pictures of 144 x 144 pixels. Each command is a
process of its own; CPU is what it used (user and system), memory its largest resident size. The server is asked over
HTTP, as a browser would.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

SCENES = Path(__file__).parent.parent / "scenes"
PREFGEN = [sys.executable, "-m", "prefgen"]
PAGES = {
    "a page of 20 rows": {"start": "0"},
    "a page in the middle": {"start": "50000"},
    "sorted by similarity": {"sort": "similarity"},
    "filtered by flag": {"flag": "truncated"},
    "searched for a word": {"search": "purple"},
}


def write_input(path: Path, rows: int) -> None:
    """JSON Lines of at least so many answers: the scenes' conversations over and over, their questions numbered."""
    given = itertools.cycle(json.loads((SCENES / "llava_instruct.json").read_bytes()))
    turns = 0
    with path.open("w") as file:
        while turns < rows:
            row = dict(next(given))
            row["id"] = f"{row['id']}-{turns}"
            # Told apart, or they would be dropped as duplicates.
            row["conversations"] = [
                {**said, "value": f"{said['value']} ({turns})"} if said["from"] == "human" else said
                for said in row["conversations"]
            ]
            turns += len(row["conversations"]) // 2
            file.write(json.dumps(row) + "\n")


def make(folder: Path, rows: int) -> Path:
    """The finished run `folder`/rows."""
    write_input(folder / "input.jsonl", rows)
    command = ["bdhs", "-i", folder / "input.jsonl", "-m", "fake", "--engine", "fake", "--limit", str(rows)]
    settings = ["--image-root", SCENES / "images", "--no-guidance", "--shard-size", "10000", "--quiet"]
    subprocess.run([*PREFGEN, *command, *settings, "-o", folder / "rows"], check=True, stdout=subprocess.DEVNULL)
    return folder / "rows"


def measured(*arguments: str | Path) -> str:
    """A command's row of the table, without its name."""
    started = time.monotonic()
    process = subprocess.Popen([*PREFGEN, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments} ended with {process.returncode}")
    seconds = time.monotonic() - started
    return f"{seconds:.1f} s | {usage.ru_utime + usage.ru_stime:.1f} s | {usage.ru_maxrss / 1024:,.0f} MB"


def serve(run: Path) -> None:
    """Rows of the table for the server: until it answers, and pages of it."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*PREFGEN, "view", str(run)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    urllib.request.urlopen(url).read()
    lines = [f"| `view`, until the page is there | {time.monotonic() - started:.1f} s | "]
    for name, asked in PAGES.items():
        started = time.monotonic()
        urllib.request.urlopen(f"{url}rows?{urllib.parse.urlencode(asked)}").read()
        lines.append(f"| `view`, {name} | {time.monotonic() - started:.2f} s | ")
    process.terminate()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    print(f"{lines[0]}{usage.ru_utime + usage.ru_stime:.1f} s in all | {usage.ru_maxrss / 1024:,.0f} MB |")
    print("\n".join(f"{line}| |" for line in lines[1:]), flush=True)


def main() -> None:
    """Make the set if it is not there, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    run = options.folder / "rows"
    if not (run / ".prefgen" / "manifest.sha256").exists():
        make(options.folder, options.rows)
    print("| command | time | CPU | memory |\n| --- | --- | --- | --- |")
    print(f"| `lint` | {measured('lint', run, '--json')} |", flush=True)
    print(f"| `view --static` | {measured('view', run, '--static', options.folder / 'page.html')} |", flush=True)
    serve(run)
    for name, arguments in {
        "`mix` with itself, half of each": ("mix", f"{run}:0.5", f"{run}:0.5", "--seed", "1"),
        "`dedup --near`": ("dedup", run, "--near"),
    }.items():
        output = options.folder / time.strftime("out-%H%M%S")
        print(f"| {name} | {measured(*arguments, '-o', output)} |", flush=True)


if __name__ == "__main__":
    main()
