"""Event files of TensorBoard: their scalars, read without any package.

A file is a row of records: length, checksum, data, checksum; the data are an ``Event`` of protocol
buffers. A record that is cut off ends the file: its writer was stopped, or still writes.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from simgit.errors import IntegrityError

PATTERN: Final = "*tfevents*"
_LARGEST: Final = 256 << 20
"""The most bytes of a record."""
_HEADER: Final = 12
_DTYPES: Final = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
"""The numbers of tensors' types that scalars have."""
_PACKED: Final = {5: "<f4", 6: "<f8"}
"""The fields of a tensor that hold its values as floats."""
_VARINTS: Final = (7, 10)
"""The fields of a tensor that hold its values as integers."""


@dataclass
class ScalarCurve:
    """The points of a tag, in the order in which they were written."""

    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    is_single: bool = True
    """True if all values were written as 32-bit floats."""

    def arrays(self) -> dict[str, Any]:
        """Return the points as arrays: steps, seconds since 1970, values."""
        return {
            "step": np.array(self.steps, "<i8"),
            "time": np.array(self.times, "<f8"),
            "value": np.array(self.values, "<f4" if self.is_single else "<f8"),
        }


@dataclass
class Scalars:
    """The scalars of event files by their tags.

    Attributes:
        curves: by tag.
        others: the number of values that are no scalars: images, histograms, texts.
        faults: what is damaged or cut off, a line each.
    """

    curves: dict[str, ScalarCurve] = field(default_factory=dict)
    others: int = 0
    faults: list[str] = field(default_factory=list)

    def read(self, path: Path) -> None:
        """Add the scalars of a file, up to its end or to where it is damaged."""
        with path.open("rb") as opened:
            try:
                for data in records(opened):
                    self._add(data)
            except IntegrityError as error:
                self.faults.append(f"'{path.name}': {error}; what comes before it is read")

    def _add(self, data: bytes) -> None:
        time, step, summaries = 0.0, 0, []
        for number, value in _fields(data):
            if number == 1 and isinstance(value, bytes) and len(value) == 8:
                (time,) = struct.unpack("<d", value)
            elif number == 2 and isinstance(value, int):
                step = value - (1 << 64) if value >> 63 else value
            elif number == 5 and isinstance(value, bytes):
                summaries.append(value)
        for summary in summaries:
            for number, value in _fields(summary):
                if number == 1 and isinstance(value, bytes):
                    self._add_value(value, step, time)

    def _add_value(self, data: bytes, step: int, time: float) -> None:
        tag, found = "", None
        for number, value in _fields(data):
            if not isinstance(value, bytes):
                continue
            if number == 1:
                tag = value.decode("utf-8", "replace").replace("\0", "")
            elif number == 2 and len(value) == 4:
                found = struct.unpack("<f", value)[0], True
            elif number == 8:
                found = _scalar_of(value)
        if found is None or not tag:
            self.others += 1
            return
        curve = self.curves.setdefault(tag, ScalarCurve())
        curve.steps.append(step)
        curve.times.append(time)
        curve.values.append(found[0])
        curve.is_single = curve.is_single and found[1]


def records(opened: BinaryIO) -> Iterator[bytes]:
    """Yield the data of records.

    Raises:
        IntegrityError: a record is damaged or cut off.
    """
    while header := opened.read(_HEADER):
        if len(header) < _HEADER:
            raise IntegrityError("cut off within a record")
        size, check = struct.unpack("<QI", header)
        if masked_crc(header[:8]) != check or size > _LARGEST:
            raise IntegrityError("damaged: a record has a wrong checksum")
        data = opened.read(size + 4)
        if len(data) < size + 4:
            raise IntegrityError("cut off within a record")
        if masked_crc(data[:-4]) != int.from_bytes(data[-4:], "little"):
            raise IntegrityError("damaged: a record has a wrong checksum")
        yield data[:-4]


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message: number, and an integer or bytes (fixed-size ones too)."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise IntegrityError("damaged: a record is malformed")
        if at + size > len(data):
            raise IntegrityError("damaged: a record is malformed")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise IntegrityError("damaged: a record is malformed")


def _varints(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _scalar_of(data: bytes) -> tuple[float, bool] | None:
    """Return the value of a tensor of one number, and whether it is a 32-bit float."""
    dtype, found = 0, []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 4 and isinstance(value, bytes) and dtype in _DTYPES:
            if len(value) == np.dtype(_DTYPES[dtype]).itemsize:
                found.append(float(np.frombuffer(value, _DTYPES[dtype])[0]))
        elif number in _PACKED and isinstance(value, bytes):
            size = np.dtype(_PACKED[number]).itemsize
            found += np.frombuffer(value[: len(value) // size * size], _PACKED[number]).tolist()
        elif number in _VARINTS:
            numbers = [value] if isinstance(value, int) else _varints(value)
            found += [float(each - (1 << 64) if each >> 63 else each) for each in numbers]
    return (found[0], dtype == 1) if len(found) == 1 and dtype in _DTYPES else None


def _table() -> tuple[int, ...]:
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        found.append(value)
    return tuple(found)


_CRC: Final = _table()


def masked_crc(data: bytes) -> int:
    """Return the masked CRC-32C of data."""
    value, table = 0xFFFFFFFF, _CRC
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_scalars(paths: Iterable[Path]) -> Scalars:
    """Return the scalars of event files, given in the order of their times."""
    found = Scalars()
    for path in paths:
        found.read(path)
    return found
