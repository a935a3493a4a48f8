"""Values of any kind as plain ones: what has no encoding gets a form, is left out, or refused.

This is the slow path: recorders come here with what ``coerce`` refused. Other people's code runs
here (properties, iterators, conversions), and may raise anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from simgit.errors import InvalidInput, shown
from simgit.objects.canonical import MAX_DEPTH
from simgit.objects.codec import encode_value, too_deep
from simgit.objects.coerce import coerce, coerce_key
from simgit.objects.columns import ABSENT
from simgit.objects.forms import form_of
from simgit.objects.lazy_numpy import np

LeftOut = Callable[[str, str], None]
"""Called with the path of what is left out, and why."""


def left_out(path: str, why: str) -> None:
    """Leave out what cannot be stored, without a word: the recorder said so already."""


_Forms = list[tuple[tuple[Any, ...], str, Any]]
"""The forms of a plain value: path below it, name, parameter."""

_CONTAINERS: Final = (Mapping, list, tuple, set, frozenset)


@dataclass(frozen=True)
class Simplified:
    """A coerced value with its forms; ABSENT if it was left out. (Not a tuple, as values are.)"""

    value: Any
    forms: _Forms


class Simplifier:
    """Makes plain values of any values.

    Args:
        left_out: called for what has neither an encoding nor a form and is left out; None to
            raise ``InvalidInput`` instead. The smallest entry of a dict around it is left out.
        numbers: make Python's own numbers of NumPy's bool, int64 and float64.
    """

    def __init__(self, left_out: LeftOut | None = None, *, numbers: bool = False) -> None:
        self._left_out = left_out
        self._numbers = numbers
        self._open: set[int] = set()

    def simplify(self, value: Any, path: str) -> Simplified:
        """Return the plain form of a value.

        Raises:
            InvalidInput: some part has none, and nothing may be left out.
        """
        found = self.guard(partial(self._walk, path=path, depth=0), value, path)
        return Simplified(ABSENT, []) if found is ABSENT else Simplified(*found)

    def guard(self, make: Callable[[Any], Any], value: Any, path: str) -> Any:
        """Return what a function makes of a value, ABSENT if it raises and that is allowed.

        Raises:
            InvalidInput: it raises, and nothing may be left out.
        """
        try:
            return make(value)
        except Exception as error:
            self._drop(error, value, path)
            return ABSENT

    def _drop(self, error: Exception, value: Any, path: str) -> None:
        """Leave a value out, or raise the error that says why it cannot be stored."""
        refused = _refused(error, value, path)
        if self._left_out is None:
            raise refused from None
        where = getattr(refused, "path", path)
        self._left_out(where, str(refused).removeprefix(f"{where}: "))

    def _walk(self, value: Any, path: str, depth: int) -> tuple[Any, _Forms]:
        if self._numbers and isinstance(value, (np.float64, np.int64, np.bool_)):
            return value.item(), []
        is_container = isinstance(value, _CONTAINERS)
        refused: Exception | None = None
        if not is_container:
            try:
                return coerce(value, path, depth), []
            except Exception as error:
                refused = error
        if depth >= MAX_DEPTH:
            raise too_deep(path)
        if id(value) in self._open:
            raise InvalidInput(f"{path}: cannot store a value that contains itself", path=path)
        self._open.add(id(value))
        try:
            return self._container(value, path, depth, refused)
        except Exception as error:
            raise _refused(error, value, path) from None
        finally:
            self._open.discard(id(value))

    def _container(
        self, value: Any, path: str, depth: int, refused: Exception | None
    ) -> tuple[Any, _Forms]:
        if isinstance(value, Mapping):
            return self._map(value, path, depth)
        if isinstance(value, (list, tuple)):
            return self._sequence(value, path, depth)
        if isinstance(value, (set, frozenset)):
            return self._set(value, path, depth)
        try:
            form = form_of(value)
        except Exception:  # of the value's own class
            form = None
        if form is None:
            assert refused is not None
            raise refused
        name, parameter, plain = form
        found, forms = self._walk(plain, path, depth + 1)
        return found, [((), name, parameter), *forms]

    def _map(self, value: Mapping[Any, Any], path: str, depth: int) -> tuple[Any, _Forms]:
        plain, forms, others = {}, [], []
        for given, item in list(value.items()):
            try:
                key = coerce_key(given, path)
            except Exception:  # also of what a user's class does
                others.append((given, item))
                continue
            found = self._entry(item, f"{path}.{key}", depth + 1)
            if found is not None:
                plain[key] = found[0]
                forms += _below(key, found[1])
        pairs, inner = self._pairs(others, path, depth)
        if pairs:
            forms = [((), "map", [pairs, _listed(inner)]), *forms]
        return plain, forms

    def _entry(self, value: Any, path: str, depth: int) -> tuple[Any, _Forms] | None:
        """Return the plain form of an entry of a dict, None if it is left out."""
        try:
            return self._walk(value, path, depth)
        except Exception as error:
            self._drop(error, value, path)
            return None

    def _pairs(
        self, entries: list[tuple[Any, Any]], path: str, depth: int
    ) -> tuple[list[Any], _Forms]:
        """Return entries with other keys than strings, bytes and integers as a list of pairs."""
        pairs = []
        for key, item in entries:
            where = f"{path}.{shown(key)}"
            name = self._entry(key, where, depth + 4)
            found = None if name is None else self._entry(item, where, depth + 4)
            if name is not None and found is not None:
                forms = _below(0, name[1]) + _below(1, found[1])
                pairs.append(([name[0], found[0]], forms))
        return _sorted(pairs)

    def _sequence(self, value: Any, path: str, depth: int) -> tuple[Any, _Forms]:
        found = [self._walk(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        forms = [form for i, (_, inner) in enumerate(found) for form in _below(i, inner)]
        items = [item for item, _ in found]
        return (items if isinstance(value, list) else tuple(items)), forms

    def _set(self, value: Any, path: str, depth: int) -> tuple[Any, _Forms]:
        found = [self._walk(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        plain, forms = _sorted(found)
        name = "set" if isinstance(value, set) else "frozenset"
        return plain, [((), name, None), *forms]


def _refused(error: Exception, value: Any, path: str) -> InvalidInput:
    """Return an error as one that names the value that caused it."""
    if isinstance(error, InvalidInput):
        return error
    try:
        what = f"{type(error).__name__}: {error}"
    except Exception:  # its own __str__ raises
        what = type(error).__name__
    kind = type(value).__name__
    return InvalidInput(f"{path}: cannot store a value of type '{kind}': {what}", path=path)


def _below(key: Any, forms: _Forms) -> _Forms:
    return [((key, *path), name, parameter) for path, name, parameter in forms]


def _sorted(found: list[tuple[Any, _Forms]]) -> tuple[list[Any], _Forms]:
    """Return items in the order of their encodings, whatever the order that they came in."""
    found = sorted(found, key=lambda each: (encode_value(each[0]), encode_value(_listed(each[1]))))
    forms = [form for i, (_, inner) in enumerate(found) for form in _below(i, inner)]
    return [item for item, _ in found], forms


def _listed(forms: _Forms) -> list[list[Any]]:
    """Return forms as they are stored."""
    return [
        [list(path), name] if parameter is None else [list(path), name, parameter]
        for path, name, parameter in forms
    ]


def stored_forms(fields: Mapping[str, _Forms]) -> list[list[Any]]:
    """Return the forms of all fields of a state as they are stored, in the order of their paths."""
    forms = [form for name, found in fields.items() for form in _below(name, found)]
    return _listed(sorted(forms, key=lambda form: encode_value(list(form[0]))))
