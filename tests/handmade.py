"""Small pairs made by hand, and a run directory full of them."""

from __future__ import annotations

import io
from pathlib import Path

import PIL.Image

from prefgen.records import Dropped, Image, Outcome, Pair, Sample, Slot, Span, Turn
from prefgen.rundir.schema import Provenance
from prefgen.rundir.shards import Plan, RunDirectory

PROVENANCE = Provenance(
    model="tiny/model",
    model_revision="0123abcd",
    engine="fake",
    attention="drop",
    positions="compact",
    dtype="float32",
    device="cpu",
    similarity_model="tiny/embedder",
    similarity_revision="4567ef",
    versions={"torch": "2.10.0", "transformers": "5.5.0"},
)
FINGERPRINT: dict[str, str | int | float | bool | None] = {
    "input": "rows.json",
    "input_sha256": "ab" * 32,
    "method": "bdhs",
    "method.iterations": 3,
    "method.rho": 0.99,
    "method.similarity_threshold": 0.95,
    "model": "tiny/model",
    "seed": 7,
}


def picture(shade: int = 0, path: str = "folder/cat.png", width: int = 4, height: int = 3) -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (shade % 256, shade // 256 % 256, 30)).save(file, "PNG")
    return Image(file.getvalue(), path, width, height)


def ask(text: str = "What is on the table?", images: int = 1) -> Turn:
    return Turn("user", (*[Slot.IMAGE] * images, text))


def sample(number: int = 0, prompt: tuple[Turn, ...] | None = None, **changes: object) -> Sample:
    turns = prompt or (ask(),)
    values: dict[str, object] = {
        "id": f"{number:016x}",
        "prompt": turns,
        "images": tuple(picture(number + place) for place in range(sum(turn.image_count for turn in turns))),
        "answer": "A red bowl stands on it. The wall is white.",
        "source": "rows.json",
        "source_id": str(number),
    }
    return Sample(**{**values, **changes})  # type: ignore[arg-type]  # names and types are those of Sample


def pair(number: int = 0, prompt: tuple[Turn, ...] | None = None, **changes: object) -> Pair:
    """A pair as BDHS makes it: each sentence of the chosen answer was cut and completed differently."""
    values: dict[str, object] = {
        "sample": sample(number, prompt),
        "method": "bdhs",
        "variant": "attn",
        "chosen": "A red bowl stands on it. The wall is white.",
        "rejected": "A red car drives by. The wall is green.",
        "iteration": 1 + number % 3,
        "similarity": 0.5,
        "seed": 7,
        "spans": (Span(5, 20), Span(33, 39)),
        "cuts": (5, 37),
        "finish": ("stop", "eos"),
        "image_tokens": 576,
        "kept_tokens": 6,
        "tokens": 12,
        "params": {"rho": 0.99},
    }
    return Pair(**{**values, **changes})  # type: ignore[arg-type]  # names and types are those of Pair


def drop(number: int = 0, reason: str = "IMG_MISSING", **changes: object) -> Dropped:
    values: dict[str, object] = {
        "reason": reason,
        "detail": "no file folder/cat.png",
        "source": "rows.json",
        "source_id": str(number),
        "id": f"{number:016x}",
    }
    return Dropped(**{**values, **changes})  # type: ignore[arg-type]  # names and types are those of Dropped


def outcomes(rows: range) -> list[Outcome]:
    """Every fifth row is dropped, and so is all of 8..11."""
    return [drop(row) if row % 5 == 4 or 8 <= row < 12 else pair(row) for row in rows]


def plan(rows: int = 18, shard_size: int = 4, **fingerprint: str | int | float | bool | None) -> Plan:
    return Plan(rows, shard_size, {**FINGERPRINT, **fingerprint}, config='method = "bdhs"\n')


def card(out: Path) -> str:
    return f"# {out.name}\n"


def finished_run(out: Path, planned: Plan | None = None) -> Path:
    """A finished run of 18 rows in 5 shards, one of which has no pair."""
    with RunDirectory.open(out, planned or plan()) as run:
        work_through(run)
    return out


def work_through(run: RunDirectory) -> None:
    for shard in run.pending():
        run.commit(shard, outcomes(run.plan.shards[shard]), PROVENANCE, seconds=0.5)
    run.finalize(card)
