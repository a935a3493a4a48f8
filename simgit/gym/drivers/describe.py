"""Descriptions of values, to tell whether two of them are the same; nothing is rebuilt from them.

Functions, classes and what lies outside of an environment's attributes is not stored: a snapshot
holds its description, and the environment that is restored must have the same.
"""

from __future__ import annotations

import contextvars
import functools
import hashlib
import itertools
import logging
import pathlib
import random
import re
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import Space

from simgit.gym.drivers.classes import attributes_of, c_bases, found_by_name, origin_of
from simgit.gym.drivers.generators import encode_generator
from simgit.gym.drivers.limits import NotPlain

ATOMS: Final = frozenset((type(None), bool, int, float, complex, str, bytes, type(...), range))
CODE: Final = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type,
    functools.partial, functools._lru_cache_wrapper, np.ufunc, types.MethodWrapperType,
    types.WrapperDescriptorType, types.MethodDescriptorType, types.GenericAlias,
)  # fmt: skip
"""Kinds of values that are code rather than data: they have descriptions instead of plain forms."""
Named = Mapping[int, tuple[Any, Any]]
"""Names of objects, and the objects, by their ids."""
_MOST: Final = 20_000
"""Parts from which on a value is not described: it would take too long."""


class Opaque(Exception):
    """A value has no description."""


class Description(NamedTuple):
    """A description: a digest, and the parts with an identity, in the order of their occurrence."""

    digest: bytes
    parts: list[Any]


def describe(value: Any, named: Named) -> Description:
    """Return the description of a value.

    Args:
        value: the value.
        named: objects that are described by a name, by their ids.

    Raises:
        Opaque: it holds something that cannot be looked into.
    """
    describer = _Describer(named)
    try:
        describer.add(value)
    except RecursionError:
        raise Opaque("a value that is nested too deeply") from None
    text = "".join(describer.text).encode("utf-8", "surrogatepass")
    return Description(hashlib.blake2b(text, digest_size=12).digest(), describer.parts)


class _Describer:
    def __init__(self, named: Named) -> None:
        self.named = named
        self.text: list[str] = []
        self.parts: list[Any] = []
        self._numbers: dict[int, int] = {}

    def add(self, value: Any) -> None:
        kind = type(value)
        if kind in ATOMS:
            self.text.append(f"{kind.__name__} {value!r};")
        elif id(value) in self.named:
            self.text.append(f"named {self.named[id(value)][0]!r};")
        elif kind is tuple:
            self.all("tuple", value)
        elif id(value) in self._numbers:
            self.text.append(f"part {self._numbers[id(value)]};")
        else:
            self._numbers[id(value)] = len(self.parts)
            self.parts.append(value)
            if len(self.parts) > _MOST:
                raise Opaque("a value with too many parts")
            _handler(kind)(self, value)

    def all(self, what: str, values: Any) -> None:
        """Add several values, with a word that tells what they are."""
        values = list(values)
        self.text.append(f"{what} {len(values)};")
        for value in values:
            self.add(value)

    def bytes(self, what: str, data: Any) -> None:
        """Add bytes by their hash."""
        self.text.append(f"{what} {hashlib.blake2b(data, digest_size=16).hexdigest()};")


def _handler(kind: type) -> Callable[[_Describer, Any], None]:
    found = _HANDLERS.get(kind)
    if found is not None:
        return found
    for base, handler in _FAMILIES:
        if issubclass(kind, base):
            return handler
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        if issubclass(kind, torch.Tensor):
            return _tensor
        if issubclass(kind, torch.Generator):
            return lambda to, value: _array(to, value.get_state().numpy())
    return _instance


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _dict(to: _Describer, value: Any) -> None:
    to.all("dict", [part for item in dict.items(value) for part in item])


def _set(to: _Describer, value: Any) -> None:
    texts = []
    for each in value:
        inner = _Describer(to.named)
        inner.add(each)
        texts.append("".join(inner.text))
    to.text.append(f"set {len(texts)};" + "".join(sorted(texts)))


def _array(to: _Describer, value: Any) -> None:
    to.text.append(f"array {value.dtype!r} {value.shape};")
    if value.dtype.hasobject:
        to.all("items", value.ravel().tolist())
    else:
        to.bytes("data", np.ascontiguousarray(value).tobytes())
    if type(value) is not np.ndarray:
        _with_attributes(to, value)


