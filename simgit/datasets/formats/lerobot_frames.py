"""The Parquet files of LeRobot's data sets: frames, episodes, tasks; written and read in pieces."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simgit.datasets.formats.arrow_rows import numbers_of
from simgit.datasets.formats.arrow_tables import read_parquet
from simgit.datasets.formats.base import Source
from simgit.datasets.packages import needed
from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.arrays import AnyArray

_GROUP: Final = 4096
_IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_ROOT: Final = "data/chunk-{:03d}/file-{:03d}.parquet"
_NUMBERS: Final = ("frame_index", "episode_index", "index", "task_index")
_MAX_FRAME: Final = 1 << 26
"""The most elements of a feature in a frame."""
_BUDGET: Final = 64 << 20


class FrameWriter:
    """A writer of frames, in files of limited size; an episode lies in one of them.

    Attributes:
        episodes, frames: the numbers of those written.
    """

    def __init__(self, target: Path, fps: int, most: int, files: int) -> None:
        self.target, self.fps, self.most, self.files = target, fps, most, files
        self.episodes = 0
        self.frames = 0
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...], bool]] = {}
        self._schema: pa.Schema | None = None
        self._writer: Any = None
        self._sink: Any = None
        self._file = -1
        self._rows: list[dict[str, Any]] = []
        self._totals: dict[str, list[AnyArray]] = {}

    def add(self, arrays: Mapping[str, AnyArray]) -> None:
        """Write an episode.

        Raises:
            InvalidInput: its arrays are of another dtype or shape than those before.
        """
        from simgit.datasets.formats.lerobot import is_picture

        count = len(arrays["next.done"])
        if not count:
            return
        kinds = {n: (a.dtype, a.shape[1:], is_picture(a)) for n, a in arrays.items()}
        if self._schema is None:
            self._kinds = kinds
            self._schema = self._make_schema()
        if kinds != self._kinds:
            raise InvalidInput(
                "observations or actions of several episodes differ in type or shape; parquet and "
                "jsonl take all values"
            )
        if self._writer is None or self._sink.tell() > self.most:
            self._open()
        own = {
            "timestamp": np.arange(count, dtype="f4") / np.float32(self.fps),
            "frame_index": np.arange(count), "episode_index": np.full(count, self.episodes),
            "index": np.arange(self.frames, self.frames + count),
            "task_index": np.zeros(count, "i8"),
        }  # fmt: skip
        columns = [self._column(name, {**arrays, **own}[name]) for name in self._schema.names]
        table = pa.Table.from_arrays(columns, schema=self._schema)
        self._writer.write_table(table, row_group_size=_GROUP)
        self._note({**arrays, **own}, count)

    def close(self) -> None:
        """End the files."""
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._writer = None

    def _open(self) -> None:
        self.close()
        self._file += 1
        path = self.target / _ROOT.format(*divmod(self._file, self.files))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = path.open("wb")
        self._writer = pq.ParquetWriter(
            self._sink, self._schema, compression="snappy", use_dictionary=False
        )

    def _make_schema(self) -> pa.Schema:
        fields = [pa.field(name, _type(*kind)) for name, kind in self._kinds.items()]
        fields += [
            pa.field("timestamp", pa.float32()),
            *(pa.field(name, pa.int64()) for name in _NUMBERS),
        ]  # fmt: skip
        hints = {name: _hint(*kind) for name, kind in self._kinds.items()}
        hints |= {
            f.name: {"dtype": str(f.type).replace("float", "float32"), "_type": "Value"}
            for f in fields if f.name not in hints
        }  # fmt: skip
        text = json.dumps({"info": {"features": hints}})
        return pa.schema(fields, {"huggingface": text})

    def _column(self, name: str, data: AnyArray) -> pa.Array:
        kind = self._kinds.get(name)
        if kind is None or not (kind[1] or kind[2]):
            return pa.array(data)
        if kind[2]:
            image = needed("PIL.Image", "pictures in LeRobot")
            found = [{"bytes": _png(image, each), "path": None} for each in data]
            return pa.array(found, _IMAGE)
        return _lists(data)

    # --- what is told of them ---

    def features(self) -> dict[str, Any]:
        """Return the features as LeRobot's description has them."""
        found: dict[str, Any] = {}
        for name, (dtype, shape, picture) in self._kinds.items():
            if picture:
                found[name] = {"dtype": "image", "shape": list(shape),
                               "names": ["height", "width", "channels"]}  # fmt: skip
            else:
                found[name] = {"dtype": dtype.name, "shape": list(shape) or [1], "names": None}
        found["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
        for name in _NUMBERS:
            found[name] = {"dtype": "int64", "shape": [1], "names": None}
        return found

    def _note(self, arrays: Mapping[str, AnyArray], count: int) -> None:
        stats = {name: _sums(data, self._kinds.get(name)) for name, data in arrays.items()}
        row: dict[str, Any] = {
            "episode_index": self.episodes, "tasks": [], "length": count,
            "data/chunk_index": self._file // self.files,
            "data/file_index": self._file % self.files,
            "dataset_from_index": self.frames, "dataset_to_index": self.frames + count,
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
        }  # fmt: skip
        for name, sums in stats.items():
            for key, value in _stats(sums).items():
                row[f"stats/{name}/{key}"] = value
            held = self._totals.get(name)
            self._totals[name] = sums if held is None else _added(held, sums)
        self._rows.append(row)
        self.episodes += 1
        self.frames += count

    def describe(self, task: str) -> None:
        """Write what LeRobot's ``meta`` has beside the description: episodes, tasks, statistics."""
        folder = self.target / "meta" / "episodes" / "chunk-000"
        folder.mkdir(parents=True)
        for row in self._rows:
            row["tasks"] = [task]
        pq.write_table(pa.Table.from_pylist(self._rows), folder / "file-000.parquet")
        index = "__index_level_0__"
        pandas = {
            "index_columns": [index], "column_indexes": [], "columns": [
                {"name": "task_index", "field_name": "task_index", "pandas_type": "int64",
                 "numpy_type": "int64", "metadata": None},
                {"name": None, "field_name": index, "pandas_type": "unicode",
                 "numpy_type": "object", "metadata": None},
            ], "pandas_version": "2.0.0",
        }  # fmt: skip
        tasks = pa.table({"task_index": pa.array([0]), index: pa.array([task])})
        tasks = tasks.replace_schema_metadata({"pandas": json.dumps(pandas)})
        pq.write_table(tasks, self.target / "meta" / "tasks.parquet")
        stats = {name: _stats(sums) for name, sums in self._totals.items()}
        (self.target / "meta" / "stats.json").write_text(json.dumps(stats, indent=4))


def _type(dtype: np.dtype[Any], shape: tuple[int, ...], picture: bool) -> pa.DataType:
    if picture:
        return _IMAGE
    kind = pa.from_numpy_dtype(dtype)
    if len(shape) == 1:
        return pa.list_(kind, shape[0]) if shape[0] > 1 else kind
    for _ in shape:
        kind = pa.list_(kind)
    return kind


def _hint(dtype: np.dtype[Any], shape: tuple[int, ...], picture: bool) -> dict[str, Any]:
    """Return a feature as the library ``datasets`` describes it."""
    if picture:
        return {"_type": "Image"}
    if shape in ((), (1,)):
        return {"dtype": dtype.name, "_type": "Value"}
    if len(shape) == 1:
        inner = {"dtype": dtype.name, "_type": "Value"}
        return {"feature": inner, "length": shape[0], "_type": "Sequence"}
    return {"shape": list(shape), "dtype": dtype.name, "_type": f"Array{len(shape)}D"}


def _lists(data: AnyArray) -> pa.Array:
    """Return arrays as lists, of one size if they have one dimension."""
    flat = pa.array(np.ascontiguousarray(data).reshape(-1))
    if data.ndim == 2:
        width = data.shape[1]
        return pa.FixedSizeListArray.from_arrays(flat, width) if width > 1 else flat
    for axis in range(data.ndim - 1, 0, -1):
        size = data.shape[axis]
        offsets = np.arange(0, len(flat) + 1, max(size, 1), dtype=np.int32)
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat


def _png(image: Any, data: AnyArray) -> bytes:
    buffer = io.BytesIO()
    image.fromarray(data[..., 0] if data.shape[-1] == 1 else data).save(buffer, format="PNG")
    return buffer.getvalue()


def _sums(data: AnyArray, kind: Any) -> list[AnyArray]:
    """Return min, max, sum, sum of squares and count of an episode, by element or channel."""
    values = data.astype(np.float64)
    if kind is not None and kind[2]:
        values = np.moveaxis(values, -1, 1) / 255
        values = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1).T
        shape: tuple[int, ...] = (values.shape[1], 1, 1)
    else:
        values = values.reshape(len(values), -1) if values.ndim < 2 else values
        shape = values.shape[1:]
    with np.errstate(all="ignore"):
        found = [values.min(0), values.max(0), values.sum(0), (values * values).sum(0)]
    return [*(each.reshape(shape) for each in found), np.array([len(data), len(values)])]


