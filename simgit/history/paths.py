"""Paths of fields: how one is written, and where it leads in a schema and inside a value.

A path goes through maps and tuples of fields, and on inside what a field holds as one value: a
dict (whatever its keys), a list, a tuple, an array. It leads where Python's ``[…]`` would lead.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput, shown
from simgit.objects.columns import ABSENT
from simgit.objects.schema import ARRAY, FIXED, TUPLE, VALUE, FieldNode, FieldType, Schema

Part = str | int | bytes
FieldPath = tuple[Part, ...]
"""The components of a path: strings, and integers or bytes for keys of dicts that are such."""
_DECIMAL: Final = r"-?[0-9]{1,20}"
_LEADING: Final = (VALUE, FIXED, ARRAY)
"""The types whose values a path can go on inside of."""


def as_path(path: str | Sequence[Any]) -> FieldPath:
    """Return a path as a tuple of components.

    Raises:
        InvalidInput: it is no path: neither a text nor a sequence of strings, integers and bytes.
    """
    if isinstance(path, str):
        return tuple(path.split("."))
    if not isinstance(path, Sequence) or isinstance(path, (bytes, bytearray)) or not path:
        raise InvalidInput(
            f"a field must be a text such as 'info.lives' or a tuple, got {shown(path)}"
        )
    return tuple(map(_part, path))


def _part(part: Any) -> Part:
    if isinstance(part, (str, bytes)):
        return part
    if hasattr(part, "__index__") and not isinstance(part, (bool, np.bool_)):
        return operator.index(part)
    raise InvalidInput(
        f"a component of a path must be a string, an integer or bytes, got {shown(part)}"
    )


def path_text(path: Sequence[Part]) -> str:
    """Return a path joined by dots."""
    return ".".join(map(str, path))


def locate(schema: Schema, path: FieldPath) -> tuple[int, FieldPath] | None:
    """Return the field that a path leads to, and the part of the path inside the field's values.

    Returns:
        The index of the deepest field on the path, and the components left (none if the field is
        what the path names); None if no state of this schema can have the path.
    """
    node, depth = schema.root, 0
    names: tuple[str, ...] = ()
    for part in path:
        name = _child(node, part)
        if name is None:
            break
        node, depth, names = node.children[name], depth + 1, (*names, name)
    if not names or (depth < len(path) and node.type.code not in _LEADING):
        return None
    return schema.index[names], path[depth:]


def _child(node: FieldNode, part: Part) -> str | None:
    """Return the name of the field below a map or tuple that a component means, if there is one."""
    if node.type.code == TUPLE and isinstance(part, int):
        part = str(part + node.type.length if part < 0 else part)
    return part if isinstance(part, str) and part in node.children else None


def follow(value: Any, path: FieldPath) -> Any:
    """Return what a path leads to inside a value, ``ABSENT`` if there is nothing."""
    for part in path:
        value = _entry(value, part)
        if value is ABSENT:
            break
    return value


def _entry(value: Any, part: Part) -> Any:
    number = int(part) if isinstance(part, str) and re.fullmatch(_DECIMAL, part) else part
    if isinstance(value, dict):
        return value[part] if part in value else value.get(number, ABSENT)
    if isinstance(value, (list, tuple, np.ndarray)) and isinstance(number, int):
        try:
            return value[number]
        except IndexError:
            return ABSENT
    return ABSENT


def element_type(kind: FieldType, path: FieldPath) -> FieldType | None:
    """Return the type of an element of a small array, None if the array has no such element."""
    if not path:
        return kind
    if kind.code != FIXED or not kind.shape:
        return None
    element = follow(np.zeros(kind.shape, kind.dtype), path)
    return None if element is ABSENT else FieldType(FIXED, element.dtype, np.shape(element))


def element_index(path: FieldPath) -> tuple[Any, ...]:
    """Return the index of an element in an array with a leading axis for the states."""
    return (slice(None), *map(int, path))


def nested_paths(value: Any, above: FieldPath) -> set[FieldPath]:
    """Return the paths of the entries of the dicts inside a value."""
    found: set[FieldPath] = set()
    if isinstance(value, dict):
        for key, item in value.items():
            path = (*above, key)
            found |= {path} | nested_paths(item, path)
    return found
