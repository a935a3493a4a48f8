"""A second implementation of docs/object-format.md, written from the page alone, slow and simple.

It shares only BLAKE3 and NumPy with the package: the tests compare the oids of both for the same
values. It covers values, arrays, schemas, rows and states (§1–3, §5, §6).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from blake3 import blake3

Path = tuple[str, ...]
Kind = tuple[Any, ...]
"""A field's type: its number, then dtype and shape of a fixed field, or a tuple's length."""

NONE, BOOL, INT, FLOAT, COMPLEX, FIXED, ARRAY, TREE, MAP, TUPLE, STR, BYTES, VALUE = range(13)
STARTS: Mapping[str, Kind] = {
    "reward": (FLOAT,), "terminated": (BOOL,), "truncated": (BOOL,), "files": (TREE,),
    "message": (STR,),
}  # fmt: skip


def name(kind: str, payload: bytes) -> bytes:
    """Return the oid of a payload (§1)."""
    return blake3(kind.encode() + b" " + str(len(payload)).encode() + b"\0" + payload).digest()


# --- §2 ----------------------------------------------------------------------------------------


def value_bytes(value: Any) -> bytes:
    """Return the canonical encoding of a value (§2)."""
    if value is None:
        return b"\xc0"
    if value is True:
        return b"\xc3"
    if value is False:
        return b"\xc2"
    if is_array(value):
        return _ext(3, array_bytes(value))
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, complex):
        return _ext(5, struct.pack("<dd", value.real, value.imag))
    if isinstance(value, str):
        raw = str(value).encode()
        return _sized(raw, len(raw), (0xA0, 32), (0xD9, 0xDA, 0xDB))
    if isinstance(value, bytes):
        return _sized(value, len(value), None, (0xC4, 0xC5, 0xC6))
    if isinstance(value, list):
        return _sized(b"".join(map(value_bytes, value)), len(value), (0x90, 16), (None, 0xDC, 0xDD))
    if isinstance(value, tuple):
        return _ext(2, value_bytes(list(value)))
    if isinstance(value, dict):
        entries = sorted((value_bytes(key), value_bytes(item)) for key, item in value.items())
        raw = b"".join(key + item for key, item in entries)
        return _sized(raw, len(entries), (0x80, 16), (None, 0xDE, 0xDF))
    raise TypeError(type(value))


def _integer(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack("b", value)
    unsigned = [(0xCC, "B", 8), (0xCD, "H", 16), (0xCE, "I", 32), (0xCF, "Q", 64)]
    signed = [(0xD0, "b", 7), (0xD1, "h", 15), (0xD2, "i", 31), (0xD3, "q", 63)]
    for head, form, bits in unsigned if value >= 0 else signed:
        if (value < 1 << bits) if value >= 0 else (value >= -(1 << bits)):
            return bytes([head]) + struct.pack(">" + form, value)
    magnitude = abs(value)
    return _ext(
        1, bytes([value < 0]) + magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
    )


def _sized(
    raw: bytes, size: int, short: tuple[int, int] | None, heads: Sequence[int | None]
) -> bytes:
    if short is not None and size < short[1]:
        return bytes([short[0] + size]) + raw
    for head, form, limit in zip(heads, "BHI", (1 << 8, 1 << 16, 1 << 32), strict=True):
        if head is not None and size < limit:
            return bytes([head]) + struct.pack(">" + form, size) + raw
    raise ValueError(size)


def _ext(code: int, raw: bytes) -> bytes:
    lengths = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
    if len(raw) in lengths:
        return bytes([lengths[len(raw)], code]) + raw
    return _sized(bytes([code]) + raw, len(raw), None, (0xC7, 0xC8, 0xC9))


# --- §3 ----------------------------------------------------------------------------------------


def is_array(value: Any) -> bool:
    """Return True for arrays and scalars of NumPy."""
    return isinstance(value, np.ndarray) or (
        isinstance(value, np.generic) and not isinstance(value, (str, bytes))
    )


def array_bytes(value: Any) -> bytes:
    """Return the payload of an array (§3)."""
    array = np.asarray(value)
    array = array.astype(array.dtype.newbyteorder("<"))
    if array.dtype == np.bool_:
        array = array.view(np.uint8) != 0
    dtype = array.dtype.str.encode()
    head = bytes([len(dtype)]) + dtype + bytes([array.ndim])
    return head + b"".join(struct.pack("<Q", n) for n in array.shape) + array.tobytes("C")


# --- §5 ----------------------------------------------------------------------------------------


def is_map(value: Any) -> bool:
    """Return True for a dict whose entries are fields."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and len(key.encode()) <= 1000 for key in value
    )


def is_tuple(value: Any) -> bool:
    """Return True for a tuple whose elements are fields."""
    return isinstance(value, tuple) and len(value) <= 255


def below(value: Any) -> dict[str, Any]:
    """Return the entries of a map, the elements of a tuple."""
    if isinstance(value, dict):
        return value
    return {str(i): item for i, item in enumerate(value)}