def _tensor(to: _Describer, value: Any) -> None:
    if value.grad_fn is not None or value.grad is not None or value.device.type != "cpu":
        raise Opaque("a tensor with a gradient, or on a device")
    if value.layout is not sys.modules["torch"].strided:
        raise Opaque("a sparse tensor")
    to.text.append(f"tensor {value.dtype} {tuple(value.shape)};")
    raw = value.detach().contiguous().reshape(-1).view(sys.modules["torch"].uint8)
    to.bytes("data", raw.numpy().tobytes())


def _generator(to: _Describer, value: Any) -> None:
    try:
        to.add(_plain(encode_generator(value)))
    except NotPlain as error:
        raise Opaque(str(error)) from None


def _plain(value: Any) -> Any:
    """Return nested data with arrays as bytes."""
    if isinstance(value, dict):
        return tuple((key, _plain(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _code(to: _Describer, code: types.CodeType) -> None:
    to.text.append(f"code {code.co_qualname} {code.co_names} {code.co_varnames};")
    to.bytes("bytecode", code.co_code)
    for const in code.co_consts:
        _code(to, const) if isinstance(const, types.CodeType) else to.add(const)


def _function(to: _Describer, value: types.FunctionType) -> None:
    to.text.append(f"function {value.__module__} {value.__qualname__};")
    if found_by_name(value.__module__, value.__qualname__) is not value:
        _code(to, value.__code__)
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # empty
                to.text.append("empty;")
                continue
            to.add(content)
    to.all("defaults", (value.__defaults__, value.__kwdefaults__, vars(value)))


def _builtin(to: _Describer, value: Any) -> None:
    owner = getattr(value, "__self__", None)
    to.text.append(f"builtin {value.__name__};")
    if isinstance(owner, (np.random.Generator, random.Random)) and id(owner) not in to.named:
        raise Opaque("a method of a generator")
    to.add(owner)


def _class(to: _Describer, value: type) -> None:
    if found_by_name(value.__module__, value.__qualname__) is not value:
        raise Opaque(f"a class '{_name(value)}' that has no place in a module")
    to.text.append(f"class {_name(value)};")


def _module(to: _Describer, value: types.ModuleType) -> None:
    if sys.modules.get(value.__name__) is not value:
        raise Opaque("a module that is not imported")
    to.text.append(f"module {value.__name__};")


def _enum(to: _Describer, value: Enum) -> None:
    to.text.append(f"member {_name(type(value))} {value.name};")
    to.add(value._value_)
    extra = {k: v for k, v in vars(value).items() if k not in MEMBER}
    if extra:
        _dict(to, extra)


MEMBER: Final = frozenset(("_value_", "_name_", "__objclass__", "_sort_order_"))
"""The attributes that every member of an Enum has."""


def _space(to: _Describer, value: Any) -> None:
    to.text.append(f"space {_name(type(value))};")
    _dict(to, {k: v for k, v in attributes_of(value).items() if k != "_np_random"})


def _instance(to: _Describer, value: Any) -> None:
    kind = type(value)
    builtin = c_bases(kind)
    for base in builtin:
        if base not in _CONTENT:
            raise Opaque(f"a '{_name(kind)}'")
    to.text.append(f"instance {_name(kind)};")
    for base in builtin:
        content = _CONTENT[base]
        if content is not None:
            content(to, value)
    _with_attributes(to, value)


def _with_attributes(to: _Describer, value: Any) -> None:
    held = attributes_of(value)
    to.text.append(f"attributes {len(held)};")
    for name, each in held.items():
        to.text.append(f"{name!r}:")
        to.add(each)


def _iterator(to: _Describer, value: Any) -> None:
    try:
        to.add(tuple(value.__reduce__()))
    except TypeError:
        raise Opaque(f"a '{type(value).__name__}'") from None


def _cache(to: _Describer, value: Any) -> None:
    if value.cache_info().currsize:
        raise Opaque(f"results of '{value.__wrapped__.__qualname__}', which caches them")
    to.text.append(f"cached {value.__wrapped__.__qualname__};")


def _items(to: _Describer, value: Any) -> None:
    to.all(type(value).__name__, value)


def _fixed(to: _Describer, value: Any) -> None:
    to.text.append(f"{type(value).__name__} {value!r};")


def _nothing(to: _Describer, value: Any) -> None:
    to.text.append(f"{type(value).__name__};")


_HANDLERS: Final[dict[type, Callable[[_Describer, Any], None]]] = {
    list: _items, dict: _dict, types.MappingProxyType: lambda to, value: _dict(to, dict(value)),
    set: _set, frozenset: _set, bytearray: _fixed, deque: _items, slice: _fixed,
    np.random.Generator: _generator,
    np.random.RandomState: lambda to, value: to.add(_plain(value.get_state(legacy=False))),
    random.Random: lambda to, value: to.add(value.getstate()),
    types.FunctionType: _function, types.BuiltinFunctionType: _builtin,
    types.MethodType: lambda to, value: to.all("method", (value.__func__, value.__self__)),
    types.ModuleType: _module,
    functools.partial: lambda to, value: to.all(
        "partial", (value.func, value.args, value.keywords, vars(value))
    ),
    functools._lru_cache_wrapper: _cache, types.GenericAlias: _fixed,
    np.ufunc: lambda to, value: to.text.append(f"ufunc {value.__name__};"),
    property: lambda to, value: to.all("property", (value.fget, value.fset, value.fdel)),
    re.Pattern: _fixed, types.SimpleNamespace: lambda to, value: _dict(to, vars(value)),
    contextvars.ContextVar: lambda to, value: to.all("variable", (value.name, value.get(None))),
    itertools.count: _fixed,
    type(threading.Lock()): _nothing, type(threading.RLock()): _nothing,
}  # fmt: skip
_FAMILIES: Final[tuple[tuple[Any, Callable[[_Describer, Any], None]], ...]] = (
    (Enum, _enum),
    (type, _class),
    (Space, _space),
    (np.ndarray, _array),
    ((np.generic, np.dtype, pathlib.PurePath), _fixed),
    (logging.Logger, _nothing),
    (threading.local, lambda to, value: _dict(to, vars(value))),
    (
        (itertools.cycle, itertools.chain, itertools.islice, itertools.repeat, zip, map, filter,
         enumerate, reversed, type(iter([])), type(iter(())), type(iter(range(0))), type(iter(""))),
        _iterator,
    ),
    ((staticmethod, classmethod), lambda to, value: to.add(value.__func__)),
    (tuple, lambda to, value: to.all(_name(type(value)), value)),
)  # fmt: skip
_CONTENT: Final[dict[type, Callable[[_Describer, Any], None] | None]] = {
    dict: _dict,
    list: lambda to, value: to.all("list", list.__iter__(value)),
    set: _set,
    frozenset: _set,
    deque: lambda to, value: to.all("deque", deque.__iter__(value)),
    int: lambda to, value: to.text.append(f"int {int.__repr__(value)};"),
    float: lambda to, value: to.text.append(f"float {float.__repr__(value)};"),
    str: lambda to, value: to.text.append(f"str {str.__str__(value)!r};"),
    BaseException: lambda to, value: to.add(value.args),
    Exception: None,
}
if len(random.Random.__mro__) == 3:  # random.Random is written on top of a class in C
    _CONTENT[random.Random.__mro__[1]] = lambda to, value: to.add(random.Random.getstate(value))


def shared_parts(value: Any, parts: list[Any]) -> list[Any]:
    """Return the parts of described code that must not be in a snapshot as well.

    Functions of Python and known packages do not change the containers that they enclose.
    """
    is_known = isinstance(value, types.FunctionType) and origin_of(value.__module__ or "") in (
        "standard",
        "known",
    )
    plain = (list, dict, set, np.ndarray) if is_known else ()
    return [part for part in parts if not isinstance(part, CODE) and type(part) not in plain]


def digests(value: Any, named: Named) -> Mapping[bytes, Any]:
    """Return the code that a value holds, by its description: functions, classes, partials, …"""
    found: dict[bytes, Any] = {}
    waiting, seen = [value], {id(value): value}
    while waiting and len(seen) < _MOST:
        part = waiting.pop()
        if isinstance(part, CODE):
            try:
                found[describe(part, named).digest] = part
            except Opaque:
                continue
            continue
        for inner in _parts(part):
            if type(inner) not in ATOMS and id(inner) not in seen and id(inner) not in named:
                seen[id(inner)] = inner
                waiting.append(inner)
    return found


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, deque, set, frozenset)):
        return list(value)
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype.hasobject else []
    return list(attributes_of(value).values())
