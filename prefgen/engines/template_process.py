"""The subprocess that renders chat templates for `prefgen.engines.templates`: JSON Lines in, JSON Lines out.

A template is a program. Here it can take neither more time nor more memory than it is given: the kernel ends this
process where its alarm is not stopped in time, and refuses it memory.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

MEMORY_BYTES = 2**30  # besides what transformers takes
TEXT_CHARS = 8 * 2**20
_MESSAGE_CHARS = 500


def serve() -> None:
    """Answer the requests on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit_memory()
    for line in sys.stdin.buffer:
        job = json.loads(line)
        signal.alarm(job.pop("deadline_s"))
        answer = _answer(render_jinja_template, job)
        signal.alarm(0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _limit_memory() -> None:
    """Limit the address space, on systems that report how much is in use."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(render: Any, job: dict[str, Any]) -> dict[str, str]:
    """The rendered text, or type and message of the template's exception."""
    try:
        ((text,), _) = render([job.pop("messages")], **job)
    except MemoryError:
        return {"raised": "MemoryError", "message": f"it takes more than {MEMORY_BYTES // 2**20} MiB"}
    except Exception as error:  # noqa: BLE001  # a template raises whatever its expressions do
        return {"raised": type(error).__name__, "message": str(error)[:_MESSAGE_CHARS]}
    if len(text) > TEXT_CHARS:
        return {"raised": "OverflowError", "message": f"{len(text):,} characters, of which {TEXT_CHARS:,} are allowed"}
    return {"text": text}


if __name__ == "__main__":
    serve()