def natural(value: Any, path: Path) -> dict[Path, Kind]:
    """Return the fields that a value makes (§5.1), itself at ``path``."""
    fields = _natural(value, path)
    if len(fields) - 1 > 1024 or max(map(len, fields)) - len(path) > 16:
        return {path: (VALUE,)}
    return fields


def _natural(value: Any, path: Path) -> dict[Path, Kind]:
    if is_map(value) or is_tuple(value):
        kind: Kind = (MAP,) if isinstance(value, dict) else (TUPLE, len(value))
        fields = {path: kind}
        for key, item in below(value).items():
            fields |= _natural(item, (*path, str(key)))
        return fields
    return {path: leaf(value)}


def leaf(value: Any) -> Kind:
    """Return the natural type of a value without fields below it."""
    if value is None:
        return (NONE,)
    if isinstance(value, bool):
        return (BOOL,)
    if is_array(value):
        array = np.asarray(value)
        if array.nbytes <= 255 and math.prod(n for n in array.shape if n) < 1 << 31:
            return (FIXED, array.dtype.newbyteorder("<"), array.shape)
        return (ARRAY,)
    if isinstance(value, int):
        return (INT,) if -(1 << 63) <= value < 1 << 63 else (VALUE,)
    for python, code in ((float, FLOAT), (complex, COMPLEX), (str, STR), (bytes, BYTES)):
        if isinstance(value, python):
            return (code,)
    return (VALUE,)


def number(kind: Kind) -> tuple[Any, tuple[int, ...]] | None:
    """Return dtype and shape of a fixed type or a Python number."""
    if kind[0] == FIXED:
        return kind[1], kind[2]
    python = {BOOL: "|b1", INT: "<i8", FLOAT: "<f8", COMPLEX: "<c16"}
    return (np.dtype(python[kind[0]]), ()) if kind[0] in python else None


def rank(kind: Kind) -> tuple[int, int] | None:
    """Return the rank of a numeric type (§5.2)."""
    form = number(kind)
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    if form is None or form[0].kind not in order:
        return None
    return order[form[0].kind], form[0].itemsize


def as_array(value: Any) -> Any:
    """Return a number or array as an array, None for anything else."""
    if is_array(value):
        return np.asarray(value)
    if isinstance(value, bool):
        return np.asarray(value, "|b1")
    if isinstance(value, int):
        return np.asarray(value, "<i8") if -(1 << 63) <= value < 1 << 63 else None
    if isinstance(value, float):
        return np.asarray(value, "<f8")
    return np.asarray(value, "<c16") if isinstance(value, complex) else None


def cast(value: Any, kind: Kind) -> Any:
    """Return the array stored for a value in a field of numbers, None if it does not fit."""
    array, form = as_array(value), number(kind)
    if array is None or form is None or array.shape != form[1]:
        return None
    dtype = form[0]
    if array.dtype.newbyteorder("<") == dtype:
        return array.astype(dtype)
    groups = {"u": "integer", "i": "integer", "f": "float", "c": "complex"}
    before, after = groups.get(array.dtype.kind), groups.get(dtype.kind)
    if before is None or not (before == after or (before, after) == ("integer", "float")):
        return None
    if before == "integer":
        if not all(_holds(dtype, int(each)) for each in array.reshape(-1)):
            return None
        return array.astype(dtype)
    with np.errstate(all="ignore"):
        out = array.astype(dtype)
        back = out.astype(array.dtype)
    return out if back.tobytes() == array.astype(array.dtype).tobytes() else None


def _holds(dtype: Any, value: int) -> bool:
    """Return True if a dtype of integers or floats holds an integer exactly."""
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min) <= value <= int(info.max)
    # value = odd × 2^n: the odd part has to fit the significand, the whole the range
    bits, largest = {2: (11, 65504), 4: (24, 2**128), 8: (53, 2**1024)}[dtype.itemsize]
    odd = abs(value)
    while odd and odd % 2 == 0:
        odd //= 2
    return odd.bit_length() <= bits and abs(value) <= largest


def fits(value: Any, kind: Kind) -> bool:
    """Return True if a value fits a field (§5.2)."""
    code = kind[0]
    if code == NONE:
        return value is None
    if code == ARRAY:
        return is_array(value)
    if code == MAP:
        return is_map(value)
    if code == TUPLE:
        return isinstance(value, tuple) and len(value) == kind[1]
    if code == STR:
        return isinstance(value, str)
    if code == BYTES:
        return isinstance(value, bytes)
    if code == VALUE:
        return True
    return cast(value, kind) is not None


