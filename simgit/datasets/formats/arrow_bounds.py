"""The sizes that Parquet and Arrow files claim, checked before anything of them is inflated.

pyarrow does not tell whether a message of Arrow is compressed, believes what a page of Parquet
claims to inflate to, and ends the process where it would tell the sizes of a damaged column. So a
few numbers are read here: of FlatBuffers (Message.fbs of Apache Arrow) and of Thrift's compact
protocol (parquet.thrift of Apache Parquet).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa

from simgit.errors import InvalidInput

Fields = Mapping[int, Any]
"""The wanted fields of a struct by their numbers, and those of structs in them."""
_FREE: Final = 64 << 20
_MOST: Final = 2 << 30
_RATIO: Final = 1000
"""How many times its bytes a larger batch may inflate to."""
_HEADER, _BUFFERS, _COMPRESSION = 2, 2, 3
_DICTIONARY: Final = 2
"""The type of messages whose batch is one level deeper."""

_BUDGET: Final = 16 << 20
"""About how many bytes a batch of a Parquet file should have."""
_MAX_GROUP: Final = 1 << 30
"""The most bytes of a row group without its compression, and of a column that lists spread."""
_SHARING: Final = (
    pa.types.is_list_view, pa.types.is_large_list_view, pa.types.is_run_end_encoded,
)  # fmt: skip
"""Types whose values may be many times in a column, and once in its bytes."""
_MAX_HEADER: Final = 16 << 20
_BOOLS, _BINARY, _LISTS, _MAP, _STRUCT = (1, 2), 8, (9, 10), 11, 12
_FIXED_SIZES: Final = {3: 1, 7: 8, 13: 16}
"""The bytes of Thrift's small integers, floats and UUIDs, by their types."""
_GROUPS: Final = 4
_COLUMNS, _ROWS = 1, 3
_CHUNK: Final = 3
_CODEC, _VALUES, _BYTES, _DATA, _DICTIONARY_AT = 4, 5, 7, 9, 11
_CODECS: Final = {0: "", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_GROUP_FIELDS: Final[Fields] = {
    _COLUMNS: {_CHUNK: {key: {} for key in (_CODEC, _VALUES, _BYTES, _DATA, _DICTIONARY_AT)}},
    _ROWS: {},
}  # fmt: skip
_INFLATED, _COMPRESSED, _PAGE, _PAGE_2 = 2, 3, 5, 8
_PAGE_FIELDS: Final[Fields] = {
    1: {}, _INFLATED: {}, _COMPRESSED: {}, _PAGE: {1: {}, 2: {}}, _PAGE_2: {1: {}, 4: {}},
}  # fmt: skip
_DICTIONARY_PAGE: Final = 2
_DELTA_TEXTS: Final = 7
"""The encoding of texts as their differences to the text before."""
_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}


def check_sizes(source: Any) -> None:
    """Check every message of a stream, from where the source stands to its end.

    Raises:
        ValueError: a batch would inflate to much more than it has bytes.
    """
    for message in pa.ipc.MessageReader.open_stream(source):
        if message.body is None or not message.body.size:
            continue
        head, body = memoryview(message.metadata), memoryview(message.body)
        try:
            size = _inflated(head, body)
        except (struct.error, IndexError):
            raise ValueError("the header of a message is malformed") from None
        if size > min(_MOST, max(_FREE, _RATIO * len(body))):
            raise ValueError("a batch is too large for its bytes")


def _inflated(head: memoryview, body: memoryview) -> int:
    """Return the bytes that the buffers of a message claim to have when they are inflated."""
    root = _number(head, "<I", 0)
    kind = _field(head, root, 1)
    batch = _below(head, _field(head, root, _HEADER))
    if kind is not None and head[kind] == _DICTIONARY:
        batch = _below(head, _field(head, batch, 1))
    if _field(head, batch, _COMPRESSION) is None:
        return 0
    buffers = _below(head, _field(head, batch, _BUFFERS))
    total = 0
    for i in range(_number(head, "<I", buffers)):
        offset, length = struct.unpack_from("<qq", head, buffers + 4 + 16 * i)
        if length:
            total += max(0, _number(body, "<q", offset))  # -1: this one is not compressed
    return total


def _number(data: memoryview, form: str, at: int) -> int:
    return int(struct.unpack_from(form, data, at)[0])


