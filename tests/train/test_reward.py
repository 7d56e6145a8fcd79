"""Reward models: what they compute, what they are trained on, what is saved, who asks them."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import vision
from prefgen.errors import CorruptRun, ExitCode, Stopped, UsageError
from prefgen.evaluate import rewards as matrix_
from prefgen.records import Slot, Turn
from prefgen.requests import Rate, Rated
from prefgen.rewards import Reward
from prefgen.rundir.reader import Stored
from prefgen.select.keys import digests
from prefgen.training import reward, saved
from prefgen.training.config import Objective
from prefgen.training.losses import Answers, losses
from prefgen.training.reward import RewardEngine, RewardModel, RewardPolicy
from prefgen.training.run import prepare, train
from prefgen.training.state import Prepared, TrainingJob
from prefgen.training.trainer import gather
from tests.cli.runs import called
from tests.engines import tiny
from tests.engines.zoo import ZOO
from tests.train.pairs import CHOSEN, REJECTED, item, row
from tests.train.quick import MODEL, QUICK
from tests.trainers.sets import SCENES

RM = Objective(loss="rm")
MEASURED = replace(QUICK, validation=0.25, eval_steps=100)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs over the same twelve samples, by the fake engine."""
    folder = tmp_path_factory.mktemp("data")
    scenes = ("-i", SCENES / "llava_instruct.json", "-m", "fake", "--engine", "fake", "--limit", "12")
    for seed in ("1", "2"):
        done = called("bdhs", *scenes, "--seed", seed, "-o", folder / seed)
        assert done.returncode == 0, done.stderr
    return folder / "1", folder / "2"


def job(runs: tuple[Path, ...], output: Path, **changes: Any) -> TrainingJob:
    return TrainingJob(runs, output, EngineConfig(model=str(MODEL), device="cpu"), RM, replace(MEASURED, **changes))


def run(given: TrainingJob, stop_after: int = 0, prepared: Prepared | None = None) -> list[dict[str, float]]:
    """Metrics of the steps that were taken."""
    told: list[dict[str, float]] = []

    def stop() -> ExitCode | None:
        return ExitCode.TERMINATED if stop_after and told[-1]["step"] == stop_after else None

    train(given, prepared or prepare(given), told.append, stop=stop)
    return [metrics for metrics in told if "loss" in metrics]


@pytest.fixture(scope="module")
def trained(sets: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "RM"
    run(job(sets[:1], output))
    return output


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_a_reward_is_the_heads_of_the_last_token_s_state(name: str) -> None:
    """Against stock `forward` of each answer alone, the end token read; packed and separate."""
    loaded = ZOO[name]()
    given = item(loaded, row(), row(rejected=REJECTED[1]))
    policy = RewardPolicy(loaded.model, loaded, packed=not loaded.family.mrope)
    with torch.no_grad():
        (found,) = policy([given])
    for answer, own in zip(given.sample.answers, found, strict=True):
        ids = torch.tensor([[*given.sample.prompt, *answer.ids]])
        inputs = vision.model_inputs(loaded, [given.pixels])
        if loaded.family.mrope:
            inputs["mm_token_type_ids"] = (ids == loaded.image_token_id).int()
        with torch.no_grad():
            hidden = loaded.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, **inputs
            ).hidden_states[-1]
        assert answer.ids[-1] in loaded.eos_ids
        assert own.item() == pytest.approx(float(hidden[0, -1] @ policy.head.weight[0].detach()), abs=1e-4)


