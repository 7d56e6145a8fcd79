"""Answers of a model to a benchmark's questions, written as they arrive, so that a stopped run resumes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from prefgen import durable, seeds
from prefgen.driver import Asking, drive
from prefgen.engines import build
from prefgen.engines.base import EngineConfig, Engines
from prefgen.engines.vllm import engine_args
from prefgen.errors import CorruptRun, UsageError
from prefgen.evaluate.benchmarks.files import Question
from prefgen.images import ImageRoot, load_images
from prefgen.records import Dropped, ImageRef, Sample, Slot, Turn
from prefgen.requests import Completion, Generate, Sampling
from prefgen.visibility import View

_ROWS_AT_ONCE = 256  # between two writes
ANSWERS, SETTINGS, LOCK = "answers.jsonl", "settings.json", ".lock"


@dataclass(frozen=True)
class Task:
    """Settings of asking a model.

    Attributes:
        output: folder of the answers.
        root: where pictures are.
        suffix: added to every question.
        max_new_tokens: limit of an answer. Decoding is greedy.
    """

    engine: EngineConfig
    output: Path
    root: ImageRoot
    suffix: str = ""
    max_new_tokens: int = 512

    def sample(self, question: Question) -> Sample | Dropped:
        """The sample of a question, or a `Dropped` with the reason."""
        slots = (Slot.IMAGE,) if question.image else ()
        images = (ImageRef(path=question.image),) if question.image else ()
        prompt = (Turn("user", (*slots, question.text + self.suffix)),)
        name = f"{seeds.derive(0, ' '.join(question.key), 0, 'question'):016x}"
        return load_images(Sample(name, prompt, images, None, question.file, question.id), self.root, None)

    def ask(self, sample: Sample) -> Asking[Completion]:
        """The flow of one question."""
        sampling = Sampling(0.0, 1.0, self.max_new_tokens)
        request = Generate(sample.prompt, sample.loaded_images, View(), "", 0, "end", "en", sampling, 0)
        (reply,) = yield (request,)
        assert isinstance(reply, Completion)
        return reply


@contextmanager
def held(output: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Lock a folder of answers and scores.

    Args:
        settings: what decides what is answered.

    Raises:
        Locked: another process evaluates there. CorruptRun: it was started with other settings, or they are damaged.
        UsageError: files of something else are there. EnvironmentFault: it cannot be written.
    """
    file = output / SETTINGS
    with durable.environment(output):
        if output.exists() and not output.is_dir():
            raise UsageError(f"output {output} is a file: give a directory")
        if not file.exists() and output.is_dir() and any(path.name[:1] != "." for path in output.iterdir()):
            raise UsageError(f"output {output} is not empty and holds no evaluation: give an empty or a new directory")
        output.mkdir(parents=True, exist_ok=True)
    with durable.settled(file, output / LOCK, settings):
        yield


def settings(task: Task, asked: Sequence[Question], benchmark: str) -> dict[str, Any]:
    """The settings that affect answers.

    Raises:
        UsageError: the model is of no use. ModelUnreachable: it cannot be found.
    """
    found = build.identify(task.engine, (Generate,))
    questions = seeds.derive(0, json.dumps([[*q.key, q.image, q.text] for q in asked]), 0, "questions")
    return {
        "benchmark": benchmark,
        "model": task.engine.model,
        "model_revision": found.model_revision,
        "engine": task.engine.engine,
        "engine_args": engine_args.recorded(task.engine.engine_args),
        "dtype": found.dtype,
        "suffix": task.suffix,
        "max_new_tokens": task.max_new_tokens,
        "questions": f"{questions:016x}",
    }


def answered(output: Path) -> set[tuple[str, str]]:
    """Keys of the answered questions; an incomplete last line is removed.

    Raises:
        CorruptRun: another line is damaged.
    """
    file = output / ANSWERS
    if not file.exists():
        return set()
    content = file.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with durable.environment(output):
            os.truncate(file, whole)
    found = set()
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            row = json.loads(line)
            found.add((str(row["questions"]), str(row["question_id"])))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise CorruptRun(
                f"{file} line {number} is damaged ({type(error).__name__}): delete that line to have it asked again"
            ) from error
    return found


def answer(
    task: Task,
    asked: Sequence[Question],
    advance: Callable[[int], None] = lambda done: None,
    check: Callable[[], None] = lambda: None,
    engines: Engines | None = None,
) -> dict[str, int]:
    """Ask every question that has no answer yet.

    Args:
        advance: told how many questions are done, in all.
        check: called while waiting; may raise.
        engines: that answer; None builds those of the task.

    Returns:
        Why questions have no answer, with counts.

    Raises:
        UsageError: none can be asked.
    """
    done = answered(task.output)
    left = iter([question for question in asked if question.key not in done])
    failed: Counter[str] = Counter()
    example = ""
    count = len(done)
    while batch := list(islice(left, _ROWS_AT_ONCE)):
        samples = [(question, task.sample(question)) for question in batch]
        for question, sample in samples:
            if isinstance(sample, Dropped):
                failed[sample.reason] += 1
                example = example or f"question {question.id}: {sample.detail}"
        shown = [(question, sample) for question, sample in samples if isinstance(sample, Sample)]
        if not shown:
            continue
        engines = engines or build.build(task.engine, (Generate,))
        found = dict(drive([sample for _, sample in shown], task.ask, engines, check))
        lines = []
        for place, (question, _) in enumerate(shown):
            reply = found[place]
            if isinstance(reply, Dropped):
                failed[reply.reason] += 1
                example = example or f"question {question.id}: {reply.detail}"
                continue
            lines.append(json.dumps(_line(question, reply), ensure_ascii=False) + "\n")
        with durable.environment(task.output):
            durable.append(task.output / ANSWERS, durable.json_bytes("".join(lines)))
        count += len(lines)
        advance(count)
        check()
    if not count:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in failed.most_common())
        raise UsageError(f"no question could be asked: {reasons}. {example}")
    return dict(failed.most_common())


def _line(question: Question, reply: Completion) -> dict[str, Any]:
    """An answer in the format of LLaVA's scripts, with its question's key."""
    return {
        "question_id": question.id,
        "questions": question.file,
        "image": question.image,
        "prompt": question.text,
        "text": reply.text.strip(),
        "finish": reply.finish,
    }
