"""The tables of Parquet and Arrow files: batches of an export, and of files of other programs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simgit.datasets.arrow import ArrowTable
from simgit.datasets.arrow_columns import (
    EMPTY,
    PRESENT,
    SHAPE,
    ValueType,
    empty,
    of_items,
    of_numbers,
)
from simgit.datasets.formats.arrow_bounds import (
    check_sizes,
    check_types,
    rows_at_once,
    rows_together,
)
from simgit.datasets.formats.arrow_rows import numbers_of, rows_of
from simgit.datasets.formats.base import Contents, PackedStates, Source, SourceRun, state_columns
from simgit.datasets.formats.foreign import (
    OWN,
    FieldNames,
    given_names,
    source_states,
)
from simgit.datasets.formats.manifest import NO_MANIFEST, OWN_KEYS, FileManifest, with_empty_runs
from simgit.errors import IntegrityError, InvalidInput, NotFound, StorageError, reason
from simgit.objects.codec import decode_value
from simgit.objects.schema import Schema
from simgit.refs.names import usable_name

if TYPE_CHECKING:
    from simgit.datasets.formats.selection import Export

_MOST: Final = 16384
"""The most rows of a batch that is read."""
_MARKS: Final = (f".{PRESENT}", f".{SHAPE}")
_NUMBERS: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)


# --- out -----------------------------------------------------------------------------------------


def batches_of(export: Export) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the Arrow schema of an export, and its batches in order."""
    table = ArrowTable(
        export.ranges(), None if export.fields is None else [*map(".".join, export.fields)],
        oids=export.options.get("oids", "none"), exact=export.lossy is None,
    )  # fmt: skip
    names = table.schema.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"two columns would be called '{twice}'; export as jsonl instead")
    return table.schema, _batches(export, table, table.schema)


