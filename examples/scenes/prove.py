"""Does preference training on these pairs reduce hallucination? Every method on the scenes, in one command.

    python examples/scenes/prove.py --output /tmp/proof

For each seed it draws rows from the biased training world, makes pairs of them by every method, trains the scenes'
model on as many of each and asks every trained model about the same unbiased held-out scenes. Repeated, the command
goes on where it stopped: rows, pairs and answers are kept in the output folder, trained weights are not. ``--model``
takes another pretraining (train.py with another seed). With ``--search`` it tries the settings of `SEARCH` on
validation scenes instead.

Written down before the final run: the arms, their settings, pairs, steps and seeds, and what counts. An arm is better
than the base model only if it mentions fewer absent partners (p < 0.05 by sign flips over scenes, with Holm's
correction for all arms) while its recall is not more than one point below: otherwise it says less, which is not
better. The goal: a quarter off CHAIR_i at that recall, in every seed, by an arm that is made of SFT data and the policy
alone. Everything else is reported beside it.
"""

import argparse
import json
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examine import Answers, Examiner
from prove_figure import figure, plane, tables
from prove_pairs import BASE_MODEL, HERE, METHODS, PAIRS, SETS, Pairs, truth
from prove_report import ratio, report
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from prefgen.errors import UsageError
from prefgen.evaluate.scenes.heldout import Heldout, heldout
from prefgen.evaluate.scenes.metrics import Tally

