"""The embedding engine of runs without a similarity model."""

from __future__ import annotations

import numpy as np

from prefgen.errors import RowError
from prefgen.requests import Reply, Request, Vector


class Unmeasured:
    """Answers `Embed` requests with empty vectors."""

    def __init__(self) -> None:
        self._pending: list[int] = []

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a text."""
        self._pending.append(ticket)

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """An empty vector for each text."""
        pending, self._pending = self._pending, []
        return [(ticket, Vector(np.empty(0, dtype=np.float32))) for ticket in pending]
