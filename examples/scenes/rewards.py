"""Table 7 and the RL of table 8 on the scenes: reward models across sets, and what RLOO does to reward and recall.

    python examples/scenes/rewards.py --output DIR

Three sets of pairs over captions of the biased world (BDHS at ρ = 0.9, the rule-made corruption, POVID's distortion), a
reward model of each and one of all, and a policy trained by DPO, each with a quarter of the pictures held out, by the
same draw. Then 50 steps of RLOO by the scenes' own reward, and captions of held-out scenes before and after. Writes
``rewards.json``; the same command continues where it was stopped. About ten minutes of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from prove import BASE_MODEL, ROWS, Run
from transformers import AutoModelForImageTextToText, AutoProcessor

from prefgen.engines.base import EngineConfig
from prefgen.evaluate import rewards
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, heldout
from prefgen.evaluate.scenes.measure import CAPTION_TOKENS, responder
from prefgen.evaluate.scenes.metrics import Tally

SETS = ("bdhs-0.9", "rule", "povid")
MEASURED = 150  # held-out scenes
SHOWN = ("chair_i", "chair_s", "object_recall", "partner_hallucination", "caption_words")
LORA = ("--lora-r", "16", "--lora-alpha", "32", "--projector-lr", "0", "--no-gradient-checkpointing")
PAIRS = ("--batch-size", "8", "--grad-accum", "1", "--validation", "0.25", "--eval-steps", "1000", "--save", "adapter")
RM = (*LORA, *PAIRS, "--max-steps", "30", "--lr", "1e-3")
DPO = (*LORA, *PAIRS, "--max-steps", "20", "--lr", "3e-4")
RLOO = (
    *(*LORA, "--reward", "scenes", "--max-steps", "50", "--batch-size", "6", "--grad-accum", "1"),
    *("--online-arg", "max_new_tokens=80"),
)


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


def captions(model: Path) -> dict[str, float]:
    """Figures of a model's captions of held-out scenes."""
    network = AutoModelForImageTextToText.from_pretrained(model).eval()
    items = heldout(MEASURED)
    asked = [CAPTION_QUESTION] * len(items)
    ask = responder(network, AutoProcessor.from_pretrained(model))
    tally = Tally(len(items))
    for number, text in enumerate(ask([item.picture() for item in items], asked, CAPTION_TOKENS)):
        tally.add_caption(number, text, {thing.shape: thing.colour for thing in items[number].scene.things})
    found = tally.intervals()
    return {name: round(found[name].value, 4) for name in SHOWN}


def rloo(run: Run) -> dict[str, Any]:
    """Rewards by step, and captions before and after."""
    rows = run.rows(0, ROWS)
    where = (str(rows), "--image-root", str(rows.parent / "images"), "--model", str(BASE_MODEL))
    model = run.prefgen(run.output / "rloo", "train", "rloo", *where, *RLOO)
    lines = [json.loads(line) for line in (model / "training" / "metrics.jsonl").read_text().splitlines()]
    steps = [entry for entry in lines if "reward" in entry]
    names = ("reward", "kl", "entropy", "completions/mean_length", "alike")
    return {
        "first 10 steps": {name: round(fmean(entry[name] for entry in steps[:10]), 4) for name in names},
        "last 10 steps": {name: round(fmean(entry[name] for entry in steps[-10:]), 4) for name in names},
        "before": captions(BASE_MODEL),
        "after": captions(model),
    }


def main() -> None:
    """Make all that is not made, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    run = Run(output)
    found = {"rloo": rloo(run), "matrix": matrix(run), "seconds": round(time.process_time() - start)}
    (output / "rewards.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
