"""Pictures in zip and tar archives or in an object store, found by name and read one by one without unpacking.

An archive counts as if it had been unpacked where it lies, both into its folder and into a folder of its own name: a
member ``a/1.jpg`` of ``/data/images.zip`` is found as ``/data/a/1.jpg`` and as ``/data/images/a/1.jpg``. An index of
the names is made once, from a zip's central directory or a tar's headers; it says where a member's bytes are, so that
each picture is one read. Indexes that take a while are kept in the cache, by the archive's size and time.

Members that are no regular files, and names that lead out of the archive, are not there. Sizes are checked before
anything is decompressed, and no more is decompressed than they say.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from prefgen import cache
from prefgen.errors import RowError, UsageError
from prefgen.image_names import EXTENSIONS
from prefgen.images import MAX_PATH_CHARS
from prefgen.remote import File, RemoteFile, attempt

SUFFIXES = (".zip", ".tar")
_ZIPS, _TAR = (b"PK\3\4", b"PK\5\6"), b"ustar"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_KEPT_MEMBERS = 1000  # of a local tar, from which on its index is kept; that of a zip is read as fast
_DRIVE = re.compile(r"[A-Za-z]:")
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_EXTRA_BYTES = 256  # guessed length of a local header's extra field

_PLAIN, _STORED, _DEFLATED, _ENCRYPTED = -1, 0, 8, -2  # how a member's bytes are kept; the positive ones are zip's


class Member(NamedTuple):
    """Location of a picture in an archive or store.

    Attributes:
        offset: of its bytes, or of its local header in a zip.
        packed: bytes there.
        size: bytes of the picture.
        method: compression of a zip, or one of the constants above.
        crc: checksum, 0 where there is none.
    """

    offset: int
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True)
class _Archive:
    """A zip, a tar, or a folder of a store, with its members by name."""

    file: File
    members: dict[str, Member]
    loose: bool = False

    @property
    def stem(self) -> str:
        """The archive's name without extension, which is the folder it may be unpacked into."""
        return "" if self.loose else self.file.name.removesuffix(self.file.suffix)

    def label(self, name: str) -> str:
        return f"{self.file}/{name}" if self.loose else f"{self.file}, member {name}"


class Archives:
    """The pictures of several archives and store folders, addressed by the paths they would have if unpacked.

    Args:
        roots: zips, tars, local folders of them, or addresses of such archives or of folders of pictures.
    """

    def __init__(self, roots: Sequence[File]) -> None:
        self._roots = tuple(roots)

    def __reduce__(self) -> tuple[Any, ...]:  # a worker makes its own, or finds it in the cache
        return Archives, (self._roots,)

    def __str__(self) -> str:
        return " or ".join(map(str, self._roots))

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The absolute folders below which the pictures are; for an archive also its own and its only folder."""
        return tuple(dict.fromkeys(folder for root in self._roots for folder in (_base(root), *self._own(root))))

    def _own(self, root: File) -> list[str]:
        if not _is_archive(root):
            return []
        [archive] = self._groups[_base(root)].of(root)
        tops = {name.partition("/")[0] for name in archive.members if "/" in name}
        return [f"{_base(root)}/{folder}" for folder in (archive.stem, *(tops if len(tops) == 1 else ()))]

    @cached_property
    def _groups(self) -> dict[str, _FolderArchives]:
        groups = {_base(root): _FolderArchives() for root in self._roots}
        for root in self._roots:
            for archive in _opened(root):
                groups[_base(root)].add(archive)
        return groups

    def find(self, places: Iterable[str]) -> dict[str, str]:
        """The given places at which there is a picture, by its own name; a picture may have several places."""
        hits = ((place, hit) for place in places for group, name in self._below(place) for hit in group.finds(name))
        return {archive.label(name): place for place, (archive, name) in hits}

    def is_folder(self, place: str) -> bool:
        """True if there are pictures below a place."""
        return any(group.is_folder(name) for group, name in self._below(place))

    def like(self, place: str) -> list[str]:
        """Pictures whose place differs from `place` in case or extension only."""
        return [
            f"{base}/{name}"
            for base, group in self._groups.items()
            if place.startswith(f"{base}/")
            for name in group.like(place[len(base) + 1 :])
        ]

    def read(self, place: str, max_bytes: int) -> bytes:
        """A picture's bytes.

        Raises:
            RowError: ``IMG_MISSING``, ``IMG_SIZE``, ``IMG_UNREADABLE``.
            StoreUnreachable: the network fails.
        """
        archive, name = next(hit for group, name in self._below(place) for hit in group.finds(name))
        return _read(archive, name, max_bytes)

    def _below(self, place: str) -> Iterator[tuple[_FolderArchives, str]]:
        for base, group in self._groups.items():
            if place.startswith(f"{base}/"):
                yield group, place[len(base) + 1 :]


@dataclass
class _FolderArchives:
    """The archives of one folder: members by name, with and without the archive's own name as a prefix."""

    archives: list[_Archive] = field(default_factory=list)
    _stems: dict[str, list[_Archive]] = field(default_factory=dict)

    def of(self, root: File) -> list[_Archive]:
        """The archive of a root."""
        return [archive for archive in self.archives if archive.file == root and not archive.loose][:1]

    def add(self, archive: _Archive) -> None:
        self.archives.append(archive)
        if archive.stem:
            self._stems.setdefault(archive.stem, []).append(archive)

    @cached_property
    def _holders(self) -> dict[str, _Archive | list[_Archive]]:
        """The archives that have a member of a name; a list if there are several."""
        if len(self.archives) == 1:
            return {}
        found: dict[str, _Archive | list[_Archive]] = {}
        for archive in self.archives:
            for name in archive.members:
                before = found.get(name)
                found[name] = (
                    archive if before is None else [*(before if isinstance(before, list) else [before]), archive]
                )
        return found

    def finds(self, name: str) -> list[tuple[_Archive, str]]:
        """The members that a name below the folder can mean."""
        if len(self.archives) == 1:
            holders = [self.archives[0]] if name in self.archives[0].members else []
        else:
            held = self._holders.get(name, [])
            holders = held if isinstance(held, list) else [held]
        found = [(archive, name) for archive in holders]
        stem, _, rest = name.partition("/")
        found += [(archive, rest) for archive in self._stems.get(stem, ()) if rest in archive.members]
        return list({(id(archive), member): (archive, member) for archive, member in found}.values())

    @cached_property
    def _folders(self) -> frozenset[str]:
        found: set[str] = set()
        for archive in self.archives:
            for name in archive.members:
                folder = posixpath.dirname(name)
                while folder and folder not in found:
                    found.add(folder)
                    folder = posixpath.dirname(folder)
        return frozenset(found)

    def is_folder(self, name: str) -> bool:
        """True if there are members below a name."""
        stem, _, rest = name.partition("/")
        return name in self._folders or (stem in self._stems and (not rest or rest in self._folders))

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for archive in self.archives:
            for name in archive.members:
                stem, extension = os.path.splitext(name.casefold())
                if extension in EXTENSIONS:
                    found.setdefault(stem, []).append(name)
                    if archive.stem:
                        found.setdefault(f"{archive.stem.casefold()}/{stem}", []).append(f"{archive.stem}/{name}")
        return found

    def like(self, name: str) -> list[str]:
        """Names that differ from `name` in case or extension only."""
        stem, extension = os.path.splitext(name.casefold())
        return self._alike.get(stem if extension in EXTENSIONS else name.casefold(), [])


