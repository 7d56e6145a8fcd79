"""Training on answers that the policy makes meanwhile."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import CorruptRun, ExitCode, Stopped, UnusableReplies, UsageError
from prefgen.methods import bdhs
from prefgen.rundir.reader import loaded_images
from prefgen.sources import SourceOptions
from prefgen.training import online as online_
from prefgen.training import reference
from prefgen.training.config import Objective, Online, Optimisation
from prefgen.training.logprobs import token_logps
from prefgen.training.model import attach
from prefgen.training.references import References
from prefgen.training.rows import Item
from prefgen.training.run import prepare, train
from prefgen.training.state import TrainingJob
from tests.cli.runs import called
from tests.judge import MODEL as MODEL_NAME
from tests.judge import Judge
from tests.trainers.sets import SCENES

MODEL = SCENES / "model"
QUICK = Optimisation(
    lr=1e-3, projector_lr=1e-3, batch_size=1, grad_accum=2, max_steps=3, save_steps=100, lora_r=4, lora_alpha=8
)
BDHS = Online("bdhs", similarity_model="minilm")
POVID = Online("povid", similarity_model="minilm", online_args=("noise_space=encoder",))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs by the fake engine: none of their rejected answers is what the model would write."""
    out = tmp_path_factory.mktemp("data") / "pairs"
    scenes = ("-i", SCENES / "llava_instruct.json", "--limit", "6", "-m", "fake", "--engine", "fake")
    done = called("bdhs", *scenes, "-o", out)
    assert done.returncode == 0, done.stderr
    return out


def job(data: Path, output: Path, online: Online | None = BDHS, **changes: Any) -> TrainingJob:
    engine = EngineConfig(model=str(MODEL))
    return TrainingJob((data,), output, engine, Objective(), replace(QUICK, **changes), online=online)


def run(given: TrainingJob, stop_after: int = 0) -> list[dict[str, float]]:
    """Metrics of the steps that were taken."""
    told: list[dict[str, float]] = []

    def stop() -> ExitCode | None:
        return ExitCode.TERMINATED if told and told[-1]["step"] == stop_after else None

    train(given, prepare(given), told.append, stop=stop)
    return [metrics for metrics in told if "loss" in metrics]


@pytest.fixture(scope="module")
def stored(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """The steps of a run on the stored pairs alone."""
    return run(job(data, tmp_path_factory.mktemp("stored") / "out", None, max_steps=2))


def losses(steps: list[dict[str, float]]) -> list[float]:
    return [step["loss"] for step in steps]


class Step:
    """The first steps' batches of a job, without a trainer."""

    def __init__(self, given: TrainingJob) -> None:
        self.prepared = prepare(given)
        given.records.mkdir(parents=True, exist_ok=True)
        self.model = attach(self.prepared.loaded, given.optimisation)
        self._held = ExitStack()
        supply = self._held.enter_context(online_.supply(given, self.prepared, self.model))
        assert supply is not None
        self.supply = supply

    def __enter__(self) -> Step:
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def items(self, count: int = 6, epoch: int = 0) -> list[Item]:
        """The first samples of an epoch, as they are trained on."""
        loader = iter([{"items": [self.prepared.dataset[number] for number in range(count)]}])
        (batch,) = self.supply.step(loader, 1, epoch, 1)
        found: list[Item] = batch["items"]
        return found

    def texts(self, item: Item) -> list[str]:
        decode = self.prepared.loaded.processor.tokenizer.decode
        return [decode(answer.ids, skip_special_tokens=True).strip() for answer in item.sample.answers]


def test_the_first_answers_are_those_of_prefgen_bdhs(data: Path, tmp_path: Path) -> None:
    """The same method, driver, engine and draws: the policy is still the model that it started from."""
    scenes = ("-i", SCENES / "llava_instruct.json", "--limit", "4", "-m", MODEL, "--similarity-model", "minilm")
    done = called("bdhs", *scenes, "--rho", "0.9", "--seed", "3", "--device", "cpu", "-o", tmp_path / "offline")
    assert done.returncode == 0, done.stderr
    columns = ["id", "chosen_response", "rejected_response"]
    offline = {row["id"]: row for row in pq.read_table(tmp_path / "offline" / "data", columns=columns).to_pylist()}
    given = job(data, tmp_path / "out", replace(BDHS, online_args=("rho=0.9",)), seed=3)
    with Step(given) as step:
        renewed = {item.sample.id: step.texts(item) for item in step.items(4)}
        assert len(offline) >= 3
        assert {name: renewed[name] for name in offline} == {
            name: [row["chosen_response"], row["rejected_response"]] for name, row in offline.items()
        }
        measured = step.supply.measured()
        assert measured[online_.ASKED] == 4
        assert measured[online_.FALLBACK] == 4 - len(offline)
        assert [step.texts(item) for item in step.items(4, epoch=1)] != [*renewed.values()]  # other draws


def test_answers_come_from_the_weights_as_they_are(data: Path, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out", replace(BDHS, online_args=("temperature=0",)))
    with Step(given) as step:
        before = [step.texts(item) for item in step.items(4)]
        assert [step.texts(item) for item in step.items(4)] == before
        for name, weight in step.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        after = [step.texts(item) for item in step.items(4)]
        assert all(len({own[0], other[0]}) == 1 for own, other in zip(before, after, strict=True))
        assert any(own[1] != other[1] for own, other in zip(before, after, strict=True))


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "whole"])
def test_the_live_reference_is_the_precomputed_one_whatever_is_trained(data: Path, tmp_path: Path, lora: bool) -> None:
    given = job(data, tmp_path / "out", None, lora=lora, reference="live")
    with Step(given) as step:
        loaded, samples, dataset = step.prepared.loaded, step.prepared.samples, step.prepared.dataset
        known = reference.compute(
            loaded, samples, dataset.__getitem__, 4, packed=not step.prepared.separate, progress=lambda done: None
        )
        trained = [weight for weight in step.model.parameters() if weight.requires_grad]
        for weight in trained:
            torch.nn.init.normal_(weight, std=0.05)  # the projector, too
        for expected, item in zip(known, step.supply.referred(step.items()), strict=True):
            assert all(torch.allclose(*both, atol=1e-5) for both in zip(expected, item.reference, strict=True))
        assert all(weight.requires_grad for weight in trained)
        assert not torch.allclose(token_logps(loaded, [dataset[0]], packed=True)[0][0], known[0][0], atol=1e-2)


