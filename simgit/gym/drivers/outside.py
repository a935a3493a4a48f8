"""State outside of an environment's attributes: of its classes, and of the modules they use.

It is not restored. A snapshot has a description of it, and is refused where it has another one. It
is looked for in the code of the environment's own classes: their attributes, and the global names
that their methods mention, in their package and in other code of the user. What library code keeps
is not looked at.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from simgit.gym.drivers.classes import origin_of
from simgit.gym.drivers.describe import ATOMS, Named, Opaque, describe
from simgit.gym.drivers.limits import CannotRestore, CannotSnapshot

_CLASS: Final = frozenset({
    "__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__parameters__",
    "__orig_bases__", "__abstractmethods__", "_abc_impl", "__slotnames__", "__qualname__",
    "__slots__", "__static_attributes__", "__firstlineno__", "__match_args__",
    "__dataclass_fields__", "__dataclass_params__", "__hash__",
    "__annotations_cache__", "__annotate_func__",
})  # fmt: skip
"""Names in the dictionary of a class that its author did not set."""
_STATIC: Final = (
    types.FunctionType, type, types.ModuleType, types.BuiltinFunctionType, property, staticmethod,
    classmethod, types.MemberDescriptorType, types.GetSetDescriptorType,
)  # fmt: skip
_DESCRIPTORS: Final = (types.MemberDescriptorType, types.GetSetDescriptorType)
_MOST: Final = 2000


_MISSING: Final = object()


class _Place(NamedTuple):
    """A name of a class, module or function, or a variable that a function encloses."""

    label: str
    holder: Any
    name: str

    def read(self) -> Any:
        """Return what is there now."""
        if isinstance(self.holder, types.CellType):
            try:
                return self.holder.cell_contents
            except ValueError:
                return _MISSING
        if isinstance(self.holder, types.FunctionType):
            return getattr(self.holder, self.name) or _MISSING
        if isinstance(self.holder, type) and self.name == "__bases__":
            return self.holder.__bases__
        return vars(self.holder).get(self.name, _MISSING)


class Outside:
    """The places outside of the attributes that the code of some layers can change."""

    def __init__(self, stack: Sequence[Any]) -> None:
        """Look for the places; their values are read later."""
        self._own = {
            kind.__module__.partition(".")[0]
            for layer in stack
            for kind in type(layer).__mro__
            if origin_of(kind.__module__) in ("own", "installed")
        }
        self._seen: dict[int, Any] = {}
        self._places: dict[str, _Place] = {}
        self._classes: dict[type, int] = {}
        for layer in stack:
            for kind in type(layer).__mro__:
                self._look_at(kind)

    def describe(self, named: Named) -> tuple[dict[str, bytes], dict[int, tuple[Any, Any]]]:
        """Return the descriptions of all places, and names for the parts of what is there.

        Raises:
            CannotSnapshot: something there cannot be described.
        """
        found: dict[str, bytes] = {}
        names: dict[int, tuple[Any, Any]] = {}
        for kind, count in list(self._classes.items()):
            if len(vars(kind)) != count:  # it has an attribute that it did not have
                self._look_at_class(kind)
        for label, place in self._places.items():
            value = place.read()
            if value is _MISSING:
                continue
            if isinstance(place.holder, type) and place.name == "__bases__":
                code = ", ".join(map(_code_name, value))
                found[label] = hashlib.blake2b(code.encode(), digest_size=12).digest()
                continue
            if isinstance(value, _STATIC):
                code = _code_name(value)
                if code != label:  # imported, or bound to another name, which can change
                    found[label] = hashlib.blake2b(code.encode(), digest_size=12).digest()
                continue
            try:
                found[label], parts = describe(value, named)
            except Opaque as error:
                raise CannotSnapshot(f"'{label}' holds {error}") from None
            for i, part in enumerate(parts):
                names.setdefault(id(part), (("outside", label, i), part))
        return found, names

    def _is_own(self, module: str) -> bool:
        """Return True for a module of the environment's package, or of the user's other code."""
        return module.partition(".")[0] in self._own or origin_of(module) == "own"

    def _look_at(self, thing: Any) -> None:
        if id(thing) in self._seen or len(self._seen) > _MOST:
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, type):
            if self._is_own(thing.__module__):
                self._look_at_class(thing)
        elif (code := _code_of(thing)) is not None:
            self._look_at_code(thing, code)

    def _look_at_class(self, kind: type) -> None:
        self._classes[kind] = len(vars(kind))
        for name, value in list(vars(kind).items()):
            if name in _CLASS:
                continue
            for function in _functions_in(value):
                self._look_at(function)
            if not isinstance(value, _DESCRIPTORS):
                self._add(f"{kind.__module__}.{kind.__qualname__}.{name}", kind, name)
        self._add(f"{kind.__module__}.{kind.__qualname__}.__bases__", kind, "__bases__")
        for base in kind.__bases__:
            self._look_at(base)

    def _look_at_code(self, function: Any, code: types.CodeType) -> None:
        module = sys.modules.get(function.__module__ or "")
        if module is None or not self._is_own(function.__module__):
            return
        label = f"{function.__module__}.{function.__qualname__}"
        for name in ("__defaults__", "__kwdefaults__", "__dict__"):
            self._add(f"{label}.{name}", function, name)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            place = _Place(f"{label}.{name}", cell, name)
            value = place.read()
            if isinstance(value, _STATIC):
                self._look_at(value)
            else:
                self._places.setdefault(place.label, place)
        names = set(_names_in(code))
        for name in names:
            value = vars(module).get(name)
            if isinstance(value, types.ModuleType):
                if self._is_own(value.__name__):
                    for inner in names:
                        self._look_at_global(value, inner)
                continue
            self._look_at_global(module, name)

    def _look_at_global(self, module: types.ModuleType, name: str) -> None:
        if name not in vars(module):  # it may be set later
            self._add(f"{module.__name__}.{name}", module, name)
            return
        value = vars(module)[name]
        for function in _functions_in(value):
            self._look_at(function)
        if isinstance(value, type):
            self._look_at(value)
        elif type(value) not in ATOMS and not isinstance(value, _STATIC):
            self._look_at(type(value))
        self._add(f"{module.__name__}.{name}", module, name)

    def _add(self, label: str, holder: Any, name: str) -> None:
        self._places.setdefault(label, _Place(label, holder, name))


def _functions_in(value: Any) -> Iterator[Any]:
    if isinstance(value, types.FunctionType):
        yield value
    elif isinstance(value, (staticmethod, classmethod)):
        yield value.__func__
    elif isinstance(value, property):
        yield from filter(None, (value.fget, value.fset, value.fdel))
    elif isinstance(value, functools._lru_cache_wrapper):
        yield value.__wrapped__


def _code_of(thing: Any) -> types.CodeType | None:
    return thing.__code__ if isinstance(thing, types.FunctionType) else None


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names_in(const)
        elif isinstance(const, str) and const.isidentifier():  # as for getattr and globals()
            yield const


def _code_name(value: Any) -> str:
    """Return where a function, class or module was defined."""
    value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    if isinstance(value, types.ModuleType):
        return value.__name__
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"


def check(found: Mapping[str, bytes], recorded: Mapping[str, bytes]) -> None:
    """Check that what is outside is as it was.

    Raises:
        CannotRestore: something there differs.
    """
    for label in sorted(found.keys() | recorded.keys()):
        if found.get(label) != recorded.get(label):
            raise CannotRestore(
                f"'{label}' is not as it was when the snapshot was taken, and is not restored: "
                "keep state in attributes of the environment"
            )
