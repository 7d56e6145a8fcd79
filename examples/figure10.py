"""Figure 10 of the paper on the scenes: the share of non-similar answers after each iteration.

    python examples/figure10.py --output /tmp/figure10

Runs `prefgen bdhs` once per setting and prints the table in Markdown. A finished setting is not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

SCENES = Path(__file__).parent / "scenes"
SETTINGS = {
    **{f"attn, ρ = {rho:g}": ["--variant", "attn", "--rho", str(rho)] for rho in (0.0, 0.5, 0.9, 0.99, 1.0)},
    **{f"noise, N = {n}": ["--variant", "noise", "--noise-steps", str(n)] for n in (100, 300, 500)},
}


def figures(options: list[str], output: Path, limit: int | None) -> dict[str, object]:
    """Run one setting; the figures that the command prints."""
    command = [sys.executable, "-m", "prefgen", "bdhs", "--input", str(SCENES / "llava_instruct.json")]
    command += ["--model", str(SCENES / "model"), "--similarity-model", "minilm", "--output", str(output), "--json"]
    command += ["--limit", str(limit)] if limit else []
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def main() -> None:
    """Run every setting and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    lines = []
    for number, (name, options) in enumerate(SETTINGS.items()):
        made = figures(options, arguments.output / f"{number}", arguments.limit)
        shares = made["non_similar"]
        assert isinstance(shares, list)
        lines.append(f"| {name} | {made['kept_image_tokens']:.1f} | " + " | ".join(f"{s:.1%}" for s in shares) + " |")
    print("| setting | visible tokens | iteration 1 | 2 | 3 | 4 | 5 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
