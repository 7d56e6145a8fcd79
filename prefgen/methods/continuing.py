"""One completion from a given prefix: the flow that the simple methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from prefgen import seeds
from prefgen.methods.base import Method, judged, reference
from prefgen.records import Pair, Sample, Span, Turn
from prefgen.requests import Flow, Generate, Sampling, Stop, generate
from prefgen.visibility import View


class Continuing(Method, Protocol):
    """A method whose draws are seeded."""

    @property
    def seed(self) -> int:
        """The run's seed."""


def continued(
    method: Continuing,
    sample: Sample,
    sampling: Sampling,
    *,
    prefix: str = "",
    view: View | None = None,
    stop: Stop = "end",
    ask: Callable[..., Generate] = Generate,
) -> Flow:
    """Have the model continue `prefix` once, and pair the result with the reference.

    Args:
        prefix: the beginning of the sample's reference answer.
        view: what is seen of the images; None takes the images out of the prompt.
        ask: makes the request of the fields of a `Generate`.
    """
    chosen = reference(sample)
    request = ask(
        prompt=without_images(sample.prompt) if view is None else sample.prompt,
        images=() if view is None else sample.loaded_images,
        view=view or View(),
        prefix=prefix,
        open_at=len(prefix),
        stop=stop,
        language="en",
        sampling=sampling,
        seed=seeds.derive(method.seed, sample.id, 1, "tokens"),
    )
    (completion,) = yield from generate(request)
    generated = (completion.text if prefix else completion.text.lstrip()).rstrip()
    flags = {
        "length": completion.finish == "length",
        "unguided": not prefix,
        "blind": completion.kept_tokens == 0,
    }
    pair = Pair(
        sample=sample,
        method=method.name,
        variant="",
        chosen=chosen,
        rejected=prefix + generated,
        iteration=1,
        similarity=None,
        seed=method.seed,
        spans=(Span(len(prefix), len(prefix) + len(generated)),),
        cuts=(len(prefix),) if prefix else (),
        finish=(completion.finish,),
        image_tokens=completion.image_tokens,
        kept_tokens=completion.kept_tokens,
        tokens=completion.tokens,
        flags=tuple(flag for flag, is_set in flags.items() if is_set),
        params=dict(vars(method)),
    )
    return (yield from judged(pair))


def without_images(prompt: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The conversation with text parts only; line breaks that set an image off are removed as well."""
    return tuple(Turn(turn.role, (turn.text.strip() if turn.image_count else turn.text,)) for turn in prompt)
