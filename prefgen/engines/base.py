"""What a run wants of its engines, without importing any of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from prefgen import addresses
from prefgen.engines.vllm import engine_args
from prefgen.errors import RowError, UsageError
from prefgen.requests import Reply, Request

EngineName = Literal["auto", "transformers", "vllm", "openai", "fake"]
Attention = Literal["drop", "mask"]
Positions = Literal["compact", "preserve"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
ENGINES: tuple[EngineName, ...] = ("auto", "transformers", "vllm", "openai", "fake")
ATTENTIONS: tuple[Attention, ...] = ("drop", "mask")
POSITIONS: tuple[Positions, ...] = ("compact", "preserve")
DTYPES: tuple[Dtype, ...] = ("auto", "float32", "bfloat16", "float16")


class Engine(Protocol):
    """Answers requests, in batches of its own choosing."""

    def submit(self, ticket: int, request: Request) -> None:
        """Take a request; `ticket` names it in `collect`."""

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Work on what was submitted and return some replies; empty only when nothing is pending here.

        A request that cannot be answered comes back as a `RowError`, which is thrown into its flow.
        """


@runtime_checkable
class Remote(Engine, Protocol):
    """An engine whose work is done elsewhere: `collect` returns what is there, so that the others can go on."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for a reply, but no longer than this; False if none is to be expected."""

    def close(self) -> None:
        """Ask for nothing more; what is on its way may still arrive."""


Engines = Mapping[type[Request], Engine]


@dataclass(frozen=True)
class EngineConfig:
    """Which models to use, and how.

    Attributes:
        model: folder or Hub id, of a served model the name it is served by; empty where a method asks for none.
        engine: ``auto`` is resolved by `prefgen.engines.build.resolve` before anything else.
        revision: branch, tag or commit of the Hub.
        base_model: what a `model` that is a PEFT adapter changes, ``@`` and a revision behind it where it matters;
            empty for the one that the adapter names.
        attention: ``drop`` takes hidden image tokens out of the sequence; ``mask`` keeps them and masks them in stock
            `generate`, slow and exact: the reference.
        positions: ``compact`` numbers the tokens that are left without gaps; ``preserve`` keeps each token's position.
        dtype: ``auto`` is bfloat16 on a GPU and float32 on a CPU.
        batch_size: rows of a batch at most; of vLLM and of a server, requests at a time. It shrinks when memory runs
            out. batch_tokens: its padded tokens at most; 0 is as many as the device's memory suggests; vLLM has its own
            `max_num_batched_tokens`. Neither changes a row's draws.
        image_workers: processes that prepare pictures; 0 uses threads, None what suits the device.
        similarity_model: ``mpnet`` (the paper's), ``minilm``, a folder or a Hub id of sentence-transformers.
        engine_args: ``name=value``, options of vLLM's own, see `prefgen.engines.vllm.engine_args`.
        base_url: of an OpenAI-compatible server, for ``openai``.
        engine_key_env: environment variable that holds that server's key; a local server wants none.
        engine_timeout: seconds that an answer of that server may take.
        also: further policies, like `model`, ``@`` and a revision behind each where it matters.
        annotator: model that compares answers, like `model`; empty for the policy itself. annotator_revision: likewise.
    """

    model: str = ""
    engine: EngineName = "transformers"
    revision: str | None = None
    base_model: str = ""
    attention: Attention = "drop"
    positions: Positions = "compact"
    device: str = "auto"
    dtype: Dtype = "auto"
    batch_size: int = 256
    batch_tokens: int = 0
    image_workers: int | None = None
    similarity_model: str = "mpnet"
    also: Sequence[str] = ()
    annotator: str = ""
    annotator_revision: str | None = None
    trust_remote_code: bool = False
    engine_args: Sequence[str] = ()
    base_url: str | None = None
    engine_key_env: str = "OPENAI_API_KEY"
    engine_timeout: float = 600.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UsageError: naming the option and its value.
        """
        choices: list[tuple[str, str, tuple[str, ...]]] = [
            ("engine", self.engine, ENGINES),
            ("attention", self.attention, ATTENTIONS),
            ("positions", self.positions, POSITIONS),
            ("dtype", self.dtype, DTYPES),
        ]
        for option, chosen, known in choices:
            if chosen not in known:
                raise UsageError(f"--{option} {chosen!r} is unknown; choose from {', '.join(known)}")
        numbers = [
            ("batch-size", self.batch_size, 1),
            ("batch-tokens", self.batch_tokens, 0),
            ("image-workers", self.image_workers or 0, 0),
        ]
        for option, number, least in numbers:
            if number < least:
                raise UsageError(f"--{option} {number} must be at least {least}")
        if not 0 < self.engine_timeout < float("inf"):
            raise UsageError(f"--engine-timeout {self.engine_timeout:g} must be above 0, and finite")
        engine_args.parse(self.engine_args)
        if self.engine_args and self.engine not in ("auto", "vllm"):
            raise UsageError(f"--engine-arg {self.engine_args[0]} is for --engine vllm, not {self.engine}")
        if (self.base_url is None) == (self.engine == "openai"):
            raise UsageError(
                "--base-url and --engine openai go together: the address of a server, such as http://localhost:8000/v1"
            )
        if self.base_url is not None:
            addresses.check("--base-url", self.base_url)
