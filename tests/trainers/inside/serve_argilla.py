"""Argilla's own server on a loopback port, run in the environment that has it: python argilla_server.py PORT FOLDER.

All of it is real, with SQLite for its database, but the search engine, which only its pages ask, and Redis, which only
its background jobs need.
"""

from __future__ import annotations

import os
import sys
from unittest.mock import AsyncMock

port, folder = int(sys.argv[1]), sys.argv[2]
os.environ |= {
    "ARGILLA_HOME_PATH": folder,
    "ARGILLA_SEARCH_ENGINE": "none",
    "HF_HUB_OFFLINE": "1",  # switches its telemetry off, too
}

from argilla_server import _app  # noqa: E402  # it reads the environment
from argilla_server.cli.database.migrate import migrate_db  # noqa: E402
from argilla_server.cli.database.users.create_default import create_default  # noqa: E402
from argilla_server.search_engine import SearchEngine  # noqa: E402


@SearchEngine.register("none")
class NoSearch(AsyncMock):
    """Takes every record and finds none."""

    @classmethod
    async def new_instance(cls) -> NoSearch:
        return cls()


if __name__ == "__main__":
    import rq
    import uvicorn

    rq.Queue.enqueue_call = lambda *job, **options: None
    _app.REDIS_CONNECTION.ping = lambda: True
    migrate_db("head")
    create_default("argilla.apikey", "12345678", quiet=True)  # the user "argilla", who owns the workspace "argilla"
    uvicorn.run(_app.create_server_app(), host="127.0.0.1", port=port, log_level="warning")
