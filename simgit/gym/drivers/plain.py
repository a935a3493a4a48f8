"""Attributes as canonical values: they round-trip with the same types, order and bits.

Canonical values (docs/object-format.md §2) have no sets, deques, random generators or order of
keys. Each of those is a dict with one key that tells its type (tuples too, for speed):

    {"d": [key, value, …]}   dict              {"q": [items, maxlen]}  deque
    {"t": items}  tuple
    {"s": items}  {"f": items}  set, frozenset {"b": bytes}            bytearray
    {"c": items}  {"k": items}  the same, copied once (which may change the order of later items)
    {"0": scalar} array of shape ()            {"g": [name, state]}    numpy.random.Generator
    {"r": state}  numpy.random.RandomState     {"p": [version, words, gauss]}  random.Random
    {"m": attributes}  Gymnasium's RunningMeanStd
    {"e": [module, class, name]}  member of an Enum in a loaded module; with a digest, if it holds
                  more than a plain value
    {"y": text}   dtype                        {"^": name}  what has a name in the environment
    {"=": digest} code (a function, a class, a partial, …) of this description, which the
                  environment has in the same attribute

The last two and Enums lead to what the environment has already; nothing is imported or called.
"""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

from simgit.errors import IntegrityError
from simgit.gym.drivers.classes import found_by_name
from simgit.gym.drivers.describe import CODE, MEMBER, Named, Opaque, describe
from simgit.gym.drivers.generators import decode_generator, encode_generator
from simgit.gym.drivers.limits import CannotRestore, CannotSnapshot, NotPlain

_ATOMS: Final = frozenset((type(None), bool, int, float, complex, str, bytes))
_HOLDING: Final = frozenset((tuple, list, dict, set, frozenset, deque))

Parts = dict[int, Any]
"""Values by their ids."""


class Encoder:
    """Encodes values of one snapshot.

    A mutable value that is referred to twice is not plain: it would come back as two values.
    """

    def __init__(
        self,
        named: Named | None = None,
        code: Callable[[Encoder, Any], bytes] | None = None,
    ) -> None:
        """Begin.

        Args:
            named: values that are captured separately, each with its name, by their ids.
            code: returns the digest of a function, class, …, if it may be left as it is.
        """
        self.named = named or {}
        self._code = code
        # keeps the values too: the id of a freed one may be reused
        self.seen: Parts = {key: value for key, (_, value) in self.named.items()}
        self.arrays: list[Any] = []
        self._described: Parts = {}

    def encode(self, value: Any) -> Any:
        """Return the plain form of a value, a copy.

        Raises:
            NotPlain: it has no plain form.
            CannotSnapshot: it has no stored form at all.
        """
        kind = type(value)
        if kind in _ATOMS or (isinstance(value, np.generic) and kind.__module__ == "numpy"):
            return value
        if kind is tuple:
            return {"t": list(map(self.encode, value))}
        if id(value) in self.seen:
            return self._again(value, kind)
        encode = _ENCODE.get(kind)
        if encode is None:
            return self._other(value, kind)
        self.seen[id(value)] = value
        return encode(self, value)

    def _again(self, value: Any, kind: type) -> Any:
        name = self.named.get(id(value), ((None,),))[0]
        if name[0] in ("layer", "space", "spec", "outside"):
            return {"^": list(name)}
        raise NotPlain(f"a {kind.__name__} that is referred to twice")

    def _other(self, value: Any, kind: type) -> Any:
        if isinstance(value, Enum):
            return {"e": _member(value)}
        if isinstance(value, np.dtype) and np.dtype(value.str) == value:
            return {"y": value.str}
        if self._code is not None and isinstance(value, CODE):
            return {"=": self._code(self, value)}
        raise NotPlain(f"a value of type '{kind.__module__}.{kind.__qualname__}'")

    def leave(self, parts: list[Any]) -> None:
        """Note the parts of a value that is left alone: they must not come back as others too.

        Raises:
            NotPlain: one of them is encoded as well.
        """
        for part in parts:
            if id(part) in self._described:
                continue
            if id(part) in self.seen and id(part) not in self.named:
                raise NotPlain("a value that is referred to twice")
            self.seen[id(part)] = self._described[id(part)] = part
            if isinstance(part, np.ndarray):
                self.arrays.append(part)

    def pass_over(self, parts: Parts, arrays: list[Any]) -> None:
        """Note the parts of a value whose plain form is known, as ``encode`` would.

        Args:
            parts: the mutable parts.
            arrays: the arrays among them.

        Raises:
            NotPlain: a part has occurred before.
        """
        if not parts.keys().isdisjoint(self.seen):
            raise NotPlain("a part of a container that is referred to twice")
        self.seen.update(parts)
        self.arrays += arrays

    def items(self, values: Any) -> list[Any]:
        """Return the plain forms of several values."""
        return list(map(self.encode, values))


