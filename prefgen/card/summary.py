"""Figures of a run: pairs, dropped rows by reason, lengths, and similarity of the answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from prefgen.rundir.layout import Layout

QUANTILES = {"p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
_LENGTHS, _TOKENS = ("chosen_chars", "rejected_chars"), ("image_tokens", "kept_image_tokens")
_TEXTS = ("chosen_response", "rejected_response")
_COLUMNS = ["similarity", "iteration", "flags", "licence", *_LENGTHS, *_TOKENS, *_TEXTS]  # never the pictures
_ROWS_AT_ONCE = 10_000
_FLAGS = {
    "blind": "no image token was visible",
    "unguided": "no given beginning",
    "similar": "still similar at the end",
    "length": "cut off by a limit of tokens",
    "embedder-truncated": "compared by its beginning",
    "unclear-verdict": "a verdict could not be read",
    "unparsed": "no final answer can be read in the rejected one",
    "media-tag": "a media tag was respelt",
    "image-spelling": "picture of another spelling",
    "image-tail": "picture in another folder",
    "image-name": "picture of that name anywhere",
}


@dataclass(frozen=True)
class Summary:
    """Figures of a run. Means and rates are None, and quantiles empty, without values.

    Attributes:
        dropped: number of rows dropped, by reason, the most frequent first.
        pending: planned rows that are neither pairs nor dropped yet.
        non_similar: figure 10 of the paper: of the rows that have a similarity, the share whose answer was accepted
            as non-similar in iteration 1, in 1 or 2, and so on. Empty where the method has no threshold.
        similarity: quantiles of the pairs' similarity by name, ``p5`` to ``p95``.
        chosen_chars: mean length in characters; `chosen_words` in words; likewise for rejected.
        tokens: tokens generated, those for dropped rows included.
        image_tokens: mean number of image tokens of the pairs that have any; `kept_image_tokens` of them could be
            attended to.
        flags: number of pairs with each flag, the most frequent first.
        licences: number of pairs under each licence that a source states, the most frequent first.
        seconds: summed over shards; `pairs_per_second` is `pairs` by it.
    """

    planned: int
    pairs: int
    dropped: Mapping[str, int]
    pending: int
    non_similar: tuple[float, ...]
    similarity: Mapping[str, float]
    chosen_chars: float | None
    rejected_chars: float | None
    chosen_words: float | None
    rejected_words: float | None
    tokens: int
    image_tokens: float | None
    kept_image_tokens: float | None
    flags: Mapping[str, int]
    licences: Mapping[str, int]
    seconds: float
    pairs_per_second: float | None


def summarise(out: Path) -> Summary:
    """The figures of the run in `out`, finished or not.

    Raises:
        UsageError: if there is no run in `out`.
        CorruptRun: if its plan or a commit record is damaged.
    """
    at = Layout(out)
    plan, commits = at.read_plan(), at.read_commits()
    totals: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    similarities: list[pa.Array] = []
    iterations: list[pa.Array] = []
    for batch in _batches(at):
        totals += Counter({name: pc.sum(batch[name]).as_py() for name in (*_LENGTHS, *_TOKENS)})
        totals["with image tokens"] += pc.sum(pc.greater(batch["image_tokens"], 0)).as_py() or 0
        totals += Counter({name: pc.sum(pc.count_substring_regex(batch[name], r"\S+")).as_py() for name in _TEXTS})
        flags.update(pc.list_flatten(batch["flags"]).to_pylist())
        licences.update(batch["licence"].to_pylist())
        similarities.append(batch["similarity"])
        iterations.append(batch["iteration"])
    dropped: Counter[str] = Counter()
    for row in at.read_dropped():
        dropped[row["reason"]] += 1
    pairs = sum(commit.pairs for commit in commits)
    seconds = sum(commit.seconds for commit in commits)
    counts = {**dict.fromkeys((*_LENGTHS, *_TEXTS), pairs), **dict.fromkeys(_TOKENS, totals["with image tokens"])}
    means = {name: totals[name] / count if count else None for name, count in counts.items()}
    return Summary(
        planned=plan.rows,
        pairs=pairs,
        dropped=dict(dropped.most_common()),
        pending=plan.rows - pairs - dropped.total(),
        non_similar=figure10(at, iterations, similarities),
        similarity=_quantiles(similarities),
        chosen_chars=means["chosen_chars"],
        rejected_chars=means["rejected_chars"],
        chosen_words=means["chosen_response"],
        rejected_words=means["rejected_response"],
        tokens=sum(commit.tokens for commit in commits),
        image_tokens=means["image_tokens"],
        kept_image_tokens=means["kept_image_tokens"],
        flags=dict(flags.most_common()),
        licences=dict(licences.most_common()),
        seconds=seconds,
        pairs_per_second=pairs / seconds if seconds else None,
    )


def _batches(at: Layout) -> Iterator[pa.RecordBatch]:
    for path in at.parquet_files():
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=_COLUMNS)


def figure10(at: Layout, iterations: Iterable[pa.Array], similarities: Iterable[pa.Array]) -> tuple[float, ...]:
    """Share of rows whose answer was accepted as non-similar by iteration 1, 2 and so on; dropped rows count as well.

    Args:
        iterations: of all pairs, in chunks; `similarities` likewise, in the same chunks.

    Returns:
        Nothing where the method has no threshold.
    """
    settings = at.read_plan().fingerprint
    threshold, last = settings.get("method.similarity_threshold"), settings.get("method.iterations")
    if not isinstance(threshold, (int, float)) or not isinstance(last, int):
        return ()
    accepted: Counter[tuple[int, bool]] = Counter()
    for chunk in zip(iterations, similarities, strict=True):
        for iteration, similarity in zip(*(array.to_pylist() for array in chunk), strict=True):
            if similarity is not None:
                accepted[iteration, similarity < threshold] += 1
    for row in at.read_dropped():
        if row["similarity"] is not None:
            accepted[row["iteration"], row["similarity"] < threshold] += 1
    return cumulative(accepted, last)


def cumulative(accepted: Counter[tuple[int, bool]], iterations: int) -> tuple[float, ...]:
    """Share of rows accepted as non-similar by iteration 1 ... `iterations`."""
    if not accepted:
        return ()
    by_iteration = [accepted[iteration, True] for iteration in range(1, iterations + 1)]
    return tuple(float(share) for share in np.cumsum(by_iteration) / accepted.total())


def _quantiles(similarities: list[pa.Array]) -> dict[str, float]:
    values = np.concatenate([array.drop_null().to_numpy() for array in similarities]) if similarities else np.empty(0)
    return {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()} if len(values) else {}


def to_json(summary: Summary) -> str:
    """The summary as one JSON object; keys are the names of its fields."""
    return json.dumps(asdict(summary), indent=2)


def figures(summary: Summary) -> dict[str, str]:
    """Every figure with its name, as text; empty ones are left out."""
    lines = {
        "rows planned": f"{summary.planned:,}",
        "pairs": f"{summary.pairs:,}",
        **{f"dropped, {reason}": f"{count:,}" for reason, count in summary.dropped.items()},
    }
    if summary.pending:
        lines["pending"] = f"{summary.pending:,}"
    for iteration, share in enumerate(summary.non_similar, start=1):
        lines[f"non-similar after iteration {iteration}"] = f"{share:.1%}"
    if summary.similarity:
        lines[f"similarity {' / '.join(summary.similarity)}"] = " / ".join(
            f"{q:.3f}" for q in summary.similarity.values()
        )
    lengths = {
        "chosen": (summary.chosen_chars, summary.chosen_words),
        "rejected": (summary.rejected_chars, summary.rejected_words),
    }
    for side, (characters, words) in lengths.items():
        if characters is not None and words is not None:
            lines[f"mean length, {side}"] = f"{characters:.1f} characters, {words:.1f} words"
    if summary.image_tokens is not None and summary.kept_image_tokens is not None:
        lines["mean image tokens kept"] = f"{summary.kept_image_tokens:.1f} of {summary.image_tokens:.1f}"
    for flag, count in summary.flags.items():
        lines[f"flag {flag}"] = f"{count:,}, {_FLAGS[flag]}" if flag in _FLAGS else f"{count:,}"
    if any(summary.licences):
        lines |= {f"licence {name or 'not stated'}": f"{count:,}" for name, count in summary.licences.items()}
    lines["tokens generated"] = f"{summary.tokens:,}"
    if summary.pairs_per_second is not None:
        lines["time"] = f"{summary.seconds:,.1f} s, {summary.pairs_per_second:.2f} pairs/s"
    return lines


def render(summary: Summary) -> Table:
    """The summary as a table for the terminal."""
    table = Table(show_header=False)
    for name, figure in figures(summary).items():
        table.add_row(Text(name), Text(figure))  # as plain text: markup in a reason or a flag stays inert
    return table
