"""Maps from columns of a table to fields of states, in TOML; see docs/earlier-systems.md."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput, near_or_known, shown

_LARGEST: Final = 1 << 20
_FIELDS: Final = (
    "observation", "action", "reward", "terminated", "truncated", "info", "message", "reset",
)  # fmt: skip
_FLAGS: Final = ("terminated", "truncated")
_NESTED: Final = ("observation", "action", "info")
_PLAIN: Final = ("bool", "int", "float", "str", "json")
_NUMBERS: Final = (
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
    "float64",
)  # fmt: skip
_KEYS: Final = {
    "query": str, "delimiter": str, "run": str, "episode": str, "alignment": str, "rest": str,
    "damaged": str, "columns": dict,
}  # fmt: skip
_CHOICES: Final = {
    "alignment": ("led", "taken"), "rest": ("drop", "info"), "damaged": ("refuse", "skip"),
}  # fmt: skip
_TRUE: Final = frozenset(("1", "true", "t", "yes", "y"))
_FALSE: Final = frozenset(("0", "false", "f", "no", "n"))


@dataclass(frozen=True)
class MappedColumn:
    """The path of the field that a column becomes, and the conversion of its cells."""

    name: str
    path: tuple[str, ...]
    convert: Callable[[Any], Any]


@dataclass(frozen=True)
class ColumnMap:
    """A map as it was read.

    Attributes:
        columns: the columns that become fields.
        query: for databases: what is read.
        delimiter: of CSV.
        run, episode: the columns whose change begins a run, an episode.
        alignment: ``led`` if a row's action led to its observation, ``taken`` if it was taken
            there; then it belongs to the next state, with the reward and the flags.
        rest: what becomes of other columns: ``drop`` or ``info``.
        damaged: what is done with rows that cannot be read: ``refuse`` or ``skip``.
    """

    columns: tuple[MappedColumn, ...]
    query: str | None = None
    delimiter: str = ","
    run: str | None = None
    episode: str | None = None
    alignment: str = "led"
    rest: str = "drop"
    damaged: str = "refuse"

    @property
    def named(self) -> dict[str, None]:
        """The columns that the map names."""
        more = [name for name in (self.run, self.episode) if name is not None]
        return dict.fromkeys([*(column.name for column in self.columns), *more])

    def state(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a row.

        Raises:
            InvalidInput: a cell is not of the type that the map says.
        """
        state: dict[str, Any] = {}
        for column in self.columns:
            value = row.get(column.name)
            if value is None:
                continue
            try:
                value = column.convert(value)
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise InvalidInput(
                    f"column '{column.name}': {shown(value)} is not of its type: {error}"
                ) from None
            if value is not None:
                _put(state, column.path, value)
        if self.rest == "info":
            named = self.named
            rest = {k: v for k, v in row.items() if k not in named and v is not None}
            if rest:
                state["info"] = {**rest, **state.get("info", {})}
        return state