def test_a_mix_of_stored_pairs_alone_is_a_run_without_any_policy(
    data: Path, stored: list[dict[str, float]], tmp_path: Path
) -> None:
    mixed = run(job(data, tmp_path / "mixed", replace(BDHS, mix=1.0), max_steps=2))
    assert losses(mixed) == losses(stored)
    assert not any(online_.ASKED in step for step in mixed)


def test_a_run_with_a_live_reference_is_one_with_a_precomputed_one(
    data: Path, stored: list[dict[str, float]], tmp_path: Path
) -> None:
    live = run(job(data, tmp_path / "live", None, max_steps=2, reference="live"))
    assert losses(live) == pytest.approx(losses(stored), rel=1e-4)
    assert not [*(tmp_path / "live" / "training").glob("reference-*")]


def test_a_mix_takes_some_samples_as_stored_others_in_other_epochs(data: Path, tmp_path: Path) -> None:
    with Step(job(data, tmp_path / "out", replace(POVID, mix=0.5))) as step:
        found = []
        for epoch in (0, 1):
            items = step.items(epoch=epoch)
            found.append([len(item.sample.answers) for item in items])
            measured = step.supply.measured()
            assert measured[online_.ASKED] - measured.get(online_.FALLBACK, 0) == found[-1].count(3)
        assert {*found[0], *found[1]} == {2, 3}
        assert found[0] != found[1]


def test_distortion_stands_beside_the_stored_answer(data: Path, tmp_path: Path) -> None:
    with Step(job(data, tmp_path / "out", POVID)) as step:
        items = step.items(4)
        for item, sample in zip(items, step.prepared.samples, strict=False):
            assert [answer.ids for answer in item.sample.answers[:2]] == [answer.ids for answer in sample.answers]
        distinct = [len({answer.ids for answer in item.sample.answers}) for item in items]
        fallen = int(step.supply.measured().get(online_.FALLBACK, 0))  # noise does not change every answer
        assert sorted(distinct) == [2] * fallen + [3] * (4 - fallen)
        assert fallen < 2
    with Step(job(data, tmp_path / "alone", replace(POVID, with_stored=False))) as step:
        alone = step.items(4)
        assert len(alone) == 4 - fallen
        assert all(len(item.sample.answers) == 2 for item in alone)


SOME_NEW = ("iterations=1", "similarity_threshold=0.8", "drop_similar=true")  # some answers are too similar
NOTHING_NEW = ("similarity_threshold=-1", "iterations=1", "drop_similar=true")  # every answer is too similar


