"""What every way of making pairs has in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol

from prefgen.methods.prompts import Template
from prefgen.records import Sample
from prefgen.requests import Flow, Request

Scalar = str | int | float | bool | None


def settings(method: object) -> dict[str, Scalar]:
    """A method's options as they are recorded; a prompt stands for itself by its name and digest."""
    return {name: str(value) if isinstance(value, Template) else value for name, value in vars(method).items()}


class Method(Protocol):
    """A frozen dataclass: its fields are the method's options, its defaults the source's values.

    Calling it with a sample gives that sample's flow. It does no I/O and knows no model.

    Attributes:
        name: as stored with every pair. asks: the types of request that its flows yield, which decides what models a
            run loads; earlier ones are what most samples wait for, so their replies are asked for first.
    """

    name: ClassVar[str]

    @property
    def asks(self) -> tuple[type[Request], ...]:
        """See above."""

    def __call__(self, sample: Sample) -> Flow:
        """The flow of one sample."""

    def explain(self, image_tokens: float) -> Iterable[tuple[str, str]]:
        """What these options mean, as (name, sentence), for the plan that is shown before a run.

        Args:
            image_tokens: of a prompt, all its images together; the mean over some samples.
        """

    def rehearse(self, sample: Sample) -> Iterable[str]:
        """What the first round would ask for one sample, line by line, for a dry run; its images need not be loaded."""
