"""RLOO and PPO: their figures by hand, what a step is made of, and that a stopped run goes on."""

from __future__ import annotations

import json
import math
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prefgen.engines.base import EngineConfig
from prefgen.engines.chat.config import JudgeConfig
from prefgen.errors import ExitCode, RowError, Stopped, UsageError
from prefgen.evaluate.scenes import reward as scenes
from prefgen.evaluate.scenes.reward import ScenesReward
from prefgen.requests import Rate, Rated, Reply, Request
from prefgen.sources import SourceOptions
from prefgen.training import online as online_
from prefgen.training import rollouts
from prefgen.training.config import Loss, Objective, Online
from prefgen.training.logprobs import Policy, token_logps
from prefgen.training.model import attach
from prefgen.training.policy_gradient import (
    NOT_WHITENED,
    Surrogate,
    Whitening,
    gae,
    leave_one_out,
    ppo,
    rloo,
    token_advantages,
)
from prefgen.training.rollouts import ValuePolicy
from prefgen.training.rows import Item
from prefgen.training.run import prepare, train
from prefgen.training.state import Prepared, TrainingJob
from tests.cli.runs import called
from tests.judge import MODEL as JUDGE
from tests.judge import Judge
from tests.train.quick import MODEL, QUICK
from tests.trainers.sets import SCENES

SAMPLED = Online("sampled", reward="scenes", online_args=("max_new_tokens=12", "candidates=3"))


def job(
    output: Path, loss: Loss = "rloo", online: Online = SAMPLED, engines: Any = None, **changes: Any
) -> TrainingJob:
    return TrainingJob(
        (SCENES / "llava_instruct.json",),
        output,
        EngineConfig(model=str(MODEL), device="cpu"),
        Objective(loss, beta=0.4),
        replace(QUICK, **changes),
        SourceOptions(limit=6, turns="first"),
        online=online,
        engines=engines or {Rate: scenes.engine},
    )


def run(given: TrainingJob, stop_after: int = 0, *, at_once: bool = False) -> list[dict[str, float]]:
    """Metrics of the steps that were taken."""
    told: list[dict[str, float]] = []

    def stop() -> ExitCode | None:
        if at_once:
            return ExitCode.TERMINATED
        return ExitCode.TERMINATED if stop_after and told and told[-1]["step"] == stop_after else None

    train(given, prepare(given), told.append, stop=stop)
    return [metrics for metrics in told if "loss" in metrics]


def test_the_baseline_of_an_answer_is_the_mean_of_the_others() -> None:
    """By hand: of 1, 2, 6 the means of the others are 4, 3.5, 1.5."""
    assert leave_one_out(torch.tensor([1.0, 2.0, 6.0])).tolist() == pytest.approx([-3.0, -1.5, 4.5])


def test_rloo_by_hand() -> None:
    """Two answers of two tokens and one; the policy has moved by 0.5 from the one that sampled the first."""
    old = [torch.tensor([-1.0, -2.0]), torch.tensor([-3.0])]
    reference = [torch.tensor([-1.5, -2.5]), torch.tensor([-3.0])]
    new = [torch.tensor([-0.75, -1.75], requires_grad=True), torch.tensor([-3.0], requires_grad=True)]
    loss, advantages = rloo(new, old, reference, torch.tensor([1.0, -1.0]), beta=0.4, clip=0.2)
    assert advantages.tolist() == pytest.approx([1.0 - 0.4 + 1.0, -1.0 - 1.0 + 0.4])  # the KL of the first is 1
    assert loss.item() == pytest.approx(-(1.2 * 1.6 + 1.0 * -1.6) / 2)  # exp(0.5) is clipped to 1.2
    loss.backward()  # type: ignore[no-untyped-call]
    assert new[0].grad is not None
    assert new[1].grad is not None
    assert new[0].grad.tolist() == [0.0, 0.0]  # clipped: no further in that direction
    assert new[1].grad.tolist() == pytest.approx([0.8])  # -A / 2


