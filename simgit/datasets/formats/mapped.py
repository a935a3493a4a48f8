"""Tables of any other program, by a map of their columns: JSON lines, CSV, Parquet, SQL."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

from simgit.datasets.formats.base import Contents, ImportOnly, Source, SourceRun, state_columns
from simgit.datasets.formats.lines import LineReader
from simgit.datasets.formats.mapping import ColumnMap, read_map
from simgit.datasets.formats.tables import is_postgres, is_sqlite, open_tables
from simgit.datasets.packages import needed
from simgit.errors import InvalidInput, plural
from simgit.refs.names import usable_name

OPTION: Final = "map"
_ROWS: Final = 1024
_LONGEST: Final = 64 << 20
"""The most characters of a cell of CSV."""
_LINES: Final = (".jsonl", ".ndjson", ".json")
_MOST: Final = 3
Row = tuple[str, Mapping[str, Any]]
"""The place of a row, for messages, and its cells by column."""


class MappedTable(ImportOnly):
    """The format of tables that a map explains."""

    name = "table"
    summary = "JSON lines, CSV, Parquet or SQL, by a map of columns (--map); import only"

    def probe(self, source: Source) -> bool:
        """Return True if a map is given."""
        return OPTION in source.options

    def read(self, source: Source) -> Contents:
        """Return the runs of a table."""
        source.check_options(OPTION)
        if OPTION not in source.options:
            raise InvalidInput("a table needs a map of its columns (--map FILE)")
        mapping, text = read_map(Path(source.options[OPTION]))
        contents = Contents(())
        contents.runs = _Splitting(source, mapping, text, contents.notes).runs()
        return contents


class _Splitting:
    """The rows of a table, split into runs."""

    def __init__(
        self, source: Source, mapping: ColumnMap, text: Mapping[str, Any], notes: list[str]
    ) -> None:
        self._source = source
        self._map = mapping
        self._text = text
        self.notes = notes
        self._ahead: Row | None = None
        self._faults: list[str] = []
        self._seen: dict[Any, None] = {}

    def runs(self) -> Iterator[SourceRun]:
        """Yield the runs, as their column changes."""
        faults = self._faults
        rows = iter(_rows(self._source, self._map, faults))
        self._ahead = next(rows, None)
        if self._ahead is None:
            raise InvalidInput(f"'{self._source.shown}' has no rows", path=self._source.shown)
        self._check_columns(self._ahead[1])
        names: dict[str, Any] = {}
        while self._ahead is not None:
            place, first = self._ahead
            value = first.get(self._map.run) if self._map.run else None
            name = self._name(value, place, names)
            yield SourceRun(
                name,
                state_columns(self._states(value, rows), _ROWS),
                spec={"source": MappedTable.name},
                metadata={"map": dict(self._text)},
                status="paused",
            )
        named = self._map.named
        rest = [str(name) for name in self._seen if name not in named]
        if rest and self._map.rest == "drop":
            self.notes.append(f"columns that the map does not name are left out: {', '.join(rest)}")
        if missing := [name for name in named if name not in self._seen]:
            self.notes.append(f"columns that are in no row: {', '.join(missing)}")
        if faults:
            self.notes.append(
                f"{plural(len(faults), 'row')} not imported: {'; '.join(faults[:_MOST])}"
            )

    def _name(self, value: Any, place: str, names: dict[str, Any]) -> str:
        stem = Path(self._source.path.name).stem or "table"
        name = usable_name(stem if value is None else str(value))
        if name in names:
            if names[name] == value:
                raise InvalidInput(
                    f"{place}: rows of run '{name}' are not together; sort the table by column "
                    f"'{self._map.run}'"
                )
            raise InvalidInput(f"{place}: two runs would have the name '{name}'")
        names[name] = value
        return name

    def _check_columns(self, row: Mapping[str, Any]) -> None:
        """Check that there are the columns that the map names."""
        named = self._map.named
        is_open = self._source.path.suffix in _LINES  # a line may lack a key
        missing = [name for name in named if name not in row]
        if missing and not (is_open and len(missing) < len(named)):
            raise InvalidInput(
                f"'{self._source.shown}' has no column '{missing[0]}' (it has: "
                f"{', '.join(map(str, row))})"
            )

    def _states(self, value: Any, rows: Iterator[Row]) -> Iterator[dict[str, Any]]:
        """Yield the states of the run whose first row is ahead.

        A state without an observation stands where a row was lost, so that none seems to lead
        from the row before it to the one after.
        """
        assert self._ahead is not None
        faults, known = self._faults, len(self._faults)
        episode: Any = None
        begins, carried = True, dict[str, Any]()
        for place, row in chain([self._ahead], rows):
            self._seen |= dict.fromkeys(row)
            if self._map.run and row.get(self._map.run) != value:
                self._ahead = place, row
                break
            try:
                state = self._map.state(row)
            except InvalidInput as error:
                if self._map.damaged == "refuse":
                    raise InvalidInput(f"{place}: {error}") from None
                faults.append(f"{place}: {error}")
                state = {}
            else:
                if not state:  # a line of another kind, which a log may have between its steps
                    faults.append(f"{place}: no value in a column that is mapped")
                    known += 1
                    continue
            here = row.get(self._map.episode) if self._map.episode else None
            if self._map.episode and here != episode:
                begins, episode = True, here
            if begins and carried:  # the action that was taken last led where nobody looked
                yield carried
                carried = {}
            lost, known = faults[known:], len(faults)
            if lost and (not begins or not state):
                yield (
                    carried
                    | {"message": f"not imported: {lost[-1]}"}
                    | ({"reset": True} if begins else {})
                )
                begins, carried = False, {}
            if not state:
                continue
            yield from self._aligned(state, begins, carried)
            ends = bool(state.get("terminated") or state.get("truncated"))
            carried = _taken(state) if self._map.alignment == "taken" else {}
            begins = ends
        else:
            self._ahead = None
        if carried:
            yield carried

    def _aligned(
        self, state: dict[str, Any], begins: bool, carried: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield the state of a row; its action is the one that led to it."""
        if self._map.alignment == "taken":
            state = {name: each for name, each in state.items() if name not in _TAKEN} | carried
        if begins and "reset" not in state:
            state["reset"] = True
        yield state


