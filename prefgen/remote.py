"""Files at addresses (``s3://``, ``gs://``, ``hf://``, ``https://`` …) through fsspec: read in parts, with retries.

Credentials come from the environment and the stores' own files (``AWS_PROFILE``, ``GOOGLE_APPLICATION_CREDENTIALS``,
``HF_TOKEN``, ``FSSPEC_S3_ANON=true``), never from prefgen's options. Network errors are retried; one that
persists raises `StoreUnreachable`, so that the run stops, can be resumed, and drops no row.
"""

from __future__ import annotations

import errno
import hashlib
import io
import posixpath
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from prefgen import addresses
from prefgen.errors import PackageMissing, StoreUnreachable, UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")

PAUSES_S = (0.5, 2.0)  # before the second and the third attempt; most stores' clients try again themselves as well
TIMEOUT_S = 60.0  # of connecting, and between two packets
BUFFER_BYTES = 4 * 2**20
_DISCARDED_BYTES = 64 * 2**20  # that may be read in vain at a server which gives no parts of a file
_PACKAGES = {
    "s3": "'prefgen[s3]'",
    "s3a": "'prefgen[s3]'",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "'aiohttp>=3.12'",
    "https": "'aiohttp>=3.12'",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
# By module: what a store's client raises where the network or the server fails, besides OSError.
_NETWORK = (
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("huggingface_hub.errors", "HTTPError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
_IDENTITIES = ("ETag", "etag", "sha256", "md5Hash", "crc32c", "xet_hash", "blob_id", "Content-MD5", "Digest")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address, with the subset of `pathlib.Path` that readers use.

    Attributes:
        address: as it was given, which may hold credentials; ``str()`` is without them.
    """

    address: str

    def __str__(self) -> str:
        return addresses.public(self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(str(self)).name

    @property
    def suffix(self) -> str:
        """The file name's last extension."""
        return PurePosixPath(self.name).suffix

    @property
    def suffixes(self) -> list[str]:
        """The file name's extensions."""
        return PurePosixPath(self.name).suffixes

    @property
    def parent(self) -> RemoteFile:
        """The folder of the file; for a bucket, the bucket."""
        folder = posixpath.dirname(str(self))
        return RemoteFile(folder) if "://" in folder else self

    def __truediv__(self, name: str) -> RemoteFile:
        return RemoteFile(f"{self.address.rstrip('/')}/{name}")

    def kind(self) -> str | None:
        """The kind of the address: ``file``, ``directory`` or None."""
        try:
            return str(self._info()["type"])
        except FileNotFoundError:
            return None

    def is_file(self) -> bool:
        """True if there is a file at the address."""
        return self.kind() == "file"

    def open(self, mode: str = "rb") -> BinaryIO:
        """The file, opened for reading and seeking.

        Raises:
            FileNotFoundError: there is no such file.
            UsageError: it may not be read, or changes while it is.
            StoreUnreachable: the network fails; also from reading.
        """
        return cast("BinaryIO", io.BufferedReader(self.unbuffered(), BUFFER_BYTES))

    def unbuffered(self) -> io.RawIOBase:
        """As `open`, for a reader that requests large parts itself."""
        info = self._info()
        if self.address.lower().startswith(("http://", "https://")):
            return _Stream(self, info["size"])
        return _Parts(self, info["size"])

    def part(self, start: int, end: int) -> bytes:
        """Bytes from `start` to `end`; fewer if the file ends before.

        Raises:
            FileNotFoundError: there is no such file.
            StoreUnreachable: the network fails.
        """
        if self.address.lower().startswith(("http://", "https://")):
            with _Stream(self, None) as stream:
                stream.seek(start)
                return stream.read(end - start) or b""
        fs, path = self.store()

        def read() -> bytes:
            try:
                return cast("bytes", fs.cat_file(path, start=start, end=end))
            except OSError as error:
                if error.errno == errno.EINVAL:  # the file ends before `start`
                    return b""
                raise

        return attempt(str(self), read)

    def state(self) -> str:
        """A value that changes with the file: its tag, digest or time, and its size.

        Raises:
            As `open`.
        """
        info = self._info()
        size = f"{info['size']} bytes"
        known = info | dict(info.get("lfs") or {})
        for name in (*_IDENTITIES, *_TIMES):
            if known.get(name):
                return f"{name} {known[name]}, {size}"
        digest = hashlib.sha256()
        with self.open() as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
        return f"sha256 {digest.hexdigest()}, {size}"

    def store(self) -> tuple[Any, str]:
        """Fsspec's file system for the address, and the path in it."""
        return store(self.address)

    def _info(self) -> dict[str, Any]:
        fs, path = self.store()

        def info() -> dict[str, Any]:
            fs.invalidate_cache()
            return cast("dict[str, Any]", fs.info(path))

        return attempt(str(self), info)


File = Path | RemoteFile


def store(address: str) -> tuple[Any, str]:
    """Fsspec's file system for an address, and the path in it.

    Raises:
        PackageMissing: the package for such addresses is not installed.
        UsageError: ``URL_SCHEME``: there is no such kind of address.
    """
    import fsspec

    scheme = address.partition("://")[0].lower()
    options: dict[str, Any] = {}
    try:
        kind = fsspec.get_filesystem_class(scheme)
        if scheme in ("http", "https"):
            private = addresses.names_private_host(address)
            options = {"get_client": _any_client if private else _public_client}
        return kind(**kind._get_kwargs_from_urls(address), **options), kind._strip_protocol(address)
    except ImportError as error:
        package = _PACKAGES.get(scheme, str(error))
        raise PackageMissing(f"addresses with {scheme}:// need another package: pip install {package}") from error
    except ValueError as error:
        raise UsageError(f"URL_SCHEME: {addresses.redact(address)}: {addresses.redact(str(error))}") from error


async def _public_client(**options: Any) -> Any:
    """An HTTP session that connects only to the public internet, also after redirects."""
    import aiohttp

    def public_only(found: Any) -> socket.socket:
        if not addresses.is_public(str(found[4][0])):
            raise PermissionError("a redirect leads to a host that is not on the public internet")
        return socket.socket(found[0], found[1], found[2])

    return await _any_client(**options, connector=aiohttp.TCPConnector(socket_factory=public_only))


async def _any_client(**options: Any) -> Any:
    import aiohttp

    options.pop("loop", None)
    # of one step each: a large file may take hours in all
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
    return aiohttp.ClientSession(timeout=timeout, **options)


def attempt(address: str, action: Callable[[], T]) -> T:
    """The result of an action on a store, retried while the network fails.

    Args:
        address: for messages.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: ``INPUT_UNREADABLE``: access is denied, or there are no credentials.
        StoreUnreachable: it failed every time.
    """
    pauses = iter(PAUSES_S)
    while True:
        try:
            return action()
        except _failures() as error:
            chain = list(_chain(error))
            if isinstance(error, (FileNotFoundError, IsADirectoryError, FileExistsError)) and _is_answer(chain):
                raise
            if _status(error) in (404, 410):  # the Hub's, of a file; it says nothing of the kind of one in a listing
                raise FileNotFoundError(_told(error)) from error
            if type(chain[-1]).__name__ == "ParamValidationError":  # botocore's, before anything is sent
                refused = str(chain[-1]).rpartition("\n")[2].partition(": ")[0]  # what follows is a regular expression
                raise UsageError(f"INPUT_UNREADABLE: {address}: {refused}; correct the address") from error
            if any(_is_denial(cause) for cause in chain):
                raise UsageError(
                    f"INPUT_UNREADABLE: {address}: {_told(chain[-1])}; set the store's credentials in the environment: "
                    "AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, HF_TOKEN; FSSPEC_S3_ANON=true for a public bucket"
                ) from error
            pause_s = next(pauses, None)
            if pause_s is None:
                raise StoreUnreachable(
                    f"{address}: {_told(chain[-1])}; tried {len(PAUSES_S) + 1} times. The same command continues"
                ) from error
            time.sleep(pause_s)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _is_answer(chain: Sequence[BaseException]) -> bool:
    """True if the store says that there is no such file; fsspec's HTTP says so of any failure."""
    return all(
        _status(cause) in (404, 410) or (_status(cause) is None and not isinstance(cause, OSError))
        for cause in chain[1:]
    )


def _is_denial(error: BaseException) -> bool:
    denied = isinstance(error, PermissionError) or _status(error) in (401, 403)
    return denied or "Credential" in type(error).__name__


def _status(error: BaseException) -> object:
    """The HTTP status of an error, if it has one."""
    return getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)


def _failures() -> tuple[type[Exception], ...]:
    """Exception types of the loaded clients for failures of network, server or permission."""
    loaded = ((sys.modules.get(module), name) for module, name in _NETWORK)
    return (OSError, *(getattr(module, name) for module, name in loaded if module and hasattr(module, name)))


def _told(error: BaseException) -> str:
    return addresses.redact(str(error).partition("\n")[0][:300]) or type(error).__name__


class _Seekable(io.RawIOBase):
    """A position in a file of known size."""

    def __init__(self, file: RemoteFile, size: int | None) -> None:
        self._file, self._size, self._position = file, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            raise UsageError(f"INPUT_UNREADABLE: {self._file}: its server does not say how long it is; download it")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size or 0}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def _cut(self) -> UsageError:
        return UsageError(
            f"INPUT_CHANGED: {self._file} is shorter than {self._size:,} bytes; start again when it is complete"
        )


class _Parts(_Seekable):
    """A file of a store, read by byte ranges."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        start, end = self._position, min(self._position + len(view), self._size or 0)
        if start >= end:
            return 0
        try:
            data = self._file.part(start, end)
        except FileNotFoundError:
            raise UsageError(f"INPUT_CHANGED: {self._file} was removed while it was read") from None
        if len(data) < end - start:
            raise self._cut()
        view[: len(data)] = data
        self._position = end
        return len(data)


class _Stream(_Seekable):
    """A file of a web server, read from one response while reading is sequential; not every server has ranges."""

    def __init__(self, file: RemoteFile, size: int | None) -> None:
        super().__init__(file, size)
        self._response: Any = None
        self._at = 0  # the response's position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and (data := self._read(len(view) - done)) != b"":
            view[done : done + len(data)] = data
            done += len(data)
        return done

    def _read(self, count: int) -> bytes:
        if self._size is not None and self._position >= self._size:
            return b""

        def read() -> bytes:
            if self._response is None or self._at != self._position:
                self._connect()
            try:
                data = cast("bytes", self._response.read(count))
            except _failures():
                self._disconnect()
                raise
            if not data and self._size is not None:
                self._disconnect()
                raise ConnectionError("the connection ended before the file did")
            return data

        data = attempt(str(self._file), read)
        self._position += len(data)
        self._at = self._position
        return data

    def _connect(self) -> None:
        self._disconnect()
        fs, path = self._file.store()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={self._position}-"} if self._position else {})
        self._response, self._at = fs.open(path, block_size=0, headers=headers, size=self._size or 1), -1
        if self._position and self._response.r.status != 206:  # the whole file again
            if self._position > _DISCARDED_BYTES:
                raise UsageError(
                    f"INPUT_UNREADABLE: {self._file}: its server gives no parts of a file; download it first"
                )
            left = self._position
            while left and (data := self._response.read(min(left, 2**20))):
                left -= len(data)
        self._at = self._position

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        self._disconnect()
        super().close()
