"""The attributes of all layers in one pickle, for those without a plain form.

Layers, their spaces, specs and random generators are in it by name ("persistent ids"), so that
references to them lead to those of the environment that loads it; so is what lies outside of the
attributes, and functions that no module has. What the pickle would lose is refused.
Loading runs code of whoever made the pickle: it must be trusted.
"""

from __future__ import annotations

import importlib
import io
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import numpy as np
from gymnasium import Env
from gymnasium.utils import EzPickle

from simgit.errors import IntegrityError
from simgit.gym.drivers.classes import check_kept, check_pickle, found_by_name
from simgit.gym.drivers.describe import ATOMS, CODE, MEMBER, Named, Opaque, describe, shared_parts
from simgit.gym.drivers.limits import CannotRestore, CannotSnapshot
from simgit.gym.drivers.plain import check_memory, in_order

Check = Callable[["_Pickler", Any], Any]
"""Returns the name of an object, None for one that is pickled."""
_FREE: Final = frozenset((*ATOMS, tuple, list, dict, slice))
"""Kinds that are pickled without a look."""


def dump(states: Any, stack: Any, named: Named) -> bytes:
    """Return the attributes of all layers as bytes.

    Raises:
        CannotSnapshot: a part cannot be pickled, or its pickle would lose its state.
    """
    file = io.BytesIO()
    pickler = _Pickler(file, named)
    try:
        pickler.dump(states)
    except CannotSnapshot:
        raise
    except Exception as error:  # __reduce__ of a foreign class raises anything
        text = str(error)
        known = text.startswith("cannot pickle")
        raise CannotSnapshot(text if known else f"cannot be pickled: {text}") from error
    pickler.finish()
    return file.getvalue()


def load(
    data: bytes, names: Mapping[tuple[Any, ...], Any], code: Callable[[], Mapping[bytes, Any]]
) -> Any:
    """Return the attributes of all layers. Runs the pickle's code.

    Args:
        data: the pickle.
        names: the objects that it may refer to, by name.
        code: returns the functions of the environment, by their descriptions.

    Raises:
        IntegrityError: it cannot be loaded.
        CannotRestore: it refers to what the environment does not have.
    """
    try:
        return _Unpickler(io.BytesIO(data), names, code).load()
    except (IntegrityError, CannotRestore):
        raise
    except Exception as error:
        raise IntegrityError(f"cannot load the pickle of a snapshot: {error}") from error


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, named: Named) -> None:
        super().__init__(file, protocol=5)
        self.named = named
        self._checks: dict[type, Check] = {}
        self.arrays: dict[int, Any] = {}
        self.left: dict[int, Any] = {}
        """The mutable parts of functions that stay as they are."""

    def persistent_id(self, obj: Any) -> Any:
        """Return the name of a named object.

        Raises:
            CannotSnapshot: the object's pickle would not hold its state.
        """
        kind = type(obj)
        if kind in ATOMS:
            return None
        found = self.named.get(id(obj))
        if found is not None:
            return found[0]
        if kind in _FREE:
            return None
        check = _CHECKS.get(kind)
        if check is None:
            check = self._checks.get(kind)
        if check is None:
            check = self._checks[kind] = _check_of(kind)
        return None if check is _nothing else check(self, obj)

    def finish(self) -> None:
        """Check that no array shares memory, and that nothing is both pickled and left.

        Raises:
            CannotSnapshot: one does.
        """
        check_memory(list(self.arrays.values()))
        if self.left and not self.left.keys().isdisjoint(self.memo.copy()):
            raise CannotSnapshot("a function shares a value with an attribute")


def _nothing(_: _Pickler, __: Any) -> None:
    """Pickle an object as it is."""


def _check_of(kind: type) -> Check:
    """Return what to look at before an object is pickled; for kinds whose answer is fixed."""
    torch = sys.modules.get("torch")
    if issubclass(kind, (Env, EzPickle)):
        raise CannotSnapshot(f"holds a '{kind.__name__}', whose pickle would lose its state")
    if torch is not None and hasattr(torch, "Tensor") and issubclass(kind, torch.Tensor):
        return _tensor
    if issubclass(kind, Enum):
        return _member
    if issubclass(kind, type):
        return _nothing
    for base, check in _FAMILIES:
        if issubclass(kind, base):
            looks = check_pickle(kind)
            return _both(check) if looks else check
    return _kept if check_pickle(kind) else _nothing


