"""Pairs about the scenes by every method: its rows, its command, equal numbers of pairs, and how true they are.

All is done by the commands that a user would type; `Pairs.prefgen` prints them. What is finished is not made again.
"""

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pyarrow.parquet as pq
import scene_corrupt
import scene_judges

from prefgen.cli import app
from prefgen.evaluate.scenes.claims import claims_of, kinds_in, read
from prefgen.evaluate.scenes.export import instruct_row, write_rows
from prefgen.evaluate.scenes.language import Mix
from prefgen.evaluate.scenes.render import jpeg
from prefgen.evaluate.scenes.sample import TRAINING, sample_scene
from prefgen.evaluate.scenes.truth import Scene

HERE = Path(__file__).parent
BASE_MODEL = HERE / "model"
PAIRS = 192
ROWS_SEED = 50_001  # a series of training scenes of its own: no row of llava_instruct.json, none that the model knows
CAPTIONS = Mix(detail=1.0, more=(0, 0))
JUDGE_PORT = 8768  # and the seed: the same in every call, so that a run that was stopped goes on with it


@dataclass(frozen=True)
class Method:
    """One way of making pairs.

    Attributes:
        command: of prefgen.
        rows: enough for the pairs that are wanted, and for filtered sets.
        judge: replies of a server, where the method asks one.
    """

    command: tuple[str, ...]
    rows: int = 208
    judge: Callable[[scene_corrupt.Sections], str] | None = None


_ANSWERS = ("-k", "4", "--max-new-tokens", "128")
_CLAIMS = ("rank", "--by", "claims", "--claims-from", "api", "--claim-suffix", "", *_ANSWERS)
_SENTENCES = ("sentences", "--words", str(HERE / "words.txt"), "--max-new-tokens", "48")
METHODS = {
    "bdhs": Method(("bdhs", "--rho", "1"), rows=640),
    "bdhs, more rows": Method(("bdhs", "--rho", "1"), rows=1120),
    "bdhs-noise": Method(("bdhs", "--variant", "noise", "--noise-steps", "500", "--noise-space", "encoder")),
    "unguided": Method(("bdhs", "--no-guidance", "--rho", "1")),
    "append": Method(("baseline", "append")),
    "dropout-ntp": Method(("baseline", "dropout-ntp")),
    "weakened": Method(("baseline", "weakened")),
    "contrastive": Method(("baseline", "contrastive")),
    "povid": Method(("povid", "--noise-space", "encoder")),
    "picture, cropped": Method(("povid", "--pairs", "image", "--distortion", "crop"), rows=640),
    "picture, patches": Method(("povid", "--pairs", "image", "--distortion", "patches"), rows=640),
    "picture, another": Method(("povid", "--pairs", "image", "--distortion", "other"), rows=640),
    "rule": Method(("corrupt", "--reply", "text"), judge=scene_corrupt.reply),
    "sentences": Method(_SENTENCES, rows=250),
    "rank by gain": Method(("rank", "--by", "image-gain", *_ANSWERS)),
    "rank by claims": Method(_CLAIMS, rows=400, judge=scene_judges.claims),
    "rank by balance": Method(
        (*_CLAIMS, "--claim-score", "balance", "--claim-penalty", "3"), rows=300, judge=scene_judges.claims
    ),
    "rank by the truth": Method(
        ("rank", "--by", "api", "--prompt", "{verdict}", "--no-image", "--order", "random", *_ANSWERS),
        rows=500,
        judge=scene_judges.verdict,
    ),
    "revise by the truth": Method(
        ("revise", "--reply", "text", "--max-new-tokens", "128"), rows=900, judge=scene_judges.repair
    ),
}
SETS = {  # made of those
    "bdhs, alike": ("filter", "bdhs", "similarity > 0.75"),
    "bdhs, unlike": ("filter", "bdhs", "similarity < 0.7"),
    "bdhs, as long": ("filter", "bdhs", "length_ratio > 0.92 and length_ratio < 1.08"),
    "bdhs, names fewer": ("named", "bdhs, more rows", "fewer"),
    "bdhs, names as many": ("named", "bdhs, more rows", "as many"),
    "bdhs, names more": ("named", "bdhs, more rows", "more"),
    "bdhs+append": ("mix", "bdhs", "append"),
    "pictures": ("mix", "picture, another", "picture, cropped"),
    "picture+claims": ("mix", "picture, another", "rank by claims"),
    "more+picture": ("mix", "bdhs, names more", "picture, another"),
    "rule, bdhs": ("join", "rule", "bdhs"),
}