def parts_of(value: Any) -> tuple[Parts, list[Any]]:
    """Return the mutable values in a plain value, itself included, and the arrays among them."""
    found: Parts = {}
    level = [value]
    while level:
        found |= {id(part): part for part in level if type(part) in _ENCODE}
        holding = [part for part in level if type(part) in _HOLDING]
        level = [part for part in gc.get_referents(*holding) if type(part) not in _ATOMS]
    return found, [part for part in found.values() if type(part) is np.ndarray]


def _member(value: Enum) -> list[Any]:
    kind = type(value)
    if found_by_name(kind.__module__, kind.__qualname__) is not kind:
        raise NotPlain(f"a member of '{kind.__qualname__}', which has no place in a module")
    if kind.__members__.get(value.name) is not value:
        raise NotPlain(f"a combination of members of '{kind.__qualname__}'")
    found = [kind.__module__, kind.__qualname__, value.name]
    if type(value._value_) in _ATOMS and vars(value).keys() <= MEMBER:
        return found
    try:
        return [*found, describe(value, {}).digest]
    except Opaque as error:
        raise CannotSnapshot(f"a member of '{kind.__qualname__}' holds {error}") from None


def check_memory(arrays: list[Any]) -> None:
    """Check that no two arrays share memory: they would come back as two that do not.

    Raises:
        CannotSnapshot: two share memory, or one is a view of memory of something else.
    """
    arrays = [array for array in arrays if isinstance(array, np.ndarray)]
    if all(array.base is None for array in arrays):
        return
    for array in arrays:
        owner = array.base
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if isinstance(owner, memoryview):
            owner = owner.obj
        if owner is not None and array.flags.writeable and type(owner) is not bytearray:
            raise CannotSnapshot(f"holds an array in the memory of a '{type(owner).__qualname__}'")
    spans = sorted(
        (*np.lib.array_utils.byte_bounds(array), i) for i, array in enumerate(arrays) if array.size
    )
    end, last = 0, 0
    for start, stop, i in spans:
        if start < end and np.may_share_memory(arrays[last], arrays[i]):
            raise CannotSnapshot("holds two arrays that share memory")
        if stop > end:
            end, last = stop, i


def _array(encoder: Encoder, value: Any) -> Any:
    if value.dtype.kind not in "biufcSUmM" or not value.flags.c_contiguous:
        raise NotPlain(f"an array of dtype '{value.dtype}'")
    encoder.arrays.append(value)
    return {"0": value[()]} if value.ndim == 0 else value.copy()


def _set(encoder: Encoder, value: Any, tags: str) -> Any:
    copies, items = in_order(value)
    return {tags[copies]: encoder.items(items)}


def _bytearray(encoder: Encoder, value: Any) -> Any:
    encoder.arrays.append(np.frombuffer(value, np.uint8))
    return {"b": bytes(value)}


def _dict(encoder: Encoder, value: Any) -> Any:
    return {"d": [encoder.encode(part) for item in value.items() for part in item]}


def in_order(value: Any) -> tuple[int, list[Any]]:
    """Return how a set is built anew with the same order, in another process too.

    Returns:
        How often it has to be copied then, since the room in a set depends on how it was built; and
        its items in the order in which they have to be added.

    Raises:
        CannotSnapshot: its order depends on the process, or on what it held before.
    """
    items = list(value)
    if len(items) < 2:
        return 0, items
    for each in items:
        if not _has_fixed_hash(each):
            raise CannotSnapshot(
                f"holds a set of '{type(each).__qualname__}', whose order differs in each "
                "process: use a dict or a sorted list"
            )
    size = None if isinstance(value, frozenset) else set.__sizeof__(value)
    for added in (items, items[::-1], items[1:] + items[:1], items[-1:] + items[:-1]):
        once = set(added)
        for copies, again in enumerate((once, once.copy())):
            if list(again) == items and size in (None, again.__sizeof__()):
                return copies, added
    raise CannotSnapshot("holds a set whose order depends on what it held before")


def _has_fixed_hash(value: Any) -> bool:
    if type(value) in (tuple, frozenset):
        return all(map(_has_fixed_hash, value))
    return type(value) in (int, float, bool, complex) or (
        isinstance(value, np.generic) and value.dtype.kind in "biufc"
    )


def _deque(encoder: Encoder, value: Any) -> Any:
    return {"q": [encoder.items(value), value.maxlen]}


def _python_random(_: Encoder, value: random.Random) -> Any:
    version, words, gauss = value.getstate()
    return {"p": [version, np.array(words, np.uint64), gauss]}


