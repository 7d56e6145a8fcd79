"""Options of the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefgen.addresses import on_disk
from prefgen.options import DATA, JUDGE, MODELS, RUN, TEXT, check, option


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of every benchmark.

    Attributes:
        output: folder.
        model: that is asked; empty where there are answers already.
        image_root: folder of the pictures; None for the one of the questions.
        limit: first questions of a file that are used.
        max_new_tokens: of an answer.
        seed: of the bootstrap.
    """

    output: Path = option(
        Path(), "--output", "-o", help="Folder for answers and scores.", panel=DATA, required=True, callback=on_disk
    )
    image_root: Path | None = option(None, help="Folder of the pictures; else beside the questions.", panel=DATA)
    limit: int | None = option(None, help="Use the first N questions of a file.", panel=DATA)
    max_new_tokens: int = option(512, help="Limit of an answer; decoding is greedy.", panel=TEXT)
    model: str = option("", "--model", "-m", help="Model or adapter to measure: folder or Hub id.", panel=MODELS)
    seed: int = option(0, help="Seeds the bootstrap.", panel=RUN)
    json: bool = option(False, help="Print all figures as JSON.", panel=RUN)
    quiet: bool = option(False, "--quiet", "-q", help="Only errors and the final figures.", panel=RUN)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class JudgingOptions:
    """Options of a benchmark's judge."""

    judge_prompt: Path | None = option(None, help="A prompt of your own: prefgen prompts export.", panel=JUDGE)
    judge_tokens: int = option(512, help="Limit of a judge's reply.", panel=JUDGE)


@dataclass(frozen=True)
class QuestionFiles:
    """Files of questions, and of answers that are there already."""

    questions: Sequence[Path] = option((), help="File of questions; repeatable.", panel=DATA, required=True)
    answers: Sequence[Path] = option(
        (), help="Score these answers: no model is asked. For all, or for each file.", panel=DATA
    )


@dataclass(frozen=True)
class QuestionFile:
    """A file of questions, and of answers that are there already."""

    questions: Path = option(Path(), help="File of questions.", panel=DATA, required=True)
    answers: Path | None = option(None, help="Score these answers: no model is asked.", panel=DATA)

    @property
    def given(self) -> Sequence[Path]:
        """The files of answers."""
        return (self.answers,) if self.answers else ()


@dataclass(frozen=True)
class PopeOptions:
    """Form of POPE's questions and answers."""

    parser: Literal["official", "strict", "lenient"] = option("official", help="How an answer is read", panel=TEXT)
    suffix: str = option("", help="Added to every question.", panel=TEXT)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ChairOptions:
    """Pictures of CHAIR, and the question about them."""

    instances: Sequence[Path] = option((), help="COCO's instances, JSON; repeatable.", panel=DATA, required=True)
    captions: Sequence[Path] = option((), help="COCO's captions, JSON, for the truth; repeatable.", panel=DATA)
    sample: int | None = option(None, help="Use N pictures drawn at random.", panel=DATA)
    synonyms: Path | None = option(
        None, help="Words of your own: a line a category, its name first, commas between.", panel=TEXT
    )
    question: str = option("Describe the image in detail.", help="What is asked.", panel=TEXT)


@dataclass(frozen=True)
class MmhalOptions:
    """Inputs of MMHAL-Bench's judge."""

    with_image: bool = option(False, help="Show the judge the picture: MMHAL-V.", panel=JUDGE)


@dataclass(frozen=True)
class LlavaBenchOptions:
    """Files of LLaVA-Bench beside its questions."""

    context: Path = option(Path(), help="File of the pictures' captions.", panel=DATA, required=True)
    reference: Path = option(Path(), help="File of the reference answers.", panel=DATA, required=True)


@dataclass(frozen=True)
class RewardOptions:
    """Policies that are measured as reward models, and the pairs."""

    implicit: Sequence[str] = option(
        (), help="A policy trained by DPO, for its implicit reward: folder or Hub id; repeatable.", panel=DATA
    )
    reference: str = option("", help="What these policies were trained from; else an adapter's base.", panel=DATA)
    limit: int | None = option(None, help="Use the first N pairs of a run.", panel=DATA)


@dataclass(frozen=True)
class ScenesOptions:
    """Number of scenes; and an option that is not needed any more."""

    limit: int = option(600, help="Use the first N of the 600 held-out scenes.", panel=DATA)
    scenes: Path | None = option(None, help="", panel=None, hidden=True)


@dataclass(frozen=True)
class LmmsOptions:
    """Options of benchmarks that lmms-eval measures.

    Attributes:
        python: interpreter of its environment. family: name of the model's class there.
        arguments: of that class. include: folder of further tasks.
    """

    python: Path = option(Path(), help="Python of the environment that has lmms-eval.", panel=RUN, required=True)
    tasks: str = option("", help="Its tasks: textvqa_val,gqa,mmvet.", panel=DATA, required=True)
    include: Path | None = option(None, "--include-path", help="Folder of tasks of your own.", panel=DATA)
    family: str = option("", "--lmms-model", help="Name of the model's class there; else by its type.", panel=MODELS)
    arguments: str = option("", "--model-args", help="More arguments of that class: name=value,….", panel=MODELS)