def _added(a: list[AnyArray], b: list[AnyArray]) -> list[AnyArray]:
    with np.errstate(all="ignore"):
        sums = [x + y for x, y in zip(a[2:], b[2:], strict=True)]
        return [np.minimum(a[0], b[0]), np.maximum(a[1], b[1]), *sums]


def _stats(sums: list[AnyArray]) -> dict[str, Any]:
    count, values = (int(each) for each in sums[4])
    with np.errstate(all="ignore"):
        mean = sums[2] / values
        std = np.sqrt(np.maximum(sums[3] / values - mean * mean, 0))
    return {"min": sums[0].tolist(), "max": sums[1].tolist(), "mean": mean.tolist(),
            "std": std.tolist(), "count": [count]}  # fmt: skip


class FrameReader:
    """A reader of the frames of a data set of a stranger, in order."""

    def __init__(self, source: Source, features: Mapping[str, Any]) -> None:
        self._features = features
        self._source = source
        self._batches = self._read()
        self._held: dict[str, Any] = {}
        self._at = self._size = 0

    def take(self, count: int) -> dict[str, Any]:
        """Return the next frames as arrays by the names of features.

        Raises:
            IntegrityError: there are fewer.
        """
        parts: list[dict[str, Any]] = []
        while count:
            if self._at == self._size and not self._next():
                raise IntegrityError("the data have fewer frames than they should: truncated")
            size = min(count, self._size - self._at)
            parts.append({n: a[self._at : self._at + size] for n, a in self._held.items()})
            self._at, count = self._at + size, count - size
        if len(parts) == 1:
            return parts[0]
        names = parts[0] if parts else {}
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the frames one by one."""
        while self._at < self._size or self._next():
            yield {name: values[self._at] for name, values in self._held.items()}
            self._at += 1

    def finish(self) -> None:
        """Raise IntegrityError if there are more frames."""
        if self._at < self._size or self._next():
            raise IntegrityError("the data have more frames than they should: they were edited")

    def _next(self) -> bool:
        for batch in self._batches:
            if batch.num_rows:
                self._held = {n: self._column(n, batch.column(n)) for n in batch.schema.names}
                self._at, self._size = 0, batch.num_rows
                return True
        return False

    def _read(self) -> Iterator[pa.RecordBatch]:
        root = self._source.path / "data"
        for path in sorted(root.glob("chunk-*/file-*.parquet")):
            yield from read_parquet(self._source, path, self._at_once()).batches

    def _at_once(self) -> int:
        """Return how many frames are decoded together, by the sizes that the features claim."""
        sizes = [math.prod(map(int, each["shape"])) for each in self._features.values()]
        if max(sizes, default=0) > _MAX_FRAME:
            raise IntegrityError("a feature has more elements than are accepted")
        return max(1, min(_GROUP, _BUDGET // (8 * sum(sizes) + 1)))

    def _column(self, name: str, column: pa.Array) -> Any:
        feature = self._features.get(name, {})
        if column.null_count:
            raise IntegrityError(f"feature '{name}' lacks a value")
        if feature.get("dtype") == "image" or pa.types.is_struct(column.type):
            return self._pictures(name, column)
        shape = [int(size) for size in feature.get("shape", [1])]
        data = column
        while pa.types.is_list(data.type) or pa.types.is_fixed_size_list(data.type):
            ends = None if pa.types.is_fixed_size_list(data.type) else data.offsets.to_numpy()
            if ends is not None and len(set(np.diff(ends).tolist())) > 1:
                raise IntegrityError(f"feature '{name}' does not have its shape")
            data = data.flatten()
        flat = numbers_of(data)
        own = () if column.type == data.type and shape == [1] else tuple(shape)
        try:
            return flat.reshape(len(column), *own)
        except ValueError:
            raise IntegrityError(f"feature '{name}' does not have its shape") from None

    def _pictures(self, name: str, column: pa.Array) -> AnyArray:
        image = needed("PIL.Image", "pictures in LeRobot")
        shape = tuple(self._features.get(name, {}).get("shape", ()))
        found = []
        for each in column.to_pylist():
            data = each.get("bytes") if isinstance(each, dict) else None
            if not data:
                raise IntegrityError(f"a picture of '{name}' is not in the file")
            try:
                with image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as opened:
                    if (opened.height, opened.width) != tuple(shape[:2]):
                        raise ValueError("it has another size than its description says")
                    found.append(np.asarray(opened).reshape(shape))
            except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
                raise IntegrityError(f"malformed picture of '{name}': {error}") from None
        return np.stack(found)
