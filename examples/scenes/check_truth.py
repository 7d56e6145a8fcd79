"""Precision of what checks answers, against the truth of the scenes: claims, `verify-claims`, `sentences` and `revise`.

    python examples/scenes/check_truth.py --output DIR --limit 200

Runs the commands on captions of `llava_instruct.json` with the scenes' model, as a user would, and compares claims and
pairs with the scene of each picture. Claims are split by a server of one question for each thing, or by the rule for
sentences; `revise` is asked of a judge that knows the truth (`scene_revise.py`). Prints tables and writes
``check_truth.json`` into DIR; a finished run is not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import scene_judges
import scene_revise
from scene_corrupt import Sections, serving
from scene_paired import auc
from scenes import instruct_scene

from prefgen.evaluate.scenes.export import write_rows
from prefgen.evaluate.scenes.language import DETAIL_QUESTIONS
from prefgen.rundir.layout import Layout
from prefgen.text import split_sentences

HERE = Path(__file__).parent
MODEL = ("--device", "cpu", "--engine", "transformers")
OBJECTS = ("--objects", str(HERE / "instances.json"), "--words", str(HERE / "words.txt"))
PRESENCE = ("--claims-from", "api", "--claim-suffix", "")
BY_RULE = ("--claims-from", "sentences", "--claim-suffix", "")
JUDGE_PORT = 8771  # the same in every call, so that a run that was stopped goes on with it


def captions(folder: Path, limit: int) -> Path:
    """The first rows whose first answer is a caption."""
    rows = json.loads((HERE / "llava_instruct.json").read_text(encoding="utf-8"))
    kept = [row for row in rows if _question(row) in DETAIL_QUESTIONS][:limit]
    write_rows(folder / "captions.json", kept)
    return folder / "captions.json"


def _question(row: dict[str, Any]) -> str:
    return str(row["conversations"][0]["value"].replace("<image>", "").strip())


def prefgen(out: Path, *words: str, judge: Callable[[Sections], str] | None = None) -> Path:
    """Make a run; its folder."""
    if not Layout(out).manifest_digest.exists():
        with serving(JUDGE_PORT, judge or scene_judges.claims) as url:
            asked = ("--judge", "rules", "--judge-url", url) if judge else ()
            subprocess.run([sys.executable, "-m", "prefgen", *words, *asked, "--quiet", "-o", str(out)], check=False)
    return out


def rows(out: Path) -> list[dict[str, Any]]:
    """Rows with their texts, scene and meta."""
    columns = ["id", "source_id", "chosen_response", "rejected_response", "meta", "method"]
    found: list[dict[str, Any]] = pq.read_table(out / "data", columns=columns).to_pylist()
    return [{**row, "scene": instruct_scene(int(row["source_id"])), "meta": json.loads(row["meta"])} for row in found]


def wrong(row: dict[str, Any], side: str) -> list[str]:
    """Kinds of errors in an answer."""
    sentences = split_sentences(row[f"{side}_response"])
    return [kind for sentence in sentences for kind in scene_revise.errors(sentence.body, row["scene"])]


def measure_claims(out: Path) -> dict[str, Any]:
    """Claims of a run of `rank --by claims` against the truth, and which of its answers are better by it."""
    claims: list[tuple[float, bool]] = []
    order = {"fewer": 0, "as many": 0, "more": 0}
    for row in rows(out):
        found = row["meta"]["record"]["claims"]
        told = {
            side: [(_holds(one), not scene_revise.errors(one["text"], row["scene"])) for one in found[side]]
            for side in found
        }
        claims += [claim for side in told.values() for claim in side]
        false = {side: sum(not true for _, true in told[side]) for side in told}
        order[
            "fewer"
            if false["chosen"] < false["rejected"]
            else "more"
            if false["chosen"] > false["rejected"]
            else "as many"
        ] += 1
    rejected, held = [true for p, true in claims if p < 0.5], [true for p, true in claims if p >= 0.5]
    return {
        "pairs": sum(order.values()),
        "chosen has false claims": order,
        "claims": len(claims),
        "false": sum(not true for _, true in claims),
        "rejected": len(rejected),
        "rejected and false": rejected.count(False),
        "held": len(held),
        "held and true": held.count(True),
        "auc": round(auc(*(np.array([p for p, true in claims if true == wanted]) for wanted in (True, False))), 3),
    }


def _holds(claim: dict[str, Any]) -> float:
    return float(claim["p_yes"] if claim["expects"] == "yes" else 1 - claim["p_yes"])


def measure_pairs(out: Path) -> dict[str, Any]:
    """Truth of both answers of pairs, by all that their sentences say and by the things that they name."""
    found = [{side: wrong(row, side) for side in ("chosen", "rejected")} for row in rows(out)]
    return {
        "pairs": len(found),
        "chosen true": sum(not each["chosen"] for each in found),
        "rejected false": sum(bool(each["rejected"]) for each in found),
        "both": sum(not each["chosen"] and bool(each["rejected"]) for each in found),
        "rejected invents a thing, chosen does not": sum(
            "object" in each["rejected"] and "object" not in each["chosen"] for each in found
        ),
    }


def measure_sentences(out: Path) -> dict[str, Any]:
    """Truth of the two sentences of pairs."""
    found = []
    for row in rows(out):
        at = row["meta"]["record"]["context_chars"]
        sides = (row["chosen_response"][at:], row["rejected_response"][at:])
        found.append([bool(scene_revise.errors(text, row["scene"])) for text in sides])
    return {
        "pairs": len(found),
        "chosen true": sum(not chosen for chosen, _ in found),
        "rejected false": sum(rejected for _, rejected in found),
    }


def measure_revise(out: Path) -> dict[str, Any]:
    """Truth of pairs, what became of the other rows, and how much of an answer was repaired."""
    table = pq.read_table(out / "data", columns=["spans", "rejected_chars", "flags"]).to_pylist()
    shares = [sum(span["end"] - span["start"] for span in row["spans"]) / row["rejected_chars"] for row in table]
    dropped = [row["reason"] for row in Layout(out).read_dropped()]
    flags = [flag for row in table for flag in row["flags"]]
    return {
        **measure_pairs(out),
        "dropped": {reason: dropped.count(reason) for reason in sorted({*dropped})},
        "kinds": {flag: flags.count(flag) for flag in sorted({*flags})},
        "share of the answer that was repaired": round(fmean(shares), 3),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=200, help="captions")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    source = ("-i", str(captions(given.output, given.limit)), "--image-root", str(HERE / "images"), "--turns", "first")
    policy = ("-m", str(HERE / "model"), *MODEL)
    found: dict[str, Any] = {"captions": given.limit}
    for name, split in (("by thing", PRESENCE), ("by sentence", BY_RULE)):
        options = ("--by", "claims", "-k", "4", "--max-new-tokens", "128", *split)
        out = prefgen(given.output / f"rank {name}", "rank", *source, *policy, *options, judge=scene_judges.claims)
        found[f"rank --by claims, {name}"] = measure_claims(out)
    unsure = given.output / "rank by sentence"
    found["pairs of rank --by claims, by sentence"] = measure_pairs(unsure)
    checker = ("--annotator", str(HERE / "model"), *MODEL, *PRESENCE)
    out = prefgen(given.output / "verified", "verify-claims", str(unsure), *checker, judge=scene_judges.claims)
    found["of these after verify-claims, by thing"] = measure_pairs(out)
    sentences = prefgen(given.output / "sentences", "sentences", *source, *policy, *OBJECTS)
    found["sentences --check objects"] = measure_sentences(sentences)
    revised = prefgen(given.output / "revised", "revise", *source, *policy, judge=scene_revise.reply)
    found["revise"] = measure_revise(revised)
    for name, figures in found.items():
        print(f"{name}: {figures}")
    (given.output / "check_truth.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
