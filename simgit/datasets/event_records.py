"""The records of TensorBoard's event files and of TFRecord: lengths and bytes with checksums.

A file is a sequence of records: u64 length, its check, the bytes, their check (all little-endian).
A check is CRC-32C, turned right by 15 bits, plus 0xa282ead8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import islice
from os import SEEK_END
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import IntegrityError

LARGEST: Final = 256 << 20
"""The most bytes of a record that is read."""
_POLYNOMIAL: Final = 0x82F63B78
_ROW: Final = 256
"""Bytes of a long message whose checks are computed side by side."""
_TOGETHER: Final = 1024
"""Records whose checks are computed in one go."""
_ENDS: Final = 64
"""The first and the last bytes read, of each so many, by which a file is known again."""


@cache
def _table() -> npt.NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table.astype(np.uint32)


@cache
def _listed() -> list[int]:
    found: list[int] = _table().tolist()
    return found


@cache
def _shift() -> list[list[int]]:
    """Return what a register becomes after ``_ROW`` zero bytes, by each of its four bytes."""
    bits = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    after = _after(bits, np.zeros((32, _ROW), np.uint8))
    values = np.arange(256, dtype=np.uint32)
    found = []
    for byte in range(4):
        row = np.zeros(256, np.uint32)
        for bit in range(8):
            row ^= np.where(values >> np.uint32(bit) & 1, after[8 * byte + bit], 0).astype(
                np.uint32
            )
        found.append(row.tolist())
    return found


def _after(
    registers: npt.NDArray[np.uint32], rows: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint32]:
    """Return registers after the bytes of each row."""
    table = _table()
    for column in np.ascontiguousarray(rows.T):
        registers = table[(registers ^ column) & 255] ^ (registers >> np.uint32(8))
    return registers


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    register = 0xFFFFFFFF
    whole = len(data) // _ROW
    if whole > 1:
        rows = np.frombuffer(data, np.uint8, whole * _ROW).reshape(whole, _ROW)
        own = _after(np.zeros(whole, np.uint32), rows).tolist()
        a, b, c, d = _shift()
        for each in own:
            register = (
                a[register & 255] ^ b[register >> 8 & 255] ^ c[register >> 16 & 255]
                ^ d[register >> 24] ^ each
            )  # fmt: skip
        data = data[whole * _ROW :]
    table = _listed()
    for byte in data:
        register = table[(register ^ byte) & 255] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def check(data: bytes) -> bytes:
    """Return the check of some bytes as it is stored."""
    return _masked(crc32c(data)).to_bytes(4, "little")


@lru_cache(4096)
def _length(size: int) -> bytes:
    """Return what stands before a record of a size."""
    length = size.to_bytes(8, "little")
    return length + check(length)


def checks(payloads: Sequence[bytes]) -> list[bytes]:
    """Return the check of each message; those of equally long ones are computed in one go."""
    found = [b""] * len(payloads)
    by_size: dict[int, list[int]] = {}
    for i, payload in enumerate(payloads):
        by_size.setdefault(len(payload), []).append(i)
    for size, members in by_size.items():
        if size > 2 * _ROW or len(members) < 8:
            for i in members:
                found[i] = check(payloads[i])
            continue
        joined = b"".join([payloads[i] for i in members])
        rows = np.frombuffer(joined, np.uint8).reshape(len(members), size)
        crcs = _after(np.full(len(members), 0xFFFFFFFF, np.uint32), rows) ^ np.uint32(0xFFFFFFFF)
        masked = ((crcs >> 15 | crcs << 17) + np.uint32(0xA282EAD8)).astype("<u4").tobytes()
        for k, i in enumerate(members):
            found[i] = masked[4 * k : 4 * k + 4]
    return found


def records(payloads: Sequence[bytes]) -> bytes:
    """Return messages as records, one after the other."""
    pairs = zip(payloads, checks(payloads), strict=True)
    return b"".join([part for p, end in pairs for part in (_length(len(p)), p, end)])


class RecordFile:
    """A file of records that is read as far as it is written; what came since is read next time.

    Attributes:
        path: the file.
        at: the bytes that were read.
        ends: the first and the last of these bytes, as they were when they were read: the file
            may be written anew at any moment.
        damaged: the records that were left out because their check does not match.
        broken: True if the file cannot be read further: a length is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.at = 0
        self.ends = b""
        self.damaged = 0
        self.broken = False

    @property
    def rest(self) -> int:
        """The bytes at the end of the file that were not read: a record that is not whole."""
        return max(0, self.path.stat().st_size - self.at)

    def is_same(self) -> bool:
        """Return False if another file has this path by now.

        One that is shorter than what was read but begins alike is the same: it is being copied.
        """
        with self.path.open("rb") as file:
            found = self._ends(file)
        return found == self.ends or (len(found) < len(self.ends) and self.ends.startswith(found))

    def _ends(self, file: BinaryIO) -> bytes:
        size = file.seek(0, SEEK_END)  # first: a file that is cut off now reads as a shorter one
        file.seek(0)
        head = file.read(min(self.at, _ENDS))
        if size < self.at or len(head) < min(self.at, _ENDS):
            return head
        file.seek(max(0, self.at - _ENDS))
        return head + file.read(min(self.at, _ENDS))

    def payloads(self) -> Iterator[bytes]:
        """Yield the bytes of the records that are whole and have not been read yet.

        Raises:
            IntegrityError: it is not a file of records.
        """
        self.broken = False  # what was not written yet may have read as zeros
        with self.path.open("rb") as file:
            file.seek(self.at)
            while found := list(islice(self._bodies(file), _TOGETHER)):
                payloads = [body[:-4] for body in found]
                for body, end in zip(found, checks(payloads), strict=True):
                    if body[-4:] == end:
                        yield body[:-4]
                    else:
                        self.damaged += 1

    def _bodies(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the bytes of whole records with their checks."""
        while not self.broken:
            head = file.read(12)
            if len(head) < 12:
                return
            size = int.from_bytes(head[:8], "little")
            if head != _length(size) or size > LARGEST:
                if self.at == 0:
                    raise IntegrityError(f"'{self.path}' is not an event file", path=self.path)
                self.broken = True
                return
            body = file.read(size + 4)
            if len(body) < size + 4:
                return
            first, last = self.ends[: min(self.at, _ENDS)], self.ends[min(self.at, _ENDS) :]
            self.ends = (first + head + body)[:_ENDS] + (last + head + body)[-_ENDS:]
            self.at += 16 + size
            yield body