# --- indexes ----------------------------------------------------------------------------------------------------------


def holds_archives(folder: Path) -> bool:
    """True if a folder contains archives."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(SUFFIXES) for entry in entries)


def is_archive(path: Path) -> bool:
    """True if a file starts like a zip, a tar, or a compressed file."""
    with path.open("rb") as file:
        start = file.read(262)
    return start[:4] in _ZIPS or start[257:262] == _TAR or start.startswith(_COMPRESSED)


def _base(root: File) -> str:
    folder = root.parent if _is_archive(root) else root
    return os.path.abspath(folder) if isinstance(folder, Path) else f"/{folder}".replace("://", ":/", 1)


def _is_archive(root: File) -> bool:
    return root.is_file() if isinstance(root, Path) else root.name.lower().endswith(SUFFIXES)


def _opened(root: File) -> Iterator[_Archive]:
    """The archives of a root, with their indexes.

    Raises:
        UsageError: ``INPUT_UNREADABLE``, ``INPUT_NOT_FOUND``.
        StoreUnreachable: the network fails.
    """
    if isinstance(root, Path) and root.is_dir():
        paths = sorted(path for path in root.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file())
        yield from (_archive(path) for path in paths)
    elif isinstance(root, RemoteFile) and not _is_archive(root):
        loose, archives = _listed(root)
        yield from (_archive(archive) for archive in archives)
        yield _Archive(root, loose, loose=True)
    else:
        yield _archive(root)


def _archive(file: File) -> _Archive:
    try:
        state = file.state() if isinstance(file, RemoteFile) else f"{file.stat().st_size} {file.stat().st_mtime_ns}"
        return _Archive(file, _index(file, state))
    except OSError as error:
        raise UsageError(f"INPUT_UNREADABLE: --image-root {file}: {error.strerror or error}") from error


@lru_cache(maxsize=4096)
def _index(file: File, state: str) -> dict[str, Member]:
    key = f"{os.path.abspath(file) if isinstance(file, Path) else file}\n{state}"
    known = cache.load("archives", key)
    if known is not None:
        return {name: Member(*numbers) for name, numbers in known.items()}
    with file.open("rb") as opened:
        start = opened.read(262)
        opened.seek(0)
        if start[:4] in _ZIPS:
            members, slow = _zip_index(file, opened), isinstance(file, RemoteFile)
        elif start[257:262] == _TAR:
            members = _tar_index(file, opened)
            slow = isinstance(file, RemoteFile) or len(members) >= _KEPT_MEMBERS
        elif start.startswith(_COMPRESSED):
            raise UsageError(
                f"--image-root {file} is compressed as a whole, so no picture can be read by itself: unpack it"
            )
        else:
            raise UsageError(f"--image-root {file} is no folder, zip or tar")
    if slow:
        cache.store("archives", key, members)
    return members


def _zip_index(file: File, opened: BinaryIO) -> dict[str, Member]:
    try:
        with zipfile.ZipFile(opened) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise _damaged(file, error) from error
    members: dict[str, Member] = {}
    for info in infos:
        name = _safe(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name and not info.is_dir() and kind in (0, stat.S_IFREG):
            method = _ENCRYPTED if info.flag_bits & 1 else info.compress_type
            members[name] = Member(info.header_offset, info.compress_size, info.file_size, method, info.CRC)
    return members


def _tar_index(file: File, opened: BinaryIO) -> dict[str, Member]:
    members: dict[str, Member] = {}
    length = opened.seek(0, os.SEEK_END)
    opened.seek(0)
    try:
        with tarfile.open(fileobj=opened, mode="r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # which would grow with the archive
                name = _safe(info.name)
                if info.islnk():
                    same = members.get(_safe(info.linkname))
                    if name and same:
                        members[name] = same
                elif name and info.isreg() and not info.issparse():
                    if info.offset_data + info.size > length:
                        raise tarfile.ReadError(f"it ends inside {info.name[:200]}")
                    members[name] = Member(info.offset_data, info.size, info.size, _PLAIN, 0)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _damaged(file, error) from error
    return members


@lru_cache(maxsize=64)
def _listed(folder: RemoteFile) -> tuple[dict[str, Member], list[RemoteFile]]:
    """The files of a store's folder, and those that are archives."""
    if folder.address.startswith(("http://", "https://")):
        raise UsageError(f"--image-root {folder}: a web server's folders cannot be listed; give a zip or tar")
    fs, path = folder.store()
    try:
        found = attempt(str(folder), lambda: fs.find(path, detail=True))
    except FileNotFoundError:
        found = {}
    if not found:
        raise UsageError(f"INPUT_NOT_FOUND: --image-root {folder} holds nothing")
    start = len(path.rstrip("/")) + 1
    loose: dict[str, Member] = {}
    archives = []
    for key, info in sorted(found.items()):
        name = key[start:]
        if name.lower().endswith(SUFFIXES) and "/" not in name:
            archives.append(folder / name)
        elif _safe(name) == name:
            loose[name] = Member(0, info["size"], info["size"], _PLAIN, 0)
    return loose, archives


