"""The rows of a result as plain values, as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from simgit.datasets.arrow_columns import EMPTY
from simgit.errors import InvalidInput
from simgit.objects.json_form import value_to_json

if TYPE_CHECKING:
    from simgit.datasets.sql.relation import Relation

_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_TEXTS: Final = ("interval", "time", "time_ns", "geometry")
"""The types that are shown as DuckDB writes them."""
_ENDLESS: Final = (1 << 63) - 1
"""DuckDB's infinity."""
Row = tuple[Any, ...]


class JsonText(str):
    """A JSON text of DuckDB's."""


def plain_rows(relation: Relation, rows: int = 4096) -> Iterator[Row]:
    """Yield the rows as plain values.

    Times are ``datetime64[ns]``, or texts where that does not hold them; JSON is ``JsonText``;
    decimals that are no float are ``Decimal``.

    Raises:
        InvalidInput, IntegrityError: see ``Relation.arrow``.
    """
    is_json = [kind == "JSON" for kind in relation.types]
    for batch in relation.batches(rows, _TEXTS):
        columns = (
            [value if value is None else JsonText(value) for value in column.to_pylist()]
            if json
            else _values(column)
            for column, json in zip(batch.columns, is_json, strict=True)
        )
        yield from zip(*columns, strict=True)


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column, of which Arrow would give some less exactly."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return [_moment(n, kind.unit) for n in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_date32(kind):
        return [_day(n) for n in column.cast(pa.int32()).to_pylist()]
    if not pa.types.is_nested(kind) or pa.types.is_union(kind):
        return [_plain(value) for value in column.to_pylist()]
    there = column.is_valid().to_pylist()
    found: Iterable[Any]
    if pa.types.is_struct(kind):
        names = [field.name for field in kind if field.name != EMPTY]
        parts = [_values(column.field(name)) for name in names]
        rows = zip(*parts, strict=True) if parts else ((),) * len(column)
        found = (dict(zip(names, row, strict=True)) for row in rows)
    else:
        if pa.types.is_fixed_size_list(kind):
            size = kind.list_size
            offsets = range(column.offset * size, (column.offset + len(column)) * size + 1, size)
        else:
            offsets = column.offsets.to_pylist()
        if pa.types.is_map(kind):
            pairs = zip(_values(column.keys), _values(column.items), strict=True)
            below: list[Any] = [*map(list, pairs)]
        else:
            below = _values(column.values)
        found = (below[start:stop] for start, stop in pairwise(offsets))
        if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
            found = map(dict, found)
    return [value if real else None for value, real in zip(found, there, strict=True)]


def _moment(count: int | None, unit: str) -> Any:
    if count is None:
        return None
    if abs(count) == _ENDLESS:
        return "infinity" if count > 0 else "-infinity"
    exact = count * _NANOSECONDS[unit]
    fits = abs(exact) < _ENDLESS
    return np.datetime64(exact, "ns") if fits else f"{np.datetime64(count, unit)}Z"  # type: ignore[call-overload]


def _day(count: int | None) -> str | None:
    if count is not None and abs(count) == (1 << 31) - 1:
        return "infinity" if count > 0 else "-infinity"
    return None if count is None else str(np.datetime64(count, "D"))


def _plain(value: Any) -> Any:
    """Return a value of Arrow's that is not nested, or of a union, as a plain one."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value) if Decimal(repr(float(value))) == value else value
    return str(value) if isinstance(value, (datetime, date, time, timedelta, UUID)) else value


def records(relation: Relation) -> Iterator[dict[str, Any]]:
    """Yield the rows as JSON types, in the form of docs/json.md; times are texts of RFC 3339.

    Raises:
        InvalidInput: two columns have the same name, or see ``Relation.arrow``.
        IntegrityError: see ``Relation.arrow``.
    """
    for i, name in enumerate(relation.columns):
        if name in relation.columns[:i]:
            raise InvalidInput(f"two columns are called '{name}'; give them names with 'as'")
    for row in plain_rows(relation):
        yield dict(zip(relation.columns, map(_json, row), strict=True))


def _number(text: str) -> Any:
    return value_to_json(float(text))  # infinity and NaN are no JSON


def _json(value: Any) -> Any:
    if isinstance(value, JsonText):
        return json.loads(value, parse_float=_number, parse_constant=_number)
    if isinstance(value, np.datetime64):
        return f"{value}Z"
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    if isinstance(value, Decimal):
        return f"{value:f}"
    return [*map(_json, value)] if isinstance(value, list) else value_to_json(value)


def csv_lines(relation: Relation) -> Iterator[str]:
    """Yield the lines of a CSV file: the names of the columns, then the rows."""
    line = _Line()
    writer = csv.writer(line, lineterminator="\n")
    writer.writerow(relation.columns)
    yield line.text
    for row in plain_rows(relation):
        writer.writerow([*map(cell_text, row)])
        yield line.text


class _Line:
    """The last line that was written."""

    text = ""

    def write(self, text: str) -> None:
        """Keep a line."""
        self.text = text


def cell_text(value: Any) -> str:
    """Return a value as the text of a cell, "" for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, np.datetime64):
        return f"{value}Z"
    if isinstance(value, Decimal):
        return f"{value:f}"
    plain = isinstance(value, (str, int, float))
    return str(value) if plain else json.dumps(_json(value), ensure_ascii=False)


def write_file(relation: Relation, format: str, path: Path) -> int:
    """Write the rows into a new file as "csv", "json" or "parquet"; return how many there are.

    Raises:
        InvalidInput: Parquet has no type for a column, or see ``Relation.arrow``.
        IntegrityError: see ``Relation.arrow``.
    """
    if format == "parquet":
        return _write_parquet(relation, path)
    lines = csv_lines(relation) if format == "csv" else _json_lines(relation)
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for line in lines:
            file.write(line)
            count += 1
    return count - (format == "csv")  # the names of the columns


def _json_lines(relation: Relation) -> Iterator[str]:
    for record in records(relation):
        yield json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def _write_parquet(relation: Relation, path: Path) -> int:
    from pyarrow.parquet import ParquetWriter

    writer: Any = None
    count = 0
    try:
        for batch in relation.batches(1 << 17):
            writer = writer or ParquetWriter(path, batch.schema, compression="zstd")
            writer.write_batch(batch)
            count += batch.num_rows
    except pa.ArrowNotImplementedError as error:
        raise InvalidInput(f"Parquet has no such type: {first_line(error)}") from None
    finally:
        if writer is not None:
            writer.close()
    return count


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0]
