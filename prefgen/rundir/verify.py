"""Verification of a run directory, with code that shares nothing with the writer.

Whatever is stated twice is compared: digests with bytes, counts with rows, columns with one another, recorded offsets
with the text. So this module imports neither `prefgen.rundir.layout` nor `prefgen.rundir.schema`; the file names and
column names that it repeats are the promise that it checks.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq

from prefgen.errors import UsageError

_ROWS_AT_ONCE = 50  # with their pictures
_ROUNDING = 1e-5  # of a cosine in float32
# What records and rows of another shape make the checks raise.
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
_ID = re.compile(r"[0-9a-f]{16}")
_SHOWN_CHARS = 300


@dataclass(frozen=True)
class Problem:
    """A defect that was found.

    Attributes:
        file: relative to the run directory.
        row: id of the row, where it concerns one.
    """

    file: str
    detail: str
    row: str | None = None


@dataclass(frozen=True)
class Verification:
    """Result of a verification. Counts are rows; pending ones are no problem."""

    problems: tuple[Problem, ...]
    planned: int
    pairs: int
    dropped: int
    pending: int
    finished: bool


def verify(out: Path) -> Verification:
    """Check every file and row of the run in `out`, finished or not. Only reads, and takes no lock.

    Raises:
        UsageError: if there is no run in `out`.
    """
    if not (out / ".prefgen").is_dir():
        raise UsageError(f"{out} holds no prefgen run: {out / '.prefgen'} is missing")
    return _Check(out).run()


def problems(out: Path) -> tuple[Problem, ...]:
    """The problems of a run, or of the rows of a folder of shards without a run's records."""
    if (out / ".prefgen").is_dir():
        return verify(out).problems
    check = _Check(out)
    ids: set[bytes] = set()
    for path in sorted((out / "data").glob("*.parquet")):
        check.parquet(path, ids)
    return tuple(check.problems)


