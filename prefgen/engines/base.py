"""The `Engine` protocol and `EngineConfig`, which a run needs before it imports any engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args, runtime_checkable

from prefgen import addresses, options
from prefgen.engines.vllm import engine_args
from prefgen.errors import RowError, UsageError
from prefgen.requests import Reply, Request

EngineName = Literal["auto", "transformers", "vllm", "openai", "fake"]
Attention = Literal["drop", "mask"]
Positions = Literal["compact", "preserve"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
SimilarityDtype = Literal["float32", "bfloat16"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
POSITIONS: tuple[Positions, ...] = get_args(Positions)


class Engine(Protocol):
    """Answers requests in batches that it forms itself."""

    def submit(self, ticket: int, request: Request) -> None:
        """Queue a request; `collect` returns its reply under `ticket`."""

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """Work on queued requests and return some replies; empty only when nothing is pending.

        A request that cannot be answered comes back as a `RowError`, which is thrown into its flow.
        """


@runtime_checkable
class Remote(Engine, Protocol):
    """An engine that waits for a server: `collect` returns the replies that have arrived, without waiting."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for a reply, at most this long; False if none is expected."""

    def close(self) -> None:
        """Send no more requests; replies to those in flight may still arrive."""


@runtime_checkable
class Remembering(Engine, Protocol):
    """An engine that keeps results for later requests of the same samples."""

    def forget(self) -> None:
        """Free them: the samples are done, or the model changes. A shard's bytes must not depend on those before it."""


Engines = Mapping[type[Request], Engine]
NO_SIMILARITY = "none"  # as a similarity model


@dataclass(frozen=True)
class EngineConfig:
    """The models of a run, and their settings.

    Attributes:
        model: folder or Hub id, of a served model the name it is served by; empty where a method asks for none.
        engine: ``auto`` is resolved by `prefgen.engines.build.resolve` before anything else.
        revision: branch, tag or commit of the Hub.
        base_model: what a `model` that is a PEFT adapter changes, ``@`` and a revision behind it where it matters;
            empty for the one that the adapter names.
        chat_template: file with a chat template, which `model` gets in place of its own; None: its own.
        attention: ``drop`` takes hidden image tokens out of the sequence; ``mask`` keeps them and masks them in stock
            `generate`, slow and exact: the reference.
        positions: ``compact`` numbers the tokens that are left without gaps; ``preserve`` keeps each token's position.
        device: ``auto`` is an NVIDIA GPU, else Apple's (``mps``), else the CPU.
        gpus_per_worker: GPUs that the layers of each model are spread over; the first ones of a worker.
        dtype: ``auto`` is bfloat16 on a GPU, but float32 before macOS 14, and float32 on a CPU.
        batch_size: rows of a batch at most; of vLLM and of a server, requests at a time. It shrinks when memory runs
            out.
        batch_tokens: its padded tokens at most; 0 is as many as the device's memory suggests; vLLM has its own
            `max_num_batched_tokens`. Neither changes a row's draws.
        image_workers: processes that prepare pictures; 0 uses threads, None what suits the device.
        similarity_model: ``mpnet`` (the paper's), ``minilm``, a folder or a Hub id of sentence-transformers; ``none``
            records no similarity, where a method does not decide by it.
        similarity_dtype: of its linear layers; ``bfloat16`` is faster where the processor computes in it.
        engine_args: ``name=value``, options of vLLM's own, see `prefgen.engines.vllm.engine_args`.
        base_url: of an OpenAI-compatible server, for ``openai``.
        engine_key_env: environment variable that holds that server's key; a local server wants none.
        engine_timeout: seconds that an answer of that server may take.
        also: further policies, like `model`, ``@`` and a revision behind each where it matters.
        annotator: model that compares answers, like `model`; empty for the policy itself.
        annotator_revision: likewise.
    """

    model: str = options.option(
        "", "--model", "-m", help="The policy: folder or Hub id.", panel=options.MODELS, required=True
    )
    engine: EngineName = options.option("transformers", help="What generates", panel=options.MODELS)
    revision: str | None = options.option(None, help="Branch, tag or commit of the Hub.", panel=options.MODELS)
    base_model: str = options.option(
        "", help="What a --model that is a PEFT adapter changes; else by its file.", panel=options.MODELS
    )
    chat_template: Path | None = options.option(
        None, help="File with a chat template (Jinja), in place of --model's.", panel=options.MODELS
    )
    attention: Attention = options.option("drop", help="Drop hidden image tokens, or mask them", panel=options.MODELS)
    positions: Positions = options.option("compact", help="Positions of the tokens left", panel=options.MODELS)
    device: str = options.option("auto", help="auto, cpu, cuda, cuda:1, mps …", panel=options.MODELS)
    gpus_per_worker: int = options.option(
        1, help="GPUs that a model's layers are spread over.", panel=options.MODELS, low=1
    )
    dtype: Dtype = options.option("auto", help="Floating-point type", panel=options.MODELS)
    batch_size: int = options.option(256, help="Rows of a batch at most.", panel=options.MODELS, low=1)
    batch_tokens: int = options.option(
        0, help="Tokens of a batch at most; 0: by the device's memory.", panel=options.MODELS, low=0
    )
    image_workers: int | None = options.option(
        None, help="Processes that prepare pictures; 0: threads. By the device.", panel=options.MODELS, low=0
    )
    similarity_model: str = options.option(
        "mpnet", help="mpnet (the paper's), minilm, none, folder or Hub id.", panel=options.MODELS
    )
    similarity_dtype: SimilarityDtype = options.option("float32", help="Its floating-point type", panel=options.MODELS)
    also: Sequence[str] = options.option(
        (), help="A further policy that answers, MODEL or MODEL@REVISION; repeatable.", panel=options.MODELS
    )
    annotator: str = options.option(
        "", help="Model that compares answers; else the policy itself.", panel=options.MODELS
    )
    annotator_revision: str | None = options.option(None, help="Its branch, tag or commit.", panel=options.MODELS)
    trust_remote_code: bool = options.option(False, help="Run code that the model brings.", panel=options.MODELS)
    engine_args: Sequence[str] = options.option(
        (), "--engine-arg", help="An option of vLLM's own, name=value; repeatable.", panel=options.MODELS
    )
    base_url: str | None = options.option(None, help="A server's address, for --engine openai.", panel=options.MODELS)
    engine_key_env: str = options.option(
        "OPENAI_API_KEY", help="Environment variable with that server's key.", panel=options.MODELS
    )
    engine_timeout: float = options.option(
        600.0, help="Seconds that its answer may take.", panel=options.MODELS, low=0, above=True
    )

    def __post_init__(self) -> None:
        options.check(self)
        engine_args.parse(self.engine_args)
        if self.engine_args and self.engine not in ("auto", "vllm"):
            raise UsageError(f"--engine-arg {self.engine_args[0]} is for --engine vllm, not {self.engine}")
        if (self.base_url is None) == (self.engine == "openai"):
            raise UsageError(
                "--base-url and --engine openai go together: the address of a server, such as http://localhost:8000/v1"
            )
        if self.gpus_per_worker > 1 and self.engine not in ("auto", "transformers"):
            other = "--engine-arg tensor_parallel_size=N" if self.engine == "vllm" else "one GPU or none"
            raise UsageError(f"--gpus-per-worker is for --engine transformers; --engine {self.engine} takes {other}")
        if self.chat_template is not None and self.engine == "openai":
            raise UsageError("--chat-template is for a model that is loaded here; a server has its own")
        if self.base_url is not None:
            addresses.check("--base-url", self.base_url)
