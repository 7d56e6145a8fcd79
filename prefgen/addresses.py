"""Addresses of servers: one place that checks them, and that takes passwords out of what is recorded or printed."""

from __future__ import annotations

import re

from prefgen.errors import UsageError

_CREDENTIALS = re.compile(r"\b([a-z][a-z0-9+.-]*:/{1,2})[^/?#\s'\"<>]*@", re.IGNORECASE)


def check(option: str, address: str) -> None:
    """See that an address is one of HTTP, and holds no user or password.

    Raises:
        UsageError: naming the option; a password is not repeated.
    """
    if _CREDENTIALS.search(address) or "@" in address.partition("?")[0]:
        raise UsageError(
            f"{option} must not hold a user or a password, since it is recorded: use --api-key-env, or OPENAI_API_KEY "
            "for --engine openai"
        )
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"{option} {address!r} must start with http:// or https://")


def redact(text: str) -> str:
    """A text without the users and passwords of the addresses in it."""
    return _CREDENTIALS.sub(r"\1***@", text)