def test_gae_by_hand() -> None:
    """λ = 1 gives returns minus values, λ = 0 the one-step errors."""
    rewards, values = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.5, 1.0, -1.0])
    assert gae(rewards, values, 1.0).tolist() == pytest.approx([2.5, 1.0, 3.0])
    assert gae(rewards, values, 0.0).tolist() == pytest.approx([1.5, -2.0, 3.0])
    assert gae(rewards, values, 0.5).tolist() == pytest.approx([1.5 - 0.25, -0.5, 3.0])


def test_ppo_by_hand() -> None:
    """One answer of two tokens on the policy that sampled it: the KL is a reward of each token, R of the last."""
    old, reference = [torch.tensor([-1.0, -2.0])], [torch.tensor([-2.0, -2.0])]
    values = [torch.tensor([0.5, 0.25])]
    settings = Surrogate(beta=0.2, clip=0.2, lam=1.0, value_weight=0.1)
    advantages = token_advantages(old, values, reference, torch.tensor([1.0]), settings)
    returns = [-0.2 + 1.0, 1.0]
    assert advantages[0].tolist() == pytest.approx([returns[0] - 0.5, returns[1] - 0.25])
    loss, of_values = ppo(old, values, old, values, advantages, NOT_WHITENED, settings)
    squares = sum((one - value) ** 2 for one, value in zip(returns, (0.5, 0.25), strict=True)) / 4
    assert of_values.item() == pytest.approx(squares)
    assert loss.item() == pytest.approx(-(0.3 + 0.75) / 2 + 0.1 * squares)
    moved = [torch.tensor([1.5, 0.25])]  # a value counts no nearer than where the clip leaves it
    _, clipped = ppo(old, moved, old, values, advantages, NOT_WHITENED, settings)
    assert clipped.item() == pytest.approx((max((1.5 - 0.8) ** 2, (0.7 - 0.8) ** 2) + 0.75**2) / 4)


def test_whitening_by_hand() -> None:
    """Advantages 1, 3 and 8 have mean 4 and, without bias, variance 13; what values are fitted to stays as it is."""
    whitening = Whitening.of(torch.tensor([1.0, 3.0, 8.0]))
    assert (whitening.mean, whitening.variance) == pytest.approx((4.0, 13.0))
    assert whitening(torch.tensor([8.0, 4.0])).tolist() == pytest.approx([4 / 13**0.5, 0.0])
    assert Whitening.of(torch.tensor([2.0])) == NOT_WHITENED  # one has no variance
    assert Whitening.of(torch.tensor([2.0, 2.0]))(torch.tensor([2.0])).item() == 0
    own, values = [torch.tensor([-1.0, -2.0])], [torch.tensor([0.5, 0.25])]
    settings = Surrogate(beta=0.2, clip=0.2)
    advantages = [torch.tensor([8.0, 3.0])]
    loss, of_values = ppo(own, values, own, values, advantages, whitening, settings)
    assert of_values.item() == pytest.approx((8.0**2 + 3.0**2) / 4)
    assert (loss - 0.1 * of_values).item() == pytest.approx(-(4 - 1) / 13**0.5 / 2)