def _both(check: Check) -> Check:
    def found(pickler: _Pickler, obj: Any) -> Any:
        check_kept(obj)
        return check(pickler, obj)

    return found


def _kept(_: _Pickler, obj: Any) -> None:
    check_kept(obj)


def _set(_: _Pickler, obj: Any) -> None:
    copies, items = in_order(obj)
    if copies or items != list(obj):
        raise CannotSnapshot("holds a set whose order depends on how it was built")


def _bytearray(pickler: _Pickler, obj: Any) -> None:
    pickler.arrays[id(obj)] = np.frombuffer(obj, np.uint8)


def _array(pickler: _Pickler, obj: Any) -> None:
    if isinstance(obj, np.memmap) and obj.flags.writeable:
        raise CannotSnapshot("holds an array in a file")
    if not (obj.flags.c_contiguous or obj.flags.f_contiguous):
        raise CannotSnapshot("holds an array that is a view with gaps")
    pickler.arrays[id(obj)] = obj


def _tensor(pickler: _Pickler, obj: Any) -> None:
    if obj.grad_fn is not None or obj.grad is not None:
        raise CannotSnapshot("holds a tensor with a gradient")
    if obj.device.type != "cpu" or obj.layout is not sys.modules["torch"].strided:
        return
    storage = obj.untyped_storage()
    for other in pickler.arrays.values():
        if not isinstance(other, np.ndarray) and (
            other.untyped_storage().data_ptr() == storage.data_ptr()
        ):
            raise CannotSnapshot("holds two tensors that share memory")
    pickler.arrays[id(obj)] = obj


def _member(_: _Pickler, obj: Any) -> None:
    extra = {name: value for name, value in vars(obj).items() if name not in MEMBER}
    for value in (obj._value_, *extra.values()):
        if not _is_fixed(value):
            raise CannotSnapshot(
                f"holds '{type(obj).__qualname__}.{obj.name}', whose value can change"
            )


def _is_fixed(value: Any) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(_is_fixed, value))
    return type(value) in ATOMS or isinstance(value, (*CODE, Enum, np.generic))


def _function(pickler: _Pickler, obj: Any) -> Any:
    if found_by_name(obj.__module__, obj.__qualname__) is obj:
        return None
    try:
        found, parts = describe(obj, pickler.named)
    except Opaque as error:
        raise CannotSnapshot(f"holds a function with {error}") from None
    pickler.left |= {
        id(part): part for part in shared_parts(obj, parts) if id(part) not in pickler.named
    }
    return ("code", found)


def _method(_: _Pickler, obj: Any) -> None:
    if getattr(obj.__self__, obj.__name__, None) != obj:
        raise CannotSnapshot(f"holds a method '{obj.__qualname__}' that has no place in its class")


def _module(_: _Pickler, obj: types.ModuleType) -> Any:
    if sys.modules.get(obj.__name__) is not obj:
        raise CannotSnapshot("holds a module that is not imported")
    return ("module", obj.__name__)


_CHECKS: Final[dict[type, Check]] = {
    type: _nothing,
    types.FunctionType: _function,
    types.MethodType: _method,
    types.ModuleType: _module,
    np.ndarray: _array,
    bytearray: _bytearray,
}
_FAMILIES: Final[tuple[tuple[type, Check], ...]] = (
    (set, _set),
    (frozenset, _set),
    (np.ndarray, _array),
)


class _Unpickler(pickle.Unpickler):
    def __init__(
        self,
        file: io.BytesIO,
        names: Mapping[tuple[Any, ...], Any],
        code: Callable[[], Mapping[bytes, Any]],
    ) -> None:
        super().__init__(file)
        self._names, self._code = names, code
        self._found: Mapping[bytes, Any] | None = None

    def persistent_load(self, pid: Any) -> Any:
        """Return the object with a name.

        Raises:
            CannotRestore: the environment has no object of this name.
        """
        if pid[0] == "module":
            return importlib.import_module(pid[1])
        if pid[0] == "code":
            if self._found is None:
                self._found = self._code()
            found = self._found.get(pid[1])
        else:
            found = self._names.get(tuple(pid))
        if found is None:
            raise CannotRestore(
                f"the snapshot refers to '{pid}', which the environment does not have"
            )
        return found