def test_it_is_transformers_sequence_classifier_where_there_is_no_picture() -> None:
    """LlamaForSequenceClassification, what TRL's RewardTrainer trains, on the same weights: rewards and loss."""
    loaded = tiny.llava()
    given = item(loaded, row(pictures=()), row(rejected=REJECTED[1], pictures=()))
    policy = RewardPolicy(loaded.model, loaded, packed=True)
    text = loaded.model.config.get_text_config()
    text.num_labels, text.pad_token_id = 1, loaded.processor.tokenizer.pad_token_id
    theirs = transformers.LlamaForSequenceClassification(text).eval()
    theirs.model.load_state_dict(loaded.model.model.language_model.state_dict())
    theirs.score.weight.data.copy_(policy.head.weight)
    with torch.no_grad():
        (ours,) = policy([given])
        logits = [
            theirs(input_ids=torch.tensor([[*given.sample.prompt, *answer.ids]])).logits[0, 0]
            for answer in given.sample.answers
        ]
    for one, other in zip(ours, logits, strict=True):
        assert one.item() == pytest.approx(other.item(), abs=1e-5)
    (loss,) = losses(RM, gather([given], [ours], rewards=True)).tolist()
    pairs = [-torch.nn.functional.logsigmoid(logits[0] - other).item() for other in logits[1:]]
    assert loss == pytest.approx(statistics.fmean(pairs), abs=1e-5)  # γ = 0.5 of two


def test_the_loss_is_equation_1() -> None:
    """By hand: rewards 1 and -0.5, so -log σ(1.5); β has no part in it."""
    zeros = torch.zeros(1)
    answers = Answers(
        torch.tensor([1.0]), zeros, zeros, torch.tensor([[-0.5]]), zeros[None], zeros[None], torch.tensor([[True]])
    )
    assert losses(RM, answers).item() == pytest.approx(math.log1p(math.exp(-1.5)))


def test_settings_of_other_losses_are_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    others: list[dict[str, Any]] = [{"beta": 0.2}, {"sft_weight": 1.0}, {"length_normalised": True}]
    for changes in others:
        with pytest.raises(UsageError, match="rm"):
            Objective(loss="rm", **changes)
    for name, value in (("reference", "live"), ("loss_mask", "spans")):
        with pytest.raises(UsageError, match="rm"):
            prepare(job(sets, tmp_path / "out", **{name: value}))


def test_what_is_saved_rates_as_what_was_trained(sets: tuple[Path, Path], trained: Path) -> None:
    model = RewardModel(trained, EngineConfig(device="cpu"))
    prepared = prepare(job(sets[:1], trained.parent / "unused"))
    items = [prepared.dataset[number] for number in prepared.trained_on]
    rewards = [reward for item in items for own in model.rate([item]) for rewards in own for reward in [rewards]]
    assert model.figures.answers == len(rewards)
    assert model.figures.mean == pytest.approx(statistics.fmean(rewards), abs=1e-4)
    assert model.figures.std == pytest.approx(statistics.pstdev(rewards), abs=1e-4)
    normalised = [model.figures.normalised(reward) for reward in rewards]
    assert statistics.fmean(normalised) == pytest.approx(0, abs=1e-3)
    assert "reward model" in (trained / "README.md").read_text()


def test_it_learns_what_it_is_shown(sets: tuple[Path, Path], tmp_path: Path) -> None:
    steps = run(job(sets[:1], tmp_path / "RM", max_steps=12, lr=3e-3, batch_size=3, validation=0.0))
    assert steps[-1]["loss"] < 0.5 * steps[0]["loss"]
    assert steps[-1]["rewards/accuracies"] == 1.0
    assert not any(name.startswith("logps") for name in steps[-1])


def test_a_stopped_run_goes_on_as_if_it_had_not_been(sets: tuple[Path, Path], trained: Path, tmp_path: Path) -> None:
    given = job(sets[:1], tmp_path / "RM")
    with pytest.raises(Stopped):
        run(given, stop_after=1)
    run(given)
    for name in ("adapter_model.safetensors", reward.HEAD, reward.FIGURES):
        assert (given.output / name).read_bytes() == (trained / name).read_bytes(), name


def test_no_picture_is_trained_on_in_one_set_and_held_out_in_another(sets: tuple[Path, Path], tmp_path: Path) -> None:
    prepared = prepare(job(sets, tmp_path / "RM"))
    pictures: dict[bool, set[str]] = {True: set(), False: set()}
    for number, sample in enumerate(prepared.samples):
        set_, place = sample.place
        (own,) = Stored(sets[set_]).take([place]).to_pylist()
        pictures[number in prepared.held_out] |= set(digests(own))
    assert pictures[True]
    assert not pictures[True] & pictures[False]