def _safe(name: str) -> str:
    """A member's normalized name below the archive; empty if it leads outside."""
    name = name.replace("\\", "/")
    if not name or len(name) > MAX_PATH_CHARS or name.startswith("/") or _DRIVE.match(name) or "\0" in name:
        return ""
    plain = posixpath.normpath(name)
    return "" if plain == ".." or plain.startswith("../") or plain == "." else plain


def _damaged(file: File, error: Exception) -> UsageError:
    return UsageError(f"INPUT_UNREADABLE: --image-root {file} is damaged or cut off: {error}; download it again")


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(archive: _Archive, name: str, max_bytes: int) -> bytes:
    member, label = archive.members[name], archive.label(name)
    if member.size > max_bytes or member.packed > max_bytes + 2**16:
        raise RowError("IMG_SIZE", f"{label} has {member.size:,} bytes, more than {max_bytes:,}")
    if member.method not in (_PLAIN, _STORED, _DEFLATED):
        how = "is encrypted" if member.method == _ENCRYPTED else f"is compressed by method {member.method}"
        raise RowError("IMG_UNREADABLE", f"{label} {how}, which prefgen does not read; zip it again without")
    try:
        if member.method == _PLAIN:
            data = _part(archive.file / name if archive.loose else archive.file, member.offset, member.size)
        else:
            data = _of_zip(archive.file, name, member)
    except FileNotFoundError as error:
        raise RowError("IMG_MISSING", f"{label} is not there any more") from error
    except (OSError, zlib.error) as error:
        raise RowError("IMG_UNREADABLE", f"{label}: {error}") from error
    if len(data) != member.size or (member.crc and zlib.crc32(data) != member.crc):
        raise RowError("IMG_UNREADABLE", f"{label} is damaged, or the archive changed since its index was made")
    return data


def _of_zip(file: File, name: str, member: Member) -> bytes:
    # the local header may have other lengths than the central directory: a good guess makes it one read
    guess = _LOCAL_HEADER.size + len(name.encode()) + _EXTRA_BYTES
    head = _part(file, member.offset, guess + member.packed)
    if len(head) < _LOCAL_HEADER.size:
        return b""
    magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(head)
    start = _LOCAL_HEADER.size + name_bytes + extra_bytes
    if magic != b"PK\3\4":
        return b""
    if start > guess:
        head, start = _part(file, member.offset + start, member.packed), 0
    packed = head[start : start + member.packed]
    if member.method == _STORED:
        return packed
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)


def _part(file: File, offset: int, count: int) -> bytes:
    if isinstance(file, RemoteFile):
        return file.part(offset, offset + count)
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(count)
