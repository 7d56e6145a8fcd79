"""Methods that need SFT data alone, side by side on the scenes: what the known truth tells about their pairs.

    python examples/compare_methods.py --output /tmp/methods --limit 80

It goes on where it stopped. Training on the pairs of each method is compared by scenes/prove.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SCENES = Path(__file__).parent / "scenes"
sys.path.insert(0, str(SCENES))

from scenes import instruct_scene  # noqa: E402  # the scenes are scripts, no package

import prefgen  # noqa: E402
from prefgen.engines import build  # noqa: E402
from prefgen.evaluate.compare import compare  # noqa: E402
from prefgen.evaluate.scenes.claims import claims_of, kinds_in, read  # noqa: E402
from prefgen.evaluate.scenes.metrics import yes_or_no  # noqa: E402
from prefgen.methods import BASELINES  # noqa: E402
from prefgen.requests import Score  # noqa: E402

MODEL = prefgen.EngineConfig(str(SCENES / "model"), similarity_model="minilm")
METHODS: dict[str, prefgen.methods.base.Method] = {
    "bdhs-attn": prefgen.BDHS(),
    "bdhs-noise": prefgen.BDHS(variant="noise", noise_space="encoder"),
    "povid": prefgen.Povid(noise_space="encoder"),
    **{name: method() for name, method in BASELINES.items()},
}
TRUTHS = {
    "object": "names a thing that the chosen answer does not and the scene does not have",
    "colour": "gives a thing of the scene a colour that it does not have",
    "yes/no": "turns yes into no or no into yes",
}
_COLUMNS = ["source_id", "chosen_response", "rejected_response"]


def run(name: str, output: Path, limit: int) -> Path:
    """Run one method."""
    source = prefgen.SourceOptions(limit=limit)
    rows = str(SCENES / "llava_instruct.json")
    made = prefgen.build(
        METHODS[name], input=rows, model=MODEL, source=source, output=output / name, reporter=prefgen.Silent()
    )
    return made.path


def truths(out: Path) -> dict[str, float]:
    """Share of a run's pairs whose rejected answer is false in each of the ways of `TRUTHS`."""
    found = [list(_false(row)) for row in pq.read_table(out / "data", columns=_COLUMNS).to_pylist()]
    return {kind: sum(kind in kinds for kinds in found) / len(found) for kind in TRUTHS}


def _false(row: dict[str, Any]) -> Iterator[str]:
    chosen, rejected = row["chosen_response"], row["rejected_response"]
    scene = instruct_scene(int(row["source_id"]))
    if kinds_in(rejected) - kinds_in(chosen) - scene.kinds:
        yield "object"
    if any(c.attribute == "colour" and c.subject in scene.kinds for c in read(rejected) - claims_of(scene)):
        yield "colour"
    if {yes_or_no(chosen), yes_or_no(rejected)} == {"yes", "no"}:
        yield "yes/no"


def compare_pairs(output: Path, limit: int) -> None:
    """Run every method of `METHODS` and print the table."""
    outs = [run(name, output, limit) for name in METHODS]
    compared = compare(outs, build.build(MODEL, (Score,))[Score])
    print(f"| run | pairs | non-similar | edited | length | log-prob | {' | '.join(TRUTHS)} | tokens | seconds |")
    print(f"| --- |{' --- |' * (7 + len(TRUTHS))}")
    for one, out in zip(compared.runs, outs, strict=True):
        cells = [one.run, f"{one.pairs} of {one.planned}", f"{one.non_similar:.1%}"]
        cells += [f"{one.edit_share:.0%}", f"{one.length_ratio:.2f}", f"{one.fluency:.2f}"]
        cells += [f"{share:.0%}" for share in truths(out).values()]
        cells += [f"{one.tokens:.1f}", f"{one.seconds:.2f}"]
        print(f"| {' | '.join(cells)} |")
    print(f"\n{compared.samples} samples in common, log-prob of their chosen answers {compared.chosen_fluency:.2f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=80, help="number of rows")
    arguments = parser.parse_args()
    compare_pairs(arguments.output, arguments.limit)


if __name__ == "__main__":
    main()
