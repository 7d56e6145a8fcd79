"""The `Method` protocol, the options that several methods share, and the check of a finished pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Iterator
from typing import Any, ClassVar, Protocol, runtime_checkable

from prefgen import options, seeds
from prefgen.errors import RowError
from prefgen.records import Dropped, Outcome, Pair, Sample
from prefgen.requests import Flows, Reply, Request, Vector, embed
from prefgen.visibility import NOISE_STEPS_MAX, NoiseSpace, Schedule, View, alpha_bar, last_step

Scalar = str | int | float | bool | None


def settings(method: object) -> dict[str, Scalar]:
    """A method's options as they are recorded; a prompt or a checker as a string, its name and digest."""
    fields = dataclasses.fields(method)  # type: ignore[arg-type]  # every method is a dataclass; vars has caches as well
    found = ((field.name, getattr(method, field.name)) for field in fields)
    return {name: value if isinstance(value, Scalar) else str(value) for name, value in found}


class Method(Protocol):
    """A frozen dataclass: its fields are the method's options, its defaults the source's values.

    Calling it with a sample gives that sample's flow. It does no I/O and knows no model.

    Attributes:
        name: as stored with every pair.
        asks: the types of request that its flows yield, which decides what models a run loads; earlier ones are what
            most samples wait for, so their replies are asked for first.
    """

    name: ClassVar[str]

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """The types of request that its flows yield."""

    def __call__(self, sample: Sample) -> Flows:
        """The flow of one sample."""

    def explain(self, image_tokens: float) -> Iterable[tuple[str, str]]:
        """The method's lines of the plan that is shown before a run, as (name, sentence).

        Args:
            image_tokens: of a prompt, all its images together; the mean over some samples.
        """

    def rehearse(self, sample: Sample) -> Iterable[str]:
        """The first requests for one sample as text, for a dry run; its images need not be loaded."""


@runtime_checkable
class Several(Protocol):
    """A method that makes several pairs of a sample. Its flow returns one outcome for each row that is planned."""

    @property
    def parts(self) -> int:
        """Rows planned for a sample, the most pairs that it can give."""


def parts(method: object) -> int:
    """Rows planned for a sample."""
    return method.parts if isinstance(method, Several) else 1


@runtime_checkable
class Restricting(Protocol):
    """A method that restricts what the model sees of an image; its views can be made again from a stored pair."""

    def view(self, sample_id: str, iteration: int) -> View:
        """The view under which the accepted answer of this iteration was written."""


@runtime_checkable
class Recording(Protocol):
    """A method that records the similarity of its answers without using it, so that null is allowed."""

    @property
    def records_similarity(self) -> bool:
        """Always true; marks the protocol."""


class Noising(Protocol):
    """A method that adds noise to the image, with options as in `prefgen.visibility.View`."""

    @property
    def noise_steps(self) -> int:
        """N of eq. 8, 0 to 1000."""

    @property
    def noise_space(self) -> NoiseSpace:
        """The space in which noise is added."""

    @property
    def schedule(self) -> Schedule:
        """The noise schedule: eq. 8, or that of the public code."""

    @property
    def seed(self) -> int:
        """The run's seed."""


def noised_view(method: Noising, sample_id: str, iteration: int) -> View:
    """A view of all image tokens of a noised image; the noise is fresh for every (sample, iteration)."""
    return View(
        noise_steps=method.noise_steps,
        noise_space=method.noise_space,
        schedule=method.schedule,
        noise_seed=seeds.derive(method.seed, sample_id, iteration, "noise"),
    )


def temperature(default: float, high: float = 100.0) -> Any:
    """The option `--temperature`."""
    return options.option(default, help="0 is greedy.", panel=options.TEXT, low=0.0, high=high)


def top_p(default: float = 1.0) -> Any:
    """The option `--top-p`."""
    return options.option(default, help="Nucleus sampling.", panel=options.TEXT, low=1e-6, high=1.0)


def max_new_tokens(default: int, help: str = "Limit of what is written.") -> Any:
    """The option `--max-new-tokens`."""
    return options.option(default, help=help, panel=options.TEXT, low=1)


def noise_steps(default: int, help: str = "Diffusion steps, 0 … 1000.", low: int = 0) -> Any:
    """The option `--noise-steps`."""
    return options.option(default, help=help, low=low, high=NOISE_STEPS_MAX)


def noise_space(default: NoiseSpace, help: str = "What is noised", choices: tuple[NoiseSpace, ...] = ()) -> Any:
    """The option `--noise-space`."""
    return options.option(default, help=help, choices=choices)


def schedule(default: Schedule) -> Any:
    """The option `--schedule`."""
    return options.option(default, help="Noise schedule")


def rho(default: float, help: str = "Expected share of image tokens masked.") -> Any:
    """The option `--rho`."""
    return options.option(default, help=help, low=0.0, high=1.0)


def check_noise(method: Noising) -> None:
    """Check that the schedule has as many steps as are asked for.

    Raises:
        UsageError: naming the option, its value and its range.
    """
    options.check_range("--noise-steps", method.noise_steps, 0, last_step(method.schedule))


def explain_view(view: View, image_tokens: float) -> Iterator[tuple[str, str]]:
    """Lines of the plan that describe a view; arguments and result as in `Method.explain`."""
    if view.masks:
        kept = view.expected_kept(round(image_tokens))
        share = kept / image_tokens if image_tokens else 0.0
        yield "image tokens", f"{kept:.1f} of {image_tokens:.0f} expected to stay visible ({share:.1%})"
        if view.keep_tokens is None and 0.0 < view.rho < 1.0:
            yield "", f"none at all in {view.rho**image_tokens:.0%} of the draws"
    if view.noise_steps:
        left = alpha_bar(view.noise_steps, view.schedule) ** 0.5
        yield "noise", f"N = {view.noise_steps}: {left:.3f} of the amplitude is left ({view.noise_space} space)"


def reference(sample: Sample) -> str:
    """The sample's reference answer y+.

    Raises:
        RowError: if it has none.
    """
    if sample.answer is None or not sample.answer.strip():
        raise RowError("ANSWER_EMPTY", "there is no reference answer")
    return sample.answer


def judged(pair: Pair) -> Generator[tuple[Request, ...], tuple[Reply, ...], Outcome]:
    """The pair with the similarity of its answers, or a `Dropped` where the rejected answer is empty or the chosen one.

    Without a similarity model, the similarity is None.
    """
    rejected = pair.rejected.strip()
    if not rejected or rejected == pair.chosen.strip():
        reason = "REJECTED_EQUALS_CHOSEN" if rejected else "REJECTED_EMPTY"
        return dataclasses.replace(Dropped.of(pair.sample, reason, ""), iteration=pair.iteration, tokens=pair.tokens)
    chosen_vector, rejected_vector = yield from embed(pair.chosen, pair.rejected)
    truncated = ("embedder-truncated",) if chosen_vector.truncated or rejected_vector.truncated else ()
    similarity = cosine(chosen_vector, rejected_vector) if chosen_vector.values.size else None
    return dataclasses.replace(pair, similarity=similarity, flags=(*pair.flags, *truncated))


def cosine(a: Vector, b: Vector) -> float:
    """Cosine similarity of two unit vectors, rounded to float32's resolution near 1."""
    return round(float(a.values.astype("float64") @ b.values.astype("float64")), 6)