def test_the_matrix_takes_no_pair_whose_picture_was_trained_on(
    sets: tuple[Path, Path], trained: Path, tmp_path: Path
) -> None:
    seen = saved.pictures(trained)
    assert seen
    found = matrix_.matrix([trained], sets, [], EngineConfig(device="cpu"))
    for path in sets:
        rows = list(Stored(path).scan(("id", "meta")))
        held = [row for row in rows if not seen & set(digests(row))]
        cell = found.cells["RM"][path.name]
        assert cell.pairs == len(held) == len(rows) - found.seen[path.name]
        assert 0 < cell.pairs < len(rows)
    # by another way: each answer rated alone
    model = RewardModel(trained, EngineConfig(device="cpu"))
    right = 0.0
    for row_ in Stored(sets[1]).take(range(len(Stored(sets[1])))).to_pylist():
        if seen & set(digests(row_)):
            continue
        one, other = (_alone(model, row_, row_[f"{side}_response"]) for side in ("chosen", "rejected"))
        right += one > other
    assert found.cells["RM"]["2"].accuracy == pytest.approx(right / found.cells["RM"]["2"].pairs)
    longer = found.cells[matrix_.LONGER]["1"]
    held = [row for row in _rows(sets[0]) if not seen & set(digests(row))]
    words = [(len(row["chosen_response"].split()), len(row["rejected_response"].split())) for row in held]
    assert longer.accuracy == pytest.approx(statistics.fmean((a > b) + (a == b) / 2 for a, b in words))


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(Stored(path).take(range(len(Stored(path)))).to_pylist())


def _alone(model: RewardModel, row_: dict[str, Any], answer: str) -> float:
    from prefgen.rundir.reader import asked, loaded_images

    ((found,),) = model.rate([model.reader.item(asked(row_), loaded_images(row_), [answer])])
    return found


def test_dpo_s_implicit_reward_of_the_reference_itself_prefers_nothing(sets: tuple[Path, Path], trained: Path) -> None:
    found = matrix_.matrix([trained], sets[:1], [(str(MODEL), str(MODEL))], EngineConfig(device="cpu"), limit=2)
    assert found.cells["model, implicit"]["1"].accuracy == 0.5
    assert found.unrecorded == ("model",)
    with pytest.raises(UsageError, match="--reference"):
        matrix_.reference_of(str(MODEL), "")


def test_a_set_without_a_fresh_picture_is_an_error(sets: tuple[Path, Path], tmp_path: Path) -> None:
    run(job(sets[:1], tmp_path / "all", max_steps=1, validation=0.0))
    with pytest.raises(UsageError, match="no pair whose pictures"):
        matrix_.matrix([tmp_path / "all"], sets[:1], [], EngineConfig(device="cpu"))


QUESTION = (Turn("user", (Slot.IMAGE, "What is there?")),)


def test_the_engine_rates_answers_of_one_prompt_as_each_alone(trained: Path) -> None:
    model = RewardModel(trained, EngineConfig(device="cpu"))
    engine = RewardEngine(model)
    texts = (CHOSEN, *REJECTED, CHOSEN, "")
    for ticket, text in enumerate(texts):
        engine.submit(ticket, Rate(QUESTION, (tiny.picture(ticket == 2),), text))
    found = dict(engine.collect())
    for ticket, text in enumerate(texts):
        given = model.reader.item(QUESTION, (tiny.picture(ticket == 2),), [text])
        reply = found[ticket]
        assert isinstance(reply, Rated)
        assert reply.reward == pytest.approx(model.rate([given])[0][0], abs=1e-4)
    assert engine.collect() == []


