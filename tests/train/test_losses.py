"""Objectives against values worked out by hand, and against TRL's formulas written out anew."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from prefgen.engines.hf.vision import Pixels
from prefgen.errors import UsageError
from prefgen.training.config import Objective
from prefgen.training.losses import Answers, Shift, losses, mean_reward, takes_offline, weights
from prefgen.training.rows import Answer, Item, TrainingSample
from prefgen.training.trainer import gather

# Δ = (-10 + 12) - (-9 + 8) = 3 in sums, 2/4 - (-1/2) = 1 per token.
PAIR = Answers(
    chosen=torch.tensor([-10.0]),
    chosen_ref=torch.tensor([-12.0]),
    chosen_tokens=torch.tensor([4.0]),
    rejected=torch.tensor([[-9.0]]),
    rejected_ref=torch.tensor([[-8.0]]),
    rejected_tokens=torch.tensor([[2.0]]),
    present=torch.tensor([[True]]),
)
# A second rejected answer with Δ = 2 - 4 = -2.
TWO = replace(
    PAIR,
    rejected=torch.tensor([[-9.0, -6.0]]),
    rejected_ref=torch.tensor([[-8.0, -10.0]]),
    rejected_tokens=torch.tensor([[2.0, 8.0]]),
    present=torch.tensor([[True, True]]),
)


def test_dense_weights_give_the_score_of_rlhf_v() -> None:
    # y+ = u c u, y- = u c, γ = 3; log-ratios u .2, c .4, u .1 and u -.1, c -.5.
    # 1/N [Σ_u + γ Σ_c]: (.3 + 3 * .4) / (2 + 3) = .3 and (-.1 - 3 * .5) / (1 + 3) = -.4.
    answers = (Answer((5, 6, 2), (1.0, 3.0, 1.0)), Answer((5, 2), (1.0, 3.0)))
    reference = (torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.0, -4.0]))
    policy = [torch.tensor([-0.8, -1.6, -2.9]), torch.tensor([-1.1, -4.5])]
    found = gather([Item(TrainingSample("0", (0, 0), (1,), answers), Pixels({}, ()), reference)], [policy])
    assert value(found, loss="dpo", beta=0.5, length_normalised=True) == pytest.approx(nll(0.5 * 0.7), abs=1e-6)
    assert value(found, loss="dpo", beta=0.5) == pytest.approx(nll(0.5 * (1.5 + 1.6)), abs=1e-6)


def nll(scaled: float) -> float:
    """-log σ, without torch."""
    return math.log1p(math.exp(-scaled))


def value(answers: Answers, **settings: Any) -> float:
    return float(losses(Objective(**settings), answers)[0])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"loss": "dpo", "beta": 0.1}, 0.554355),  # log(1 + e^-0.3)
        ({"loss": "dpo", "beta": 0.1, "label_smoothing": 0.1}, 0.9 * 0.554355 + 0.1 * 0.854355),
        ({"loss": "dpo", "beta": 0.5, "length_normalised": True}, 0.474077),  # log(1 + e^-0.5)
        ({"loss": "ipo", "beta": 0.8}, (1 - 0.625) ** 2),
        ({"loss": "ipo-sum", "beta": 0.8}, (3 - 0.625) ** 2),
        ({"loss": "slic", "beta": 0.2}, 0.4),
        ({"loss": "slic", "beta": 0.5}, 0.0),
        ({"loss": "slic", "beta": 0.2, "length_normalised": True}, 0.8),
        ({"loss": "dpo", "beta": 0.1, "sft_weight": 2.0}, 0.554355 + 2 * 10 / 4),
        ({"loss": "sft"}, 10 / 4),  # whatever was rejected
    ],
)
def test_losses_have_the_values_worked_out_by_hand(settings: dict[str, Any], expected: float) -> None:
    assert value(PAIR, **settings) == pytest.approx(expected, abs=1e-5)


def test_a_policy_that_is_its_reference_has_the_loss_of_a_coin() -> None:
    same = replace(TWO, chosen_ref=TWO.chosen, rejected_ref=TWO.rejected)
    assert value(same) == pytest.approx(math.log(2))
    assert value(same, average="margins") == pytest.approx(math.log(2))


def test_the_quality_term_tells_good_from_bad_by_itself() -> None:
    # β r is 0.1 * 2 of the chosen answer and 0.1 * -1 of the rejected one, δ 0.05.
    mpo = Objective(pair_weight=0.8, quality_weight=0.2, sft_weight=1.0)
    expected = 0.8 * nll(0.3) + 0.2 * (nll(0.2 - 0.05) + nll(0.05 + 0.1)) + 10 / 4
    assert float(losses(mpo, PAIR, 0.05)[0]) == pytest.approx(expected, abs=1e-5)
    # A second rejected answer has β r = 0.4, and both count half.
    expected = nll(0.2 - 0.05) + (nll(0.05 + 0.1) + nll(0.05 - 0.4)) / 2
    assert float(losses(Objective(pair_weight=0.0, quality_weight=1.0), TWO, 0.05)[0]) == pytest.approx(
        expected, abs=1e-5
    )


def test_the_anchor_keeps_the_chosen_reward_up() -> None:
    # β r of the chosen answer is 0.1 * 2, and the pair's own margin 0.1 * 3.
    found = losses(Objective(anchor_weight=0.5, anchor=0.3), PAIR)
    assert float(found[0]) == pytest.approx(nll(0.3) + 0.5 * nll(0.2 - 0.3), abs=1e-6)


def test_the_shift_is_the_mean_reward_of_the_batches_so_far() -> None:
    shift = Shift()
    for answers in (PAIR, TWO):
        shift.add(mean_reward(Objective(), answers))
    assert shift.mean == pytest.approx(((0.2 - 0.1) / 2 + (0.2 + (-0.1 + 0.4) / 2) / 2) / 2, abs=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0])
def test_several_rejected_answers_are_averaged_in_both_forms(gamma: float) -> None:
    averaged = gamma * nll(0.3) + (1 - gamma) * nll(-0.2)
    assert value(TWO, gamma=gamma) == pytest.approx(averaged, abs=1e-5)
    inside = nll(0.1 * (gamma * 3 + (1 - gamma) * -2))
    assert value(TWO, gamma=gamma, average="margins") == pytest.approx(inside, abs=1e-5)


def test_weights_sum_to_one_however_many_answers_there_are() -> None:
    present = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    expected = torch.tensor([[1.0, 0, 0], [0.6, 0.4, 0], [0.6, 0.2, 0.2]])
    assert torch.allclose(weights(0.6, present), expected)


def test_a_mix_takes_one_pair_or_the_other() -> None:
    drawn = [takes_offline(0.5, 0, epoch, f"row {row}") for epoch in range(2) for row in range(500)]
    assert 430 < sum(drawn) < 570
    assert drawn[:500] != drawn[500:]  # anew in each epoch
    assert drawn == [takes_offline(0.5, 0, epoch, f"row {row}") for epoch in range(2) for row in range(500)]
    assert takes_offline(1.0, 0, 0, "row")
    assert not takes_offline(0.0, 0, 0, "row")


def trl_value(loss: str, beta: float, smoothing: float, answers: Answers) -> torch.Tensor:
    """As TRL 1.16's `DPOTrainer` computes it, from per-token means for IPO and with its names."""
    chosen_logratios = answers.chosen - answers.chosen_ref
    rejected_logratios = answers.rejected[:, 0] - answers.rejected_ref[:, 0]
    delta = chosen_logratios - rejected_logratios
    if loss == "dpo":
        positive, negative = (torch.nn.functional.logsigmoid(sign * beta * delta) for sign in (1, -1))
        return -positive * (1 - smoothing) - negative * smoothing
    if loss == "slic":
        return torch.relu(1 - beta * delta)
    ipo_delta = chosen_logratios / answers.chosen_tokens - rejected_logratios / answers.rejected_tokens[:, 0]
    return (ipo_delta - 1 / (2 * beta)) ** 2


