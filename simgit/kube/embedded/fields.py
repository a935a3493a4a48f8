"""Strict readers of a manifest's fields: a wrong type raises InvalidInput."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from simgit.errors import InvalidInput
from simgit.kube.manifest import Manifest, full_name, gvk_of, lookup

_MOST = 2**31 - 1
_KEPT_BYTES = 1 << 16
"""The largest packed key of a cache: a hostile trace may have huge objects."""


def packed(value: Any) -> bytes | None:
    """Return plain data as the key of a cache; None for what is too large or not plain.

    Unpacked it is a copy, which no later change reaches.
    """
    try:
        found: bytes = msgpack.packb(value, strict_types=True, default=_list_of_tuple)
    except (TypeError, ValueError, OverflowError):  # not plain data, so not from a trace
        return None
    return found if len(found) <= _KEPT_BYTES else None


def unpacked(key: bytes) -> Any:
    """Return the plain data of a key, with tuples for lists."""
    return msgpack.unpackb(key, use_list=False, strict_map_key=False)


def _list_of_tuple(value: Any) -> list[Any]:
    if type(value) is tuple:
        return list(value)
    raise TypeError(f"a {type(value).__name__} is not plain data")


def whole(manifest: Manifest, *path: str, default: int | None = 0) -> Any:
    """Return the whole number, 0 or more, at the path, or the default."""
    value = lookup(manifest, path)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise bad(manifest, path, f"expected a whole number, 0 or more, got '{str(value)[:40]}'")
    return value


def text(manifest: Manifest, *path: str, default: str = "") -> str:
    """Return the string at the path, or the default."""
    value = lookup(manifest, path)
    if value is None:
        return default
    if not isinstance(value, str):
        raise bad(manifest, path, f"expected a string, got '{str(value)[:40]}'")
    return value


def pod_template(manifest: Manifest, *path: str) -> Mapping[str, Any]:
    """Return the pod template at the path; raises InvalidInput if there is none."""
    value = lookup(manifest, path)
    if not isinstance(value, Mapping):
        raise bad(manifest, path, "no pod template")
    return value


def share(manifest: Manifest, path: tuple[str, ...], of: int, *, up: bool, default: Any) -> int:
    """Return a number, or a percentage ('25%') of a count rounded up or down."""
    value = lookup(manifest, path)
    value = default if value is None else value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal() and len(value) < 9:
        exact = of * int(value[:-1]) / 100
        return math.ceil(exact) if up else math.floor(exact)
    raise bad(manifest, path, f"expected a whole number or a percentage, got '{str(value)[:40]}'")


def bad(manifest: Manifest, path: tuple[str, ...], why: str) -> InvalidInput:
    """Return the error for a field of an object; it names both."""
    place = ".".join(path)
    subject = f"{gvk_of(manifest)} {full_name(manifest)}"
    return InvalidInput(f"{why} in '{subject}' at '{place}'", path=place, object=subject)


def list_of(value: Any) -> Sequence[Any]:
    """Return a list, empty for None; raises InvalidInput for another type."""
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise InvalidInput(f"expected a list, got '{str(value)[:40]}'")
    return value


def map_of(value: Any) -> Mapping[str, Any]:
    """Return a map, empty for None; raises InvalidInput for another type."""
    if type(value) is dict:  # much cheaper than to ask whether it is a Mapping
        return value
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"expected a map, got '{str(value)[:40]}'")
    return value


def maps_of(value: Any) -> Sequence[Mapping[str, Any]]:
    """Return a list of maps, empty for None; raises InvalidInput for another type."""
    return [map_of(item) for item in list_of(value)]


def items_of(value: Any) -> list[tuple[str, Any]]:
    """Return the items of a map, empty for None; raises InvalidInput for another type or key."""
    items = list(map_of(value).items())
    for key, _ in items:
        if type(key) is not str:
            raise InvalidInput(f"expected a string as key, got '{str(key)[:40]}'")
    return items


def texts_of(value: Any) -> dict[str, str]:
    """Return a map of strings, with '' for None; raises InvalidInput for another type."""
    found = {}
    for key, item in items_of(value):
        if item is not None and not isinstance(item, str):
            raise InvalidInput(f"expected a string at '{key[:40]}', got '{str(item)[:40]}'")
        found[key] = item or ""
    return found


def int_of(value: Any, default: int = 0) -> int:
    """Return a whole number, the default for None; raises InvalidInput for another type."""
    if value is None:
        return default
    if type(value) is not int:
        raise InvalidInput(f"expected a whole number, got '{str(value)[:40]}'")
    return value
