"""CSV: a row a state, arrays spread over columns. Types are lost, so it is no run when it is read.

A column is called as the path of its field, ``info.lives``; an array of few elements has a column
for each, ``observation[0]``. Everything that is not a number, a bool or a text is JSON.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import Contents, Source
from simgit.datasets.formats.foreign import given_names, source_runs
from simgit.datasets.formats.packing import row_values
from simgit.datasets.formats.selection import Export, check_options
from simgit.errors import IntegrityError, InvalidInput, shown
from simgit.objects.columns import FIELDS
from simgit.objects.json_form import parse_json, value_to_json
from simgit.objects.schema import BOOL, COMPLEX, FIXED, FLOAT, INT, MAP, NONE, STR, TUPLE, FieldType

_SPREAD: Final = 64
"""The most elements of an array that has a column for each."""
_KEYS: Final = ("run", "step", "episode", "episode_step")
_MAX_CELL: Final = 16 << 20
_MAX_COLUMNS: Final = 1 << 16
_ELEMENT: Final = re.compile(r"(?P<name>.*)\[(?P<index>\d{1,5}(?:,\d{1,5})*)\]")
_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*|(?=\.[0-9]))(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_PLAIN: Final = {BOOL, INT, FLOAT, COMPLEX, STR, NONE}
Path_ = tuple[str, ...]


class Csv:
    """The format ``csv``."""

    name = "csv"
    summary = "CSV: one state per row, without types"
    is_general = True
    lossy = "CSV has no types"

    def probe(self, source: Source) -> bool:
        """Return True for a regular file whose name ends with ``.csv`` or ``.tsv``."""
        return source.path.suffix.lower() in (".csv", ".tsv") and source.path.is_file()

    def write(self, export: Export, target: Path) -> None:
        """Write a header and a row for each state."""
        check_options(
            export.options,
            ("delimiter",),
        )
        delimiter = _delimiter(export.options, ",")
        leaves = _leaves(export)
        header = [*_KEYS, *itertools.chain.from_iterable(_titles(*leaf) for leaf in leaves)]
        with target.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, delimiter=delimiter)
            writer.writerow(header)
            for part in export.parts():
                places = zip(part.steps, part.episodes, part.episode_steps, strict=True)
                for place, value in zip(places, row_values(part.rows), strict=True):
                    cells = [cell for leaf in leaves for cell in _cells(value, *leaf)]
                    writer.writerow([part.run, *place, *cells])

    def read(self, source: Source) -> Contents:
        """Return the run of a table; texts that are JSON are taken for what they say."""
        source.check_options("names", "alignment", "delimiter")
        text = io.TextIOWrapper(source.open(), encoding="utf-8-sig", newline="")
        source.closing.callback(text.detach)
        tab = "\t" if source.path.suffix.lower() == ".tsv" else ","
        rows = csv.reader(text, delimiter=_delimiter(source.options, tab))
        contents = Contents(())
        records = _records(rows, source.text)
        contents.runs = source_runs(records, source, given_names(source), contents.notes)
        return contents


def _delimiter(options: Mapping[str, str], default: str) -> str:
    found = options.get("delimiter", default)
    if len(found) != 1 or found in '\r\n"':
        raise InvalidInput(f"delimiter must be one character, got {shown(found)}")
    return found


# --- out -----------------------------------------------------------------------------------------


def _leaves(export: Export) -> list[tuple[Path_, tuple[int, ...] | None]]:
    """Return the paths that have columns, and the shape of arrays that have several."""
    types: dict[Path_, set[FieldType]] = {}
    for schema in export.schemas:
        for path, kind in schema.fields:
            types.setdefault(path, set()).add(kind)
    found: list[tuple[Path_, tuple[int, ...] | None]] = []
    for path in _ordered(types):
        if any(above in types and _is_leaf(types[above]) for above in _above(path)):
            continue
        kinds = types[path]
        if not _is_leaf(kinds):
            below = any(len(other) > len(path) and other[: len(path)] == path for other in types)
            if below:
                continue
        shapes = {kind.shape for kind in kinds if kind.code == FIXED}
        is_array = len(shapes) == 1 and all(kind.code == FIXED for kind in kinds)
        shape = next(iter(shapes)) if is_array else ()
        found.append((path, shape if shape and 0 < int(np.prod(shape)) <= _SPREAD else None))
    return found


def _ordered(types: Mapping[Path_, Any]) -> list[Path_]:
    order = {name: i for i, name in enumerate(FIELDS)}
    return sorted(types, key=lambda path: (order.get(path[0], len(order)), path))


def _above(path: Path_) -> Iterator[Path_]:
    return (path[:i] for i in range(1, len(path)))


def _is_leaf(kinds: set[FieldType]) -> bool:
    return {kind.code for kind in kinds} not in ({MAP}, {TUPLE})


def _titles(path: Path_, shape: tuple[int, ...] | None) -> list[str]:
    name = ".".join(path)
    if shape is None:
        return [name]
    return [f"{name}[{','.join(map(str, index))}]" for index in np.ndindex(*shape)]


def _cells(value: Any, path: Path_, shape: tuple[int, ...] | None) -> list[Any]:
    for part in path:
        if isinstance(value, tuple):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return [""] * (1 if shape is None else int(np.prod(shape)))
    if shape is not None:
        return [_cell(each) for each in np.asarray(value).reshape(-1)]
    return [_cell(value)]


def _cell(value: Any) -> str:
    """Return a value as a text: numbers and texts bare, everything else as JSON."""
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        value = value.item()
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return value if not _is_json(value) else json.dumps(value)
    return json.dumps(value_to_json(value), allow_nan=False)


def _is_json(text: str) -> bool:
    """Return True for a text that a reader would take for another value."""
    return not isinstance(_value(text), str) or text == ""


# --- in ------------------------------------------------------------------------------------------


def _value(text: str) -> Any:
    """Return what the text of a cell stands for."""
    if text in ("nan", "inf", "-inf", "NaN", "Infinity", "-Infinity"):
        return float(text)
    if text in ("True", "False"):
        return text == "True"
    if not text or text[0] not in '-0123456789[{"tfn.+':
        return text
    try:
        return parse_json(text)
    except (InvalidInput, ValueError, RecursionError):
        pass
    # 007 and 1_000 are names; 1e999 is no number that there is
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return text if math.isinf(number) else number


def _records(rows: Iterable[Sequence[str]], name: str) -> Iterator[dict[str, Any]]:
    """Yield the rows as dicts; an empty cell is left out.

    Raises:
        IntegrityError: the table is malformed.
    """
    csv.field_size_limit(_MAX_CELL)
    try:
        iterator = iter(rows)
        header = next(iterator, [])
        if not header or len(header) > _MAX_COLUMNS or len(set(header)) < len(header):
            raise IntegrityError(f"'{name}' has no header, or one with a name that stands twice")
        places, arrays = _places(header)
        for row in iterator:
            if len(row) != len(header):
                raise IntegrityError(f"'{name}' has a row of {len(row)} cells, not {len(header)}")
            found = {title: _value(row[i]) for title, i in places.items() if row[i] != ""}
            for title, (shape, columns) in arrays.items():
                cells = [row[i] for i in columns]
                if any(cells):
                    found[title] = np.array([_number(each) for each in cells]).reshape(shape)
            yield found
    except (csv.Error, UnicodeDecodeError) as error:
        raise IntegrityError(f"'{name}' is not CSV in UTF-8: {error}") from None


def _places(
    header: Sequence[str],
) -> tuple[dict[str, int], dict[str, tuple[tuple[int, ...], list[int]]]]:
    """Return the columns by name, and the columns of arrays with their shapes."""
    places: dict[str, int] = {}
    elements: dict[str, dict[tuple[int, ...], int]] = {}
    for i, title in enumerate(header):
        if match := _ELEMENT.fullmatch(title):
            index = tuple(map(int, match["index"].split(",")))
            elements.setdefault(match["name"], {})[index] = i
        else:
            places[title] = i
    arrays = {}
    for name, found in elements.items():
        dimensions = {len(index) for index in found}
        shape = tuple(max(sizes) + 1 for sizes in zip(*found, strict=False))
        if len(dimensions) > 1 or int(np.prod(shape)) != len(found) or name in places:
            raise IntegrityError(f"the columns of '{name}' do not make an array")
        arrays[name] = shape, [found[index] for index in np.ndindex(*shape)]
    return places, arrays


def _number(text: str) -> Any:
    value = _value(text)
    if not isinstance(value, (bool, int, float)):
        raise IntegrityError(f"element '{text[:40]}' of an array is not a number")
    return value


FORMAT: Final = Csv()