def test_answers_that_are_no_preference_fall_back_and_are_counted(
    data: Path, stored: list[dict[str, float]], tmp_path: Path
) -> None:
    online = replace(BDHS, online_args=NOTHING_NEW, fallback="stored")
    steps = run(job(data, tmp_path / "out", online, max_steps=2))
    assert [step[online_.ASKED] for step in steps] == [step[online_.FALLBACK] for step in steps] == [2.0, 2.0]
    reasons = {name.rpartition("/")[2] for step in steps for name in step if name.startswith(f"{online_.FALLBACK}/")}
    assert "REJECTED_SIMILAR" in reasons <= {"REJECTED_SIMILAR", "REJECTED_EQUALS_CHOSEN"}
    assert losses(steps) == losses(stored)


@pytest.mark.parametrize("mixed", [{"mix": 0.5}, {"with_stored": True}])
def test_stored_pairs_are_fallen_back_on_where_they_are_trained_on_anyway(mixed: dict[str, Any]) -> None:
    assert BDHS.falls_back == "drop"
    assert replace(BDHS, **mixed).falls_back == POVID.falls_back == "stored"
    assert replace(BDHS, fallback="drop", **mixed).falls_back == "drop"


def test_a_step_without_any_answer_changes_no_weight(data: Path, tmp_path: Path) -> None:
    steps = run(job(data, tmp_path / "out", replace(BDHS, online_args=NOTHING_NEW), max_steps=2))
    assert [step[online_.ASKED] for step in steps] == [step[online_.FALLBACK] for step in steps] == [2.0, 2.0]
    assert [step["grad_norm"] for step in steps] == [0.0, 0.0]
    assert not any("rewards/margins" in step for step in steps)


def test_a_sample_that_is_left_out_has_no_part_in_its_step(data: Path, tmp_path: Path) -> None:
    """Every step is the mean over what is left, however that is spread over the batches."""

    def step(name: str, **changes: Any) -> dict[str, float]:
        (only,) = run(job(data, tmp_path / name, replace(BDHS, online_args=SOME_NEW), max_steps=1, **changes))
        return only

    one, several = step("one", batch_size=6, grad_accum=1), step("several", batch_size=1, grad_accum=6)
    assert 0 < one[online_.FALLBACK] == several[online_.FALLBACK] < 6
    assert several["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert several["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)


def test_a_run_whose_answers_come_to_nothing_stops_says_why_and_goes_on(data: Path, tmp_path: Path) -> None:
    given = job(data, tmp_path / "out", replace(BDHS, online_args=NOTHING_NEW), batch_size=4, max_steps=4)
    with pytest.raises(UnusableReplies, match=r"step 3: the answers of 18 of the last 18 samples .*REJECTED_SIMILAR"):
        run(given)
    assert not (given.output / "config.json").exists()
    patient = replace(given, online=replace(BDHS, online_args=NOTHING_NEW, max_fallback=1.0))
    assert [step["step"] for step in run(patient)] == [4]