def _field(head: memoryview, table: int, number: int) -> int | None:
    """Return the place of a field of a table, None if it does not have it."""
    names = table - _number(head, "<i", table)
    if 4 + 2 * number >= _number(head, "<H", names):
        return None
    offset = _number(head, "<H", names + 4 + 2 * number)
    return table + offset if offset else None


def _below(head: memoryview, at: int | None) -> int:
    if at is None:
        raise IndexError("a field is missing")
    return at + _number(head, "<I", at)


# --- both ----------------------------------------------------------------------------------------


def check_types(fields: Iterable[pa.Field]) -> None:
    """Check the types of a table.

    Raises:
        ValueError: a name is not UTF-8.
        InvalidInput: values of a type may take more memory than they have bytes.
    """
    for field in fields:
        str(field.name)
        kind = field.type.storage_type if _is_extension(field.type) else field.type
        if any(test(kind) for test in _SHARING):
            raise InvalidInput(f"columns of type {kind} cannot be read")
        order = getattr(field.type, "permutation", None) or []
        if order != sorted(order):
            raise InvalidInput("tensors of permuted dimensions cannot be read")
        if pa.types.is_dictionary(kind):
            check_types([pa.field("", kind.value_type)])
        check_types(kind.field(i) for i in range(kind.num_fields))


