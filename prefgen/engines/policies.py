"""An engine that distributes requests over several policy models."""

from __future__ import annotations

from collections.abc import Sequence

from prefgen.engines.base import Engine, Remembering
from prefgen.errors import RowError
from prefgen.requests import Generate, Reply, Request


class Panel:
    """Passes each `Generate` request to the policy that it names; all policies run in this process."""

    def __init__(self, policies: Sequence[Engine]) -> None:
        self._policies = policies

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request with its policy."""
        if not isinstance(request, Generate):
            raise TypeError(f"this engine does not answer {type(request).__name__}")
        self._policies[request.policy].submit(ticket, request)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Collect the replies of every policy."""
        return [reply for policy in self._policies for reply in policy.collect()]

    def forget(self) -> None:
        """Free what the policies keep for later requests."""
        for policy in self._policies:
            if isinstance(policy, Remembering):
                policy.forget()