class ReferenceSchema:
    """The fields of a row, derived from the values so far."""

    def __init__(self, fields: Mapping[Path, Kind] | None = None) -> None:
        self.fields = dict(fields or {})

    def next(self, state: Mapping[str, Any]) -> ReferenceSchema:
        """Return the schema of a state with this value (§5.2)."""
        after = ReferenceSchema(self.fields)
        for top, value in state.items():
            if top in STARTS:
                after.fields[(top,)] = STARTS[top]
            else:
                after._see((top,), value)
                if len(after._below((top,))) > 1024:
                    after._drop_below((top,))
                    after.fields[(top,)] = (VALUE,)
        return after

    def _below(self, path: Path) -> list[Path]:
        return [p for p in self.fields if len(p) > len(path) and p[: len(path)] == path]

    def _drop_below(self, path: Path) -> None:
        for each in self._below(path):
            del self.fields[each]

    def _see(self, path: Path, value: Any) -> None:
        have = self.fields.get(path)
        if have is None:
            self.fields |= natural(value, path)
        elif fits(value, have):
            if have[0] in (MAP, TUPLE):
                for key, item in below(value).items():
                    self._see((*path, key), item)
        else:
            self._replace(path, have, value)

    def _replace(self, path: Path, have: Kind, value: Any) -> None:
        wanted = natural(value, path)
        want = wanted[path]
        ranks = rank(have), rank(want)
        if None not in ranks and number(have)[1] == number(want)[1] and ranks[1] > ranks[0]:  # type: ignore[index,operator]
            self.fields[path] = want
        elif {have[0], want[0]} <= {FIXED, ARRAY}:
            self.fields[path] = (ARRAY,)
        else:
            self._drop_below(path)
            self.fields[path] = (VALUE,)

    def ordered(self) -> list[tuple[Path, Kind]]:
        """Return the fields in the order of the schema."""
        return sorted(self.fields.items(), key=lambda item: tuple(c.encode() for c in item[0]))

    def payload(self) -> bytes:
        """Return the schema's payload (§5)."""
        out = struct.pack("<H", len(self.fields))
        for path, kind in self.ordered():
            out += bytes([len(path)])
            for component in path:
                out += struct.pack("<H", len(component.encode())) + component.encode()
            out += bytes([kind[0]])
            if kind[0] == FIXED:
                dtype = kind[1].str.encode()
                out += bytes([len(dtype)]) + dtype + bytes([len(kind[2])])
                out += b"".join(struct.pack("<I", n) for n in kind[2])
            elif kind[0] == TUPLE:
                out += bytes([kind[1]])
        return out

    def row(self, state: Mapping[str, Any]) -> bytes:
        """Return the row of a state (§6)."""
        present, fixed, variable = 0, b"", b""
        fields = self.ordered()
        for i, (path, kind) in enumerate(fields):
            here, value = self._value(state, path)
            present |= here << i
            if kind[0] >= STR:
                raw = _variable(kind, value) if here else b""
                variable += struct.pack("<I", len(raw)) + raw
            elif here:
                fixed += _fixed(kind, value)
            else:
                fixed += bytes(_width(kind))
        return present.to_bytes((len(fields) + 7) // 8, "little") + fixed + variable

    def _value(self, state: Mapping[str, Any], path: Path) -> tuple[bool, Any]:
        value: Any = state
        for component in path:
            items = below(value) if isinstance(value, (dict, tuple)) else {}
            if component not in items:
                return False, None
            value = items[component]
        return True, value


def _width(kind: Kind) -> int:
    if kind[0] == FIXED:
        return int(math.prod(kind[2])) * int(kind[1].itemsize)
    return {BOOL: 1, INT: 8, FLOAT: 8, COMPLEX: 16, ARRAY: 32, TREE: 32}.get(kind[0], 0)


def _fixed(kind: Kind, value: Any) -> bytes:
    code = kind[0]
    if code in (NONE, MAP, TUPLE):
        return b""
    if code == ARRAY:
        return name("array", array_bytes(value))
    if code == TREE:
        return bytes(value)
    raw: bytes = cast(value, kind).tobytes("C")
    return raw


def _variable(kind: Kind, value: Any) -> bytes:
    if kind[0] == STR:
        return str(value).encode()
    return bytes(value) if kind[0] == BYTES else value_bytes(value)


# --- §6 ----------------------------------------------------------------------------------------


class Chain:
    """A run of states, each the only child of the one before (but see ``parents``)."""

    def __init__(self, origin: Mapping[str, Any] | None = None) -> None:
        self.schema = ReferenceSchema()
        self.tip: bytes | None = None
        self.origin = name("spec", value_bytes(dict(origin or {})))

    def fork(self) -> Chain:
        """Return a chain that continues from the same state."""
        other = Chain()
        other.schema, other.tip, other.origin = self.schema, self.tip, self.origin
        return other

    def commit(self, state: Mapping[str, Any], others: Sequence[bytes] = ()) -> bytes:
        """Return the oid of the next state; ``others`` are its further parents."""
        self.schema = self.schema.next(state)
        parents = ([self.tip] if self.tip else []) + list(others)
        payload = name("schema", self.schema.payload()) + bytes([len(parents)])
        payload += b"".join(parents) or self.origin
        self.tip = name("state", payload + self.schema.row(state))
        return self.tip