class _Check:
    """One pass over a run directory."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.state = out / ".prefgen"
        self.problems: list[Problem] = []
        self.hashed: dict[Path, str | None] = {}

    def run(self) -> Verification:
        finished = (self.state / "manifest.sha256").exists()
        manifest = self.manifest() if finished else None
        plan = self.json(self.state / "plan.json", {"rows": 0, "shard_size": 1})
        shards = self.shards(plan)
        dropped = sum((self.dropped_reasons(record) for record in shards), Counter[str]())
        pairs = self.rows(shards)
        pending = plan["rows"] - pairs - dropped.total()
        if finished and pending:
            self.report(self.state, f"{plan['rows']} rows planned, but {pairs} pairs and {dropped.total()} dropped")
        stated = {"planned": plan["rows"], "pairs": pairs, "dropped": dict(dropped)}
        if manifest and manifest["rows"] != stated:
            self.report(self.state / "manifest.json", f"states {str(manifest['rows'])[:_SHOWN_CHARS]}, found {stated}")
        return Verification(tuple(self.problems), plan["rows"], pairs, dropped.total(), max(pending, 0), finished)

    def report(self, path: Path, detail: str, row: str | None = None) -> None:
        self.problems.append(Problem(path.relative_to(self.out).as_posix(), detail, row))

    @contextmanager
    def reading(self, path: Path, row: str | None = None) -> Iterator[None]:
        """Report what cannot be read, or has another form than prefgen writes."""
        try:
            yield
        except (pa.ArrowException, OSError, *_MALFORMED) as error:
            self.report(path, f"cannot be read: {error!r}"[:_SHOWN_CHARS], row)

    def json(self, path: Path, needed: dict[str, Any]) -> dict[str, Any]:
        """A JSON object; None, after a report, where it is missing or lacks one of the `needed` keys."""
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            self.report(path, f"cannot be read: {error}")
            return needed
        if isinstance(value, dict) and all(type(value.get(key)) is type(default) for key, default in needed.items()):
            return value
        self.report(path, f"lacks one of {', '.join(needed)}, or it has another type")
        return needed

    def sha256(self, path: Path) -> str | None:
        """Digest of a file; None, after a report, if it is no regular file."""
        if path not in self.hashed:
            self.hashed[path] = None
            if path.is_symlink() or not path.is_file():
                self.report(path, "is missing, or no plain file")
            else:
                with path.open("rb") as file:
                    self.hashed[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self.hashed[path]

    def manifest(self) -> dict[str, Any] | None:
        """The manifest, if it matches its digest; also compares the files that it lists."""
        path = self.state / "manifest.json"
        stated = (self.state / "manifest.sha256").read_bytes()
        if stated != f"{self.sha256(path)}  manifest.json\n".encode():
            self.report(path, "differs from its digest in manifest.sha256")
            return None
        manifest = self.json(path, {"files": {}, "rows": {}})
        known: set[Path] = set()
        for name, digest in manifest["files"].items():
            if not _is_inside(name):
                self.report(path, f"lists a file outside of the folder: {name[:_SHOWN_CHARS]!r}")
                continue
            listed = self.out / name
            known.add(listed)
            with self.reading(path):
                found = self.sha256(listed)
                if found and (found, listed.stat().st_size) != (digest["sha256"], digest["bytes"]):
                    self.report(listed, "differs from its digest in manifest.json")
        inner = (self.state / name for name in ("parts", "dropped", "shards"))
        for folder in (self.out / "data", self.out / "samples", *inner):
            for stranger in sorted({*folder.glob("*")} - known):
                self.report(stranger, "is not listed in manifest.json")
        return manifest

    def shards(self, plan: dict[str, Any]) -> list[dict[str, Any]]:
        """The commit records that fit the plan, in order."""
        needed = {"shard": 0, "start": 0, "stop": 0, "pairs": 0, "dropped": {}, "tokens": 0}
        fitting = []
        for path in sorted((self.state / "shards").glob("*.json")):
            record = self.json(path, needed)
            if not all(type(count) is int for count in record["dropped"].values()):
                self.report(path, "counts dropped rows in something else than whole numbers")
                continue
            shard, size = record["shard"], plan["shard_size"]
            ends = (shard * size, min((shard + 1) * size, plan["rows"]))
            if record is needed:
                continue
            if path.stem != f"{shard:06d}" or (record["start"], record["stop"]) != ends or ends[0] >= ends[1]:
                self.report(path, f"rows {record['start']} to {record['stop']} are not those that the plan gives it")
            elif record["pairs"] + sum(record["dropped"].values()) != ends[1] - ends[0]:
                self.report(
                    path, f"{record['pairs']} pairs and {record['dropped']} do not make {ends[1] - ends[0]} rows"
                )
            else:
                fitting.append(record)
        return fitting

    def dropped_reasons(self, record: dict[str, Any]) -> Counter[str]:
        """Reasons of a shard's dropped rows, from their file."""
        path = self.state / "dropped" / f"{record['shard']:06d}.jsonl"
        if not record.get("drops"):
            return Counter()
        if self.sha256(path) != _stated(record, "drops"):
            self.report(path, "differs from its digest in the commit record")
            return Counter()
        reasons = Counter[str]()
        with self.reading(path):
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            reasons = Counter(str(row["reason"]) for row in rows)
            if reasons != record["dropped"]:
                self.report(path, f"holds {dict(reasons)}, but {record['dropped']} were committed")
            if not all(record["start"] <= row["row"] < record["stop"] for row in rows):
                self.report(path, "names rows of another shard")
            if not all({"iteration", "similarity"} <= row.keys() for row in rows):
                self.report(path, "holds rows without iteration and similarity")
        return reasons

    def rows(self, shards: list[dict[str, Any]]) -> int:
        """Check every pair; returns their number."""
        committed = [record for record in shards if record["pairs"]]
        data = sorted((self.out / "data").glob("*"))
        parts = [self.state / "parts" / f"{record['shard']:06d}.parquet" for record in committed]
        # A run that was killed while it was finalised has its first shards in data/ and the others in parts/.
        paths = [*data, *parts[len(data) :]]
        if len(paths) > len(committed):
            self.report(self.out / "data", f"holds {len(paths)} files of {len(committed)} committed shards with pairs")
        count = 0
        ids: set[bytes] = set()
        for path, record in zip(paths, committed, strict=False):
            if self.sha256(path) != _stated(record, "part"):
                self.report(path, f"differs from its digest in the commit record of shard {record['shard']}")
                continue
            found = self.parquet(path, ids)
            count += found
            if found != record["pairs"]:
                self.report(path, f"holds {found} rows, but {record['pairs']} were committed")
        return count

    def parquet(self, path: Path, ids: set[bytes]) -> int:
        """Check the rows of one file; returns their number."""
        count = 0
        with self.reading(path):
            for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    count += 1
                    self.row(path, row, ids)
        return count

    def row(self, path: Path, row: dict[str, Any], ids: set[bytes]) -> None:
        """Check a row; `ids` are those of earlier rows."""
        row_id = str(row["id"])
        # 8 bytes each, so that a million of them fit in memory
        digest = hashlib.blake2b(row_id.encode(errors="replace"), digest_size=8).digest()
        if digest in ids:
            self.report(path, "occurs twice in the data set", row_id)
        ids.add(digest)
        if not _ID.fullmatch(row_id):
            self.report(path, "its id is not 16 hexadecimal digits", row_id[:_SHOWN_CHARS])
        with self.reading(path, row_id[:_SHOWN_CHARS]):
            for detail in _row_problems(row):
                self.report(path, detail, row_id)