@pytest.mark.parametrize(
    ("online", "changes"),
    [pytest.param(BDHS, {}, marks=pytest.mark.slow), (replace(POVID, online_every=3), {"lora": False})],
    ids=["bdhs", "povid"],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    online: Online, changes: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    """The second one stops amid answers that were made for three steps."""
    whole = run(job(data, tmp_path / "whole", online, **changes))
    given = job(data, tmp_path / "stopped", online, **changes)
    with pytest.raises(Stopped):
        run(given, stop_after=1)
    rest = run(given)
    assert losses(rest) == losses(whole)[2:]
    with pytest.raises(CorruptRun, match="online"):
        run(job(data, tmp_path / "stopped", replace(online, mix=0.5), **changes))


def compared(body: dict[str, Any]) -> tuple[str, str]:
    """The two answers that a judge is asked about."""
    text = body["messages"][-1]["content"][-1]["text"]
    found = re.search(r"answer A\n(.*)\n--- \w+ answer B\n(.*)\n--- \w+ end", text, re.DOTALL)
    assert found
    return found[1], found[2]


def shorter(number: int, body: dict[str, Any]) -> str:
    """A verdict for the shorter answer, a tie or none, by the lengths of both."""
    one, other = compared(body)
    digest = len(one + other) % 4
    if digest == 0:
        return "neither of them, I would say"
    verdict = "A" if len(one) < len(other) else "B"
    return json.dumps({"reason": "length", "verdict": "tie" if digest == 2 else verdict})


def test_an_annotator_chooses_between_two_answers_of_the_policy(data: Path, tmp_path: Path) -> None:
    with Judge(shorter) as judge:
        served = Online("dpo", annotator=judge.url, online_args=("max_new_tokens=32",), fallback="stored")
        given = replace(job(data, tmp_path / "out", served), judge=JudgeConfig(MODEL_NAME, judge.url))
        with Step(given) as step:
            stored = [[answer.ids for answer in sample.answers] for sample in step.prepared.samples]
            items = step.items()
            measured = step.supply.measured()
            answers = [[answer.ids for answer in item.sample.answers] for item in items]
            fallen = [own == known for own, known in zip(answers, stored, strict=True)]
            reasons = {name for name, count in measured.items() if name.startswith(f"{online_.FALLBACK}/") and count}
            assert measured[online_.FALLBACK] == sum(measured[name] for name in reasons) == sum(fallen) > 0
            assert reasons <= {f"{online_.FALLBACK}/ANSWER_{kind}" for kind in ("ALIKE", "TIE", "UNCLEAR")}
            assert len(reasons) > 1
            for item, own, known in zip(items, answers, stored, strict=True):
                if own != known:
                    chosen, rejected = step.texts(item)
                    assert len(chosen) <= len(rejected)
            assert not all(fallen)
            asked = len(judge.bodies)
            pairs = {frozenset(compared(body)) for body in judge.bodies}  # an unclear reply is asked for again
            assert fallen.count(False) <= len(pairs) <= len(fallen)  # nothing about answers that are alike
            again = [[answer.ids for answer in item.sample.answers] for item in step.items()]
            assert again == answers
            assert len(judge.bodies) == asked  # their replies are in the ledger


def test_the_annotator_reads_a_prompt_of_ones_own_with_the_stored_answer(data: Path, tmp_path: Path) -> None:
    prompt = tmp_path / "own.txt"
    prompt.write_text(
        "=== user ===\n$question Truth: $reference One: $first Two: $second. Say which response is better."
    )
    online = Online("dpo", annotator=MODEL_NAME, online_args=("max_new_tokens=32",), annotator_prompt=prompt)
    with Judge(lambda number, body: "Response 2 is better, since it says less.") as judge:
        served = replace(online, annotator=judge.url)
        given = replace(job(data, tmp_path / "out", served), judge=JudgeConfig(MODEL_NAME, judge.url))
        with Step(given) as step:
            items = step.items()
            assert len(items) == len(judge.bodies) > 0
            for body in judge.bodies:
                asked = re.search("Truth: (.*) One: (.*) Two: (.*)[.] Say", body["messages"][-1]["content"][-1]["text"])
                assert asked
                assert asked[1].strip() in {step.texts(step.prepared.dataset[number])[0] for number in range(6)}
                assert (asked[3].strip(), asked[2].strip()) in {tuple(step.texts(item)) for item in items}


def test_an_annotator_that_says_nothing_of_use_decides_nothing(data: Path, tmp_path: Path) -> None:
    """The model beside itself: what compares is not what is trained."""
    silent = Online("dpo", annotator=str(MODEL), online_args=("max_new_tokens=8", "verdict_tokens=4"))
    with Step(job(data, tmp_path / "out", silent)) as step:
        items = step.items(2)
        assert items == []
        assert step.supply.measured()[f"{online_.FALLBACK}/ANSWER_UNCLEAR"] == 2


SFT = SCENES / "llava_instruct.json"


def test_sft_data_is_enough_where_all_answers_are_made_while_training(tmp_path: Path) -> None:
    """The same as on a run of the same rows, of which purely online training takes nothing but prompt and reference."""
    out = tmp_path / "pairs"
    done = called("bdhs", "-i", SFT, "--limit", "6", "-m", "fake", "--engine", "fake", "-o", out)
    assert done.returncode == 0, done.stderr
    given = replace(job(SFT, tmp_path / "out"), source=SourceOptions(limit=6))
    with Step(given) as bare, Step(job(out, tmp_path / "other")) as paired:
        assert {len(sample.answers) for sample in bare.prepared.samples} == {1}
        assert len(bare.prepared.samples) == len(paired.prepared.samples)
        found, expected = bare.items(4), paired.items(4)
        assert [item.sample.answers for item in found] == [item.sample.answers for item in expected]
        assert [item.sample.prompt for item in found] == [item.sample.prompt for item in expected]
        assert all(len(item.sample.answers) == 2 for item in found)
    steps = run(replace(given, optimisation=replace(given.optimisation, max_steps=2)))
    assert [step["step"] for step in steps] == [1, 2]
    assert (given.output / "model.safetensors").exists()
    with pytest.raises(CorruptRun, match="data"):
        run(replace(given, source=SourceOptions(limit=5)))


def test_pictures_that_stand_in_the_input_are_read_again(tmp_path: Path) -> None:
    rows = [json.loads(line.rstrip(",")) for line in SFT.read_text().splitlines()[1:4]]
    pictures = [{"bytes": (SCENES / "images" / row["image"]).read_bytes(), "path": None} for row in rows]
    table = pa.table({"conversations": [row["conversations"] for row in rows], "image": pictures})
    pq.write_table(table, tmp_path / "rows.parquet")
    whole = References(str(tmp_path / "rows.parquet"), SourceOptions(turns="first"))
    named = References(str(SFT), SourceOptions(turns="first", limit=3))
    assert [loaded_images(row)[0].data for row in whole.take([2, 0]).to_pylist()] == [
        loaded_images(row)[0].data for row in named.take([2, 0]).to_pylist()
    ]
    assert whole.digest != named.digest != References(str(SFT), SourceOptions(turns="last", limit=3)).digest


@pytest.mark.parametrize(
    ("online", "changes", "named"),
    [
        (None, {}, "holds no prefgen run"),
        (replace(BDHS, mix=0.5), {}, "--mix"),
        (replace(BDHS, fallback="stored"), {}, "--fallback stored"),
        (POVID, {}, "--without-stored"),
        (BDHS, {"validation": 0.5}, "--validation"),
    ],
)
def test_sft_data_has_no_pairs(online: Online | None, changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=named):
        prepare(replace(job(SFT, tmp_path / "out", online, **changes), source=SourceOptions(limit=4)))


def test_options_of_sft_data_are_not_ignored(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--limit is for SFT data"):
        prepare(replace(job(data, tmp_path / "out"), source=SourceOptions(limit=4)))


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "whole"])
def test_a_bfloat16_model_generates_while_its_weights_are_float32(data: Path, tmp_path: Path, lora: bool) -> None:
    given = job(data, tmp_path / "out", lora=lora, max_steps=1)
    (step,) = run(replace(given, engine=EngineConfig(model=str(MODEL), dtype="bfloat16")))
    assert step[online_.ASKED] > step[online_.FALLBACK]
    assert step["rewards/margins"] == pytest.approx(0, abs=2e-2)


