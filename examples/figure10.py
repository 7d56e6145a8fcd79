"""Figure 10 of the paper on the scenes: the share of non-similar answers after each iteration.

    python examples/figure10.py --output /tmp/figure10 --limit 200

Runs `prefgen tune bdhs` over ρ and over N and prints both tables in Markdown; the plots are in the output folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCENES = Path(__file__).parent / "scenes"
TUNED = {"rho": ("attn", "0,0.5,0.9,0.99,1"), "noise-steps": ("noise", "100,300,500")}


def trials(option: str, values: str, plot: Path, limit: int) -> list[dict[str, Any]]:
    """The figures of each value."""
    command = [
        sys.executable,
        "-m",
        "prefgen",
        "tune",
        "bdhs",
        "--input",
        str(SCENES / "llava_instruct.json"),
        "--json",
    ]
    command += ["--model", str(SCENES / "model"), "--similarity-model", "minilm", "--limit", str(limit)]
    command += [f"--{option}", values, "--output", str(plot)]
    found: list[dict[str, Any]] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    )["trials"]
    return found


def main() -> None:
    """Tune both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    print("| setting | visible tokens | iteration 1 | 2 | 3 | 4 | 5 |\n| --- | --- | --- | --- | --- | --- | --- |")
    for option, (variant, values) in TUNED.items():
        for trial in trials(option, values, arguments.output / f"{option}.svg", arguments.limit):
            shares = " | ".join(f"{share:.1%}" for share in trial["non_similar"])
            print(f"| {variant}, {trial['setting']} | {trial['kept_tokens']:.1f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