def rows_together(batch: pa.RecordBatch, most: int) -> int:
    """Return how many rows of a batch may become objects of Python together.

    Raises:
        ValueError: it has many values for which it has no bytes.
    """
    free, longest = 0, 1
    for part in [part for column in batch.columns for part in _parts(column)]:
        if not any(part.buffers()):
            free += len(part)
        if pa.types.is_dictionary(part.type) or str(part.type).endswith("_view"):
            longest += _longest(getattr(part, "dictionary", part))
    if free > _FREE * max(1, batch.num_columns):
        raise ValueError("a batch has more values than bytes")
    return max(1, min(most, 4 * _BUDGET // longest))


def _is_extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


def _parts(array: pa.Array) -> Iterator[pa.Array]:
    """Yield an array, and all those that its values are in."""
    array = array.storage if _is_extension(array.type) else array
    yield array
    kind = array.type
    if pa.types.is_struct(kind) or pa.types.is_union(kind):
        for i in range(kind.num_fields):
            yield from _parts(array.field(i))
    elif pa.types.is_map(kind):
        yield from _parts(array.keys)
        yield from _parts(array.items)
    elif hasattr(kind, "value_field"):
        yield from _parts(array.values)


def _longest(texts: pa.Array) -> int:
    """Return the bytes of the longest text of an array; 0 of anything else."""
    kind, count = str(texts.type).removeprefix("large_"), len(texts)
    if not count or kind.removesuffix("_view") not in ("string", "binary"):
        return 0
    if kind.endswith("_view"):
        return int(np.frombuffer(texts.buffers()[1], "<i4")[::4][texts.offset :][:count].max())
    dtype = np.dtype("<i8" if kind != str(texts.type) else "<i4")
    offsets = np.frombuffer(texts.buffers()[1], dtype, count + 1, texts.offset * dtype.itemsize)
    return int(np.diff(offsets).max())


# --- Parquet -------------------------------------------------------------------------------------


def rows_at_once(file: BinaryIO, schema: Any, most: int) -> Iterator[int]:
    """Yield for each row group of a Parquet file how many of its rows are decoded together.

    Args:
        file: the file, whose footer pyarrow has accepted.
        schema: its ``ParquetSchema``.
        most: the most rows.

    Raises:
        ValueError: a row group would take more memory than is accepted, or is malformed.
    """
    end = file.seek(-8, 2)
    (size,) = struct.unpack("<I", file.read(4))
    file.seek(max(0, end - size))
    footer = _Thrift(file.read(size))
    leaves = [schema.column(i) for i in range(len(schema))]
    try:
        for number, kind in footer.fields():
            if number != _GROUPS or kind not in _LISTS:
                footer.value(kind, {})
                continue
            for group_kind in footer.items():
                yield _rows_of_group(file, footer.value(group_kind, _GROUP_FIELDS), leaves, most)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("the header of a row group or page is malformed") from None


def _rows_of_group(file: BinaryIO, group: Any, leaves: list[Any], most: int) -> int:
    """Return how many rows of a row group are decoded together."""
    rows = max(1, group[_ROWS])
    total, width, longest = 0, 1, 1
    for leaf, chunk in zip(leaves, group[_COLUMNS], strict=True):
        own = leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else None
        own = _WIDTHS.get(leaf.physical_type, own)
        found = _chunk_sizes(file, chunk[_CHUNK], own is None, _MAX_GROUP - total)
        size, values, text = found
        total += size
        longest += text
        decoded = size if own is None else own * values
        if leaf.max_repetition_level and decoded + text * values > _MAX_GROUP:
            raise ValueError(f"the lists of column '{leaf.path}' are too large for its bytes")
        width += decoded // rows + 1
    return max(1, min(most, _BUDGET // width, 4 * _BUDGET // longest))


def _chunk_sizes(
    file: BinaryIO, chunk: Mapping[int, int], is_text: bool, most: int
) -> tuple[int, int, int]:
    """Return a column's inflated bytes, its values, and the longest text that several may share.

    A text that stands once, in a dictionary or before its differences, may stand in every row.
    """
    at = min(chunk[_DATA], chunk.get(_DICTIONARY_AT, 0) or chunk[_DATA])
    stop = at + chunk[_BYTES]
    size = values = text = 0
    while at < stop and values < chunk[_VALUES]:  # as pyarrow reads them
        page, at = _page_at(file, at)
        if min(page[_INFLATED], page[_COMPRESSED]) < 0:
            raise IndexError
        size += page[_INFLATED]
        if size > most:
            raise ValueError("a row group has more than 1 GiB")
        data, more = page.get(_PAGE, {}), page.get(_PAGE_2, {})
        values += max(0, data.get(1, 0), more.get(1, 0))
        if is_text and page[1] == _DICTIONARY_PAGE:
            file.seek(at)
            text = max(text, _longest_text(file.read(page[_COMPRESSED]), page, chunk[_CODEC]))
        elif is_text and _DELTA_TEXTS in (data.get(2), more.get(4)):
            text = max(text, page[_INFLATED])
        at += page[_COMPRESSED]
    return size, values, text


def _longest_text(data: bytes, page: Mapping[int, int], codec: int) -> int:
    """Return the bytes of the longest text of a dictionary; of all, if it is large or unknown."""
    size = page[_INFLATED]
    if size > _BUDGET or codec not in _CODECS:
        return size
    if codec:
        data = pa.Codec(_CODECS[codec]).decompress(data, size).to_pybytes()
    at = longest = 0
    while at + 4 <= len(data):
        (found,) = struct.unpack_from("<I", data, at)
        longest = max(longest, found)
        at += 4 + found
    return longest


def _page_at(file: BinaryIO, at: int) -> tuple[Any, int]:
    """Return the header of a page, and where its data begin."""
    if at < 0:
        raise IndexError
    for size in (256, _MAX_HEADER):
        file.seek(at)
        head = _Thrift(file.read(size))
        try:
            return head.value(_STRUCT, _PAGE_FIELDS), at + head.at
        except IndexError:
            if size == _MAX_HEADER:
                raise
    raise AssertionError


class _Thrift:
    """A cursor over values in Thrift's compact protocol; IndexError where they are malformed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, kind: int, wanted: Fields) -> Any:
        """Return the next value: an integer, or the wanted fields of a struct; others are None."""
        if kind == _STRUCT:
            found = {}
            for number, inner in self.fields():
                value = self.value(inner, wanted.get(number, {}))
                if number in wanted:
                    found[number] = value
            return found
        if kind in _LISTS:
            return [self.value(inner, wanted) for inner in self.items()]
        if 4 <= kind <= 6:
            number = self._number()
            return number >> 1 ^ -(number & 1)
        if kind == _MAP:
            count = self._number()
            kinds = self._byte() if count else 0
            for _ in range(count):
                self.value(kinds >> 4, {})
                self.value(kinds & 15, {})
        elif kind not in _BOOLS:
            self._skip(self._number() if kind == _BINARY else _FIXED_SIZES[kind])
        return None

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct; who calls takes its value."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.value(4, {})
            yield number, head & 15

    def items(self) -> Iterator[int]:
        """Yield the type of each item of a list; who calls takes its value."""
        head = self._byte()
        for _ in range(head >> 4 if head >> 4 < 15 else self._number()):
            yield 3 if head & 15 in _BOOLS else head & 15

    def _number(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self.data):
            raise IndexError
