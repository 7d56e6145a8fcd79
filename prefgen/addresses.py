"""Checks of server and file addresses, and removal of secrets before they are shown."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from prefgen.errors import UsageError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_CREDENTIALS = re.compile(r"\b([a-z][a-z0-9+.-]*:/{1,2})[^/?#\s'\"<>]*@", re.IGNORECASE)
# Parameters of signed addresses: S3 (both versions), Google, Azure, and whatever is called a key, token or password.
_SIGNED = re.compile(
    r"([?&](?:x-(?:amz|goog)-[\w-]+|awsaccesskeyid|signature|sig|se|sv|sp|policy|[\w-]*(?:key|token|secret|passw(?:or)?d)"
    r"[\w-]*)=)[^&#\s'\"<>]+",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.:-]*://", re.IGNORECASE)  # with fsspec's chains, which are refused
# Stores whose server is the user's own setting; any other scheme names a host in the address.
_STORES = ("s3", "s3a", "gs", "gcs", "hf", "az", "abfs", "abfss", "oci", "oss", "memory")


def check(option: str, address: str) -> None:
    """Check that an address is HTTP and holds no user, password or key.

    Raises:
        UsageError: naming the option; a password is not repeated.
    """
    if redact(address) != address or "@" in address.partition("?")[0]:
        raise UsageError(
            f"{option} must not hold a user, a password or a key, since it is recorded: use --api-key-env, or "
            "OPENAI_API_KEY for --engine openai"
        )
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"{option} {address!r} must start with http:// or https://")


def key(variable: str) -> str:
    """A server's key from an environment variable; empty if it is not set.

    Raises:
        UsageError: it holds what no header of HTTP can; the key is not repeated.
    """
    value = os.environ.get(variable, "").strip()
    if not (value.isascii() and value.isprintable()):
        raise UsageError(f"${variable} holds characters that no key has, such as letters with accents or line breaks")
    return value


def redact(text: str) -> str:
    """A text without users, passwords and signatures of the addresses in it."""
    return _SIGNED.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))


def on_disk(path: Path) -> Path:
    """Refuse an address where a local folder or file is written.

    Raises:
        UsageError: saying what to do instead.
    """
    scheme = path.parts[0] if path.parts else ""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", scheme):  # of which Path keeps one slash
        address = str(path).replace(":/", "://", 1)
        raise UsageError(
            f"--output {address}: commits need the renames and locks of a file system, which {scheme}// has not. Write "
            f"to a folder, on disk or shared, then copy it: prefgen push OUT {address}"
        )
    return path


def is_address(text: str) -> bool:
    """True if a text is an address (``s3://…``) and not a path or name."""
    return _ADDRESS.match(text) is not None


def is_store(address: str) -> bool:
    """True if an address is in an object store, which has buckets and no folders."""
    return address.partition("://")[0].lower() in _STORES


def public(address: str) -> str:
    """A file's address without user, password, query and fragment, for records and as its identity.

    The query of a signed address changes with each signature, and the file does not.
    """
    scheme, _, rest = address.partition("://")
    bare = re.split(r"[?#]", rest, maxsplit=1)[0] if scheme.lower() in ("http", "https") else rest
    host, slash, path = bare.partition("/")
    return f"{scheme.lower()}://{host.rpartition('@')[2]}{slash}{path}"


def check_readable(address: str, allow_urls: bool) -> None:
    """Check that an address may be read: a store's bucket, or a host, which needs `allow_urls`.

    Raises:
        UsageError: ``URL_DISABLED``, ``URL_SCHEME``.
    """
    scheme = address.partition("://")[0].lower()
    if "::" in address:  # fsspec's chains would open local files and archives by another name
        raise UsageError(f"URL_SCHEME: {redact(address)} is a chain of addresses; give the address of the file itself")
    if scheme not in _STORES and not allow_urls:
        raise UsageError(f"URL_DISABLED: {redact(address)} names a host; download the file, or allow it: --allow-urls")


def is_public(address: str) -> bool:
    """True if an IP address is on the public internet, also if it is mapped, 6to4, NAT64 or Teredo."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        teredo = ip.teredo[1] if ip.teredo else None
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in ipaddress.ip_network("64:ff9b::/96") else None
        inner = ip.ipv4_mapped or ip.sixtofour or teredo or nat64
        if inner:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def names_private_host(url: str) -> bool:
    """True if a URL's host, by name or resolved address, is not on the public internet."""
    host = urlsplit(url).hostname or ""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the connection will say so
        return False
    return not all(is_public(str(entry[4][0])) for entry in found)