def test_advantages_of_ppo_are_whitened_over_a_step_of_several_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two passes of a prompt each: what the losses got has mean 0 and variance 1 over both, not over each."""
    got: list[list[torch.Tensor]] = []

    def watched(own: Any, values: Any, old: Any, expected: Any, advantages: Any, whitened: Any, settings: Any) -> Any:
        got.append([whitened(each) for each in advantages])
        return ppo(own, values, old, expected, advantages, whitened, settings)

    monkeypatch.setattr(rollouts, "ppo", watched)
    made = replace(SAMPLED, online_args=("max_new_tokens=8", "candidates=2"))
    run(job(tmp_path / "out", "ppo", made, batch_size=1, grad_accum=2, max_steps=1))
    assert len(got) == 2
    one = torch.cat(got[0])
    both = torch.cat([each for answers in got for each in answers])
    assert both.mean().item() == pytest.approx(0, abs=1e-5)
    assert both.var().item() == pytest.approx(1, abs=1e-4)
    assert abs(one.mean().item()) > 1e-3


def test_what_a_step_trains_on_is_what_was_sampled_and_rated(tmp_path: Path) -> None:
    given = job(tmp_path / "out")
    prepared, items = sampled(given, 6)
    figures = json.loads((given.records / "rewards.json").read_text())
    assert figures["answers"] == 6 * 3
    decode = prepared.loaded.processor.tokenizer.decode
    for item in items:
        assert item.rollout
        (row,) = prepared.dataset.rows(replace(item.sample, answers=item.sample.answers[:1]))
        truth = rollouts_truth(row["chosen_response"])
        for answer, rated, score, cut in zip(
            item.sample.answers, item.rollout.rewards, item.rollout.scores, item.rollout.cut, strict=True
        ):
            named = rollouts_truth(decode(answer.ids, skip_special_tokens=True))
            assert rated == pytest.approx((len(named & truth) - len(named - truth)) / len(truth))
            assert score == pytest.approx((rated - figures["mean"]) / figures["std"])
            assert cut == (answer.ids[-1] not in prepared.loaded.eos_ids)
            assert len(answer.ids) == 12 if cut else len(answer.ids) <= 12
    with torch.no_grad():
        found = token_logps(prepared.loaded, items, packed=True)
        loss_B, measured = rollouts.losses(given.objective, items, found)
    assert loss_B.tolist() == pytest.approx([0.0] * 6, abs=1e-6)  # the mean of leave-one-out advantages
    assert measured["kl"] == pytest.approx([0.0] * 6, abs=1e-4)


def rollouts_truth(text: str) -> frozenset[str]:
    """The things of a text, found by another way."""
    words = f" {' '.join(''.join(c if c.isalpha() else ' ' for c in text.lower()).split())} "
    listed = [line.split(", ") for line in (SCENES / "words.txt").read_text().splitlines()]
    return frozenset(names[0] for names in listed if any(f" {name} " in words for name in names))


@pytest.mark.parametrize(("loss", "every"), [("rloo", 1), ("rloo", 2), ("ppo", 2)])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(loss: Loss, every: int, tmp_path: Path) -> None:
    """With answers made for two steps, what the policy that sampled them said of them is kept, too."""
    # Long enough for answers of unlike reward: where all are alike, the first step has no gradient and moves nothing.
    made = replace(SAMPLED, online_every=every, online_args=("max_new_tokens=20", "candidates=2"))
    changes = {"warmup": 0.0, "max_steps": 2 * every}
    whole = run(job(tmp_path / "whole", loss, made, **changes))
    given = job(tmp_path / "stopped", loss, made, **changes)
    with pytest.raises(Stopped):
        run(given, stop_after=every if every > 1 else 0, at_once=every == 1)
    run(given)
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(whole) == 2 * every
    assert {"reward", "kl", "entropy", "completions/mean_length", "alike"} <= whole[0].keys()
    if every == 2:
        assert whole[1]["kl"] != 0  # of answers sampled before the first step, read after it
    assert (given.records / "curves.svg").read_text().count("</g>") == 6


def test_ppo_s_values_are_the_heads_of_the_states_that_predict(tmp_path: Path) -> None:
    prepared = prepare(job(tmp_path / "out"))
    items = [prepared.dataset[0]]
    policy = ValuePolicy(prepared.loaded.model, prepared.loaded, packed=True)
    assert not policy.head.weight.any()
    torch.nn.init.normal_(policy.head.weight)
    with torch.no_grad():
        ((both,),) = policy(items)
        ((logps,),) = Policy(prepared.loaded.model, prepared.loaded, packed=True)(items)
        states = policy.states(items)
    assert torch.allclose(both[:, 0], logps)
    assert torch.allclose(both[:, 1], states.hidden_NH @ policy.head.weight[0])
    assert "value_head.weight" in dict(policy.trained())


class Nan:
    """Rates everything NaN."""

    def __init__(self, config: EngineConfig) -> None:
        self._pending: list[int] = []

    def submit(self, ticket: int, request: Request) -> None:
        self._pending.append(ticket)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        pending, self._pending = self._pending, []
        return [(ticket, Rated(math.nan)) for ticket in pending]


def test_a_reward_that_is_no_number_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"could be rated: ANSWER_UNRATED: the reward is nan"):
        run(job(tmp_path / "out", engines={Rate: Nan}))


class LaterNan(ScenesReward):
    """Rates answers NaN once the mean and spread of rewards are measured, of one of two collections."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self._asked = 0

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        self._asked += 1
        return [
            (ticket, Rated(math.nan) if self._asked > 1 and not number // 3 else reply)
            for number, (ticket, reply) in enumerate(super().collect())
        ]


def test_a_prompt_whose_reward_is_no_number_is_left_out_and_counted(tmp_path: Path) -> None:
    given = job(tmp_path / "out", engines={Rate: LaterNan}, batch_size=3, grad_accum=1, max_steps=1)
    (step,) = run(given)
    assert step[online_.ASKED] == 3
    assert step[f"{online_.FALLBACK}/ANSWER_UNRATED"] == step[online_.FALLBACK] == 1
    assert math.isfinite(step["reward"])


def test_collapse_is_said_by_a_run_and_on_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "_WINDOW", 1)
    monkeypatch.setattr(rollouts, "_ALIKE", 0.0)
    made = replace(SAMPLED, reward="scenes", online_args=("max_new_tokens=1", "candidates=2"))
    given = job(tmp_path / "out", online=made, batch_size=2, grad_accum=1, max_steps=2)
    told: list[str] = []
    train(given, prepare(given), lambda metrics: None, say=told.append)
    (said,) = (text for text in told if text.startswith("collapse: "))
    assert "by step 2 all answers to a prompt are alike for" in said
    assert "**Collapse**: by step 2" in (given.output / "README.md").read_text()


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--reward"):
        Online("sampled")
    with pytest.raises(UsageError, match="--reward"):
        Online("bdhs", reward="similarity")
    with pytest.raises(UsageError, match="--annotator"):
        Online("sampled", reward="judge")
    with pytest.raises(UsageError, match="no option of rank"):
        Online("sampled", reward="similarity", online_args=("temperature=0.5",))
    with pytest.raises(UsageError, match="--mix"):
        Online("sampled", reward="similarity", mix=0.5)
    with pytest.raises(UsageError, match="no reward model"):
        prepare(job(tmp_path / "out", online=replace(SAMPLED, reward=str(tmp_path)), engines={Score_: None}))
    with pytest.raises(UsageError, match="rloo and ppo"):
        prepare(replace(job(tmp_path / "out"), objective=Objective()))
    with pytest.raises(UsageError, match="--validation"):
        prepare(job(tmp_path / "out", validation=0.1))