_TAKEN: Final = ("action", "reward", "terminated", "truncated")


def _taken(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to the next state, where an action stands beside what it was taken in."""
    return {name: state[name] for name in _TAKEN if name in state}


# --- rows ---


def _rows(source: Source, mapping: ColumnMap, faults: list[str]) -> Iterator[Row]:
    """Return the rows of a source, by its kind."""
    if is_postgres(source.text) or is_sqlite(source.head()):
        return _query_rows(source, mapping)
    if mapping.query is not None:
        raise InvalidInput(f"'{source.text}' is not a database: the map's query has no use")
    if not source.path.is_file():
        raise InvalidInput(f"'{source.text}' is not a regular file", path=source.text)
    if source.head(4) == b"PAR1":
        return _parquet_rows(source)
    if source.path.suffix in _LINES:
        return _line_rows(source, mapping, faults)
    return _csv_rows(source, mapping, faults)


def _query_rows(source: Source, mapping: ColumnMap) -> Iterator[Row]:
    if mapping.query is None:
        raise InvalidInput("a map of a database needs a query", path=source.shown)
    tables = open_tables(source.text if is_postgres(source.text) else str(source.path))
    try:
        for number, row in enumerate(tables.named_rows(mapping.query), 1):
            yield f"row {number}", row
    finally:
        tables.close()


def _parquet_rows(source: Source) -> Iterator[Row]:
    tables = needed("simgit.datasets.formats.arrow_tables", "Parquet")
    rows = chain.from_iterable(b.to_pylist() for b in tables.read_parquet(source).batches)
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _line_rows(source: Source, mapping: ColumnMap, faults: list[str]) -> Iterator[Row]:
    reader = LineReader(source.path, lambda value: None if isinstance(value, dict) else "no object")
    seen = 0
    for line in reader:
        _tell(reader.faults[seen:], mapping, faults)
        seen = len(reader.faults)
        yield f"line {line.number}", line.value
    _tell(reader.faults[seen:], mapping, faults)


def _tell(found: list[str], mapping: ColumnMap, faults: list[str]) -> None:
    if found and mapping.damaged == "refuse":
        raise InvalidInput(f'{found[0]}; damaged = "skip" in the map leaves such lines out')
    faults += found


def _csv_rows(source: Source, mapping: ColumnMap, faults: list[str]) -> Iterator[Row]:
    before = csv.field_size_limit(_LONGEST)
    try:
        with source.path.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.reader(opened, delimiter=mapping.delimiter, strict=True)
            names = next(reader, [])
            if len(set(names)) != len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise InvalidInput(f"'{source.text}' has two columns '{twice}'")
            for cells in reader:
                if not cells:
                    continue
                place = f"line {reader.line_num}"
                if len(cells) != len(names):
                    fault = f"{place}: {len(cells)} cells in {len(names)} columns"
                    _tell([fault], mapping, faults)
                    continue
                yield place, dict(zip(names, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{source.text}' is not CSV in UTF-8: {error}") from None
    finally:
        csv.field_size_limit(before)


FORMAT: Final = MappedTable()