class Pairs:
    """The rows and pairs of one output folder.

    Attributes:
        model: the policy.
    """

    def __init__(self, output: Path, model: Path = BASE_MODEL) -> None:
        self.output, self.model = output, model

    def rows(self, seed: int) -> Path:
        """The folder of rows: captions of the biased world, with the objects that they name."""
        folder = self.output / f"rows-{seed}"
        if not (folder / "captions.json").exists():
            (folder / "images").mkdir(parents=True, exist_ok=True)
            scenes = [_scene(seed, index) for index in range(max(method.rows for method in METHODS.values()))]
            captions = [instruct_row(scene, CAPTIONS) for scene in scenes]
            for scene, row in zip(scenes, captions, strict=True):
                (folder / "images" / row["image"]).write_bytes(jpeg(scene))
                row["objects"] = sorted(kinds_in(row["conversations"][1]["value"]))
            (folder / "verdict.txt").write_text(scene_judges.VERDICT_PROMPT, encoding="utf-8")
            write_rows(folder / "captions.json", captions)
        return folder

    def made(self, name: str, seed: int, named: str = "") -> Path:
        """All pairs of a method, or those whose rejected answer names as many things as the chosen, fewer or more."""
        method, rows = METHODS[name], self.rows(seed)
        captions = rows / "captions.json"
        if named:  # a pair depends on its row alone: the same ones are made again, of fewer rows
            wanted = {row["source_id"] for row in _answers(self.made(name, seed)) if _names(row) == named}
            captions = rows / f"captions of {name}, {named}.json"
            known = json.loads((rows / "captions.json").read_text(encoding="utf-8"))
            write_rows(captions, [row for row in known if row["id"] in wanted])
            name = f"{name}, {named}"
        arguments = [str(rows / "verdict.txt") if word == "{verdict}" else word for word in method.command]
        arguments += ["--input", str(captions), "--image-root", str(rows / "images")]
        arguments += ["--limit", str(method.rows), "--seed", str(seed)]
        if arguments[0] != "corrupt":
            arguments += ["--model", str(self.model)]
        if arguments[0] in ("bdhs", "baseline", "povid"):
            arguments += ["--similarity-model", "minilm"]
        with contextlib.ExitStack() as stack:
            if method.judge:
                url = stack.enter_context(scene_corrupt.serving(JUDGE_PORT + seed, method.judge))
                arguments += ["--judge", "rules", "--judge-url", url]
            return self.prefgen(self.output / f"pairs-{seed}" / "all" / name, *arguments)

    def drawn(self, name: str, seed: int, count: int = PAIRS) -> Path:
        """That many pairs of a method, or of a combination of methods."""
        folder, draw = self.output / f"pairs-{seed}", ("--seed", str(seed))
        operation, *inputs = SETS.get(name, ("", name))
        if operation == "mix":
            halves = [f"{self.drawn(each, seed, count)}:0.5" for each in inputs]
            return self.prefgen(folder / f"{count} {name}", "mix", *halves, *draw)
        if operation == "join":  # all samples, each with two rejected answers; the steps say how many are used
            return self.prefgen(folder / "all" / name, "join", *(str(self.made(each, seed)) for each in inputs))
        if operation == "named":
            made = self.made(inputs[0], seed, inputs[1])
        elif operation == "filter":
            made = self.prefgen(folder / "all" / name, "filter", str(self.made(inputs[0], seed)), inputs[1])
        else:
            made = self.made(name, seed)
        return self.prefgen(folder / f"{count} {name}", "sample", str(made), "--rows", str(count), *draw)

    def prefgen(self, output: Path, *arguments: str) -> Path:
        """Run a command in this process, which spares the loading of libraries, unless its output is finished."""
        if not finished(output):
            sys.argv = ["prefgen", *arguments, "--output", str(output), "--quiet"]
            print(shlex.join(sys.argv), flush=True)
            app(args=sys.argv[1:], standalone_mode=False)
        return output


def finished(output: Path) -> bool:
    """True if a command has nothing left to do there."""
    return any((output / mark).exists() for mark in (".prefgen/manifest.sha256", "training/finished.json"))


def _scene(seed: int, index: int) -> Scene:
    return sample_scene(TRAINING, ROWS_SEED + seed, index)


def truth(pairs: Path, seed: int) -> dict[str, float]:
    """Shares of a run's pairs whose chosen answer is true and whose rejected one is false, and the things they name."""
    rows = _answers(pairs)
    found = {"chosen_true": fmean(not _is_false(row, "chosen_response", seed) for row in rows)}
    found["rejected_false"] = fmean(_is_false(row, "rejected_response", seed) for row in rows)
    for side in ("chosen", "rejected"):
        found[f"{side}_kinds"] = fmean(len(kinds_in(row[f"{side}_response"])) for row in rows)
    return found


def _answers(pairs: Path) -> list[dict[str, str]]:
    columns = ["source_id", "chosen_response", "rejected_response"]
    rows: list[dict[str, str]] = pq.read_table(pairs / "data", columns=columns).to_pylist()
    return rows


def _names(row: Mapping[str, str]) -> str:
    """Number of things that the rejected answer names, against the chosen one, as a word."""
    more = len(kinds_in(row["rejected_response"])) - len(kinds_in(row["chosen_response"]))
    return "more" if more > 0 else "fewer" if more < 0 else "as many"


def _is_false(row: Mapping[str, str], side: str, seed: int) -> bool:
    """True if an answer claims anything that is not so."""
    return not read(row[side]) <= claims_of(_scene(seed, int(row["source_id"])))