@pytest.mark.parametrize(("loss", "smoothing"), [("dpo", 0.0), ("dpo", 0.2), ("ipo", 0.0), ("slic", 0.0)])
def test_losses_are_those_of_trl(loss: Any, smoothing: float) -> None:
    draw = torch.Generator().manual_seed(0)
    chosen, chosen_ref = torch.randn(2, 50, generator=draw) * 20
    rejected, rejected_ref = torch.randn(2, 50, 1, generator=draw) * 20
    lengths = torch.randint(1, 60, (2, 50), generator=draw).float()
    present = torch.ones(50, 1, dtype=torch.bool)
    answers = Answers(chosen, chosen_ref, lengths[0], rejected, rejected_ref, lengths[1][:, None], present)
    ours = losses(Objective(loss=loss, beta=0.3, label_smoothing=smoothing), answers)
    assert torch.allclose(ours, trl_value(loss, 0.3, smoothing, answers), rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"beta": 0.0},
        {"gamma": 1.5},
        {"label_smoothing": 0.5},
        {"loss": "slic", "label_smoothing": 0.1},
        {"loss": "ipo", "length_normalised": True},
        {"loss": "kto"},
        {"sft_weight": -1.0},
        {"loss": "slic", "quality_weight": 0.2},
        {"loss": "sft", "pair_weight": 0.8},
        {"loss": "ipo", "anchor_weight": 1.0},
        {"anchor": 0.1},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Objective(**settings)
