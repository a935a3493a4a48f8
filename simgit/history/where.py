"""Conditions on states: ``reward > 0 and terminated``, evaluated over whole columns.

A small language in Python's syntax: fields and paths into them (``info.lives``,
``observation[2]``), ``step``, ``episode`` and ``time`` (the simulator's clock, ``info.time``),
numbers, strings, True, False, None, comparisons,
``and``, ``or``, ``not``, ``+ - * / // %``, ``in``, and the functions abs, min, max and len.
Text is parsed into a tree of which only these nodes are accepted; nothing is ever executed.
A comparison with a value that a state does not have is False.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, did_you_mean, near_or_known
from simgit.history import where_values
from simgit.history.leaf_column import LeafColumn
from simgit.history.paths import FieldPath, path_text
from simgit.history.where_values import Operand
from simgit.objects.columns import FIELDS
from simgit.odb.clock import TIME, clock_of
from simgit.storage.limits import check_time

if TYPE_CHECKING:
    from simgit.history.trajectory import Trajectory

Mask = npt.NDArray[np.bool_]
Bounds = tuple[float, float]
"""The least and the greatest value of a field; (1, 0) if no state has a value but NaN."""
_EXACT: Final = 2.0**53
MAX_LENGTH: Final = 4096
MAX_DEPTH: Final = 60
NAMES: Final = (*FIELDS, "step", "episode", TIME)
FUNCTIONS: Final = ("abs", "min", "max", "len")
_BINARY: Final[dict[type, str]] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
}  # fmt: skip
_COMPARE: Final[dict[type, str]] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "==", ast.IsNot: "!=", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
_OTHER_OPERATORS: Final[dict[type, str]] = {
    ast.Pow: "**", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.LShift: "<<", ast.RShift: ">>", ast.Invert: "~",
}  # fmt: skip
_WORDS: Final = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "~": "not"}
"""Operators of other languages to the words that are meant."""
_TYPES: Final = {
    "step": "a number", "episode": "a number", TIME: "a number", "reward": "a number",
    "terminated": "True or False", "truncated": "True or False", "message": "a text",
}  # fmt: skip
"""Fields whose values are of one type to that type."""
_CONSTANTS: Final = (bool, int, float, str, type(None))
_STRING: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_ASSIGNMENT: Final = re.compile(r"(?<![=!<>:])=(?!=)")
_FOREIGN: Final = re.compile(r"&&|\|\||!(?!=)")
_OPEN_END: Final = re.compile(r"(?:\b(?:and|or|not|in|is)|[-+*/%<>=!.,(\[]+)$")


_QUOTED: Final = re.compile(r"('[^']*'|\"[^\"]*\")")
_RETURN: Final = re.compile(r"(?<![\w.])return\b")
_KEYWORD: Final = re.compile(rf"\.({'|'.join(keyword.kwlist)})\b")
_SAFE: Final = "retur_"
"""Stands for 'return', a word of Python, in whose syntax conditions are parsed; it is as long."""


STATE_FIELDS: Final = {name: _TYPES.get(name, "") for name in NAMES}


class ColumnTable(Protocol):
    """Rows in columns over which a condition is evaluated: a trajectory, for instance."""

    @property
    def steps(self) -> npt.NDArray[Any]:
        """Return the steps, where ``step`` is no column."""
        ...

    @property
    def episode_ids(self) -> npt.NDArray[Any]:
        """Return the episodes, where ``episode`` is no column."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def has(self, path: FieldPath, /) -> bool:
        """Return whether there is a column."""
        ...

    def present(self, path: FieldPath, /) -> Mask:
        """Return which rows have a value."""
        ...

    def is_map(self, path: FieldPath, /) -> bool:
        """Return whether a column is a dict of columns."""
        ...

    def leaf_columns(self, *paths: FieldPath) -> Any:
        """Return for each path its values, a ``LeafColumn`` or nested columns."""
        ...