def test_a_reward_that_is_no_number_drops_its_row(trained: Path, tmp_path: Path) -> None:
    broken = tmp_path / "RM"
    broken.mkdir()
    for file in trained.iterdir():
        if file.is_file():
            (broken / file.name).write_bytes(file.read_bytes())
    weight = load_file(broken / reward.HEAD)["weight"]
    save_file({"weight": weight * math.nan}, broken / reward.HEAD)
    scenes = ("-i", SCENES / "llava_instruct.json", "--limit", "2", "-m", MODEL, "--max-new-tokens", "4")
    done = called("rank", *scenes, "--by", "reward", "--reward-model", broken, "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "ANSWER_UNRATED" in done.stdout + done.stderr
    with pytest.raises(ValueError, match="no reward"):
        Reward(broken, device="cpu")(["What is there?"], ["A red star."])
    (broken / reward.FIGURES).write_text("{")
    with pytest.raises(CorruptRun, match="damaged"):
        RewardModel(broken)


def test_rank_prefers_the_answer_with_the_higher_reward(trained: Path, tmp_path: Path) -> None:
    scenes = ("-i", SCENES / "llava_instruct.json", "--limit", "3", "-m", MODEL, "--max-new-tokens", "12")
    words = ("--by", "reward", "--reward-model", trained, "--device", "cpu", "-o", tmp_path / "out")
    done = called("rank", *scenes, *words)
    assert done.returncode == 0, done.stderr
    model = RewardModel(trained, EngineConfig(device="cpu"))
    rows = _rows(tmp_path / "out")
    assert rows
    for row_ in rows:
        one, other = (_alone(model, row_, row_[f"{side}_response"]) for side in ("chosen", "rejected"))
        assert one > other
        assert json.loads(row_["meta"])["options"]["scores"] == pytest.approx([one, other], abs=1e-3)
    moved = trained.parent / "moved"
    trained.rename(moved)
    again = called("rank", *scenes, "--by", "reward", "--reward-model", moved, "-o", tmp_path / "out")
    moved.rename(trained)
    assert again.returncode == 6  # another name; the digest is the same
    none = called("rank", *scenes, "--by", "reward", "-o", tmp_path / "none")
    assert none.returncode == 2
    assert "--reward-model" in none.stderr


def test_trl_s_arguments_give_the_same_rewards(trained: Path) -> None:
    """Conversations and texts, PIL pictures and bytes, one picture or a list; columns that are of no use."""
    import io

    import PIL.Image

    function = Reward(trained, device="cpu")
    picture = tiny.picture(1)
    shown = PIL.Image.open(io.BytesIO(picture.data))
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is there?"}]}]
    bare = [{"role": "user", "content": "What is there?"}]
    answer = [{"role": "assistant", "content": CHOSEN}]
    found = function(
        [message, bare, "What is there?"],
        [answer, answer, CHOSEN],
        images=[[shown], shown, picture.data],
        other=[1] * 3,
    )
    model = RewardModel(trained, EngineConfig(device="cpu"))
    expected = model.rate([model.reader.item(QUESTION, (picture,), [CHOSEN])])[0][0]
    assert found == pytest.approx([expected] * 3, abs=1e-4)
    assert Reward(trained, device="cpu", normalise=True)([bare], [CHOSEN], image=[shown]) == pytest.approx(
        [model.figures.normalised(expected)], abs=1e-4
    )
    with pytest.raises(UsageError, match="places"):
        function([message], [CHOSEN], images=[[shown, shown]])
    assert function.__name__ == "RM"


def test_defaults_of_the_command_are_the_paper_s(sets: tuple[Path, Path], tmp_path: Path) -> None:
    done = called("train", "rm", sets[0], "--model", MODEL, "-o", tmp_path / "RM", "--dry-run", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "rm, LoRA 128/256, 4,000 steps of 32 samples" in done.stderr
    assert "held out" in done.stderr
    again = called(
        *("train", "rm", sets[0], "--model", MODEL, "-o", tmp_path / "RM", "--device", "cpu", "--dry-run"),
        *("--epochs", "2", "--batch-size", "3", "--grad-accum", "1"),
    )
    assert "steps of 3 samples" in again.stderr
    assert "4,000" not in again.stderr
