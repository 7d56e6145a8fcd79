"""Conditions on rows, such as ``similarity < 0.9 and "similar" not in flags``; never evaluated as Python.

Known are the columns of a row that hold one value or a list of texts, ``length_ratio`` (rejected over chosen length, in
characters) and ``meta["source"]["name"]``; numbers, texts, lists and None; ``and or not``, comparisons, ``in``, ``is
None``, ``+ - * / %``. A comparison with something that is not there is false, and arithmetic with it gives nothing.
"""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from prefgen.errors import UsageError
from prefgen.rundir.schema import COLUMNS

RATIO = "length_ratio"
MAX_CHARS = 2000
MAX_DEPTH = 50  # of parentheses, minus signs and the like inside each other; a chain of additions is such a nest
_LENGTHS = ("rejected_chars", "chosen_chars")
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITY: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}

Row = Mapping[str, Any]
Value = Callable[[Row], Any]


def _is_plain(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind) or (pa.types.is_list(kind) and pa.types.is_string(kind.value_type))


NAMES = (*(column.name for column in COLUMNS if _is_plain(column.type)), RATIO)


@dataclass(frozen=True)
class Condition:
    """A parsed condition, called with a row's columns.

    Attributes:
        columns: those it needs.
    """

    text: str
    columns: tuple[str, ...]
    test: Value

    def __call__(self, row: Row) -> bool:
        """True if the row meets the condition."""
        return bool(self.test(row))


def parse(text: str) -> Condition:
    """Parse a condition.

    Raises:
        UsageError: it is no condition, or uses a name or a construct that is not known.
    """
    if len(text) > MAX_CHARS:
        raise UsageError(f"the condition has {len(text):,} characters, more than {MAX_CHARS:,}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        compiler = _Compiler(text)
        test = compiler.value(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"{text[:200]!r} is no condition: {error}; e.g. similarity < 0.9 and method == 'bdhs'"
        ) from error
    if isinstance(tree, ast.Tuple | ast.List):
        raise UsageError(f"{text[:200]!r} is a list, which every row meets: numbers have a point, conditions and, or")
    return Condition(text, tuple(sorted(compiler.columns)), test)


class _Compiler:
    """Compiles known nodes to functions of a row, and refuses all others."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.columns: set[str] = set()
        self._depth = 0

    def value(self, node: ast.expr) -> Value:
        """The function of a node.

        Raises:
            UsageError: it is nested too deep, or not known.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UsageError(f"{self._text[:60]!r}… is nested more than {MAX_DEPTH} deep: write it in several filters")
        made = self._made(node)
        self._depth -= 1
        return made

    def _made(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as constant):
                return lambda row: constant
            case ast.Name(id=name):
                return self._name(name)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                values = [self.value(item) for item in items]
                return lambda row: [value(row) for value in values]
            case ast.BoolOp(op=ast.And(), values=parts):
                tests = [self.value(part) for part in parts]
                return lambda row: all(test(row) for test in tests)
            case ast.BoolOp(values=parts):
                tests = [self.value(part) for part in parts]
                return lambda row: any(test(row) for test in tests)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.value(operand)
                return lambda row: not inner(row)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.value(operand)
                return lambda row: _applied(operator.sub, 0, inner(row))
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                function, first, second = _ARITHMETIC[type(op)], self.value(left), self.value(right)
                return lambda row: _applied(function, first(row), second(row))
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._comparison(left, ops, comparators)
            case ast.Subscript(value=inside, slice=ast.Constant(value=str() as name)):
                holder = self.value(inside)
                return lambda row: held.get(name) if isinstance(held := holder(row), dict) else None
        raise UsageError(
            f"{self._text!r} uses {ast.unparse(node)!r}, which a condition cannot; see prefgen filter --help"
        )

    def _name(self, name: str) -> Value:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
            raise UsageError(f"{self._text!r} uses {name!r}, which is no column of one value; {hint}")
        if name == RATIO:
            self.columns.update(_LENGTHS)
            return lambda row: _applied(operator.truediv, *(row[length] for length in _LENGTHS))
        self.columns.add(name)
        if name == "meta":
            return lambda row: json.loads(row["meta"])
        return lambda row: row[name]

    def _comparison(self, left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr]) -> Value:
        values = [self.value(node) for node in (left, *comparators)]
        steps = list(zip(ops, values, values[1:], strict=False))
        return lambda row: all(_compared(op, first(row), second(row)) for op, first, second in steps)


def _compared(op: ast.cmpop, first: Any, second: Any) -> bool:
    try:
        if isinstance(op, (ast.In, ast.NotIn)):
            return second is not None and (first in second) == isinstance(op, ast.In)
        return bool(_EQUALITY[type(op)](first, second) if type(op) in _EQUALITY else _ORDER[type(op)](first, second))
    except TypeError:  # a number against a text, or something that is not there
        return False


def _applied(function: Callable[[Any, Any], Any], first: Any, second: Any) -> Any:
    """Apply an arithmetic operator to numbers only: text times a number could fill the memory."""
    numbers = isinstance(first, (int, float)) and isinstance(second, (int, float))
    try:
        return function(first, second) if numbers else None
    except (ZeroDivisionError, OverflowError):
        return None