class Predicate:
    """A parsed condition; call it with a trajectory."""

    def __init__(
        self, text: str, fields: Mapping[str, str] | None = None, measures: Collection[str] = ()
    ) -> None:
        """Parse a condition.

        Args:
            text: the condition.
            fields: the names that it may have, those of a state without it, each with the type
                of its values: "a number", "a text", "True or False", or "" if they differ.
            measures: functions of what is no column, as in ``mean(reward, 10)``; such a call is a
                column of its own, of numbers.

        Raises:
            InvalidInput: the text is not a condition; the message says what is wrong and where.
        """
        self.text = text
        known = STATE_FIELDS if fields is None else fields
        with _readable_errors(text):
            self._tree = _parse(_readable(text))
            _check_depth(self._tree)
            names = {_SAFE if name == "return" else name: kind for name, kind in known.items()}
            found = _Measures(measures, names)
            self._tree = found.visit(self._tree)
            self.measures: tuple[str, ...] = tuple(found.found)
            _Check(names | dict.fromkeys(self.measures, "a number")).node(self._tree)
        self.entries = tuple(dict.fromkeys(_entries(self._tree)))

    def __call__(self, trajectory: ColumnTable) -> Mask:
        """Return for each state whether the condition holds, shape (n,).

        Raises:
            InvalidInput: an operation does not apply to the values of a field.
        """
        with _readable_errors(self.text):
            return where_values.truth(_Evaluation(trajectory).value(self._tree), self.text)

    def may_hold(self, bounds: Callable[[FieldPath], Bounds | None]) -> bool:
        """Return False if bounds of fields tell that the condition holds for no state.

        It is True whenever they do not tell, or the condition could be refused for its values.

        Args:
            bounds: returns the least and greatest value of a path, None where that is not known.
        """
        try:
            return _may_hold(self._tree, bounds)
        except _UnknownError:
            return True

    def unknown_entries(self, known: Set[FieldPath]) -> Iterator[str]:
        """Yield a message for each entry, such as ``info.lives``, that is in no known path."""
        for path in self.entries:
            depth = next((n for n in range(len(path), 0, -1) if path[:n] in known), 0)
            entries = {path_text(p[: depth + 1]) for p in known if p[:depth] == path[:depth] != p}
            if 0 < depth < len(path) and entries:
                name = path_text(path[: depth + 1])
                yield f"no state has '{name}'{did_you_mean(name, entries)}"

    def __repr__(self) -> str:
        return f"Predicate({self.text!r})"


class _UnknownError(Exception):
    """A part of a condition of which bounds do not tell whether it holds, or can be evaluated."""


def _may_hold(node: ast.expr, bounds: Callable[[FieldPath], Bounds | None]) -> bool:
    match node:
        case ast.BoolOp(op=op, values=parts):
            # all are looked at: one that cannot be evaluated must raise its error
            found = [_may_hold(part, bounds) for part in parts]
            return all(found) if isinstance(op, ast.And) else any(found)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            _may_hold(inner, bounds)
            return True
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [_bounds(side, bounds) for side in (left, *others)]
            names = [_COMPARE[type(op)] for op in ops]
            pairs = zip(names, sides, sides[1:], strict=False)
            compared = [_may_compare(*each) for each in pairs]
            return all(compared)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            _bounds(node, bounds)
            return True
    raise _UnknownError


