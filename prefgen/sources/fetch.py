"""Download of images by URL; used only with `--allow-urls`.

A URL in a data set is untrusted: it must not reach services inside the network (SSRF), nor keep a run waiting. So:
http(s) on its own port only; every address of the host must be public, and the connection goes to the address that was
checked, which defeats DNS rebinding; each redirect is checked again; size and total time are capped. No proxy, cookies
or keys.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import string
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from prefgen.addresses import is_public
from prefgen.errors import RowError
from prefgen.images import public_url

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = {301, 302, 303, 307, 308}
_CHUNK_BYTES = 2**16


@dataclass(frozen=True)
class FetchLimits:
    """Limits of one download, redirects included.

    Attributes:
        max_bytes: of the body.
        max_redirects: how many are followed.
        timeout_s: from the first connection to the last byte; the system's resolver has its own limit.
    """

    max_bytes: int = 20 * 2**20
    timeout_s: float = 20.0
    max_redirects: int = 3


DEFAULT_LIMITS = FetchLimits()


def fetch(
    url: str,
    limits: FetchLimits = DEFAULT_LIMITS,
    allowed: Callable[[str], bool] = is_public,
    ports: frozenset[int] = frozenset(_PORTS.values()),
) -> bytes:
    """The body at a URL.

    Args:
        allowed: whether an IP address may be connected to; asked about every address that the host resolves to.
        ports: ports that may be connected to.

    Raises:
        RowError: ``URL_SCHEME``, ``URL_PRIVATE``, ``URL_SIZE``, ``URL_TIMEOUT``, ``URL_STATUS``, ``URL_TLS``,
            ``URL_REDIRECTS``, ``URL_UNREACHABLE``. The detail names the URL without user, password and query.
    """
    deadline = time.monotonic() + limits.timeout_s
    for _ in range(limits.max_redirects + 1):
        scheme, host, port, target = _split(url, ports)
        address = _resolve(url, host, port, allowed)
        remaining_s = max(deadline - time.monotonic(), 0.001)  # a socket takes 0 for "do not wait at all"
        connection = _Pinned(scheme, host, port, address, remaining_s)
        reply = _get(url, connection, target, deadline, limits.max_bytes)
        if isinstance(reply, bytes):
            return reply
        try:
            url = urljoin(url, reply.location)
        except ValueError as error:
            raise RowError("URL_SCHEME", f"{public_url(url)}: redirects to a malformed URL") from error
    raise RowError("URL_REDIRECTS", f"{public_url(url)}: more than {limits.max_redirects} redirects")


@dataclass(frozen=True)
class _Redirect:
    location: str


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked; the host's name is used for the Host header and the certificate."""

    def __init__(self, scheme: str, host: str, port: int, address: str, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address
        self._tls = ssl.create_default_context() if scheme == "https" else None
        self._live: socket.socket | None = None  # http.client forgets `sock` as soon as the headers are read

    def connect(self) -> None:
        self.sock = self._live = socket.create_connection((self._address, self.port), self.timeout)
        if self._tls:
            # wrapped first and shaken hands later, so that `abort` can end the handshake as well
            tls = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._live = tls
            tls.do_handshake()

    def abort(self) -> None:
        """Close the connection from another thread, which ends a blocked read."""
        # shutdown, not close: only the former wakes a blocked read. It fails where the peer was faster.
        if self._live is not None:
            with suppress(OSError):
                self._live.shutdown(socket.SHUT_RDWR)


def _split(url: str, ports: frozenset[int]) -> tuple[str, str, int, str]:
    """Scheme, host name, port and request target."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as error:  # a port that is no number, a host that is no host name
        raise RowError("URL_SCHEME", "a malformed URL") from error
    if parts.scheme not in _PORTS or not host or port not in ports:
        raise RowError("URL_SCHEME", f"{public_url(url)}: only http on port 80 and https on port 443 are fetched")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port, quote(target, safe=string.punctuation)


def _resolve(url: str, host: str, port: int, allowed: Callable[[str], bool]) -> str:
    """One address of the host, if all of its addresses are allowed."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RowError("URL_UNREACHABLE", f"{public_url(url)}: no address for the host") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not all(map(allowed, addresses)):
        raise RowError("URL_PRIVATE", f"{public_url(url)}: the host is not on the public internet")
    return addresses[0]


def _get(url: str, connection: _Pinned, target: str, deadline: float, max_bytes: int) -> bytes | _Redirect:
    name = public_url(url)
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        connection.abort()

    # A socket's timeout starts again with every byte; only a clock beside it bounds the whole.
    clock = threading.Timer(max(deadline - time.monotonic(), 0), expire)
    clock.daemon = True
    clock.start()
    try:
        connection.request("GET", target, headers={"User-Agent": "prefgen", "Connection": "close"})
        with connection.getresponse() as response:
            body = _body(response, name, max_bytes)
        if expired.is_set():
            raise TimeoutError
    except (OSError, http.client.HTTPException) as error:
        if expired.is_set() or isinstance(error, TimeoutError):
            raise RowError("URL_TIMEOUT", f"{name}: not complete in time") from error
        if isinstance(error, ssl.SSLError):
            raise RowError("URL_TLS", f"{name}: {error.reason or error}") from error
        raise RowError("URL_UNREACHABLE", f"{name}: {type(error).__name__}") from error
    finally:
        clock.cancel()
        connection.close()
    return body


def _body(response: http.client.HTTPResponse, name: str, max_bytes: int) -> bytes | _Redirect:
    location = response.headers.get("Location")
    if response.status in _REDIRECTS and location:
        return _Redirect(location)
    if response.status != http.HTTPStatus.OK:
        raise RowError("URL_STATUS", f"{name}: HTTP status {response.status}")
    announced = response.length
    if announced is not None and announced > max_bytes:
        raise RowError("URL_SIZE", f"{name}: {announced:,} bytes, more than {max_bytes:,}")
    body = bytearray()
    while chunk := response.read(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise RowError("URL_SIZE", f"{name}: more than {max_bytes:,} bytes")
    if announced is not None and len(body) < announced:
        raise http.client.IncompleteRead(b"", announced - len(body))
    return bytes(body)
