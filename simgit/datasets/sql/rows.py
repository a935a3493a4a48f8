"""The rows of a result as plain values, as JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from simgit.errors import InvalidInput
from simgit.objects.json_form import value_to_json

if TYPE_CHECKING:
    from simgit.datasets.sql.relation import Relation

_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
Row = tuple[Any, ...]


def plain_rows(relation: Relation, rows: int = 4096) -> Iterator[Row]:
    """Yield the rows as values that a state can have; times are ``datetime64[ns]``, JSON is text.

    Raises:
        InvalidInput, IntegrityError: see ``Relation.arrow``.
    """
    for batch in relation.batches(rows):
        yield from zip(*map(_column, batch.columns), strict=True)


def _column(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        scale = _NANOSECONDS[column.type.unit]
        counts = column.cast(pa.int64()).to_pylist()
        return [None if n is None else np.datetime64(n * scale, "ns") for n in counts]
    return [_plain(value) for value in column.to_pylist()]


def _plain(value: Any) -> Any:
    """Return a value of Arrow's as one that a state can have."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return np.datetime64(moment, "ns")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (date, time, UUID)):
        return str(value)
    return list(value) if isinstance(value, np.ndarray) else value


def records(relation: Relation) -> Iterator[dict[str, Any]]:
    """Yield the rows as JSON types, in the form of docs/json.md; times are texts of RFC 3339.

    Raises:
        InvalidInput: two columns have the same name, or see ``Relation.arrow``.
        IntegrityError: see ``Relation.arrow``.
    """
    for i, name in enumerate(relation.columns):
        if name in relation.columns[:i]:
            raise InvalidInput(f"two columns are called '{name}'; give them names with 'as'")
    of_json = [kind == "JSON" for kind in relation.types]
    for row in plain_rows(relation):
        yield {
            name: _loaded(value) if is_json else _json(value)
            for name, value, is_json in zip(relation.columns, row, of_json, strict=True)
        }


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _json(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return f"{value}Z"
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
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
