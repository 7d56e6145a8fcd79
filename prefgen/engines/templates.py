"""Chat templates, which are programs that come with a model: rendered in a subprocess with limits."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefgen.errors import EnvironmentFault, ModelUnreachable, RowError, UsageError

DEADLINE_S = 10
_ADVICE = "mend it (chat_template.jinja in the model's folder), or give another by --chat-template FILE"
_REFUSED = "TemplateError"  # what the function `raise_exception` of templates raises


def read(file: Path) -> str:
    """A chat template of the user's own.

    Raises:
        UsageError: if the file holds none.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--chat-template {file} cannot be read: {error}") from error
    if not text.strip():
        raise UsageError(f"--chat-template {file} is empty")
    return text


class ChatTemplate:
    """A model's chat template, with the semantics of `apply_chat_template` of transformers.

    Raises:
        UsageError: if the model has none.
    """

    def __init__(self, processor: Any, model_name: str) -> None:
        found = getattr(processor, "chat_template", None) or processor.tokenizer.chat_template
        if isinstance(found, dict):
            found = found.get("default")
        if not found:
            raise UsageError(
                f"model {model_name} has no chat template: give one by --chat-template FILE, such as that of the model "
                "it was made from"
            )
        self._source = str(found)
        self._tokens = {name: _spelled(token) for name, token in processor.tokenizer.special_tokens_map.items()}
        self._model_name = model_name
        with _lock:
            _Renderer.start()  # which takes a second, while the model's weights are read

    def render(self, messages: Sequence[dict[str, Any]], **settings: bool) -> str:
        """Render a conversation.

        Args:
            settings: `add_generation_prompt` or `continue_final_message`.

        Raises:
            RowError: if the template refuses the conversation, such as one that starts with a system message.
            ModelUnreachable: if the template fails, or takes more time, memory or text than it is given.
        """
        job = {**self._tokens, "messages": list(messages), "chat_template": self._source, **settings}
        with _lock:
            answer = _Renderer.start().ask(json.dumps({**job, "deadline_s": DEADLINE_S}).encode())
        if "text" in answer:
            return answer["text"]
        if answer["raised"] == _REFUSED:
            raise RowError("TEXT_REFUSED", f"the chat template of {self._model_name} says: {answer['message']}")
        raise ModelUnreachable(
            f"the chat template of model {self._model_name} cannot be rendered: "
            f"{answer['raised']}: {answer['message'].rstrip('.')}; {_ADVICE}"
        )


def _spelled(token: Any) -> str | list[str]:
    return [str(each) for each in token] if isinstance(token, list) else str(token)


_lock = threading.Lock()  # one job at a time: a renderer that dies is replaced before the next


class _Renderer:
    """The subprocess, shared by all templates and threads."""

    _current: _Renderer | None = None

    def __init__(self) -> None:
        paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        few = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "prefgen.engines.template_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **paths, **few},
        )

    @classmethod
    def start(cls) -> _Renderer:
        """The running subprocess; a new one if it died or belongs to a parent process."""
        if cls._current is None or not cls._current._runs:
            if cls._current is None:
                atexit.register(cls._stop)
            cls._current = cls()
        return cls._current

    @classmethod
    def _stop(cls) -> None:
        if cls._current is not None and cls._current._runs:
            cls._current._process.communicate()

    @property
    def _runs(self) -> bool:
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, job: bytes) -> dict[str, str]:
        """Run a job: returns the text or the exception; if the subprocess died, the reason.

        Raises:
            EnvironmentFault: if it cannot run at all.
        """
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        answer = b""
        with contextlib.suppress(BrokenPipeError):
            into.write(job + b"\n")
            into.flush()
            answer = out.readline()
        if answer:
            found: dict[str, str] = json.loads(answer)
            return found
        with contextlib.suppress(BrokenPipeError):
            into.close()
        out.close()
        ended = self._process.wait()
        if ended == -signal.SIGALRM:
            return {"raised": "TimeoutError", "message": f"it takes longer than {DEADLINE_S} s"}
        if ended < 0:
            return {"raised": "MemoryError", "message": f"its process was ended by signal {-ended}"}
        raise EnvironmentFault(f"the process that renders chat templates ended with exit code {ended}")
