"""Facts about classes: where one is from, which attributes it has, what its pickle keeps."""

from __future__ import annotations

import copyreg
import sys
import sysconfig
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache
from pathlib import Path
from types import MemberDescriptorType
from typing import Any, Final, Literal

from simgit.gym.drivers.limits import CannotSnapshot

Origin = Literal["standard", "known", "installed", "own"]
_KNOWN: Final = frozenset(
    ("numpy", "torch", "gymnasium", "minigrid", "ale_py", "mujoco", "simgit", "stable_baselines3",
     "jax", "jaxlib", "pandas", "scipy", "pygame")
)  # fmt: skip
"""Packages whose classes have no state of their own and whose pickles are complete."""
_SMALL: Final = (type(None), bool, int, float, str, bytes, tuple)
_PARTS: Final = 10_000
_HOOKS: Final = ("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__")
_FILLED: Final = {
    dict: ("__setitem__",), list: ("append", "extend"), set: ("__init__", "__new__"),
    frozenset: ("__new__",), deque: ("__init__", "append", "extend"),
    OrderedDict: ("__init__", "__setitem__"), defaultdict: ("__init__", "__setitem__"),
    Counter: ("__init__", "__setitem__"),
}  # fmt: skip
"""Methods that run when a pickle of a subclass is loaded."""


@cache
def origin_of(module: str) -> Origin:
    """Return where a module is from: Python, a known package, another installed one, or own code.

    A package that is installed as a link to its source counts as own.
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == "builtins":
        return "standard" if top != "__main__" else "own"
    if top in _KNOWN:
        return "known"
    file = getattr(sys.modules.get(top), "__file__", None)
    places = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    if file is not None and not places.isdisjoint(Path(file).parents):
        return "installed"
    return "own"


def is_trusted(kind: type) -> bool:
    """Return True for a class of Python or of a known package."""
    return origin_of(kind.__module__) in ("standard", "known")


def c_bases(kind: type) -> list[type]:
    """Return the bases of a class that are not written in Python, without ``object``."""
    return [base for base in kind.__mro__ if base is not object and not _is_python(base)]


def _is_python(kind: type) -> bool:
    if "__dict__" in vars(kind) or "__slots__" in vars(kind):
        return True
    return any(_is_python(base) for base in kind.__bases__ if base is not object)


def slots_of(kind: type) -> dict[str, Any]:
    """Return the descriptors of the attributes in ``__slots__``, along the bases, by name."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if "__slots__" in vars(base):
            for name, descriptor in vars(base).items():
                if type(descriptor) is MemberDescriptorType:
                    found.setdefault(name, descriptor)
    return found


def attributes_of(thing: Any, slots: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return all attributes of an instance by name, those in ``__slots__`` too."""
    slots = slots_of(type(thing)) if slots is None else slots
    held: dict[str, Any] = getattr(thing, "__dict__", {})
    if not slots:
        return held
    found = dict(held)
    for name, descriptor in slots.items():
        try:
            found[name] = descriptor.__get__(thing)
        except AttributeError:
            continue  # not set
    return found


def found_by_name(module: str | None, qualname: str) -> Any:
    """Return what a loaded module has under a qualified name, None if there is nothing.

    No code runs: modules are not imported, and attributes are read from dictionaries.
    """
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        if found is None:
            return None
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, (staticmethod, classmethod)):
            found = found.__func__
    return found


def check_pickle(kind: type) -> bool:
    """Check that the pickle of an instance holds its state; True if each one must be looked at.

    Raises:
        CannotSnapshot: that cannot be told, since the class defines its own pickle.
    """
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind in copyreg.dispatch_table and not is_trusted(kind):
        raise CannotSnapshot(f"holds a '{name}', whose pickle is made by a registered function")
    looks = False
    for hook in _HOOKS:
        definer = next(base for base in (*kind.__mro__, None) if base is None or hook in vars(base))
        if definer is None or definer is object:
            continue
        place = origin_of(getattr(vars(definer)[hook], "__module__", None) or definer.__module__)
        if place == "own":
            raise CannotSnapshot(f"holds a '{name}', whose '{hook}' may lose state")
        looks |= place == "installed" or not is_trusted(kind)
    for base, names in _FILLED.items():
        if issubclass(kind, base):
            for method in names:
                definer = next(each for each in kind.__mro__ if method in vars(each))
                if origin_of(definer.__module__) == "own":
                    raise CannotSnapshot(
                        f"holds a '{name}', whose '{method}' runs when it is loaded"
                    )
    return looks


def check_kept(thing: Any) -> None:
    """Check that an object's reduced form holds all its attributes.

    Raises:
        CannotSnapshot: one is missing.
    """
    reduced = thing.__reduce_ex__(5)
    if isinstance(reduced, str):
        return  # a global name
    ids: set[int] = set()
    named: dict[str, list[Any]] = {}
    waiting: list[Any] = [part for part in reduced[1:3] if part is not None]
    while waiting and len(ids) < _PARTS:
        part = waiting.pop()
        ids.add(id(part))
        if type(part) is dict:
            waiting += part.values()
            for key, value in part.items():
                named.setdefault(key, []).append(value)
        elif type(part) in (tuple, list):
            waiting += part
    for name, value in attributes_of(thing).items():
        # a small number is everywhere: it has to have its name
        by_name = any(each is value for each in named.get(name, ()))
        if not by_name and (id(value) not in ids or isinstance(value, _SMALL)):
            kind = type(thing)
            raise CannotSnapshot(
                f"holds a '{kind.__module__}.{kind.__qualname__}', "
                f"whose pickle would lose its '{name}'"
            )
