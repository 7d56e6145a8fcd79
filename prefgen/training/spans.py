"""Differences between two answers: the tokens that they do not share.

Both answers of a guided pair end alike, and a loss over all tokens pushes the end token of the rejected one down with
the rest, so that answers grow. The span loss counts the differing stretches alone. RLHF-V's dense DPO (Yu et al., CVPR
2024) counts those that were corrected, y_c, γ > 1 times as much as the unchanged ones, y_u:

    log π(y|x) = 1/N [ Σ_{y_u} log p(y_i|x, y_<i) + γ Σ_{y_c} log p(y_i|x, y_<i) ],  N = |y_u| + γ |y_c|

in the policy as in the reference. Their code divides by N if asked to; so do we (``length_normalised``).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from prefgen.records import Span

Stretches = tuple[tuple[Span, ...], tuple[Span, ...]]
"""Stretches of the chosen and of the rejected answer, as many of the one as of the other."""


def recorded(chosen: str, rejected: str, generated: Sequence[Span], cuts: Sequence[int]) -> Stretches | None:
    """The character ranges that were generated, and the ranges that they replaced.

    Args:
        generated: spans of the rejected answer.
        cuts: where each of them begins in the chosen one.

    Returns:
        None where the record does not explain the difference, as after a yes was swapped for a no.
    """
    if not generated:
        return None
    starts = list(cuts) or [0]
    if len(starts) != len(generated):
        return None
    ends = [
        after - (later.start - span.end)
        for span, later, after in zip(generated, generated[1:], starts[1:], strict=False)
    ]
    ends.append(len(chosen) - (len(rejected) - generated[-1].end))
    pieces: list[str] = []
    at = 0
    for start, end, span in zip(starts, ends, generated, strict=True):
        if not at <= start <= end:
            return None
        pieces += [chosen[at:start], rejected[span.start : span.end]]
        at = end
    if "".join([*pieces, chosen[at:]]) != rejected:
        return None
    pairs = [(Span(start, end), span) for start, end, span in zip(starts, ends, generated, strict=True)]
    differing = [(old, new) for old, new in pairs if chosen[old.start : old.end] != rejected[new.start : new.end]]
    return tuple(old for old, _ in differing), tuple(new for _, new in differing)


def found(chosen: Sequence[int], rejected: Sequence[int]) -> Stretches:
    """The token ranges in which two sequences differ, by longest matching blocks."""
    blocks = SequenceMatcher(None, chosen, rejected, autojunk=False).get_opcodes()
    changed = [block for block in blocks if block[0] != "equal"]
    return tuple(Span(block[1], block[2]) for block in changed), tuple(Span(block[3], block[4]) for block in changed)
