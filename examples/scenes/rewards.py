"""Table 7 on the scenes: reward models across sets.

    python examples/scenes/rewards.py --output DIR

Three sets of pairs over captions of the biased world (BDHS at ρ = 0.9, the rule-made corruption, POVID's distortion), a
reward model of each and one of all, and a policy trained by DPO, each with a quarter of the pictures held out, by the
same draw. Writes ``rewards.json``; the same command continues where it was stopped. About five minutes of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from prove import BASE_MODEL, Run

from prefgen.engines.base import EngineConfig
from prefgen.evaluate import rewards

SETS = ("bdhs-0.9", "rule", "povid")
LORA = ("--lora-r", "16", "--lora-alpha", "32", "--projector-lr", "0", "--no-gradient-checkpointing")
PAIRS = ("--batch-size", "8", "--grad-accum", "1", "--validation", "0.25", "--eval-steps", "1000", "--save", "adapter")
RM = (*LORA, *PAIRS, "--max-steps", "30", "--lr", "1e-3")
DPO = (*LORA, *PAIRS, "--max-steps", "20", "--lr", "3e-4")


def matrix(run: Run) -> dict[str, Any]:
    """Reward models by sets, with baselines."""
    sets = {name: run.pairs(name, 0) for name in SETS}
    base = ("--model", str(BASE_MODEL))
    models = [
        run.prefgen(run.output / f"rm {name}", "train", "rm", *map(str, given), *base, *RM)
        for name, given in (*((name, [path]) for name, path in sets.items()), ("all", list(sets.values())))
    ]
    dpo = run.prefgen(run.output / "dpo rule", "train", "dpo", str(sets["rule"]), *base, *DPO)
    implicit = [(str(dpo), str(BASE_MODEL))]
    return dataclasses.asdict(rewards.matrix(models, list(sets.values()), implicit, EngineConfig(device="cpu")))


def main() -> None:
    """Make all that is not made, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    run = Run(output)
    found = {"matrix": matrix(run), "seconds": round(time.process_time() - start)}
    (output / "rewards.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