@pytest.mark.parametrize(
    ("online", "settings", "named"),
    [
        ("ppo", {}, "--online"),
        ("bdhs", {"online_every": 0}, "--online-every"),
        ("bdhs", {"mix": 1.5}, "--mix"),
        ("bdhs", {"fallback": "other"}, "--fallback"),
        ("bdhs", {"max_fallback": 1.5}, "--max-fallback"),
        ("bdhs", {"annotator": "x"}, "--annotator"),
        ("dpo", {}, "--annotator"),
        ("dpo", {"annotator": "x", "with_stored": True}, "--with-stored"),
        ("bdhs", {"annotator_prompt": Path("own.txt")}, "--annotator-prompt"),
        ("dpo", {"annotator": "x", "annotator_prompt": Path("nowhere.txt")}, "nowhere.txt"),
        ("bdhs", {"online_args": ("rho",)}, "--online-arg"),
        ("bdhs", {"online_args": ("rho=much",)}, "--online-arg"),
        ("bdhs", {"online_args": ("rho=2",)}, "--rho"),
        ("bdhs", {"online_args": ("seed=2",)}, "--online-arg"),
        ("povid", {"online_args": ("rho=0.5",)}, "--online-arg"),
        ("dpo", {"annotator": "x", "online_args": ("claim_score=share",)}, "--online-arg"),
    ],
)
def test_settings_that_make_no_sense_are_refused(online: Any, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Online(online, **settings)


def test_arguments_become_what_the_method_takes() -> None:
    given = ("rho=0.5", "keep-tokens=3", "guidance=false", "variant=both", "iterations=2")
    method = Online("bdhs", online_args=given).method(7)
    assert method == bdhs.BDHS(rho=0.5, keep_tokens=3, guidance=False, variant="both", iterations=2, seed=7)
