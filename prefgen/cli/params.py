"""Commands as functions of option dataclasses: builds Typer parameters, and the instances from their values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints, overload

import typer

from prefgen.cli.config import is_given
from prefgen.errors import UsageError
from prefgen.options import Declared, check_value, declared, shared_names

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class OptionSubset:
    """The selected options of a dataclass.

    Attributes:
        names: these alone; None for all.
        without: not these.
        changes: what a command says otherwise than the dataclass: of an option, parts of `Declared` or `Option`.
    """

    names: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()
    changes: Mapping[str, Mapping[str, Any]] | None = None

    def of(self, kind: type[Any]) -> dict[str, Declared]:
        """The options, in the dataclass's order or that of `names`.

        Raises:
            TypeError: if it has no option of such a name.
        """
        return self.over(declared(kind))

    def over(self, known: Mapping[str, Declared]) -> dict[str, Declared]:
        """The selected ones of these options.

        Raises:
            TypeError: if there is none of such a name.
        """
        named = (*(self.names or ()), *self.without, *(self.changes or {}))
        if unknown := [name for name in named if name not in known]:
            raise TypeError(f"there is no option {', '.join(unknown)}")
        names = self.names if self.names is not None else [name for name in known if name not in self.without]
        return {name: _changed(known[name], (self.changes or {}).get(name, {})) for name in names}


def only(*names: str, **changes: Mapping[str, Any]) -> OptionSubset:
    """Annotation that selects these options of a dataclass, and changes some."""
    return OptionSubset((*names, *(name for name in changes if name not in names)), changes=changes)


def without(*names: str, **changes: Mapping[str, Any]) -> OptionSubset:
    """Annotation that selects all other options of a dataclass, and changes some."""
    return OptionSubset(without=names, changes=changes)


class Draft(Generic[T]):
    """Options of one or several dataclasses, built later by the command itself.

    Written as the annotation of a command's parameter, `Draft[Rank]` or `Draft[Povid | ImagePairs]`.
    """

    def __init__(self, options: Mapping[str, Declared], kinds: tuple[type[Any], ...], ctx: typer.Context) -> None:
        self._options, self._kinds, self._ctx = options, kinds, ctx

    @overload
    def make(self, **more: Any) -> T: ...

    @overload
    def make(self, kind: type[K], of: str, **more: Any) -> K: ...

    def make(self, kind: type[Any] | None = None, of: str = "", **more: Any) -> Any:
        """Build the dataclass.

        Args:
            kind: which, where there are several.
            of: what to call it in a message.
            more: fields that are no options.

        Raises:
            UsageError: for an option on the command line that only another kind has; or from the dataclass.
        """
        chosen = kind or self._kinds[0]
        own = declared(chosen).keys() & self._options
        for name in self._options.keys() - own:
            if is_given(self._ctx, name):
                raise UsageError(f"{self._options[name].flag} is no option of {of or chosen.__name__}")
        return chosen(**{**_fields(chosen, self._ctx.params, own), **more})

    def value(self, name: str) -> Any:
        """The value of one option; its default if it was not given."""
        return self._ctx.params[self._options[name].name]

    def refuse(self, reason: str) -> None:
        """Check that none of these options is on the command line.

        Raises:
            UsageError: naming the option and the reason.
        """
        for name, each in self._options.items():
            if is_given(self._ctx, name):
                raise UsageError(f"{each.flag} {reason}")


@dataclass(frozen=True)
class _ParameterOptions:
    """The options of one parameter of a command."""

    kinds: tuple[type[Any], ...]
    options: Mapping[str, Declared]
    draft: bool

    def read(self, ctx: typer.Context) -> Any:
        if self.draft:
            return Draft(self.options, self.kinds, ctx)
        (kind,) = self.kinds
        return kind(**_fields(kind, ctx.params, self.options))


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a Typer command of a function with option dataclasses, `Draft`s and plain Typer parameters.

    Raises:
        TypeError: if two of them declare one name.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, _ParameterOptions] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if group := _group(hints[name]):
            groups[name] = group
            added = [_parameter(each) for each in group.options.values()]
        else:
            added = [parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)]
        for each in added:
            if each.name in parameters:
                raise TypeError(f"{function.__name__}: two declare the option {each.name}")
            parameters[each.name] = each

    def called(**values: Any) -> None:
        ctx = values["ctx"]
        own = {name: value for name, value in values.items() if name in hints and name not in groups}
        function(**own, **{name: group.read(ctx) for name, group in groups.items()})

    parameters.setdefault("ctx", inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    called.__name__, called.__module__, called.__doc__ = function.__name__, function.__module__, function.__doc__
    called.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    called.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    options = [each for group in groups.values() for each in group.options.values()]
    called.options = options  # type: ignore[attr-defined]
    flags = {each.flag for each in options}
    called.was = {  # type: ignore[attr-defined]
        old: each.flag for each in options for old in each.option.was if old not in flags
    }
    return called


def check_values(callback: object, values: Mapping[str, Any]) -> None:
    """Check each option of a command by itself: its choices and its range.

    Raises:
        UsageError: naming the option, its value and what it may be.
    """
    options: Sequence[Declared] = getattr(callback, "options", ())
    for each in options:
        if values[each.name] is not None:
            check_value(each, values[each.name])


def _group(hint: Any) -> _ParameterOptions | None:
    """The options of an annotation; None for a plain Typer parameter."""
    part = OptionSubset()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        part = next((each for each in extras if isinstance(each, OptionSubset)), part)
    if get_origin(hint) is Draft:
        (inside,) = get_args(hint)
        kinds = get_args(inside) or (inside,)
        options = part.of(kinds[0]) if len(kinds) == 1 else part.over(_joint(kinds))
        return _ParameterOptions(kinds, options, draft=True)
    if isinstance(hint, type) and is_dataclass(hint):
        return _ParameterOptions((hint,), part.of(hint), draft=False)
    return None


def _joint(kinds: Sequence[type[Any]]) -> dict[str, Declared]:
    """The options of several dataclasses; one that some lack names those that have it and shows no default."""
    found: dict[str, Declared] = {}
    for name in dict.fromkeys(name for kind in kinds for name in declared(kind)):
        having = [kind for kind in kinds if name in declared(kind)]
        each = declared(having[0])[name]
        defaults = {repr(declared(kind)[name].default) for kind in having}
        if len(having) < len(kinds):
            help_ = f"{', '.join(_name(kind) for kind in having)}: {_lower(each.option.help)}"
            each = replace(each, option=replace(each.option, help=help_))
        if len(having) < len(kinds) or len(defaults) > 1:
            each = replace(each, default=None, optional=True)
        found[name] = each
    return found


def _name(kind: Any) -> str:
    return str(kind.name)


def _lower(text: str) -> str:
    return text[0].lower() + text[1:] if text[1:2].islower() else text


def _parameter(each: Declared) -> inspect.Parameter:
    """An option as an `inspect.Parameter` for Typer."""
    of = each.option
    several = get_origin(each.type) is not None  # Sequence[str]: may be given several times
    kind: Any = list[get_args(each.type)[0]] if several else each.type  # type: ignore[misc]
    optional = several or each.optional
    flags = of.flags if any(each.startswith("--") for each in of.flags) else (each.flag, *of.flags)
    listed = each.choices and "metavar" not in of.typer  # which then says what may be chosen
    help_ = f"{of.help}: {', '.join(each.choices)}." if listed else of.help
    settings: dict[str, Any] = {"autocompletion": _completing(each.choices)} if each.choices else {}
    settings |= of.typer
    declaration = typer.Option(*flags, help=help_, rich_help_panel=of.panel, **settings)
    annotation: Any = Annotated[kind | None if optional else kind, declaration]
    default = inspect.Parameter.empty if of.required else None if several else each.default
    return inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _completing(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _fields(kind: type[Any], values: Mapping[str, Any], options: Iterable[str]) -> dict[str, Any]:
    """Values of a dataclass's fields; an option without a value keeps its default."""
    names = {*options, *shared_names(kind)}
    return {name: values[name] for name in names if values.get(name) is not None}


def _changed(each: Declared, changes: Mapping[str, Any]) -> Declared:
    own = {name: value for name, value in changes.items() if name in ("default", "optional", "choices")}
    option = replace(each.option, **{name: value for name, value in changes.items() if name not in own})
    return replace(each, option=option, **own)