_ENCODE: Final[dict[type, Callable[[Encoder, Any], Any]]] = {
    np.ndarray: _array,
    list: lambda encoder, value: encoder.items(value),
    dict: _dict,
    deque: _deque,
    set: lambda encoder, value: _set(encoder, value, "sc"),
    frozenset: lambda encoder, value: _set(encoder, value, "fk"),
    bytearray: _bytearray,
    np.random.Generator: lambda _, value: {"g": encode_generator(value)},
    np.random.RandomState: lambda _, value: {"r": value.get_state(legacy=False)},
    random.Random: _python_random,
    RunningMeanStd: lambda encoder, value: {"m": _dict(encoder, vars(value))["d"]},
}


class Decoder:
    """Decodes the plain forms of one snapshot.

    ``resolve`` returns what has a name in the environment, and ``code`` the function, class, … of
    a description in the attribute that is being decoded; both raise CannotRestore without one.
    """

    def __init__(
        self,
        resolve: Callable[[list[Any]], Any] | None = None,
        code: Callable[[bytes], Any] | None = None,
    ) -> None:
        self.resolve = resolve
        self.code = code

    def decode(self, plain: Any) -> Any:
        """Return the value of a plain form, with writeable arrays.

        Raises:
            IntegrityError: it is not a plain form.
            CannotRestore: it refers to what the environment does not have.
        """
        kind = type(plain)
        if kind is list:
            return self.items(plain)
        if kind is np.ndarray:
            return plain.copy()
        if kind is not dict:
            return plain
        ((tag, body),) = plain.items() if len(plain) == 1 else ((None, None),)
        if tag not in _DECODE:
            raise IntegrityError(f"unknown kind '{tag}' of a value in a snapshot")
        return _DECODE[tag](self, body)

    def items(self, items: list[Any]) -> list[Any]:
        """Return the values of several plain forms."""
        # most are atoms, for which a call would be most of the work
        return [each if type(each) in _ATOMS else self.decode(each) for each in items]

    def named(self, name: Any) -> Any:
        """Return what has a name in the environment."""
        if self.resolve is None:
            raise CannotRestore("the snapshot refers to parts of an environment")
        return self.resolve(name)

    def described(self, digest: bytes) -> Any:
        """Return the code with a description."""
        if self.code is None:
            raise CannotRestore("the snapshot refers to code of an environment")
        return self.code(digest)


def decode(plain: Any) -> Any:
    """Return the value of a plain form that refers to nothing; see ``Decoder``."""
    return Decoder().decode(plain)


def _decode_dict(decoder: Decoder, body: Any) -> dict[Any, Any]:
    parts = decoder.items(body)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _decode_member(_: Decoder, body: Any) -> Enum:
    module, qualname, name, *digest = body
    kind = found_by_name(module, qualname)
    found = (
        kind.__members__.get(name) if isinstance(kind, type) and issubclass(kind, Enum) else None
    )
    if not isinstance(found, Enum):
        raise CannotRestore(f"the snapshot has '{module}.{qualname}.{name}', which is not there")
    if digest and describe(found, {}).digest != digest[0]:
        raise CannotRestore(f"'{module}.{qualname}.{name}' has changed since the snapshot")
    return found


def _decode_random_state(body: Any) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(body)
    return made


def _decode_python_random(body: Any) -> random.Random:
    version, words, gauss = body
    made = random.Random()
    made.setstate((version, tuple(words.tolist()), gauss))
    return made


def _decode_mean(decoder: Decoder, body: Any) -> RunningMeanStd:
    made = RunningMeanStd.__new__(RunningMeanStd)
    vars(made).update(_decode_dict(decoder, body))
    return made


_DECODE: Final[dict[Any, Callable[[Decoder, Any], Any]]] = {
    "0": lambda _, body: np.array(body),
    "t": lambda decoder, body: tuple(decoder.items(body)),
    "d": _decode_dict,
    "q": lambda decoder, body: deque(decoder.items(body[0]), body[1]),
    "s": lambda decoder, body: set(decoder.items(body)),
    "f": lambda decoder, body: frozenset(set(decoder.items(body))),
    "c": lambda decoder, body: set(decoder.items(body)).copy(),
    "k": lambda decoder, body: frozenset(set(decoder.items(body)).copy()),
    "b": lambda _, body: bytearray(body),
    "g": lambda _, body: decode_generator(body),
    "r": lambda _, body: _decode_random_state(body),
    "p": lambda _, body: _decode_python_random(body),
    "m": _decode_mean,
    "e": _decode_member,
    "y": lambda _, body: np.dtype(body),
    "^": lambda decoder, body: decoder.named(body),
    "=": lambda decoder, body: decoder.described(body),
}
