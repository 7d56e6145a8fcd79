"""Several policies behind one engine."""

from __future__ import annotations

from collections.abc import Sequence

from prefgen.engines.base import Engine
from prefgen.errors import RowError
from prefgen.requests import Generate, Reply, Request


class Panel:
    """Hands each `Generate` request to the policy that it names, all of which run in this process."""

    def __init__(self, policies: Sequence[Engine]) -> None:
        self._policies = policies

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request with its policy."""
        if not isinstance(request, Generate):
            raise TypeError(f"this engine does not answer {type(request).__name__}")
        self._policies[request.policy].submit(ticket, request)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Let every policy work on what it has."""
        return [reply for policy in self._policies for reply in policy.collect()]
