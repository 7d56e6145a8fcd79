"""The options that commands share: each said once, for all commands that make pairs from samples."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from prefgen.cli import config
from prefgen.engines.base import ATTENTIONS, DTYPES, ENGINES, POSITIONS
from prefgen.engines.chat.config import ALIASES, EFFORTS
from prefgen.errors import UsageError
from prefgen.image_names import MATCHES
from prefgen.visibility import NOISE_SPACES, SCHEDULES

T = TypeVar("T")


def field_names(kind: Any) -> frozenset[str]:
    """The fields of a dataclass."""
    return frozenset(field.name for field in dataclasses.fields(kind))


def build(kind: type[T], options: Mapping[str, Any]) -> T:
    """The dataclass whose fields these options name; an option without a value leaves the field its default."""
    return kind(**{name: options[name] for name in field_names(kind) if options.get(name) is not None})


def refuse_foreign(ctx: typer.Context, kind: type[Any], names: Sequence[str], of: str) -> None:
    """Refuse options on the command line that are no field of `kind`.

    Args:
        names: options of some methods only. of: what to call `kind` in the message.

    Raises:
        UsageError: naming the option.
    """
    for name in names:
        if name not in field_names(kind) and config.is_given(ctx, name):
            raise UsageError(f"--{name.replace('_', '-')} is no option of {of}")


def on_disk(path: Path) -> Path:
    """Refuse an address where a folder or file is to be written.

    Raises:
        UsageError: saying what to do instead.
    """
    scheme = path.parts[0] if path.parts else ""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", scheme):  # of which Path keeps one slash
        address = str(path).replace(":/", "://", 1)
        raise UsageError(
            f"--output {address}: commits need the renames and locks of a file system, which {scheme}// has not. Write "
            f"to a folder, on disk or shared, and copy all of it, .prefgen too; `prefgen verify` checks the copy"
        )
    return path


def option(panel: str, *names: str, help: str, choices: tuple[str, ...] = (), **settings: Any) -> Any:
    """A Typer option; `choices` are listed in its help and checked by the dataclass that owns the field."""
    text = f"{help}: {', '.join(choices)}." if choices else help
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


def data(*names: str, help: str, **settings: Any) -> Any:
    """What is read and written."""
    return option("Data", *names, help=help, **settings)


def method(*names: str, help: str, **settings: Any) -> Any:
    """How pairs are made."""
    return option("Method", *names, help=help, **settings)


def text(*names: str, help: str, **settings: Any) -> Any:
    """How text is split and sampled."""
    return option("Text and sampling", *names, help=help, **settings)


def model(*names: str, help: str, **settings: Any) -> Any:
    """What generates."""
    return option("Models", *names, help=help, **settings)


def judge(*names: str, help: str, **settings: Any) -> Any:
    """Who judges, and within what limits."""
    return option("Judge", *names, help=help, **settings)


def run(*names: str, help: str, **settings: Any) -> Any:
    """How the run is done."""
    return option("Run", *names, help=help, **settings)


Input = Annotated[
    list[str], data("--input", "-i", help="SFT data: file, 'part-*.jsonl', folder, Hub id, s3://…; repeatable.")
]
Output = Annotated[Path, data("--output", "-o", help="Folder for the preference shards.", callback=on_disk)]
ImageRoot = Annotated[Path | None, data("--image-root", help="Folder of the images; else beside the input.")]
ImageMatch = Annotated[
    str, data("--image-match", help="What of an image path must agree: all, last folders, file name", choices=MATCHES)
]
FollowLinks = Annotated[bool, data("--follow-links", help="Follow links that lead out of the folder of the images.")]
Question = Annotated[str, data("--question", help="What to ask about captions; or a file, one question a line.")]
KeepRefusals = Annotated[bool, data("--keep-refusals", help="Keep reference answers that refuse.")]
Columns = Annotated[str, data("--columns", help="Names of its columns: question=ask,image=photo.")]
Roles = Annotated[str, data("--roles", help="Who its speakers are: user=Human,assistant=Bot.")]
Turns = Annotated[str, data("--turns", help="Assistant turns to use", choices=("all", "first", "last"))]
Limit = Annotated[int | None, data("--limit", help="Use the first N rows only.")]
Sample = Annotated[int | None, data("--sample", help="Use N rows drawn at random (the paper: 5000).")]
DatasetConfig = Annotated[str | None, data("--dataset-config", help="Configuration of a Hub set that has several.")]
DatasetRevision = Annotated[str | None, data("--dataset-revision", help="Commit, branch or tag of a Hub set.")]
Split = Annotated[str | None, data("--split", help="Split of a datasets folder or Hub id.")]
AllowUrls = Annotated[bool, data("--allow-urls", help="Fetch images given by URL.")]

NoiseSteps = Annotated[int, method("--noise-steps", help="Diffusion steps, 0 … 1000.")]
NoiseSpace = Annotated[str, method("--noise-space", help="What is noised", choices=NOISE_SPACES)]
Schedule = Annotated[str, method("--schedule", help="Noise schedule", choices=SCHEDULES)]

Temperature = Annotated[float, text("--temperature", help="0 is greedy.")]
TopP = Annotated[float, text("--top-p", help="Nucleus sampling.")]
MaxNewTokens = Annotated[int, text("--max-new-tokens", help="Limit of a whole answer.")]

Model = Annotated[str, model("--model", "-m", help="The policy: folder or Hub id.")]
BaseModel = Annotated[
    str, model("--base-model", help="What a --model that is a PEFT adapter changes; else by its file.")
]
Revision = Annotated[str | None, model("--revision", help="Branch, tag or commit of the Hub.")]
SimilarityModel = Annotated[str, model("--similarity-model", help="mpnet (the paper's), minilm, folder or Hub id.")]
Annotator = Annotated[str, model("--annotator", help="Model that compares answers; else the policy itself.")]
AnnotatorRevision = Annotated[str | None, model("--annotator-revision", help="Its branch, tag or commit.")]
Engine = Annotated[str, model("--engine", help="What generates", choices=ENGINES)]
Attention = Annotated[str, model("--attention", help="Drop hidden image tokens, or mask them", choices=ATTENTIONS)]
Positions = Annotated[str, model("--positions", help="Positions of the tokens left", choices=POSITIONS)]
Device = Annotated[str, model("--device", help="auto, cpu, cuda, cuda:1 …")]
Dtype = Annotated[str, model("--dtype", help="Floating-point type", choices=DTYPES)]
BatchSize = Annotated[int, model("--batch-size", help="Rows of a batch at most.")]
BatchTokens = Annotated[int, model("--batch-tokens", help="Tokens of a batch at most; 0: by the device's memory.")]
ImageWorkers = Annotated[
    int | None, model("--image-workers", help="Processes that prepare pictures; 0: threads. By the device.")
]
EngineArgs = Annotated[list[str] | None, model("--engine-arg", help="An option of vLLM's own, name=value; repeatable.")]
BaseUrl = Annotated[str | None, model("--base-url", help="A server's address, for --engine openai.")]
EngineKeyEnv = Annotated[str, model("--engine-key-env", help="Environment variable with that server's key.")]
EngineTimeout = Annotated[float, model("--engine-timeout", help="Seconds that its answer may take.")]
TrustRemoteCode = Annotated[bool, model("--trust-remote-code", help="Run code that the model brings.")]

Judge = Annotated[str, judge("--judge", help=f"A chat model's name, or {', '.join(ALIASES)}.")]
JudgeUrl = Annotated[str, judge("--judge-url", help="Base URL of an OpenAI-compatible server.")]
ApiKeyEnv = Annotated[str, judge("--api-key-env", help="Environment variable that holds the key.")]
Concurrency = Annotated[int, judge("--concurrency", help="Requests in flight at most.")]
Rpm = Annotated[int | None, judge("--rpm", help="Requests a minute at most.")]
Tpm = Annotated[int | None, judge("--tpm", help="Tokens a minute at most.")]
RequestTimeout = Annotated[float, judge("--request-timeout", help="Seconds of one attempt.")]
RequestDeadline = Annotated[float, judge("--request-deadline", help="Seconds of all attempts at a request.")]
MaxCost = Annotated[float | None, judge("--max-cost", help="Dollars the whole run may cost.")]
PriceIn = Annotated[float | None, judge("--price-in", help="Dollars per million tokens read.")]
PriceOut = Annotated[float | None, judge("--price-out", help="Dollars per million tokens generated.")]
ReasoningEffort = Annotated[
    str | None, judge("--reasoning-effort", help="How much the judge thinks", choices=tuple(EFFORTS))
]
KeepGoing = Annotated[bool, run("--keep-going", help="Go on although the first rows all fail for one reason.")]
BatchApi = Annotated[bool, judge("--batch-api", help="Ask through the Batch API: half price, within a day.")]
BatchFiles = Annotated[bool, judge("--batch-files", help="Write requests to files, for vllm run-batch.")]

Seed = Annotated[int, run("--seed", help="Seeds every draw.")]
ShardSize = Annotated[int, run("--shard-size", help="Rows of a shard: the unit of commit.")]
MaxDropped = Annotated[float, run("--max-dropped", help="Exit 3 if a larger share of rows is dropped.")]
License = Annotated[str, run("--license", help="Licence to state in the dataset card.")]
ConfigFile = Annotated[
    Path | None,
    run("--config", help="TOML or YAML file of options.", callback=config.load_callback, is_eager=True),
]
Shard = Annotated[str | None, run("--shard", help="Fill part i of n of the shards (0/n …), beside other processes.")]
Workers = Annotated[int, run("--workers", help="Processes on this machine, each with GPUs or cores of its own.")]
Ray = Annotated[str | None, run("--ray", help="Address of a Ray cluster whose machines do the work: auto, host:port.")]
DryRun = Annotated[bool, run("--dry-run", help="Print the plan and one prompt, then stop.")]
Json = Annotated[bool, run("--json", help="Print the final figures as JSON.")]
Quiet = Annotated[bool, run("--quiet", "-q", help="Only errors and the final figures.")]
