"""Pairing of rated answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from prefgen.errors import UsageError
from prefgen.seeds import derive

Pairing = Literal["all", "best-worst", "best-random"]
PAIRINGS: tuple[Pairing, ...] = ("all", "best-worst", "best-random")


@dataclass(frozen=True)
class RatedAnswer:
    """An answer with its rating; more is better."""

    response: object
    score: float
    model: str = ""


def check(pairing: str, min_margin: float) -> None:
    """Check the values of the options.

    Raises:
        UsageError: naming the option.
    """
    if pairing not in PAIRINGS:
        raise UsageError(f"--pairing is {pairing!r}; give one of {', '.join(PAIRINGS)}")
    if not min_margin >= 0:
        raise UsageError(f"--min-margin is {min_margin}; give a difference of ratings of at least 0")


def paired(
    ranked: Sequence[RatedAnswer], pairing: Pairing, min_margin: float, seed: int, row_id: str
) -> list[tuple[RatedAnswer, RatedAnswer]]:
    """Chosen and rejected answers; none if no two ratings differ by more than 0 and `min_margin`.

    Args:
        ranked: the answers, best first.
        pairing: ``all`` pairs, or the best answer with the worst or with a random worse one, drawn by `seed`.
    """
    # the means of three whole numbers are thirds, hence the tolerance
    margins = ((pair, pair[0].score - pair[1].score) for pair in combinations(ranked, 2))
    worse = [pair for pair, margin in margins if margin > 1e-9 and margin >= min_margin - 1e-9]
    if pairing == "all":
        return worse
    of_best = [pair for pair in worse if pair[0] is ranked[0]]
    if not of_best:
        return []
    drawn = derive(seed, row_id, 0, "rejected") % len(of_best)
    return [of_best[drawn if pairing == "best-random" else -1]]


def params(chosen: RatedAnswer, rejected: RatedAnswer) -> dict[str, object]:
    """The record of both answers' ratings in a pair."""
    found = {
        "chosen_model": chosen.model,
        "rejected_model": rejected.model,
        "chosen_rating": chosen.score,
        "rejected_rating": rejected.score,
    }
    return {name: value for name, value in found.items() if value != ""}
