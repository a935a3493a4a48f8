"""Limits of what a bundle's bytes may expand to, for readers and writers.

A frame of some KB can hold millions of empty maps, each of which takes a hundred times its byte. So
parts are counted before values are made, and sizes are compared before anything is inflated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from simgit.errors import IntegrityError, InvalidInput
from simgit.objects.canonical import MAX_PARTS, check_parts
from simgit.objects.kinds import COUNTED, KIND_CODES, KIND_NAMES
from simgit.objects.oid import Oid
from simgit.objects.rows import Rows
from simgit.objects.schema import VALUE, Schema
from simgit.odb.location import Location
from simgit.odb.loose import Encoding, loose_size
from simgit.odb.segments.array_codec import group_header
from simgit.odb.segments.array_groups import groups_between, read_group
from simgit.remotes.bundle.records import MAX_OBJECT
from simgit.storage.base import ReadTxn

MAX_STRUCTURED: Final = 16 << 20
"""The most bytes of an object that is not plain bytes or an array."""
MAX_STATES: Final = 256 << 20
"""The most inflated bytes of the fixed part, and of each group, in a record of several states."""
MAX_VARIABLE: Final = 32 << 20
"""The most inflated bytes of their variable part."""
SPLIT: Final = 16 << 20
"""The bytes of a record of states after which a writer begins another one."""
MAX_RATIO: Final = 1000
"""How many times its stored bytes something may be that is larger than the following."""
FREE_BLOB: Final = 16 << 20
FREE_ARRAY: Final = 64 << 20
_PLAIN: Final = {KIND_CODES["blob"], KIND_CODES["array"]}


def is_too_large(value: bytes) -> bool:
    """Return True if an object in its stored form is larger than a bundle allows for its kind."""
    return value[0] not in _PLAIN and loose_size(value) > MAX_STRUCTURED


def inflates_too_much(value: bytes) -> bool:
    """Return True if an object in its stored form inflates to more than honest writers let it.

    A delta is as large as its base, which was accepted.
    """
    if value[1] not in (Encoding.ZSTD, Encoding.FULL):
        return False
    free = FREE_ARRAY if value[1] == Encoding.FULL else FREE_BLOB
    return loose_size(value) > max(free, MAX_RATIO * len(value))


def check_sent(oid: Oid, value: bytes) -> None:
    """Check an object that is to be written.

    Raises:
        InvalidInput: no reader would take it.
    """
    if is_too_large(value):
        raise InvalidInput(
            f"object '{oid.short()}' is too large for a bundle: {loose_size(value)} bytes",
            oid=oid,
        )


def is_counted(oid: Oid, value: bytes) -> bool:
    """Return True if an object in its stored form is of a kind whose parts are limited.

    Raises:
        IntegrityError: its kind is unknown.
    """
    if value[0] not in KIND_NAMES:
        raise IntegrityError(f"malformed object '{oid.hex()}': unknown kind")
    return KIND_NAMES[value[0]] in COUNTED


def check_object(kind: str, payload: bytes) -> None:
    """Check the payload of an object that is a value.

    Raises:
        IntegrityError: it has too many parts.
    """
    if kind in COUNTED:
        check_parts(payload, MAX_PARTS)


def check_manifest(body: bytes) -> None:
    """Check the manifest of a bundle before it is decoded.

    Raises:
        IntegrityError: it has too many parts.
    """
    check_parts(body, MAX_PARTS)


def check_group(stored: int, size: int, count: int, max_object: int) -> None:
    """Check the size that a group of arrays claims before it is inflated.

    Raises:
        IntegrityError: it is larger than allowed.
    """
    inflates = max_object == MAX_OBJECT and size * count > max(MAX_STATES, MAX_RATIO * stored)
    if size > max_object or inflates or (count > 1 and size * count > MAX_STATES):
        raise IntegrityError("arrays of the bundle are larger than allowed")


def check_block(schema: Schema, rows: int, variable: bytes) -> None:
    """Check the sizes that a block of states claims before it is decoded.

    Raises:
        IntegrityError: they are too large.
    """
    claimed = int.from_bytes(variable[:8], "little")
    most = MAX_VARIABLE if rows > 1 else max(MAX_STATES, MAX_RATIO * len(variable))
    if claimed > most or (rows > 1 and schema.fixed_size * rows > MAX_STATES):
        raise IntegrityError("states of the bundle are larger than allowed")


def check_values(rows: Rows) -> None:
    """Check the values of rows before they are decoded.

    Raises:
        IntegrityError: they have too many parts.
    """
    for index, encoded in zip(rows.schema.variable, rows.variable, strict=True):
        if rows.schema.fields[index][1].code == VALUE:
            # shorter ones cannot have more parts
            for data in {item for item in encoded if len(item) > MAX_PARTS}:
                check_parts(data, MAX_PARTS)


def check_sent_values(rows: Rows) -> None:
    """Check rows that are to be written.

    Raises:
        InvalidInput: no reader would take one of their values.
    """
    try:
        check_values(rows)
    except IntegrityError as error:
        raise InvalidInput(f"a state is too complex for a bundle: {error}") from None


def parts_of(txn: ReadTxn, place: Location, rows: Rows) -> Iterator[tuple[int, int]]:
    """Yield the ranges (start, stop) of a block's rows that go into one record each."""
    sizes = _sizes(txn, place, rows)
    if int(sizes.sum()) <= SPLIT:
        yield 0, rows.count
        return
    start, size = 0, 0
    for row, more in enumerate(sizes.tolist()):
        if row > start and size + more > SPLIT:
            yield start, row
            start, size = row, 0
        size += more
    yield start, rows.count


def _sizes(txn: ReadTxn, place: Location, rows: Rows) -> np.ndarray:
    """Return the bytes of each row, with the arrays that are stored with it."""
    sizes = np.full(rows.count, rows.schema.fixed_size, np.int64)
    for column in rows.variable:
        sizes += np.fromiter(map(len, column), np.int64, rows.count)
    line, step = place
    for field in rows.schema.arrays:
        for first, key in groups_between(txn, line, field, step, step + rows.count):
            header = group_header(read_group(txn, key))
            steps = header.steps + first - step
            sizes[steps[(steps >= 0) & (steps < rows.count)]] += header.nbytes
    return sizes
