"""Conditions on run, step, episode and own as ranges of steps, so that other states are not read.

DuckDB offers a condition as a tree. A tree that has only these columns, which are never null and
do not decrease from one state of a history to the next, becomes ranges exactly; DuckDB filters by
all others itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Final

from duckdb._sources.nodes import Binary, Col, In, Lit, Postfix, Unary

Span = tuple[int, int]
Spans = list[Span]
"""Ranges start <= step < stop, in order and apart."""
First = Callable[[Any], int]
"""A function that returns the first step at which a column is not less than a value."""
_DEEPEST: Final = 200
_COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")


class Ordered:
    """A column that does not decrease within ``whole``.

    Args:
        whole: the range of steps.
        first: returns the first step at which it is not less than a value, the end if there is
            none.
        after: the same for the first step at which it is greater.
    """

    def __init__(self, whole: Span, first: First, after: First) -> None:
        self.whole = whole
        self._first = first
        self._after = after

    def where(self, op: str, value: Any) -> Spans:
        """Return where a comparison with a value holds."""
        start, stop = self.whole
        first = min(max(self._first(value), start), stop)
        after = min(max(self._after(value), start), stop)
        found = {
            "=": [(first, after)], "!=": [(start, first), (after, stop)], "<": [(start, first)],
            "<=": [(start, after)], ">": [(after, stop)], ">=": [(first, stop)],
        }  # fmt: skip
        return _tidy(found[op])


def understood(node: Any, kinds: Mapping[str, type], depth: int = 0) -> bool:
    """Return True if a condition has only known columns, compared with constants of their type."""
    if depth > _DEEPEST:
        return False
    match node:
        case Binary(op="AND" | "OR", left=left, right=right):
            return all(understood(each, kinds, depth + 1) for each in (left, right))
        case Unary(op="NOT", operand=operand):
            return understood(operand, kinds, depth + 1)
        case Binary(op=op, left=Col(parts=(name,)), right=Lit(value=value)):
            return op in _COMPARISONS and name in kinds and type(value) is kinds[name]
        case In(operand=Col(parts=(name,)), values=values):
            return name in kinds and all(
                isinstance(each, Lit) and type(each.value) is kinds[name] for each in values
            )
        case Postfix(op="IS NULL" | "IS NOT NULL", operand=Col(parts=(name,))):
            return name in kinds
    return False


def spans_where(node: Any, columns: Mapping[str, Ordered], whole: Span) -> Spans:
    """Return where a condition that is understood holds."""
    match node:
        case Binary(op="AND", left=left, right=right):
            one, two = (spans_where(each, columns, whole) for each in (left, right))
            return common(one, two)
        case Binary(op="OR", left=left, right=right):
            return _tidy(
                chain.from_iterable(spans_where(each, columns, whole) for each in (left, right))
            )
        case Unary(operand=operand):
            return _without(spans_where(operand, columns, whole), whole)
        case In(operand=Col(parts=(name,)), values=values):
            points = [each.value for each in values if isinstance(each, Lit)]
            return _tidy(chain.from_iterable(columns[name].where("=", each) for each in points))
        case Postfix(op=op):
            return _tidy([whole]) if op == "IS NOT NULL" else []
    return columns[node.left.parts[0]].where(node.op, node.right.value)


def common(one: Spans, two: Spans) -> Spans:
    """Return what lies in both."""
    found, i, j = [], 0, 0
    while i < len(one) and j < len(two):
        found.append((max(one[i][0], two[j][0]), min(one[i][1], two[j][1])))
        if one[i][1] < two[j][1]:
            i += 1
        else:
            j += 1
    return _tidy(found)


def _without(spans: Spans, whole: Span) -> Spans:
    ends = [whole[0], *chain.from_iterable(spans), whole[1]]
    return _tidy(zip(ends[::2], ends[1::2], strict=True))


def _tidy(spans: Any) -> Spans:
    """Return ranges in order, without empty ones, joined where they touch."""
    found: Spans = []
    for start, stop in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return found
