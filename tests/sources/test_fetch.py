"""Downloads: which addresses are refused, and that no server keeps a run waiting. The servers here are on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from prefgen.addresses import is_public
from prefgen.errors import RowError
from prefgen.sources.fetch import FetchLimits, fetch

QUICK = FetchLimits(max_bytes=1000, timeout_s=0.4)


@contextmanager
def server(*answers: Callable[[socket.socket], object] | bytes) -> Iterator[int]:
    """A server that gives one answer per connection, in order; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with connection:
                    try:
                        connection.recv(4096)
                        connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)
                    except OSError:  # the client hung up, as it should
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)


def local(port: int, scheme: str = "http") -> bytes:
    ports = frozenset({port, 80})
    return fetch(f"{scheme}://127.0.0.1:{port}/a.png", QUICK, lambda address: address == "127.0.0.1", ports)


def reason(call: Callable[[], object]) -> str:
    with pytest.raises(RowError) as caught:
        call()
    return caught.value.reason


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def redirect(location: str) -> bytes:
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location.encode() + b"\r\n\r\n"


def drip(head: bytes) -> Callable[[socket.socket], None]:
    def send(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return send


def test_a_body_is_returned_with_and_without_its_length() -> None:
    with server(ok(b"image"), b"HTTP/1.0 200 OK\r\n\r\nimage") as port:
        assert local(port) == b"image"
        assert local(port) == b"image"


def test_redirects_are_followed_up_to_three() -> None:
    with server(redirect("/b"), redirect("c"), redirect("?d=1"), ok(b"image")) as port:
        assert local(port) == b"image"
    with server(*[redirect("/again")] * 4) as port:
        assert reason(lambda: local(port)) == "URL_REDIRECTS"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://127.0.0.2/x", "URL_PRIVATE"),
        ("http://169.254.169.254/latest/meta-data", "URL_PRIVATE"),
        ("file:///etc/passwd", "URL_SCHEME"),
        ("gopher://127.0.0.1/x", "URL_SCHEME"),
        ("http://[broken/", "URL_SCHEME"),
    ],
)
def test_a_redirect_is_checked_like_the_first_url(location: str, expected: str) -> None:
    with server(redirect(location)) as port:
        assert reason(lambda: local(port)) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "URL_STATUS"),
        (b"HTTP/1.1 500 Oops\r\n\r\n", "URL_STATUS"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "URL_STATUS"),
        (ok(b"x" * 1001), "URL_SIZE"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000, "URL_SIZE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nhalf", "URL_UNREACHABLE"),
        (b"nonsense\r\n\r\n", "URL_UNREACHABLE"),
        (b"", "URL_UNREACHABLE"),
        (drip(b"HTTP/1.1 200 OK\r\n\r\n"), "URL_TIMEOUT"),
        (drip(b"HTTP/1.1 200 OK\r\nX-Slow: "), "URL_TIMEOUT"),
        (lambda connection: connection.recv(1), "URL_TIMEOUT"),
    ],
)
def test_a_bad_server_gives_a_reason_within_the_time_limit(
    answer: bytes | Callable[[socket.socket], object], expected: str
) -> None:
    with server(answer) as port:
        started = time.monotonic()
        assert reason(lambda: local(port)) == expected
        assert time.monotonic() - started < 2


def talks_no_tls(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.recv(1)  # keep it open: a reset would come first


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (talks_no_tls, "URL_TLS"),
        (lambda connection: connection.recv(1), "URL_TIMEOUT"),
        (drip(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb"), "URL_TIMEOUT"),
    ],
)
def test_a_bad_tls_handshake_is_a_reason_too(answer: Callable[[socket.socket], object], expected: str) -> None:
    with server(answer) as port:
        assert reason(lambda: local(port, "https")) == expected


def test_nobody_listening_is_unreachable() -> None:
    with server() as port:
        pass
    assert reason(lambda: local(port)) == "URL_UNREACHABLE"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1%25lo]/",
        "http://0.0.0.0/",
    ],
)
def test_private_hosts_are_refused_before_any_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    assert reason(lambda: fetch(url)) in ("URL_PRIVATE", "URL_UNREACHABLE")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/y",
        "http://example.org:22/",
        "http://",
        "https://example.org:80x/",
        "http://a..b/",
    ],
)
def test_other_schemes_and_ports_are_refused_without_a_look_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up"))
    assert reason(lambda: fetch(url)) == "URL_SCHEME"


def resolver(*addresses: str) -> Callable[..., list[tuple[object, ...]]]:
    return lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]


def test_one_private_address_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolver("93.184.215.14", "10.0.0.1"))
    assert reason(lambda: fetch("http://example.org/")) == "URL_PRIVATE"


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def connect(address: object, *_: object) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolver("93.184.215.14"))
    monkeypatch.setattr(socket, "create_connection", connect)
    assert reason(lambda: fetch("http://example.org/")) == "URL_UNREACHABLE"
    assert asked == [("93.184.215.14", 80)]  # an address, so there is no second look-up to rebind


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a00:1", False),
        ("ff02::1", False),
    ],
)
def test_only_the_public_internet_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_messages_do_not_show_the_secret_parts_of_a_url() -> None:
    with pytest.raises(RowError) as caught:
        fetch("http://user:SECRET@127.0.0.1/a.png?key=SECRET")
    assert "SECRET" not in str(caught.value)
    assert "/a.png" in str(caught.value)