def _bounds(node: ast.expr, bounds: Callable[[FieldPath], Bounds | None]) -> Bounds:
    match node:
        case ast.Constant(value=int() | float() as value) if abs(value) < _EXACT:
            return float(value), float(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -float(value), -float(value)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            found = bounds(_path(node))
            # beyond it, integers are compared more exactly than their bounds tell
            if found is not None and max(-found[0], found[1]) < _EXACT:
                return found
    raise _UnknownError


def _may_compare(name: str, left: Bounds, right: Bounds) -> bool:
    """Return False if a comparison holds for no values within bounds; NaN is only != others."""
    match name:
        case "<":
            return left[0] < right[1]
        case "<=":
            return left[0] <= right[1]
        case ">":
            return left[1] > right[0]
        case ">=":
            return left[1] >= right[0]
        case "==":
            return left[0] <= right[1] and right[0] <= left[1]
        case "!=":
            return True
    raise _UnknownError


def where(text: str, trajectory: Trajectory) -> Mask:
    """Return a mask of the states for which a condition holds, shape (n,); see ``Predicate``."""
    return Predicate(text)(trajectory)


def _readable(text: str) -> str:
    """Return a condition in which the words of Python, as in ``config.lambda``, can be parsed."""
    parts = _QUOTED.split(text)
    for i in range(0, len(parts), 2):
        parts[i] = _KEYWORD.sub(r'["\1"]', _RETURN.sub(_SAFE, parts[i]))
    return "".join(parts)


@contextmanager
def _readable_errors(text: str) -> Iterator[None]:
    """Write in errors what ``_readable`` changed as the user wrote it."""
    try:
        yield
    except InvalidInput as error:
        if _SAFE not in str(error):
            raise
        raise InvalidInput(str(error).replace(_SAFE, "return"), text=text) from None


def _parse(text: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise InvalidInput(f"condition must have at most {MAX_LENGTH} characters, got {len(text)}")
    if not text.strip():
        raise InvalidInput("condition is empty; write one such as 'reward > 0'", text=text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        column, why = _why_malformed(text, error)
        message = f"condition, column {column}: {why}"
        raise InvalidInput(message, text=text, column=column) from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise InvalidInput(f"condition is malformed: {error}", text=text) from None


def _why_malformed(text: str, error: SyntaxError) -> tuple[int, str]:
    """Return the column of a syntax error, and what is wrong there or what to write instead."""
    bare = _STRING.sub(lambda found: " " * len(found[0]), text)
    if foreign := _FOREIGN.search(bare):
        return foreign.start() + 1, f"'{foreign[0]}' is not an operator; use '{_WORDS[foreign[0]]}'"
    if single := _ASSIGNMENT.search(bare):
        return single.start() + 1, "did you mean '=='?"
    if end := _OPEN_END.search(text.rstrip()):
        return end.start() + 1, f"the condition ends after '{end[0]}'"
    return error.offset or 1, error.msg[:1].lower() + error.msg[1:]


def _check_depth(tree: ast.expr) -> None:
    """Refuse a condition that nests too deep to be evaluated on the stack."""
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise InvalidInput(f"condition is nested deeper than {MAX_DEPTH} levels")


def _refuse(node: ast.AST, what: str) -> InvalidInput:
    column = getattr(node, "col_offset", 0) + 1
    return InvalidInput(f"condition, column {column}: {what}", column=column)


class _Measures(ast.NodeTransformer):
    """Turns calls of measures into columns of the name that they are written as."""

    def __init__(self, functions: Collection[str], fields: Mapping[str, str]) -> None:
        self.functions = functions
        self.fields = fields
        self.found: dict[str, None] = {}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return the column of a call, or the call where it is of columns."""
        match node:
            case ast.Call(func=ast.Name(id=name), args=[of], keywords=[]):
                count = ""
            case ast.Call(
                func=ast.Name(id=name), args=[of, ast.Constant(value=int() as n)], keywords=[]
            ):
                count = f", {n}"
            case _:
                return self.generic_visit(node)
        path = _path(of) if name in self.functions else ()
        is_column = bool(path) and isinstance(of, ast.Name) and of.id in self.fields
        if not path or (name in FUNCTIONS and is_column):
            return self.generic_visit(node)  # min and max of columns
        text = f"{name}({path_text(path)}{count})"
        self.found[text] = None
        return ast.copy_location(ast.Name(id=text, ctx=ast.Load()), node)


class _Check:
    """A check of conditions on some fields."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = fields

    def node(self, node: ast.expr) -> None:
        """Refuse every node that the language does not have."""
        match node:
            case ast.Name():
                if node.id not in self.fields:
                    near = near_or_known(node.id, self.fields)
                    raise _refuse(node, f"unknown field '{node.id}'{near}")
            case ast.Constant():
                if type(node.value) not in _CONSTANTS:
                    raise _refuse(
                        node, f"a constant of type '{type(node.value).__name__}' is unknown"
                    )
            case ast.Attribute(value=value):
                self._path(node, value)
            case ast.Subscript(value=value, slice=index):
                self._path(node, value)
                _index(index)
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                self._all(parts)
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
                self.node(operand)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
                self._all([left, right])
            case ast.Compare():
                self._comparison(node)
            case ast.Call():
                self._call(node)
            case _:
                raise _refuse(node, f"{_describe(node)} is not part of the language")

    def _all(self, nodes: list[ast.expr]) -> None:
        for node in nodes:
            self.node(node)

    def _comparison(self, node: ast.Compare) -> None:
        """Refuse what can never hold: a number compared with a text, or a text without quotes."""
        left = node.left
        self.node(left)
        for right in node.comparators:
            for other in right.elts if isinstance(right, (ast.Tuple, ast.List)) else [right]:
                if isinstance(other, ast.Name) and other.id not in self.fields:
                    near = (
                        did_you_mean(other.id, self.fields)
                        or f"; write a text in quotes: '{other.id}'"
                    )
                    raise _refuse(other, f"unknown field '{other.id}'{near}")
                pair = {self._type(left), self._type(other)}
                if "a text" in pair and not pair <= {"a text", ""}:
                    text, value = (left, other) if self._type(left) == "a text" else (other, left)
                    raise _refuse(
                        node, f"{_quoted(value)} is {self._type(value)}, {_quoted(text)} is a text"
                    )
            self.node(right)
            left = right

    def _type(self, node: ast.expr) -> str:
        """Return the type of a node's values if they are always of one, else ''."""
        match node:
            case ast.Name():
                return self.fields.get(node.id, "")
            case ast.Constant(value=str()):
                return "a text"
            case (
                ast.Constant(value=bool())
                | ast.BoolOp()
                | ast.Compare()
                | ast.UnaryOp(op=ast.Not())
            ):
                return "True or False"
            case ast.Constant(value=int() | float()) | ast.BinOp() | ast.UnaryOp() | ast.Call():
                return "a number"
        return ""

    def _path(self, node: ast.expr, value: ast.expr) -> None:
        if not isinstance(value, (ast.Name, ast.Attribute, ast.Subscript)):
            raise _refuse(node, "'.' and '[…]' apply to fields only")
        self.node(value)

    def _call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
            raise _refuse(node, f"only {', '.join(FUNCTIONS)} can be called")
        count = len(node.args)
        if count < 1 or (count > 1 and node.func.id in ("abs", "len")):
            raise _refuse(node, f"'{node.func.id}' cannot take {count} arguments")
        self._all(node.args)


def _quoted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Constant) else f"'{ast.unparse(node)}'"


def _entries(node: ast.AST) -> Iterator[FieldPath]:
    """Yield the paths that lead into a field."""
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        yield _path(node)
        return
    for child in ast.iter_child_nodes(node):
        yield from _entries(child)


def _path(node: ast.expr) -> FieldPath:
    """Return the path that a node names, as far as it is one."""
    match node:
        case ast.Name(id=name):
            return ("return" if name == _SAFE else name,)
        case ast.Attribute(value=value, attr=name):
            above = _path(value)
            return (*above, name) if above else ()
        case ast.Subscript(value=value, slice=index):
            above, key = _path(value), _index(index)
            parts = (key,) if isinstance(key, str) else key
            return (*above, *parts) if above else ()
    return ()


def _describe(node: ast.expr) -> str:
    operator = _OTHER_OPERATORS.get(type(getattr(node, "op", None)), "")
    if operator in _WORDS:
        return f"'{operator}' (use '{_WORDS[operator]}')"
    return f"the operator '{operator}'" if operator else f"a '{type(node).__name__}'"


def _index(node: ast.expr) -> Any:
    """Return a constant index: an integer, several, or a string."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    found = []
    for part in parts:
        sign, inner = 1, part
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, ast.USub):
            sign, inner = -1, part.operand
        value = inner.value if isinstance(inner, ast.Constant) else None
        if type(value) is int and value < 1 << 62:
            found.append(sign * value)
        elif type(value) is str and inner is node:
            return value
        else:
            raise _refuse(part, "an index must be an integer or a string")
    if not found:
        raise _refuse(node, "the index is empty")
    return tuple(found)


class _Evaluation:
    """The evaluation of a checked condition over the columns of one trajectory."""

    def __init__(self, trajectory: ColumnTable) -> None:
        self.trajectory = trajectory
        self.count = len(trajectory)

    def value(self, node: ast.expr) -> Operand:
        """Return the value of a node for each state."""
        check_time()
        match node:
            case ast.Constant(value=constant):
                return where_values.constant(constant, self.count)
            case ast.Name() | ast.Attribute() | ast.Subscript():
                return self._field(node)
            case ast.BoolOp(op=op, values=parts):
                masks = [where_values.truth(self.value(part), self._text(part)) for part in parts]
                every = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return where_values.flags(every.reduce(masks))
            case ast.UnaryOp(op=ast.Not(), operand=inner):
                return where_values.flags(~where_values.truth(self.value(inner), self._text(inner)))
            case ast.UnaryOp(op=op, operand=inner):
                zero = where_values.constant(0, self.count)
                sign = "-" if isinstance(op, ast.USub) else "+"
                return where_values.arithmetic(sign, zero, self.value(inner), self._text(node))
            case ast.BinOp(op=op, left=left, right=right):
                pair = self.value(left), self.value(right)
                return where_values.arithmetic(_BINARY[type(op)], *pair, self._text(node))
            case ast.Compare():
                return self._compare(node)
            case ast.Call(func=ast.Name(id=name), args=args):
                return where_values.call(name, [self.value(arg) for arg in args], self._text(node))
            case _:
                raise _refuse(node, f"{_describe(node)} does not stand for a value here")

    def _text(self, node: ast.expr) -> str:
        return ast.unparse(node)

    def _compare(self, node: ast.Compare) -> Operand:
        mask = np.ones(self.count, bool)
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            mask &= self._compare_one(_COMPARE[type(op)], left, right, self._text(node))
            left = right
        return where_values.flags(mask)

    def _compare_one(self, name: str, left: ast.expr, right: ast.expr, text: str) -> Mask:
        if name not in ("in", "not in"):
            return where_values.compare(name, self.value(left), self.value(right), text)
        if isinstance(right, (ast.Tuple, ast.List)):
            one = self.value(left)
            found = np.zeros(self.count, bool)
            for item in right.elts:
                found |= where_values.compare("==", one, self.value(item), text)
            return found if name == "in" else one.present & ~found
        return self._contains(name, left, right, text)

    def _contains(self, name: str, left: ast.expr, right: ast.expr, text: str) -> Mask:
        """Evaluate ``'text' in message`` and ``'key' in info``."""
        if isinstance(left, ast.Constant) and isinstance(right, (ast.Name, ast.Attribute)):
            path = _path(right)
            if path and isinstance(left.value, str) and self.trajectory.is_map(path):
                found = self.trajectory.present((*path, left.value))
                return found if name == "in" else self.trajectory.present(path) & ~found
        return where_values.contains(name, self.value(left), self.value(right), text)

    def _field(self, node: ast.expr) -> Operand:
        """Return a field's values; a path deeper than the schema is followed inside the values."""
        path = _path(node)
        if self.trajectory.has(path):
            (found,) = self.trajectory.leaf_columns(path)
            if isinstance(found, LeafColumn):
                return where_values.column(found)
            return where_values.nested(found, self.trajectory.present(path))
        if path == ("step",):
            return where_values.numbers(self.trajectory.steps)
        if path == ("episode",):
            return where_values.numbers(self.trajectory.episode_ids)
        if path == (TIME,):
            return self._clock()
        if isinstance(node, ast.Attribute):
            return where_values.item(self._field(node.value), node.attr, self._text(node))
        if isinstance(node, ast.Subscript):
            inner = self._field(node.value)
            return where_values.item(inner, _index(node.slice), self._text(node))
        return where_values.nothing(self.count)

    def _clock(self) -> Operand:
        """Return the simulator's time, where a state's info has a number for it."""
        path = ("info", TIME)
        if not self.trajectory.has(path):
            return where_values.nothing(self.count)
        (found,) = self.trajectory.leaf_columns(path)
        values = found.values if isinstance(found, LeafColumn) else [None] * self.count
        if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
            return where_values.column(found)
        clocks = np.array([clock_of({TIME: each}) for each in values], np.float64)  # None: NaN
        return Operand(clocks, ~np.isnan(clocks))