Score_: Any = object()  # an engine for something else


def steps(**values: tuple[float, float]) -> list[dict[str, float]]:
    """Metrics of twelve steps, the first six of one kind, the others of another."""
    usual = {"alike": 0.1, "completions/mean_length": 40.0, "completions/clipped_ratio": 0.1}
    history = [{**usual, "step": float(step)} for step in range(1, 13)]
    for name, (before, after) in values.items():
        for entry in history:
            entry[{"length": "completions/mean_length", "cut": "completions/clipped_ratio"}.get(name, name)] = (
                before if entry["step"] <= 6 else after
            )
    return history


def test_collapse_is_told() -> None:
    assert rollouts.collapse(steps()) == ""
    assert "alike" in rollouts.collapse(steps(alike=(0.1, 0.95)))
    assert "from 40.0 to 5.0 tokens" in rollouts.collapse(steps(length=(40.0, 5.0)))
    assert "run on" in rollouts.collapse(steps(cut=(0.1, 1.0)))
    assert rollouts.collapse(steps(cut=(0.9, 1.0))) == ""  # as they did from the start
    assert rollouts.collapse(steps(alike=(0.1, 0.95))[:8]) == ""


def test_defaults_of_the_commands_are_the_paper_s(tmp_path: Path) -> None:
    shared = (SCENES / "llava_instruct.json", "--limit", "8", "--turns", "first", "--model", MODEL, "--device", "cpu")
    done = called("train", "rloo", *shared, "--reward", "scenes", "-o", tmp_path / "out", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "rloo, β 0.4, LoRA 128/256, 2 steps of 64 samples" in done.stderr
    assert "4 answers of the policy to a prompt, new in every step" in done.stderr
    done = called("train", "ppo", *shared, "--reward", "scenes", "-o", tmp_path / "out", "--dry-run")
    assert "ppo, β 0.2, LoRA 128/256, 3 steps of 8 samples" in done.stderr
    assert "for 4 steps at a time" in done.stderr
    none = called("train", "rloo", *shared, "-o", tmp_path / "out", "--dry-run")
    assert none.returncode == 2
    assert "--reward" in none.stderr
    both = called("train", "rloo", *shared, "--reward", "scenes", "--online", "bdhs", "-o", tmp_path / "out")
    assert both.returncode == 2
    pairs = called("train", "dpo", *shared, "--reward", "scenes", "-o", tmp_path / "out")
    assert pairs.returncode == 2


def sampled(given: TrainingJob, count: int) -> tuple[Prepared, list[Item]]:
    """The first step's items of a job, without a trainer."""
    prepared = prepare(given)
    given.records.mkdir(parents=True)
    model = attach(prepared.loaded, given.optimisation)
    with ExitStack() as held:
        supply = held.enter_context(online_.supply(given, prepared, model))
        assert supply
        (batch,) = supply.step(iter([{"items": [prepared.dataset[number] for number in range(count)]}]), 1, 0, 1)
        return prepared, supply.referred(batch["items"])


def test_a_judge_s_reward_is_the_share_of_siblings_that_an_answer_beats(tmp_path: Path) -> None:
    """A judge that prefers the shorter answer, of two of a length the earlier by alphabet, whichever it reads first."""

    def rank(text: str) -> tuple[int, str]:
        return len(text), text

    def shorter(number: int, body: dict[str, Any]) -> str:
        found = re.search("One: (.*) Two: (.*)$", body["messages"][-1]["content"][-1]["text"], re.DOTALL)
        assert found
        return json.dumps({"verdict": "A" if rank(found[1]) < rank(found[2]) else "B"})

    prompt = tmp_path / "own.txt"
    prompt.write_text("=== user ===\n$question One: $first Two: $second")
    with Judge(shorter) as judge:
        made = replace(SAMPLED, reward="judge", annotator=judge.url, annotator_prompt=prompt)
        given = replace(job(tmp_path / "out", online=made, engines={}), judge=JudgeConfig(JUDGE, judge.url))
        prepared, items = sampled(given, 3)
    decode = prepared.loaded.processor.tokenizer.decode
    assert len(items) == 3
    for item in items:
        assert item.rollout
        ranks = [rank(decode(answer.ids, skip_special_tokens=True).strip()) for answer in item.sample.answers]
        assert len(set(ranks)) == 3  # or a tie would decide
        beaten = [sum(other > own for other in ranks) / 2 for own in ranks]
        assert item.rollout.rewards == pytest.approx(beaten)


@pytest.mark.parametrize("reward", ["similarity", "image-gain", "judge"])
def test_rewards_that_have_a_name_train(reward: str, tmp_path: Path) -> None:
    with Judge(lambda number, body: json.dumps({"verdict": "A"})) as judge:
        served = ("--annotator", judge.url, "--judge", JUDGE) if reward == "judge" else ()
        words = ("--similarity-model", "minilm", "--online-arg", "max_new_tokens=8", "--online-arg", "candidates=2")
        done = called(
            *("train", "rloo", SCENES / "llava_instruct.json", "--limit", "2", "--turns", "first", "--model", MODEL),
            *("--device", "cpu", "--reward", reward, *served, *words, "-o", tmp_path / "out", "--max-steps", "1"),
            "--json",
        )
        assert bool(judge.bodies) == (reward == "judge")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["reward"] == pytest.approx(0.5) if reward == "judge" else 0 < found["reward"] < 8
    assert found["reward_std"] > 0
    assert f"reward: {reward}" in done.stderr
    assert "| reward |" in (tmp_path / "out" / "README.md").read_text()
