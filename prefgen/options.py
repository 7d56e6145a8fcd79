"""Options: each is a field of a frozen dataclass with default, help, range and flags."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from prefgen.errors import UsageError

_KEY = "option"
SHARD_SIZE = 256  # rows; the default of everything that writes a run
DATA, METHOD, TEXT, MODELS, JUDGE, RUN = "Data", "Method", "Text and sampling", "Models", "Judge", "Run"


@dataclass(frozen=True)
class Option:
    """Command-line form of a field.

    Attributes:
        help: one sentence; what may be chosen is added to it.
        panel: heading that the help lists it under.
        flags: its flags where ``--the-name`` alone will not do; an on/off pair is ``--a/--no-a``.
        was: flags that it had earlier, accepted with a note.
        low: least value.
        high: greatest value.
        above: whether `low` itself is out of range.
        choices: what it may be, where its type is no `Literal` that says so.
        required: whether a command refuses to run without it.
        typer: further settings of `typer.Option`, such as a callback.
    """

    help: str
    panel: str | None
    flags: tuple[str, ...] = ()
    was: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: bool = False
    choices: tuple[str, ...] = ()
    required: bool = False
    typer: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Declared:
    """An option with its field's name, type and default.

    Attributes:
        type: of the field, `None` and `Literal` taken off.
        optional: whether it may be None.
        choices: of the `Literal`, or of the option.
    """

    name: str
    type: Any
    optional: bool
    choices: tuple[str, ...]
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """Its long flag."""
        return flag(self.name, self.option)


def option(
    default: Any,
    *flags: str,
    help: str,
    panel: str | None = METHOD,
    was: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    choices: Sequence[str] = (),
    required: bool = False,
    **typer: Any,
) -> Any:
    """Declare a dataclass field as an option; arguments as in `Option`."""
    declared = Option(help, panel, flags, tuple(was), low, high, above, tuple(choices), required, typer)
    return field(default=default, metadata={_KEY: declared})


def shared(default: Any) -> Any:
    """Declare a field that takes the value of an option of the same name in another dataclass of the command."""
    return field(default=default, metadata={_KEY: None})


def declared(kind: Any) -> dict[str, Declared]:
    """The options of a dataclass by name, in order."""
    return _declared(kind)


@cache
def _declared(kind: Any) -> dict[str, Declared]:
    hints = get_type_hints(kind)
    found = {}
    for each in dataclasses.fields(kind):
        if isinstance(of := each.metadata.get(_KEY), Option):
            type_, optional = _bare(hints[each.name])
            literal = get_args(type_) if get_origin(type_) is Literal else ()
            found[each.name] = Declared(
                each.name, str if literal else type_, optional, of.choices or literal, each.default, of
            )
    return found


def shared_names(kind: Any) -> frozenset[str]:
    """Names of the fields that take the value of another dataclass's option."""
    return frozenset(each.name for each in dataclasses.fields(kind) if _KEY in each.metadata) - declared(kind).keys()


def flag(name: str, of: Option | None = None) -> str:
    """The long flag of an option, for messages."""
    long = [each for each in of.flags if each.startswith("--")] if of else []
    return long[0].partition("/")[0] if long else f"--{name.replace('_', '-')}"


def check(settings: Any) -> None:
    """Check the choices and ranges of all options of a dataclass.

    Raises:
        UsageError: naming the option, its value and what it may be.
    """
    for name, each in declared(type(settings)).items():
        check_value(each, getattr(settings, name))


def check_value(each: Declared, value: Any) -> None:
    """Check the choice or range of one option.

    Raises:
        UsageError: naming the option, its value and what it may be.
    """
    if value is None and each.optional:
        return
    if each.choices:
        check_choice(each.flag, value, each.choices)
    if each.option.low is not None:
        check_range(each.flag, value, each.option.low, each.option.high, above=each.option.above)


def check_choice(named: str, value: str, known: Sequence[str]) -> None:
    """Check that a value is one of its choices.

    Raises:
        UsageError: naming it, its value and what it may be.
    """
    if value not in known:
        raise UsageError(f"{named} {value!r} is unknown; choose from {', '.join(known)}")


def check_range(named: str, value: float, low: float, high: float | None = None, *, above: bool = False) -> None:
    """Check that a number is in its range.

    Raises:
        UsageError: naming it, its value and its range.
    """
    if math.isfinite(value) and low <= value and (high is None or value <= high) and not (above and value == low):
        return
    if high is not None and not above:
        raise UsageError(f"{named} {value} is outside {low:g} … {high:g}")
    most = (
        ", and finite" if high is None and not math.isfinite(value) else "" if high is None else f", at most {high:g}"
    )
    raise UsageError(f"{named} {value} must be {'above' if above else 'at least'} {low:g}{most}")


def _bare(hint: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was allowed."""
    if get_origin(hint) in (Union, UnionType):
        rest = [each for each in get_args(hint) if each is not NoneType]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
