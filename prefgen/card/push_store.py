"""Copy of a finished run to an object store, file by file and unchanged.

Each file is compared with the stored object by digest: by MD5 if the store reports one, else by reading the object
back. An interrupted copy can therefore be continued, and complete objects are not sent again. ``.prefgen/push.json``
exists until the copy is complete and names the run that it belongs to; the manifest is sent last.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prefgen import addresses
from prefgen.card.push import checked_manifest
from prefgen.errors import StoreUnreachable, UsageError
from prefgen.remote import RemoteFile, attempt, store
from prefgen.rundir.layout import Layout, json_bytes

T = TypeVar("T")

_MARK = ".prefgen/push.json"
_MD5 = re.compile(r"[0-9a-f]{32}")
_TRIES = 2  # to have a file arrive as it is


@dataclass(frozen=True)
class StorePackage:
    """The files of a copy.

    Attributes:
        address: folder of the store, without a slash at its end.
        files: SHA-256 of each file by its path in the run, in the order of sending: the manifest is last.
        digest: that of the manifest, which is that of the run.
    """

    out: Path
    address: str
    files: Mapping[str, str]
    digest: str

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum((self.out / path).stat().st_size for path in self.files)


@dataclass(frozen=True)
class Copied:
    """Counts of sent files, and of files that were there."""

    sent: int
    kept: int


def store_package(out: Path, address: str) -> StorePackage:
    """Verify a run and collect the files of its copy.

    Raises:
        UsageError: there is no finished run with a pair in `out`, or the address is none that a run can be copied to.
        CorruptRun: anything is wrong with the run.
    """
    scheme = address.partition("://")[0].lower()
    if scheme in ("http", "https", "hf") or "::" in address:
        instead = "give USER/NAME for the Hugging Face Hub" if scheme == "hf" else "give one such as s3://bucket/path"
        raise UsageError(f"{addresses.redact(address)} is no address of an object store: {instead}")
    manifest = checked_manifest(out)
    at = Layout(out)
    files = {path: str(stated["sha256"]) for path, stated in sorted(manifest["files"].items())}
    for last in (at.manifest, at.manifest_digest):
        files[last.relative_to(out).as_posix()] = hashlib.sha256(last.read_bytes()).hexdigest()
    digest = at.manifest_digest.read_text(encoding="utf-8").split()[0]
    return StorePackage(out, address.rstrip("/"), files, digest)


def push_store(parcel: StorePackage) -> Copied:
    """Copy these files to the store's folder; repeating it resumes.

    Raises:
        UsageError: there is no such bucket, it may not be written to, or the folder holds files of something else.
        StoreUnreachable: the network fails, or a file arrives damaged again and again.
    """
    fs, folder = store(parcel.address)
    copy = _Copy(parcel, fs, folder.rstrip("/"))
    try:
        return copy.run()
    except FileNotFoundError as error:
        shown = addresses.public(parcel.address)
        raise UsageError(
            f"{shown}: {str(error) or 'not found'}; create the bucket first, or correct its name"
        ) from error


class _Copy:
    def __init__(self, parcel: StorePackage, fs: Any, folder: str) -> None:
        self._parcel, self._fs, self._folder = parcel, fs, folder
        self._shown = addresses.public(parcel.address)

    def run(self) -> Copied:
        there = self._listed()
        mark = json_bytes({"manifest": self._parcel.digest})
        self._check_target(there, mark)
        manifest = [path for path in self._parcel.files if path.startswith(".prefgen/manifest.")]
        complete = {*manifest} <= {*there} and _MARK not in there
        kept = [path for path in there if path in self._parcel.files and self._is_whole(path, there[path])]
        if complete and len(kept) == len(self._parcel.files):
            return Copied(0, len(kept))
        self._write(_MARK, mark)
        for path in self._parcel.files:
            if path not in kept:
                self._send(path)
        self._do(lambda: self._fs.rm_file(self._at(_MARK)))
        return Copied(len(self._parcel.files) - len(kept), len(kept))

    def _check_target(self, there: Mapping[str, Any], mark: bytes) -> None:
        """Check that everything at the target belongs to a copy of this run.

        Raises:
            UsageError: naming what does not.
        """
        strangers = sorted(path for path in there if path not in self._parcel.files and path != _MARK)
        if strangers:
            raise UsageError(
                f"{self._shown} holds {len(strangers):,} files that are not this run's, such as "
                f"{', '.join(strangers[:3])}: give an empty folder"
            )
        whose = self._read(_MARK) if _MARK in there else None
        manifest = self._read(".prefgen/manifest.sha256") if ".prefgen/manifest.sha256" in there else None
        own = whose == mark or (whose is None and (manifest or b"").split()[:1] == [self._parcel.digest.encode()])
        if there and not own:
            raise UsageError(f"{self._shown} holds another run, or a part of one: give an empty folder, or empty it")

    def _listed(self) -> dict[str, Any]:
        """The files at the target by path, with the store's metadata."""

        def find() -> dict[str, Any]:
            self._fs.invalidate_cache()
            return dict(self._fs.find(self._folder, detail=True))

        try:
            found = self._do(find)
        except FileNotFoundError:
            if addresses.is_store(self._parcel.address):
                raise
            return {}
        return {path[len(self._folder) + 1 :]: info for path, info in found.items() if path != self._folder}

    def _send(self, path: str) -> None:
        local = self._parcel.out / path
        for _ in range(_TRIES):
            self._make_folder(path)
            self._do(lambda: self._fs.put_file(str(local), self._at(path)))
            if self._is_whole(path, self._info(path)):
                return
        raise StoreUnreachable(f"{self._shown}/{path} arrived with another digest, {_TRIES} times: repeat the command")

    def _make_folder(self, path: str) -> None:
        if not addresses.is_store(self._parcel.address):  # which has no folders: making one may make a bucket
            self._do(lambda: self._fs.makedirs(self._fs._parent(self._at(path)), exist_ok=True))

    def _is_whole(self, path: str, info: Mapping[str, Any]) -> bool:
        local = self._parcel.out / path
        if info["size"] != local.stat().st_size:
            return False
        with local.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() in _md5s(info):
                return True
        digest = hashlib.sha256()  # a tag that is no MD5, of a file sent in parts or encrypted: it is read back
        with RemoteFile(f"{self._parcel.address}/{path}").open() as back:
            while chunk := back.read(2**20):
                digest.update(chunk)
        return digest.hexdigest() == self._parcel.files[path]

    def _info(self, path: str) -> dict[str, Any]:
        def info() -> dict[str, Any]:
            self._fs.invalidate_cache()
            return dict(self._fs.info(self._at(path)))

        return self._do(info)

    def _read(self, path: str) -> bytes:
        return self._do(lambda: bytes(self._fs.cat_file(self._at(path))))

    def _write(self, path: str, content: bytes) -> None:
        self._make_folder(path)
        self._do(lambda: self._fs.pipe_file(self._at(path), content))

    def _at(self, path: str) -> str:
        return f"{self._folder}/{path}"

    def _do(self, action: Callable[[], T]) -> T:
        return attempt(self._shown, action)


def _md5s(info: Mapping[str, Any]) -> set[str]:
    """The MD5s that a store states of an object, as hexadecimal digits."""
    tag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    stated = info.get("md5Hash") or info.get("content_md5")
    found = {tag} if _MD5.fullmatch(tag) else set()
    if isinstance(stated, str):
        found.add(base64.b64decode(stated).hex())
    elif isinstance(stated, bytes | bytearray):
        found.add(bytes(stated).hex())
    return found
