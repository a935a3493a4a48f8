"""Arguments of public functions, checked against their annotations where a call comes in.

``checked`` is put on what users call. What an annotation does not say (a range, a form) is checked
by the function itself.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache, wraps
from typing import Any, Final, TypeVar, cast

from simgit.errors import InvalidInput, shown
from simgit.objects.lazy_numpy import is_loaded, np

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_BASES: Final = frozenset({"Oid", "Repository", "State", "Trajectory", "Env", "VectorEnv"})
"""Classes that a value is known to be of by the names of its bases, without importing them."""
_NAMES: Final = {
    "str": "a string",
    "Path": "a path",
    "int": "an integer",
    "float": "a number",
    "bytes": "bytes",
    "bool": "a bool",
    "slice": "a slice",
    "Mapping": "a dict",
    "Sequence": "a list",
    "Callable": "a function",
    "Oid": "an oid",
    "Repository": "a Repository",
    "State": "a State",
    "Trajectory": "a Trajectory",
    "Env": "an environment",
    "VectorEnv": "a vector environment",
    "None": "None",
}
_COUNTS: Final = frozenset({"limit", "rollouts", "seed"})
"""Integers that are never negative, wherever they are called so."""
_LITERAL: Final = r"'([^']*)'|\"([^\"]*)\""


def checked(function: F) -> F:
    """Return a function that checks its arguments first.

    Raises (the function):
        InvalidInput: an argument is not of its annotated type, has a text that is not Unicode, or
            a number that has no meaning or needs more than 64 bits; ``path`` is its name.
    """
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    rest = function.__code__.co_argcount + function.__code__.co_kwonlyargcount
    has_rest = bool(function.__code__.co_flags & 4)
    more = function.__code__.co_varnames[rest] if has_rest else ""
    kinds = function.__annotations__

    @wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        for name, value in zip(names, args, strict=False):
            if name in kinds:
                check_argument(name, value, kinds[name])
        if has_rest and len(args) > len(names) and more in kinds:
            for value in args[len(names) :]:
                check_argument(more, value, kinds[more])
        for name, value in named.items():
            if name in kinds:
                check_argument(name, value, kinds[name])
        return function(*args, **named)

    return cast("F", call)


def checked_methods(kind: type[T]) -> type[T]:
    """Return a class with its public methods, and those of subscripts, checked."""
    for name, found in list(vars(kind).items()):
        if name.startswith("_") and name != "__getitem__":
            continue
        if isinstance(found, classmethod):
            setattr(kind, name, classmethod(checked(found.__func__)))
        elif callable(found) and hasattr(found, "__annotations__") and hasattr(found, "__code__"):
            setattr(kind, name, checked(found))
    return kind


def manager(value: Any, name: str) -> AbstractContextManager[Any]:
    """Return what a user's function returned, which has to be a context manager.

    Raises:
        InvalidInput: it is something else.
    """
    if not isinstance(value, AbstractContextManager):
        raise InvalidInput(f"{name} must return a context manager, got {shown(value)}", path=name)
    return value


def check_argument(name: str, value: Any, annotation: str) -> None:
    """Check one argument.

    Raises:
        InvalidInput: see ``checked``.
    """
    parts = _parts(annotation)
    if not parts:
        return
    for head, inner in parts:
        if head == "str" and ("Path", "") in parts:
            continue  # a path need not be Unicode
        if _is_of(value, head):
            _check_inside(name, value, head, inner)
            return
    wanted = " or ".join(dict.fromkeys(_wanted(head) for head, _ in parts))
    raise InvalidInput(f"{name} must be {wanted}, got {shown(value)}", path=name)


def _wanted(head: str) -> str:
    return f"'{head[1:]}'" if head.startswith("=") else _NAMES[head]


@lru_cache(maxsize=512)
def _parts(annotation: str) -> tuple[tuple[str, str], ...]:
    """Return the heads of a union with what is in their brackets; nothing if one is unknown."""
    found = []
    for part in _split(annotation, "|"):
        head, _, inner = part.partition("[")
        head, inner = head.strip().rpartition(".")[2], inner.rstrip("]")
        if head == "Literal":
            found += [(f"={a or b}", "") for a, b in re.findall(_LITERAL, inner)]
        elif head in _NAMES:
            found.append((head, inner))
        else:
            return ()
    return tuple(found)


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == separator and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _is_of(value: Any, head: str) -> bool:
    if head.startswith("="):
        return isinstance(value, str) and value == head[1:]
    if head in _BASES:
        return any(base.__name__ == head for base in type(value).__mro__)
    if head == "Sequence":
        if isinstance(value, Sequence):
            return not isinstance(value, (str, bytes))
        return _is_of_numpy(value, ("ndarray",))
    if head == "int" and isinstance(value, bool):
        return False
    if head == "Callable":
        return callable(value)
    if isinstance(value, _TYPES[head]):
        return True
    names = _OF_NUMPY.get(head)
    return names is not None and _is_of_numpy(value, names)


def _is_of_numpy(value: Any, names: tuple[str, ...]) -> bool:
    return is_loaded() and any(isinstance(value, getattr(np, name)) for name in names)


_OF_NUMPY: Final = {"int": ("integer",), "float": ("integer", "floating"), "bool": ("bool_",)}
"""NumPy's own types of numbers, which are accepted beside Python's."""
_TYPES: Final[dict[str, Any]] = {
    "str": str,
    "Path": (str, os.PathLike),
    "int": int,
    "float": (int, float),
    "bytes": (bytes, bytearray, memoryview),
    "bool": (int, type(None)),
    "slice": slice,
    "Mapping": Mapping,
    "None": type(None),
}


def _check_inside(name: str, value: Any, head: str, inner: str) -> None:
    """Check what a value of the right type holds."""
    if head == "Path":
        try:
            is_path = b"\0" not in os.fsencode(value)
        except (TypeError, UnicodeEncodeError):
            is_path = False
        if not is_path:
            raise InvalidInput(f"{name} must be a path, got {shown(value)}", path=name)
    elif head == "str":
        _check_text(name, value)
    elif head == "int":
        if name in _COUNTS and value < 0:
            raise InvalidInput(f"{name} must be 0 or more, got {shown(value)}", path=name)
        if not -(1 << 63) <= int(value) < 1 << 63:
            raise InvalidInput(f"{name} must fit 64 bits, got {shown(value)}", path=name)
    elif head == "float":
        if isinstance(value, int) or _is_of_numpy(value, ("integer",)):
            _check_inside(name, value, "int", "")
        elif math.isnan(value):
            raise InvalidInput(f"{name} must be a number, got {shown(value)}", path=name)
    elif head == "slice":
        for each in (value.start, value.stop, value.step):
            check_argument(f"a step of {name}", each, "int | None")
    elif head == "Sequence" and inner:
        for each in value:
            check_argument(name, each, inner)
    elif head == "Mapping" and inner:
        key, _, item = inner.partition(",")
        for each, held in value.items():
            check_argument(f"a key of {name}", each, key.strip())
            check_argument(f"{name}.{each}", held, item.strip())


def _check_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} must be Unicode text, got {shown(value)}", path=name) from None