def _batches(export: Export, table: ArrowTable, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    ranges = iter([each for each in table.ranges if len(each)])
    states, at = next(ranges), 0
    names = [run.name for run in export.runs]
    known = of_items(
        [name.encode() for name in names], pa.string()
    )  # one dictionary for all batches, as a file must have
    for batch in table.batches():
        if at == len(states):
            states, at = next(ranges), 0
        part = states[at : at + batch.num_rows]
        at += batch.num_rows
        size = batch.num_rows
        if export.predicate is not None:
            batch = batch.filter(of_numbers(export.predicate(part)))
        export.tell(size, batch.num_rows)
        if batch.num_rows:
            number = np.full(batch.num_rows, names.index(part.name), np.int32)
            run = pa.DictionaryArray.from_arrays(of_numbers(number), known)
            yield pa.RecordBatch.from_arrays([run, *batch.columns[1:]], schema=schema)


def repeating_columns(schema: pa.Schema) -> list[str]:
    """Return the columns for which a dictionary of values pays, which a reader may expand."""
    return [
        field.name
        for field in schema
        if pa.types.is_dictionary(field.type)
        or (pa.types.is_integer(field.type) and field.name not in ("step", "episode_step"))
    ]


def float_columns(schema: pa.Schema) -> list[str]:
    """Return the paths of columns of floats, whose bytes are compressed by their place."""
    found = []
    for field in schema:
        if pa.types.is_float32(field.type) or pa.types.is_float64(field.type):
            found.append(field.name)
        elif isinstance(field.type, pa.FixedShapeTensorType) and (
            pa.types.is_float32(field.type.value_type) or pa.types.is_float64(field.type.value_type)
        ):
            found.append(f"{field.name}.list.element")
    return found


# --- in ------------------------------------------------------------------------------------------


@contextmanager
def damage_of(name: str) -> Iterator[None]:
    """Raise Arrow's errors as simgit's."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"'{name}' not found", path=name) from None
    except (pa.ArrowException, ValueError, MemoryError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise IntegrityError(f"'{name}' is damaged: {str(error) or 'too large'}") from None
    except OSError as error:
        # pyarrow reports damage of a file in this way, too
        if error.errno is None:
            raise IntegrityError(f"'{name}' is damaged: {error}") from None
        raise StorageError(f"cannot read '{name}': {reason(error)}", path=name) from None


class StateTable(NamedTuple):
    """The table of a file: its columns, its metadata, and its batches, which are read once.

    Errors of Arrow are raised as simgit's.
    """

    schema: pa.Schema
    metadata: Mapping[bytes, bytes]
    batches: Iterator[pa.RecordBatch]


def read_parquet(source: Source, path: Path | None = None, most: int = _MOST) -> StateTable:
    """Return the table of a Parquet file, the source itself or one in it.

    Args:
        source: the file or its directory.
        path: the file, None for the source.
        most: the most rows of a batch.

    Raises:
        IntegrityError: it is damaged, or would take more memory than is accepted.
    """
    opened = source.open(path)
    name = source.text if path is None else path.name
    with damage_of(name):
        file = pq.ParquetFile(
            path or source.path, pre_buffer=False, page_checksum_verification=True
        )
        source.closing.callback(file.close)
        check_types(file.schema_arrow)

    def batches() -> Iterator[pa.RecordBatch]:
        for group, rows in enumerate(rows_at_once(opened, file.schema, most)):
            yield from file.iter_batches(rows, [group])

    return StateTable(file.schema_arrow, file.metadata.metadata or {}, _guarded(batches(), name))


def read_ipc(source: Source, path: Path | None = None) -> StateTable:
    """Return the table of an Arrow file, which is mapped into memory; see ``read_parquet``."""
    source.open(path)
    name = source.text if path is None else path.name
    with damage_of(name):
        mapped = source.closing.enter_context(pa.memory_map(str(path or source.path)))
        count = pa.ipc.open_file(mapped).num_record_batches
        mapped.seek(8)  # from here on it is a stream, whose messages are those that are checked
        check_sizes(mapped)
        mapped.seek(8)
        opened = pa.ipc.open_stream(mapped)
        check_types(opened.schema)

    def batches() -> Iterator[pa.RecordBatch]:
        found = 0
        for batch in opened:
            found += 1
            yield batch
        if found != count:
            raise IntegrityError("the Arrow file has another number of batches than it says")

    return StateTable(opened.schema, opened.schema.metadata or {}, _guarded(batches(), name))


def _guarded(batches: Iterator[pa.RecordBatch], name: str) -> Iterator[pa.RecordBatch]:
    while True:
        with damage_of(name):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)  # texts that are not UTF-8, too
            size = rows_together(batch, _MOST)
        yield from (batch.slice(at, size) for at in range(0, batch.num_rows, size))


def new_contents(
    source: Source,
    columns: Sequence[str],
    manifest: FileManifest | None,
    batches: Iterator[pa.RecordBatch],
) -> Contents:
    """Return the runs of a table whose states get their oids here."""
    names = given_names(source) if manifest is None else OWN
    known = {run.name: run for run in manifest.runs} if manifest else {}
    schema = manifest.widest() if manifest else None
    contents = Contents((), manifest.total or None if manifest else None)
    contents.lossy = manifest.lossy if manifest else None
    if manifest is None and {*OWN_KEYS} <= set(columns):
        contents.notes.append(NO_MANIFEST)

    def runs() -> Iterator[SourceRun]:
        parts = _by_run(batches, names, usable_name(source.path.stem))
        for name, found in itertools.groupby(parts, lambda part: part[0]):
            run = known.get(name) or SourceRun(usable_name(name))
            run.blocks = _blocks((batch for _, batch in found), names, schema, contents.notes)
            yield run

    contents.runs = with_empty_runs(runs(), manifest.runs if manifest else ())
    return contents


def _by_run(
    batches: Iterator[pa.RecordBatch], names: FieldNames, default: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    for batch in batches:
        column = names.find("run", batch.schema.names)
        if column is None:
            yield default, batch
            continue
        texts = [str(each) for each in batch.column(column).to_pylist()]
        at = 0
        for name, found in itertools.groupby(texts):
            size = sum(1 for _ in found)
            yield name, batch.slice(at, size)
            at += size


def _blocks(
    batches: Iterator[pa.RecordBatch], names: FieldNames, schema: Schema | None, notes: list[str]
) -> Iterator[Any]:
    held: pa.RecordBatch | None = None
    if schema is not None:
        for batch in batches:
            try:
                yield PackedStates(rows_of(batch, schema)[0], None)
            except IntegrityError:
                held = batch
                break
        else:
            return
    rest = batches if held is None else _with(held, batches)
    rows = (row for batch in rest for row in _records(batch))
    yield from state_columns(source_states(rows, names, notes))


def _with(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _records(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of any table as dicts, numbers as NumPy's."""
    columns = {}
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if not name.endswith(_MARKS):
            columns[name] = _column(array)
    for i in range(batch.num_rows):
        yield {name: values[i] for name, values in columns.items() if values[i] is not None}


def _column(array: pa.Array) -> Sequence[Any]:
    kind = array.type
    if isinstance(kind, ValueType):
        return [None if v is None else decode_value(v) for v in array.storage.to_pylist()]
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    is_fixed = pa.types.is_fixed_size_list(kind)
    if isinstance(kind, pa.FixedShapeTensorType) or (
        (is_list or is_fixed) and _is_number(kind.value_type)
    ):
        values = getattr(array, "storage", array).values
        if not values.null_count:
            return _arrays(array, values if is_list else None)
        if not (is_list or is_fixed):
            raise IntegrityError("malformed table: a tensor lacks an element")
    if is_list or is_fixed:
        return [_shaped(v, kind.value_type) for v in array.to_pylist()]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        scalar = np.dtype(kind.to_pandas_dtype()).type
        return [None if v is None else scalar(v) for v in array.to_pylist()]
    found: Sequence[Any] = array.to_pylist()
    return [_without_marks(each) for each in found] if pa.types.is_struct(kind) else found


def _without_marks(value: Any) -> Any:
    """Return a struct without the entries that only simgit's columns have."""
    if not isinstance(value, dict):
        return value
    own = {k: v for k, v in value.items() if k != EMPTY and not k.endswith(_MARKS)}
    return {k: _without_marks(v) for k, v in own.items()}


def _arrays(array: pa.Array, values: pa.Array | None) -> list[Any]:
    """Return tensors or lists of numbers as arrays, None for null."""
    if values is None:
        found: Any = numbers_of(array)
    else:
        flat, ends = numbers_of(values), array.offsets.to_numpy().tolist()
        found = [flat[start:stop] for start, stop in itertools.pairwise(ends)]
    there = array.is_valid().to_pylist() if array.null_count else itertools.repeat(True)
    return [each if here else None for each, here in zip(found, there, strict=False)]


def _is_number(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _NUMBERS)


def _shaped(value: Any, kind: pa.DataType) -> Any:
    """Return a list of numbers as an array; anything else as it is."""
    inner = kind
    while pa.types.is_list(inner) or pa.types.is_large_list(inner):
        inner = inner.value_type
    if value is None or not _is_number(inner):
        return value
    try:
        return np.array(value, inner.to_pandas_dtype())
    except (ValueError, TypeError):  # ragged, or with nulls
        return value


# --- Minari --------------------------------------------------------------------------------------


def whole_table(source: Source, path: Path) -> dict[str, pa.Array]:
    """Return the columns of an Arrow file in a directory, read at once.

    Raises:
        IntegrityError: it is damaged.
    """
    schema, _, batches = read_ipc(source, path)
    with damage_of(path.name):
        table = pa.Table.from_batches(batches, schema)
        return {
            name: pa.concat_arrays(table.column(name).chunks) if table.num_rows else empty(kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        }


def of_space(column: pa.Array, space: Any) -> Any:
    """Return a column of values of a space as arrays with a leading axis.

    Raises:
        IntegrityError: the column does not fit the space.
    """
    kind = space.get("type") if isinstance(space, dict) else None
    try:
        if kind == "Dict":
            below = space["subspaces"]
            return {name: of_space(column.field(name), below[name]) for name in below}
        if kind == "Tuple":
            return tuple(
                of_space(column.field(str(i)), s) for i, s in enumerate(space["subspaces"])
            )
        if kind == "Text":
            return [str(each) for each in column.to_pylist()]
        if kind in ("Box", "MultiDiscrete", "MultiBinary"):
            flat = numbers_of(column)
            shape = space.get("shape", np.shape(space.get("nvec", ())))
            shape = np.atleast_1d(space["n"]).tolist() if kind == "MultiBinary" else shape
            return flat.reshape(len(column), *map(int, shape))
        return numbers_of(column)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(f"malformed table: {error}") from None
