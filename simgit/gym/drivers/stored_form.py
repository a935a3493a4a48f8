"""The stored form of snapshots: one array that changes little, and large values separately.

An array is stored as its difference to the one at the same place of the previous snapshot, if both
have the same size. So all small values go into one padded array, and not into an object each:
their oids and headers would be most of a snapshot's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.errors import IntegrityError
from simgit.gym.drivers.base import Snapshot
from simgit.objects.codec import encode_value, unpack_value

APART: Final = 2048
"""Bytes from which on arrays and bytes are separate objects: unchanged ones are stored once.

(The 2496 bytes of a Mersenne twister seldom change.)
"""
_PAD: Final = 128
_PACKED: Final = "packed"
Path = list[Any]


def pack(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot in its stored form; ``unpack`` is the inverse.

    Raises:
        InvalidInput: something in it has no encoding.
    """
    paths: list[Path] = []
    apart: list[Any] = []
    small = _take_large(snapshot, [], paths, apart)
    body = padded(encode_value({"snapshot": small, "apart": paths}, "snapshot"))
    return {_PACKED: body, **({"apart": apart} if apart else {})}


def _take_large(data: Any, path: Path, paths: list[Path], apart: list[Any]) -> Any:
    """Return nested data with None for large values, which are moved to ``apart``."""
    if isinstance(data, dict):
        return {k: _take_large(v, [*path, k], paths, apart) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(_take_large(v, [*path, i], paths, apart) for i, v in enumerate(data))
    size = len(data) if isinstance(data, bytes) else getattr(data, "nbytes", 0)
    if size < APART:
        return data
    paths.append(path)
    apart.append(data)
    return None


def unpack(stored: Any) -> Any:
    """Return a snapshot as its driver made it; one that was not packed is returned unchanged.

    Raises:
        IntegrityError: it is damaged.
    """
    if not isinstance(stored, Mapping) or _PACKED not in stored:
        return stored
    found = unpack_value(unpadded(stored[_PACKED]))
    try:
        snapshot = found["snapshot"]
        for path, value in zip(found["apart"], stored.get("apart", ()), strict=True):
            snapshot = _put(snapshot, path, value)
    except (LookupError, TypeError, ValueError) as error:
        raise IntegrityError(f"malformed snapshot: {error}") from None
    if isinstance(snapshot, Mapping) and _PACKED in snapshot:
        raise IntegrityError("a snapshot is packed twice")  # what was checked is not what is used
    return snapshot


def _put(data: Any, path: Sequence[Any], value: Any) -> Any:
    """Return nested data with a value put at a path."""
    if not path:
        return value
    key, inner = path[0], path[1:]
    if isinstance(data, tuple):
        return (*data[:key], _put(data[key], inner, value), *data[key + 1 :])
    data[key] = _put(data[key], inner, value)
    return data


def padded(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return bytes as an array, with their length before them and padded with zeros."""
    whole = len(data).to_bytes(8, "little") + data
    return np.frombuffer(whole + bytes(-len(whole) % _PAD), np.uint8)


def unpadded(body: Any) -> bytes:
    """Return the bytes of such an array.

    Raises:
        IntegrityError: it is truncated.
    """
    whole = np.asarray(body, np.uint8).tobytes()
    size = int.from_bytes(whole[:8], "little")
    if size > len(whole) - 8:
        raise IntegrityError("the body of a snapshot is truncated")
    return whole[8 : 8 + size]
