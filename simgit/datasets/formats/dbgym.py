"""The database gym's files: observations of query plans, and configuration deltas of a tuning run.

Observations are a Parquet file of plan nodes, a row each. A query is an episode here, a node a
state. Deltas are a directory of ``step0_delta.json`` and so on: each is the action that led to the
state after it; the times of a replay, where there are any, are the rewards, negated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import (
    Contents,
    ImportOnly,
    Source,
    SourceRun,
    is_own_file,
    state_columns,
)
from simgit.datasets.packages import needed
from simgit.errors import InvalidInput, plural
from simgit.refs.names import usable_name

_FIRST: Final = "step0_delta.json"
_ARTIFACTS: Final = "tuning_artifacts"
_TABLE: Final = "0.parquet"
_INDEX: Final = "Observation Index"
_QUERY: Final = "Query Num"
_ROWS: Final = 1024
_LARGEST: Final = 64 << 20


class DatabaseGym(ImportOnly):
    """The format of the database gym's observations and tuning artefacts."""

    name = "dbgym"
    summary = "the database gym's observations and deltas; import only"

    def probe(self, source: Source) -> bool:
        """Return True for a directory of deltas, and for tables of observations."""
        if _deltas_of(source.path) is not None:
            return True
        tables = _tables_of(source.path)
        return bool(tables) and _is_observation(tables[0])

    def read(self, source: Source) -> Contents:
        """Return a run of deltas, or one for each table of observations."""
        source.check_options("replay")
        folder = _deltas_of(source.path)
        if folder is not None:
            notes: list[str] = []
            return Contents([_tuning(folder, source.options.get("replay"), notes)], notes=notes)
        tables = _tables_of(source.path)
        if not tables:
            raise InvalidInput(f"'{source.text}' has no deltas and no {_TABLE}", path=source.text)
        return Contents(_observed(source, table) for table in tables)


# --- deltas ---


def _deltas_of(path: Path) -> Path | None:
    places = (path, path / _ARTIFACTS)
    return next((each for each in places if is_own_file(each / _FIRST, path)), None)


def _tuning(folder: Path, replay: str | None, notes: list[str]) -> SourceRun:
    found = {
        int(number): path
        for path in folder.glob("step*_delta.json")
        if (number := path.name[4:-11]).isdecimal() and path.is_file() and not path.is_symlink()
    }
    count = next(number for number in range(len(found) + 1) if number not in found)
    if rest := len(found) - count:
        notes.append(f"step{count}_delta.json is missing: {plural(rest, 'later delta')} left out")
    path = Path(replay) if replay else folder / "replay.json"
    times = _replay(path, count + 1) if replay or is_own_file(path, folder) else None
    if times is None:
        notes.append("no rewards: the times of a replay are not in these files (-o replay=FILE)")
    elif timed_out := sum(lost > 0 for _, lost in times):
        notes.append(
            f"{plural(timed_out, 'replay')} with queries that timed out: such a time is a lower "
            "bound (info 'timed_out')"
        )
    metadata = folder / "metadata.json"
    name = folder.parent.name if folder.name == _ARTIFACTS else folder.name
    return SourceRun(
        usable_name(name or _ARTIFACTS),
        state_columns(_steps(found, count, times)),
        spec={"source": DatabaseGym.name, "kind": _ARTIFACTS},
        metadata={"tuning": _json(metadata)} if is_own_file(metadata, folder) else {},
    )


def _steps(
    deltas: Mapping[int, Path], count: int, times: list[tuple[float, int]] | None
) -> Iterator[dict[str, Any]]:
    for step in range(count + 1):
        state: dict[str, Any] = {"reset": True} if step == 0 else {}
        if step:
            state["action"] = _json(deltas[step - 1])
        if times is not None:
            seconds, lost = times[step]
            # of the first one too: the time before any change
            state |= {"reward": -seconds, "info": {"seconds": seconds, "timed_out": lost}}
        yield state


def _replay(path: Path, count: int) -> list[tuple[float, int]]:
    """Return what a replay measured: seconds and timed-out queries, before and after each delta."""
    found = _json(path)
    try:
        times = [(float(seconds), int(lost)) for seconds, lost in found]
    except (TypeError, ValueError):
        raise InvalidInput(f"'{path}' must be a list of [seconds, timed out]") from None
    if len(times) != count:
        raise InvalidInput(f"'{path}' has {plural(len(times), 'time')} for {count - 1} deltas")
    return times


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"larger than {_LARGEST} bytes")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}': {(error.strerror or '').lower()}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"'{path.name}' is not JSON: {error}", path=str(path)) from None


# --- observations ---


def _tables_of(path: Path) -> list[Path]:
    """Return the table that a path is, or those of the experiments in a directory."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    found = [path / _TABLE, *sorted(path.glob(f"*/{_TABLE}"))] if path.is_dir() else []
    return [each for each in found if is_own_file(each, path)]


def _is_observation(path: Path) -> bool:
    try:
        pq = needed("pyarrow.parquet", "Parquet")
        return {_INDEX, _QUERY} <= set(pq.read_schema(path).names)
    except Exception:  # not installed, or no Parquet: another format may tell more
        return False


def _observed(source: Source, path: Path) -> SourceRun:
    name = path.parent.name if path.name == _TABLE else path.stem
    return SourceRun(
        usable_name(name or "observations"),
        state_columns(_nodes(source, path), _ROWS),
        spec={"source": DatabaseGym.name, "kind": "observations"},
        metadata={"episodes": "queries: a state is a node of a query's plan"},
    )


def _nodes(source: Source, path: Path) -> Iterator[dict[str, Any]]:
    """Yield a state for each row; the rows must be those that the gym wrote, all of them."""
    tables = needed("simgit.datasets.formats.arrow_tables", "Parquet")
    schema, _, batches = tables.read_parquet(source, path, _ROWS)
    names = schema.names
    if missing := {_INDEX, _QUERY} - set(names):
        raise InvalidInput(f"'{path}' lacks column '{min(missing)}'")
    if len(set(names)) < len(names):
        raise InvalidInput(f"'{path}' has two columns of one name")
    expected, query = 0, None
    for batch in batches:
        columns = dict(zip(names, map(_values, batch.columns), strict=True))
        columns.pop("__index_level_0__", None)
        for row in range(batch.num_rows):
            node = {name: values[row] for name, values in columns.items()}
            found = node[_INDEX]
            if found != expected:
                is_double = isinstance(found, int) and found < expected
                what = f"{found} is twice" if is_double else f"{expected} is missing"
                raise InvalidInput(
                    f"'{path}': observation {what}; the gym writes each once", path=str(path)
                )
            state: dict[str, Any] = {"observation": node}
            if node[_QUERY] != query:
                state["reset"] = True
            expected, query = expected + 1, node[_QUERY]
            yield state


def _values(column: Any) -> list[Any]:
    """Return the values of a column: lists of numbers as arrays of their type."""
    found = column.to_pylist()
    kind = column.type
    inner = getattr(kind, "value_type", None)
    if inner is None or not hasattr(kind, "value_field"):
        return list(found)  # also of a dictionary, whose values are texts
    try:
        dtype = np.dtype(inner.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        return list(found)
    if dtype.kind not in "biuf":
        return list(found)
    return [None if each is None or None in each else np.array(each, dtype) for each in found]


FORMAT: Final = DatabaseGym()