SEEDS = (0, 1, 2)  # each changes rows, generation and the order of training
STEPS, BATCH = 24, 8  # one epoch
SCENES, PROBED_SCENES, ATTRIBUTE_SCENES = 1000, 200, 100  # yes and no, and attributes, are asked of the first only
VALIDATION_SEED, VALIDATION_SCENES = 60_001, 400
WATCHED = ("chair_i", "object_recall", "partner_hallucination", "caption_words")


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        pairs: what is learned from, of `METHODS` or `SETS`. count: so many of them.
        loss, mask, lr, steps: of `prefgen train`. options: further ones.
    """

    pairs: str
    loss: str = "dpo"
    mask: str = "all"
    lr: float = 1e-4
    steps: int = STEPS
    count: int = PAIRS
    options: tuple[str, ...] = ()


# One rate for all, since higher ones lost recall or gained nothing (results/search.md); β is prefgen's default.
# With every method all tokens count; "spans" and "no end token" say what other masks do.
_ONLINE = ("--online", "bdhs", "--online-arg", "rho=1", "--online-every", "8", "--similarity-model", "minilm")
ARMS: dict[str, Arm] = {
    # The control: more captions of the same kind.
    "sft": Arm("bdhs", "sft"),
    # Guided BDHS, and why: its end token, what differs, how similar and how long its answers are.
    "bdhs": Arm("bdhs"),
    "bdhs, no end token": Arm("bdhs", mask="no-eos"),
    "bdhs, spans": Arm("bdhs", mask="spans"),
    "bdhs, spans, SFT": Arm("bdhs", mask="spans", options=("--sft-weight", "0.5")),
    "bdhs, alike": Arm("bdhs, alike"),
    "bdhs, unlike": Arm("bdhs, unlike"),
    "bdhs, as long": Arm("bdhs, as long"),
    # Added when the arms above had been seen with seed 0: as many things named, or fewer, or more, than are chosen.
    "bdhs, names fewer": Arm("bdhs, names fewer"),
    "bdhs, names as many": Arm("bdhs, names as many"),
    "bdhs, names more": Arm("bdhs, names more"),
    "bdhs, names more, spans": Arm("bdhs, names more", mask="spans"),
    "bdhs, names more, and another picture": Arm("more+picture", mask="spans"),
    "bdhs, noise": Arm("bdhs-noise"),
    "bdhs, online": Arm("bdhs", options=_ONLINE),
    # Its neighbours: without guidance, something added, something exchanged, both averaged.
    "unguided": Arm("unguided"),
    "append": Arm("append"),
    "bdhs+append": Arm("bdhs+append"),
    "rule": Arm("rule"),
    "rule and bdhs, averaged": Arm("rule, bdhs"),
    # Other answers made of SFT data.
    "dropout-ntp": Arm("dropout-ntp"),
    "weakened": Arm("weakened"),
    "contrastive": Arm("contrastive"),
    "povid": Arm("povid"),
    # The same answer under another picture.
    "picture, cropped": Arm("picture, cropped"),
    "picture, another": Arm("picture, another"),
    "picture, another or cropped": Arm("pictures"),
    "picture, another, 512 pairs": Arm("picture, another", lr=5e-5, steps=64, count=512),
    "picture, another, and claims": Arm("picture+claims"),
    # Added when most had been seen with seed 0: with the loss of "sft", and as many steps of it.
    "picture, another, SFT": Arm("picture, another", options=("--sft-weight", "1")),
    "picture, another or cropped, SFT": Arm("pictures", options=("--sft-weight", "1")),
    "sft, 512 rows": Arm("bdhs", "sft", lr=5e-5, steps=64, count=512),
    # The policy's own answers, chosen and rejected.
    "sentences": Arm("sentences"),
    "rank by gain": Arm("rank by gain"),
    "rank by claims": Arm("rank by claims"),
    "rank by balance": Arm("rank by balance"),
    # The same, by judges that know the truth.
    "rank by the truth": Arm("rank by the truth"),
    "revise by the truth": Arm("revise by the truth"),
}
SEARCH: dict[str, Arm] = {  # with seed 0; results/search.md has one more
    **{
        f"{name} 1e-4": Arm(name)
        for name in ("unguided", "sentences", "rank by gain", "rank by claims", "rank by the truth")
    },
    **{f"{name}, spans 1e-4": Arm(name, mask="spans") for name in ("bdhs", "unguided", "contrastive")},
    "bdhs, no end token 1e-4": Arm("bdhs", mask="no-eos"),
    **{f"cropped {lr:g}": Arm("picture, cropped", lr=lr) for lr in (1e-4, 2e-4, 4e-4)},
    "patches 1e-4": Arm("picture, patches"),
    **{f"another {lr:g}": Arm("picture, another", lr=lr) for lr in (1e-4, 2e-4)},
    **{f"another {lr:g}, 512 pairs": Arm("picture, another", lr=lr, steps=64, count=512) for lr in (5e-5, 1e-4)},
    "another or cropped 1e-4": Arm("pictures"),
}


class Run(Pairs):
    """The work of one output folder; every stage that is finished is left alone."""

    def file(self, name: str, seed: int) -> Path:
        """Where the answers of an arm are."""
        return self.output / name / f"{seed}.json"

    def answers(
        self, name: str, arm: Arm | None, seed: int, items: Sequence[Heldout], *, captions_only: bool = False
    ) -> Path:
        """Train an arm and ask it; the file with its answers. No arm: the model as it is."""
        file = self.file(name, seed)
        settings = json.loads(json.dumps(arm and vars(arm)))  # as JSON has it
        if file.exists():
            if read(file)["arm"] != settings:
                raise UsageError(f"{file} is of other settings than {name} has now: delete it")
            return file
        file.parent.mkdir(parents=True, exist_ok=True)
        model, told = self.model, {"arm": settings}
        if arm is not None:
            pairs = self.drawn(arm.pairs, seed, arm.count)
            start = time.process_time()
            model = self.trained(file.with_suffix(""), arm, pairs, seed)
            told |= {"seconds": time.process_time() - start, "pairs": truth(pairs, seed)}
            told["end_in_training"] = read(model / "training" / "finished.json")["metrics"]["logps/end"]
        answers = ask(model, items, captions_only=captions_only)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**told, **vars(answers)}) + "\n", encoding="utf-8")
        part.replace(file)
        if arm is not None:
            shutil.rmtree(model)
        return file

    def trained(self, output: Path, arm: Arm, pairs: Path, seed: int) -> Path:
        """Train an arm on its pairs."""
        options = ["--loss-mask", arm.mask, "--lr", f"{arm.lr:g}", "--max-steps", str(arm.steps), "--seed", str(seed)]
        options += ["--batch-size", str(BATCH), "--grad-accum", "1", "--no-lora", "--no-gradient-checkpointing"]
        return self.prefgen(output, "train", arm.loss, str(pairs), "--model", str(self.model), *options, *arm.options)


def ask(model: Path, items: Sequence[Heldout], *, captions_only: bool = False) -> Answers:
    """Ask a model everything."""
    network = AutoModelForImageTextToText.from_pretrained(model).eval()
    examiner = Examiner(network, AutoProcessor.from_pretrained(model))
    return examiner.examine(items, *((0, 0) if captions_only else (PROBED_SCENES, ATTRIBUTE_SCENES)))


def prove(
    run: Run, items: Sequence[Heldout], arms: Collection[str] | None = None, seeds: Collection[int] = SEEDS
) -> dict[str, Any]:
    """Whatever is not done yet of these arms; then the figures of all, in ``proof.json``, ``.md`` and ``.svg``."""
    wanted = ARMS if arms is None else arms
    base = read(run.answers("base", None, 0, items))
    told: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:  # all arms of one seed first, so that a run that is cut short compares all of them
        for name, arm in ARMS.items():
            if name in wanted or run.file(name, seed).exists():
                told.setdefault(name, []).append(read(run.answers(name, arm, seed, items)))
                print(f"{name}, seed {seed}: done", flush=True)
    return write(run.output, {name: told[name] for name in ARMS if name in told}, base, items)


def write(
    output: Path, told: Mapping[str, Sequence[dict[str, Any]]], base: dict[str, Any], items: Sequence[Heldout]
) -> dict[str, Any]:
    """Figures of what there is."""
    found = report(told, base, items)
    for name, arm in found["arms"].items():
        arm["settings"] = told[name][0]["arm"]
        for seed, one in zip(arm["seeds"], told[name], strict=True):
            seed |= {name: one[name] for name in ("seconds", "end_in_training", "pairs")}
    commands = {name: [word.replace(f"{HERE}/", "") for word in method.command] for name, method in METHODS.items()}
    found["settings"] = {"scenes": len(items), "methods": commands, "sets": SETS}
    kept: dict[str, Any] = rounded(found)  # so that tables and figure can be made again of the file
    (output / "proof.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (output / "proof.md").write_text(tables(kept), encoding="utf-8")
    (output / "proof.svg").write_text(figure(kept), encoding="utf-8")
    (output / "plane.svg").write_text(plane(kept), encoding="utf-8")
    return kept


def rounded(value: Any) -> Any:
    """With five digits behind the point, for reading."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 5) if isinstance(value, float) else value