def _is_inside(name: str) -> bool:
    """True if a listed file can be one of the run's own."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name and name.isprintable()


def _stated(record: dict[str, Any], name: str) -> object:
    """The digest of a file that a commit record states."""
    digest = record.get(name)
    return digest.get("sha256") if isinstance(digest, dict) else None


def _row_problems(row: dict[str, Any]) -> Iterator[str]:
    chosen, rejected = row["chosen_response"], row["rejected_response"]
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if row[name] != [{"role": "assistant", "content": [{"type": "text", "text": text}]}]:
            yield f"{name} and {name}_response differ"
        if row[f"{name}_chars"] != len(text):
            yield f"{name}_chars is {row[f'{name}_chars']}, its text has {len(text)}"
    if chosen == rejected and row["rejected_images"] in (None, row["images"]):
        yield "chosen and rejected are equal"
    if row["similarity"] is not None and not abs(row["similarity"]) <= 1 + _ROUNDING:
        yield f"similarity {row['similarity']} is outside -1 ... 1"
    if not 0 <= row["kept_image_tokens"] <= row["image_tokens"]:
        yield f"{row['kept_image_tokens']} of {row['image_tokens']} image tokens were kept"
    yield from _image_problems(row)
    yield from _conversation_problems(row)
    yield from _offset_problems(row)


def _image_problems(row: dict[str, Any]) -> Iterator[str]:
    meta = json.loads(row["meta"])
    yield from _meta_problems(meta)
    slots = sum(part["type"] == "image" for turn in row["prompt"] for part in turn["content"])
    for column in ("images", "rejected_images"):
        images, stated = row[column], meta[column]
        if column == "rejected_images" and images is None and not stated:
            continue
        if not len(images) == len(stated) == slots:
            yield f"{len(images)} {column} for {slots} image parts, meta has {len(stated)}"
        else:
            yield from _picture_problems(images, stated)


def _meta_problems(meta: Any) -> Iterator[str]:
    """Problems of the parts of `meta` that other commands read, apart from pictures."""
    for name in ("options", "source", "versions"):
        if not isinstance(meta.get(name), dict):
            yield f"meta has no object {name}"
    joined = meta.get("joined")
    if joined is not None and not isinstance(joined.get("group"), str):
        yield "meta has joined without a group"


def _picture_problems(images: list[dict[str, Any]], stated: list[dict[str, Any]]) -> Iterator[str]:
    for image, known in zip(images, stated, strict=True):
        if hashlib.sha256(image["bytes"]).hexdigest() != known["sha256"]:
            yield f"image {image['path']} differs from its digest in meta"
            continue
        try:
            with PIL.Image.open(io.BytesIO(image["bytes"])) as header:
                size = {*header.size}  # in either order: the recorded size has the EXIF orientation applied
        except (OSError, PIL.Image.DecompressionBombError) as error:
            yield f"image {image['path']} cannot be decoded: {error}"
            continue
        if size != {known["width"], known["height"]}:
            yield f"image {image['path']} is of size {size}, meta has {known['width']} x {known['height']}"


def _conversation_problems(row: dict[str, Any]) -> Iterator[str]:
    """Differences between the prompt as TRL reads it and the columns of ms-swift and LLaMA-Factory."""
    *asked, answer = row["conversations"]
    if answer != {"role": "assistant", "content": row["chosen_response"]}:
        yield "conversations does not end with the chosen answer"
    if [turn["role"] for turn in asked] != [turn["role"] for turn in row["prompt"]] or asked[-1]["role"] != "user":
        yield "conversations and prompt have other turns, or the last one is not the user's"
        return
    for tagged, turn in zip(asked, row["prompt"], strict=True):
        texts = [part["text"] for part in turn["content"] if part["type"] == "text"]
        pictures = [part["text"] for part in turn["content"] if part["type"] == "image"]
        if any("<image>" in text for text in texts) or any(text is not None for text in pictures):
            yield "a text part holds an image tag, or an image part a text"
        if tagged["content"].count("<image>") != len(pictures) or _letters(tagged["content"]) != _letters(*texts):
            yield f"conversations and prompt differ: {tagged['content'][:80]!r}"
    said = [*(text for turn in row["history"] for text in turn), row["instruction"]]
    spoken = [turn["content"] for turn in asked if turn["role"] != "system"]
    # A system turn comes before the first question.
    if said[1:] != spoken[1:] or not said[0].endswith(spoken[0]):
        yield "history and instruction differ from conversations"


def _letters(*texts: str) -> str:
    """Text without image tags and white space."""
    return "".join("".join(texts).replace("<image>", "").split())


def _offset_problems(row: dict[str, Any]) -> Iterator[str]:
    chosen, rejected = row["chosen_response"], row["rejected_response"]
    if row["cuts"] != sorted(row["cuts"]) or not all(0 <= cut <= len(chosen) for cut in row["cuts"]):
        yield f"cuts {row['cuts']} are not in order, or outside the chosen answer"
    if len(row["finish"]) != len(row["spans"]):
        yield f"{len(row['finish'])} finish reasons for {len(row['spans'])} spans"
    end = 0
    kept = []
    for span in sorted([*row["spans"], *row["swaps"]], key=lambda span: (span["start"], span["end"])):
        if not end <= span["start"] <= span["end"] <= len(rejected):
            yield f"span {span['start']} to {span['end']} overlaps another, or is outside the rejected answer"
            return
        kept.append(rejected[end : span["start"]])
        end = span["end"]
    if row["spans"] != sorted(row["spans"], key=lambda span: span["start"]):
        yield "spans are not in order"
    # A tag that was half taken over and half generated is respelt in one of the two answers only.
    if not row["cuts"] or "media-tag" in row["flags"]:
        return
    found = 0
    for piece in [*kept, rejected[end:]]:
        found = chosen.find(piece, found)
        if found < 0:
            yield f"{piece[:80]!r} is recorded as taken over, but the chosen answer does not have it there"
            return
        found += len(piece)
