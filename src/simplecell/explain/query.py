"""Rows chosen by what records say of them: `year > 2000 and not city == "Rome"`; nothing is run.

The text is parsed by Python's own grammar, of which comparisons, and, or, not, in, names, numbers
and strings are known; `a b` in backquotes is a name of several words.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simplecell.errors import UsageError

Chosen = NDArray[np.bool_]
Columns = dict[str, list[object]]

LONGEST = 1000
"""Signs of a query; what is nested deeper than so many brackets is more than Python follows."""
_COMPARED: dict[type[ast.cmpop], Callable[..., object]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_HOW = "compare fields with numbers or \"words\", such as: year > 2000 and city == 'Rome'"


@dataclass(frozen=True)
class Query:
    """A parsed question to records: `names` are the fields that it asks."""

    text: str
    names: tuple[str, ...]
    _tree: ast.expr
    _called: dict[str, str]

    def chosen(self, columns: Columns) -> Chosen:
        """Which samples it chooses, [n], of one value a sample under each name.

        A comparison with what is not known (None, NaN) is not true.

        Raises:
            UsageError: for words compared with numbers.
        """
        return self._of(self._tree, columns)

    def _of(self, node: ast.expr, columns: Columns) -> Chosen:
        if isinstance(node, ast.BoolOp):
            parts = [self._of(part, columns) for part in node.values]
            joined = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return np.asarray(joined.reduce(parts))
        if isinstance(node, ast.UnaryOp):
            return ~self._of(node.operand, columns)
        assert isinstance(node, ast.Compare)
        sides = [self._side(side, columns) for side in (node.left, *node.comparators)]
        found = np.ones(len(next(iter(columns.values()))), dtype=bool)
        for left, compared, right in zip(sides, node.ops, sides[1:], strict=False):
            found &= self._compared(_COMPARED[type(compared)], left, right, len(found))
        return found

    def _side(self, node: ast.expr, columns: Columns) -> object:
        """A list of values for a name, else one value (a tuple after `in`)."""
        if isinstance(node, ast.Name):
            return columns[self._called.get(node.id, node.id)]
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(ast.literal_eval(one) for one in node.elts)
        return ast.literal_eval(node)

    def _compared(
        self, compared: Callable[..., object], left: object, right: object, n: int
    ) -> Chosen:
        sides = [one if isinstance(one, list) else [one] * n for one in (left, right)]
        found = np.zeros(n, dtype=bool)
        for i, (one, other) in enumerate(zip(*sides, strict=True)):
            if _known(one) and _known(other):
                self._refuse_mixed(one, other)
                found[i] = bool(compared(one, other))
        return found

    def _refuse_mixed(self, one: object, other: object) -> None:
        among = other if isinstance(other, tuple) else (other,)
        if any(isinstance(one, str) != isinstance(part, str) for part in among):
            raise UsageError(
                f"the query {self.text!r} compares {one!r} with {other!r}, words with numbers; "
                "write words in quotes and numbers without"
            )


def parsed(text: str) -> Query:
    """A query of its text.

    Raises:
        UsageError: for anything that is none.
    """
    called: dict[str, str] = {}

    def renamed(found: re.Match[str]) -> str:
        called[f"_field_{len(called)}"] = found[1]
        return f"_field_{len(called) - 1}"

    if len(text) > LONGEST:
        raise UsageError(f"the query has {len(text)} signs; at most {LONGEST} are read")
    try:
        tree = ast.parse(re.sub(r"`([^`]+)`", renamed, text).strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"the query {text!r} cannot be read; {_HOW}") from error
    names: dict[str, None] = {}
    _check(tree, text, names)
    if not names:
        raise UsageError(f"the query {text!r} asks for no field; {_HOW}")
    return Query(text, tuple(called.get(name, name) for name in names), tree, called)


def _check(node: ast.expr, text: str, names: dict[str, None]) -> None:
    """Raise UsageError for what is no part of a query; take down its names."""
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check(part, text, names)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand, text, names)
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARED for op in node.ops):
        sides: Sequence[ast.expr] = (node.left, *node.comparators)
        for i, side in enumerate(sides):
            listed = isinstance(side, ast.List | ast.Tuple)
            if listed != (i > 0 and isinstance(node.ops[i - 1], ast.In | ast.NotIn)):
                raise UsageError(
                    f"the query {text!r}: in is followed by a list in brackets, and nothing else is"
                )
            for part in side.elts if isinstance(side, ast.List | ast.Tuple) else [side]:
                _check_value(part, text, names, listed)
    else:
        raise UsageError(f"the query {text!r} holds {ast.unparse(node)!r}; {_HOW}")


def _check_value(node: ast.expr, text: str, names: dict[str, None], listed: bool) -> None:
    if isinstance(node, ast.Name) and not listed:
        names[node.id] = None
        return
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.USub):
        inner = node
    value = inner.value if isinstance(inner, ast.Constant) else None
    signed = inner is node or not isinstance(value, bool | str)
    if not isinstance(value, bool | int | float | str) or not signed:
        raise UsageError(f"the query {text!r} holds {ast.unparse(node)!r}; {_HOW}")


def _known(value: object) -> bool:
    return (
        value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
    )
