"""Every method on the scenes, side by side: what the known truth tells about its pairs, and what training on them does.

    python examples/compare_methods.py --output /tmp/methods --limit 80
    python examples/compare_methods.py --output /tmp/trained --trained

The first runs each method that needs SFT data alone on the same rows, compares the runs, and prints a table. With
``--trained`` every method, those on policy too, makes pairs about pictures of the biased training world; all are cut to
the same number of pairs, drawn at random, trained on alike, and the captions of held-out scenes are measured as by
`prefgen eval scenes`. The figures are in ``methods.json`` after every training. Either goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
from transformers import AutoModelForImageTextToText, AutoProcessor

SCENES = Path(__file__).parent / "scenes"
sys.path.insert(0, str(SCENES))

import scene_corrupt  # noqa: E402  # the scenes are scripts, no package
import scene_judges  # noqa: E402
from prove import BASE_MODEL, CAPTIONS, Run  # noqa: E402
from scenes import instruct_scene  # noqa: E402

import prefgen  # noqa: E402
from prefgen.engines import build  # noqa: E402
from prefgen.evaluate.compare import compare  # noqa: E402
from prefgen.evaluate.scenes.claims import claims_of, kinds_in, read  # noqa: E402
from prefgen.evaluate.scenes.export import file_name, instruct_row, write_rows  # noqa: E402
from prefgen.evaluate.scenes.heldout import CAPTION_QUESTION, heldout  # noqa: E402
from prefgen.evaluate.scenes.language import PRESENCE, question  # noqa: E402
from prefgen.evaluate.scenes.measure import CAPTION_TOKENS, as_json, responder  # noqa: E402
from prefgen.evaluate.scenes.metrics import Tally, yes_or_no  # noqa: E402
from prefgen.evaluate.scenes.render import jpeg  # noqa: E402
from prefgen.evaluate.scenes.sample import TRAINING, absent_partners, sample_scene  # noqa: E402
from prefgen.evaluate.scenes.truth import TEXT_STREAM, Scene  # noqa: E402
from prefgen.methods import BASELINES  # noqa: E402
from prefgen.requests import Score  # noqa: E402

MODEL = prefgen.EngineConfig(str(BASE_MODEL), similarity_model="minilm")
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
_COLUMNS = ["source_id", "prompt", "chosen_response", "rejected_response"]


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


SEEDS = (0, 1)  # each changes rows, generation and the order of training
ROWS_SEED = 70_001  # a series of scenes of its own, which neither the model nor `prove.py` has seen
PAIRS = 96
TRAINING_OPTIONS = (
    *("--loss-mask", "spans", "--lr", "1e-4", "--max-steps", "24", "--batch-size", "8", "--grad-accum", "1"),
    *("--no-lora", "--no-gradient-checkpointing"),
)
JUDGE_PORT = 8768  # the same in every call, so that a run that was stopped goes on with it
FIGURES = ("chair_i", "object_recall", "partner_hallucination", "caption_words")


@dataclass(frozen=True)
class Trained:
    """A method of the comparison.

    Attributes:
        command: of prefgen.
        rows: that give `PAIRS` pairs and some more.
        input: rows with captions, or with questions of yes or no.
        judge: replies of a server, where the method asks one.
    """

    command: tuple[str, ...]
    rows: int = 112
    input: str = "captions"
    judge: Callable[[scene_corrupt.Sections], str] | None = None


_ANSWERS = ("-k", "4", "--max-new-tokens", "128")
_SIMILAR = ("--similarity-model", "minilm")
TRAINED = {
    "bdhs": Trained(("bdhs", *_SIMILAR)),
    "bdhs, unguided": Trained(("bdhs", "--no-guidance", *_SIMILAR)),
    "povid": Trained(("povid", *_SIMILAR)),
    "corrupt, by rules": Trained(("corrupt", "--reply", "text"), judge=scene_corrupt.reply),
    "rank by image-gain": Trained(("rank", "--by", "image-gain", *_ANSWERS)),
    "rank by claims": Trained(
        ("rank", "--by", "claims", "--claims-from", "api", "--claim-suffix", "", *_ANSWERS),
        rows=500,
        judge=scene_judges.claims,
    ),
    "rank by correctness": Trained(
        ("rank", "--by", "correctness", "-k", "8", "--max-new-tokens", "48"), rows=1000, input="questions"
    ),
    "sentences": Trained(("sentences", "--words", str(SCENES / "words.txt"), "--max-new-tokens", "48"), rows=440),
    "revise, by the truth": Trained(
        ("revise", "--reply", "text", "--max-new-tokens", "128"), rows=900, judge=scene_judges.repair
    ),
    "rank by the truth": Trained(
        ("rank", "--by", "api", "--prompt", "{verdict}", "--no-image", "--order", "random", *_ANSWERS),
        rows=340,
        judge=scene_judges.verdict,
    ),
}


class Comparison:
    """The work of one output folder."""

    def __init__(self, output: Path, pairs: int = PAIRS, limit: int = 600, training: Sequence[str] = ()) -> None:
        self.output, self.count, self.limit = output, pairs, limit
        self.training = (*TRAINING_OPTIONS, *training)  # the last of an option counts
        self._run = Run(output)

    def rows(self, seed: int) -> Path:
        """The folder of rows about the same scenes: captions with the objects of the picture, and questions."""
        folder = self.output / f"rows-{seed}"
        if not (folder / "questions.json").exists():
            (folder / "images").mkdir(parents=True, exist_ok=True)
            scenes = [_scene(seed, index) for index in range(max(method.rows for method in TRAINED.values()))]
            for scene in scenes:
                (folder / "images" / file_name(scene)).write_bytes(jpeg(scene))
            captions = [{**instruct_row(scene, CAPTIONS), "objects": sorted(scene.kinds)} for scene in scenes]
            write_rows(folder / "captions.json", captions)
            (folder / "verdict.txt").write_text(scene_judges.VERDICT_PROMPT, encoding="utf-8")
            write_rows(folder / "questions.json", [row for scene in scenes for row in _questions(scene)])
        return folder

    def pairs(self, name: str, seed: int) -> tuple[Path, Path]:
        """All pairs of a method, and as many of them as every method has."""
        method = TRAINED[name]
        rows = self.rows(seed)
        arguments = [str(rows / "verdict.txt") if word == "{verdict}" else word for word in method.command]
        arguments += ["--input", str(rows / f"{method.input}.json"), "--image-root", str(rows / "images")]
        arguments += ["--limit", str(method.rows), "--seed", str(seed)]
        arguments += ["--model", str(BASE_MODEL)] * (name != "corrupt, by rules")
        made = self.output / f"pairs-{seed}" / "all" / name
        with contextlib.ExitStack() as stack:
            if method.judge:
                url = stack.enter_context(scene_corrupt.serving(JUDGE_PORT, method.judge))
                arguments += ["--judge", "rules", "--judge-url", url]
            self._run.prefgen(made, *arguments)
        cut = self.output / f"pairs-{seed}" / name
        return made, self._run.prefgen(cut, "sample", str(made), "--rows", str(self.count), "--seed", str(seed))

    def arm(self, name: str, seed: int) -> dict[str, Any]:
        """Figures of a method with one seed: of its pairs, and of the model that was trained on them."""
        made, cut = self.pairs(name, seed)
        file = self.output / f"figures-{seed}" / f"{name}.json"
        model = self.output / "models" / f"{seed} {name}"
        if not file.exists():
            options = (*self.training, "--seed", str(seed), "--model", str(BASE_MODEL))
            self._run.prefgen(model, "train", "dpo", str(cut), *options)
        figures = self.measured(model, file)
        shutil.rmtree(model, ignore_errors=True)  # gone already in a later call
        return {"pairs": {**_truth(made, seed), "rows": TRAINED[name].rows}, "figures": figures}

    def measured(self, model: Path, file: Path) -> dict[str, Any]:
        """Figures of the captions of `prefgen eval scenes`, which asks other questions as well."""
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            network = AutoModelForImageTextToText.from_pretrained(model).eval()
            ask = responder(network, AutoProcessor.from_pretrained(model))
            items = heldout(self.limit)
            tally = Tally(self.limit)
            captions = ask([item.picture() for item in items], [CAPTION_QUESTION] * self.limit, CAPTION_TOKENS)
            for number, (item, caption) in enumerate(zip(items, captions, strict=True)):
                tally.add_caption(number, caption, item.scene)
            found = tally.intervals()
            part = file.with_suffix(".part")
            told = {"commit": _commit(), **json.loads(as_json({name: found[name] for name in FIGURES}))}
            part.write_text(json.dumps(told), encoding="utf-8")
            part.replace(file)
        figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return figures

    def compare(self, names: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
        """All arms, those of the first seed first; what there is is written after each."""
        found: dict[str, Any] = {
            "command": f"python examples/compare_methods.py --output {self.output} --trained",
            "settings": {
                "pairs": self.count,
                "scenes": self.limit,
                "training": self.training,
                "methods": {name: TRAINED[name].command for name in names},
            },
            "base": self.measured(BASE_MODEL, self.output / "base.json"),
            "arms": {name: {} for name in names},
        }
        for seed in seeds:
            for name in names:
                found["arms"][name][str(seed)] = self.arm(name, seed)
                (self.output / "methods.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                print(f"{name}, seed {seed}: done", flush=True)
        return found


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=SCENES, capture_output=True, check=True)
    return done.stdout.decode().strip()


def _scene(seed: int, index: int) -> Scene:
    return sample_scene(TRAINING, ROWS_SEED + seed, index)


def _questions(scene: Scene) -> Iterator[dict[str, Any]]:
    """A question about a thing that is there, and one about a partner that is not."""
    rng = scene.rng(TEXT_STREAM + 1)
    asked = [("yes", sorted(scene.kinds)[0]), *(("no", partner) for partner in absent_partners(scene)[:1])]
    for kind, about in asked:
        turn = question(scene, kind, rng, about)
        said = [("human", f"<image>\n{turn.question}"), ("gpt", turn.answer)]
        yield {
            "id": f"{scene.index:012d}-{kind}",
            "image": file_name(scene),
            "conversations": [{"from": speaker, "value": text} for speaker, text in said],
        }


def _truth(made: Path, seed: int) -> dict[str, Any]:
    """Pairs of a run, and the shares whose chosen answer is true and whose rejected one is false."""
    rows = pq.read_table(made / "data", columns=_COLUMNS).to_pylist()
    false = [[_is_false(row, f"{side}_response", seed) for side in ("chosen", "rejected")] for row in rows]
    return {
        "pairs": len(rows),
        "chosen_true": fmean(not chosen for chosen, _ in false),
        "rejected_false": fmean(rejected for _, rejected in false),
    }


def _is_false(row: Mapping[str, Any], side: str, seed: int) -> bool:
    """True if an answer says yes for no or no for yes, or claims anything that is not so."""
    text, scene = row[side], _scene(seed, int(row["source_id"].partition("-")[0]))
    asked = next((kind for wording, kind in PRESENCE.items() if wording in json.dumps(row["prompt"])), None)
    if asked and (said := yes_or_no(text)) and (said == "yes") != (asked in scene.kinds):
        return True
    return not read(text) <= claims_of(scene)


def table(found: Mapping[str, Any]) -> str:
    """Means of the seeds; in brackets the means of the bounds of their 95% intervals."""
    lines = ["| pairs of | made, of rows | chosen true | rejected false | CHAIR_i | recall | partner | words |"]
    lines.append("| --- " * 8 + "|")
    lines.append(f"| (untrained) | | | | {' | '.join(_cells([found['base']]))} |")
    for name, seeds in found["arms"].items():
        if seeds:
            made = [each["pairs"] for each in seeds.values()]
            counts = [f"{fmean(each['pairs'] for each in made):.0f}", f"{made[0]['rows']:,}"]
            shares = [f"{fmean(each[of] for each in made):.0%}" for of in ("chosen_true", "rejected_false")]
            cells = [name, " of ".join(counts), *shares, *_cells([each["figures"] for each in seeds.values()])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(seeds: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for name in FIGURES:
        scale = 1 if name == "caption_words" else 100
        value, low, high = (fmean(each[name][of] * scale for each in seeds) for of in ("value", "low", "high"))
        yield f"{value:.1f} [{low:.1f}, {high:.1f}]"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=80, help="rows of the first table")
    parser.add_argument("--trained", action="store_true", help="train on every method's pairs")
    parser.add_argument("--methods", nargs="+", choices=list(TRAINED), default=list(TRAINED))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    arguments = parser.parse_args()
    if not arguments.trained:
        compare_pairs(arguments.output, arguments.limit)
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    print(table(Comparison(arguments.output).compare(arguments.methods, arguments.seeds)))


if __name__ == "__main__":
    main()
