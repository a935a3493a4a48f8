"""The tables of a query as DuckDB reads them: only the columns and rows that it needs.

DuckDB asks a source for columns, and offers it conditions that it may apply. That is no public
interface of DuckDB's: in a version without it, tables are read whole, and DuckDB chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol

import pyarrow as pa

try:
    _sources: Any = import_module("duckdb._sources")
except ImportError:
    _sources = None


class QueryTable(Protocol):
    """A table that a query can read."""

    @property
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of all columns."""
        ...

    @property
    def flags(self) -> Sequence[str]:
        """Return the columns of 0 and 1 that a query sees as booleans."""
        ...

    def applies(self, condition: Any, /) -> bool:
        """Return True if ``batches`` leaves out every row for which a condition does not hold."""
        ...

    def batches(
        self, names: Sequence[str], conditions: Sequence[Any], /
    ) -> Iterator[pa.RecordBatch]:
        """Yield some columns, in this order, of the rows for which all conditions hold."""
        ...


class Failures:
    """The first error that was raised while DuckDB read a table; it would only tell its text."""

    def __init__(self) -> None:
        self.first: BaseException | None = None

    def noted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield batches; note an error."""
        try:
            yield from batches
        except (Exception, KeyboardInterrupt) as error:
            self.first = self.first or error
            raise


def register(connection: Any, name: str, table: QueryTable, failures: Failures) -> None:
    """Let queries of a connection read a table under a name."""
    # DuckDB offers comparisons as conditions, but no flag by itself: so a flag is one
    read = f"{name} (as read)" if table.flags else name
    if _sources is None:
        connection.register(read, _WholeTable(table, failures))
    else:
        connection._register_arrow_source(read, _source(table, failures))
    if table.flags:
        shown = ", ".join(f"{quoted(flag)} = 1 as {quoted(flag)}" for flag in table.flags)
        view = f"create view {quoted(name)} as select * replace ({shown}) from {quoted(read)}"
        connection.execute(view).fetchall()


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _stream(
    table: QueryTable, names: Sequence[str], conditions: Sequence[Any], failures: Failures
) -> Any:
    schema = pa.schema([table.schema.field(name) for name in names])
    batches = failures.noted(table.batches(names, conditions))
    return pa.RecordBatchReader.from_batches(schema, batches).__arrow_c_stream__()


class _WholeTable:
    """A table as a stream of all its columns and rows."""

    def __init__(self, table: QueryTable, failures: Failures) -> None:
        self.table = table
        self.failures = failures

    def __arrow_c_schema__(self) -> Any:
        return self.table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return _stream(self.table, self.table.schema.names, (), self.failures)


def _source(table: QueryTable, failures: Failures) -> Any:
    class Pushdown(_sources.ArrowScanSource):  # type: ignore[misc]
        """A table of which DuckDB chooses columns and rows."""

        schema_is_stable = True

        def __arrow_c_schema__(self) -> Any:
            return table.schema.__arrow_c_schema__()

        def accepts(self, predicate: Any) -> bool:
            return table.applies(predicate)

        def stream(self, columns: Sequence[int] | None, filters: Sequence[Any]) -> tuple[Any, bool]:
            known = table.schema.names
            names = known if columns is None else [known[i] for i in columns]
            return _stream(table, names, filters, failures), columns is not None

    return Pushdown(table)
