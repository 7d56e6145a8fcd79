"""Counts of reasons for dropped rows, each with the first one's detail as an example."""

from __future__ import annotations

from prefgen.records import Dropped

Reasons = dict[str, tuple[int, str]]


def note(reasons: Reasons, dropped: Dropped) -> None:
    """Count a dropped row under its reason."""
    count, example = reasons.get(dropped.reason, (0, dropped.detail))
    reasons[dropped.reason] = count + 1, example


def listed(reasons: Reasons) -> str:
    """The reasons, most frequent first, one line each with count and example."""
    ordered = sorted(reasons.items(), key=lambda item: -item[1][0])
    return "\n".join(f"  {reason} {count:,}, e.g. {example[:600]}" for reason, (count, example) in ordered)