def read(file: Path) -> dict[str, Any]:
    """What a model said."""
    answers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return answers


def search(run: Run) -> None:
    """Train the settings of `SEARCH` with one seed, and write down what they do on validation scenes."""
    items = heldout(VALIDATION_SCENES, VALIDATION_SEED)
    arms: dict[str, Arm | None] = {"base": None, **SEARCH}
    found: dict[str, dict[str, float]] = {}
    for name, arm in arms.items():
        file = run.answers(f"search/{name}", arm, 0, items, captions_only=True)
        tally = Tally(VALIDATION_SCENES)
        for scene, (item, text) in enumerate(zip(items, read(file)["captions"], strict=True)):
            tally.add_caption(scene, text, item.scene)
        found[name] = {metric: ratio(tally.sums(metric)) for metric in WATCHED}
        print(f"{name}: {rounded(found[name])}", flush=True)
    (run.output / "search.json").write_text(json.dumps(rounded(found), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of all that is made; give it again to go on")
    parser.add_argument("--model", type=Path, default=BASE_MODEL, help="another pretraining, as train.py makes it")
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS), help="these; none: only count")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--search", action="store_true", help="try the settings of SEARCH on validation scenes")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    run = Run(options.output, options.model)
    if options.search:
        search(run)
    else:
        prove(run, heldout(SCENES), options.arms, options.seeds)
        print((options.output / "proof.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