def _put(state: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        state = state.setdefault(key, {})
    state[path[-1]] = value


def read_map(path: Path) -> tuple[ColumnMap, dict[str, Any]]:
    """Return a map, and its text as a dict.

    Raises:
        InvalidInput: it is not TOML, or not a map.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidInput(f"map '{path}' is larger than {_LARGEST} bytes")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = (error.strerror or "").lower()
        raise InvalidInput(f"cannot read map '{path}': {why}", path=str(path)) from None
    except ValueError as error:
        raise InvalidInput(f"map '{path}' is not TOML: {error}", path=str(path)) from None
    try:
        return _checked(data), data
    except InvalidInput as error:
        raise InvalidInput(f"map '{path.name}': {error}", path=str(path)) from None


def _checked(data: Mapping[str, Any]) -> ColumnMap:
    for key, value in data.items():
        if key not in _KEYS:
            raise InvalidInput(f"unknown key '{key}'{near_or_known(key, _KEYS)}")
        if not isinstance(value, _KEYS[key]):
            what = "a text" if _KEYS[key] is str else "a table"
            raise InvalidInput(f"'{key}' must be {what}, got {shown(value)}")
        if key in _CHOICES and value not in _CHOICES[key]:
            raise InvalidInput(f"'{key}' must be one of {', '.join(_CHOICES[key])}")
    columns = tuple(_column(*each) for each in data.get("columns", {}).items())
    if not columns:
        raise InvalidInput("it needs a table [columns], of columns and their paths")
    _check_paths(columns)
    more = {key: value for key, value in data.items() if key != "columns"}
    if len(more.get("delimiter", ",")) != 1:
        raise InvalidInput("'delimiter' must be one character")
    return ColumnMap(columns, **more)


def _check_paths(columns: tuple[MappedColumn, ...]) -> None:
    taken = {column.path for column in columns}
    if len(taken) < len(columns):
        paths = [column.path for column in columns]
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InvalidInput(f"path '{'.'.join(twice)}' has two columns")
    for path in taken:
        for size in range(1, len(path)):
            if path[:size] in taken:
                raise InvalidInput(
                    f"path '{'.'.join(path)}' leads through '{'.'.join(path[:size])}', which is a "
                    "column itself"
                )


def _column(name: str, given: Any) -> MappedColumn:
    known = given if isinstance(given, dict) else {"path": given}
    text, kind = known.get("path"), known.get("type")
    if not isinstance(text, str) or set(known) - {"path", "type"}:
        raise InvalidInput(f"column '{name}' must be a path, or a table of 'path' and 'type'")
    path = tuple(text.split("."))
    if path[0] not in _FIELDS:
        near = near_or_known(path[0], _FIELDS)
        raise InvalidInput(f"column '{name}': unknown field '{path[0]}'{near}")
    if "" in path or (len(path) > 1 and path[0] not in _NESTED):
        raise InvalidInput(f"column '{name}': '{text}' is no path of a field")
    if path == ("info",):
        raise InvalidInput(f"column '{name}': name a key of info, as in 'info.{name}'")
    usual = {"reward": "float", "message": "str"} | dict.fromkeys((*_FLAGS, "reset"), "bool")
    kind = usual.get(path[0]) if kind is None else kind
    if path[0] in _FLAGS and kind != "bool":
        raise InvalidInput(f"column '{name}': '{path[0]}' must be of type bool, got {shown(kind)}")
    return MappedColumn(name, path, _converter(name, kind))


def _converter(name: str, kind: Any) -> Callable[[Any], Any]:
    if kind is None:
        return lambda value: value
    if kind in _NUMBERS:
        return lambda value: _number(value, np.dtype(kind))
    if kind not in _PLAIN:
        near = near_or_known(str(kind), (*_PLAIN, *_NUMBERS))
        raise InvalidInput(f"column '{name}': unknown type {shown(kind)}{near}")
    convert: dict[str, Callable[[Any], Any]] = {
        "bool": flag, "int": _int, "float": _float, "str": str, "json": _json,
    }  # fmt: skip
    return convert[kind]


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def flag(value: Any) -> bool | None:
    """Return True or False for a value that says so, None for none.

    Raises:
        ValueError: it says neither.
    """
    if _is_empty(value):
        return None
    text = str(value).strip().lower()
    if isinstance(value, float) and value in (0.0, 1.0):
        return bool(value)
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("write it as true or false, or 1 or 0")


def _int(value: Any) -> int | None:
    if _is_empty(value):
        return None
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError("it has a fraction")
    return number


def _float(value: Any) -> float | None:
    return None if _is_empty(value) else float(value)


def _json(value: Any) -> Any:
    if not isinstance(value, (str, bytes)):
        return value
    return None if not value.strip() else json.loads(value)


def _number(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a cell as a number of a type, or as an array of it if it is a list."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = json.loads(value)
    if _is_empty(value):
        return None
    if isinstance(value, (list, tuple, np.ndarray)):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError("not a list of numbers, or lists of unequal length")
        made = array.astype(dtype)
        if dtype.kind in "iu" and not np.array_equal(made, array):
            raise ValueError(f"a number in it does not fit {dtype}")
        return made
    if dtype.kind in "iu":
        return np.array(_int(value)).astype(dtype)[()] if _fits(_int(value), dtype) else None
    return dtype.type(float(value))


def _fits(number: int | None, dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    if number is None or not limits.min <= number <= limits.max:
        raise ValueError(f"it does not fit {dtype}")
    return True
