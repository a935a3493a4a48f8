"""Attributes as canonical values: they round-trip with the same types, order and bits.

Canonical values (docs/object-format.md §2) have no sets, deques, random generators or order of
keys. Each of those is a dict with one key that tells its type (tuples too, for speed):

    {"d": [key, value, …]}   dict              {"q": [items, maxlen]}  deque
    {"t": items}  tuple
    {"s": items}  {"f": items}  set, frozenset {"b": bytes}            bytearray
    {"0": scalar} array of shape ()            {"g": [name, state]}    numpy.random.Generator
    {"r": state}  numpy.random.RandomState     {"p": [version, words, gauss]}  random.Random
    {"m": attributes}  Gymnasium's RunningMeanStd
"""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

from simgit.errors import IntegrityError

_ATOMS: Final = frozenset((type(None), bool, int, float, complex, str, bytes))
_HOLDING: Final = frozenset((tuple, list, dict, set, frozenset, deque))
_BITS: Final = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


Parts = dict[int, Any]
"""Values by their ids."""


class NotPlain(Exception):
    """A value has no plain form."""


class Encoder:
    """Encodes values of one snapshot.

    A mutable value that is referred to twice is not plain: it would come back as two values.
    """

    def __init__(self, elsewhere: Iterable[Any] = ()) -> None:
        """Begin; ``elsewhere`` are mutable values that are captured separately."""
        # keeps the values too: the id of a freed one may be reused
        self.seen: Parts = {id(value): value for value in elsewhere}

    def encode(self, value: Any) -> Any:
        """Return the plain form of a value, a copy.

        Raises:
            NotPlain: it has no plain form.
        """
        kind = type(value)
        if kind in _ATOMS or (isinstance(value, np.generic) and kind.__module__ == "numpy"):
            return value
        if kind is tuple:
            return {"t": list(map(self.encode, value))}
        encode = _ENCODE.get(kind)
        if encode is None:
            raise NotPlain(f"a value of type '{kind.__module__}.{kind.__qualname__}'")
        if id(value) in self.seen:
            raise NotPlain(f"a {kind.__name__} that is referred to twice")
        self.seen[id(value)] = value
        return encode(self, value)

    def pass_over(self, parts: Parts) -> None:
        """Note the parts of a value whose plain form is known, as ``encode`` would.

        Raises:
            NotPlain: a part has occurred before.
        """
        if not parts.keys().isdisjoint(self.seen):
            raise NotPlain("a part of a container that is referred to twice")
        self.seen.update(parts)

    def items(self, values: Any) -> list[Any]:
        """Return the plain forms of several values."""
        return list(map(self.encode, values))


def parts_of(value: Any) -> Parts:
    """Return the mutable values in a plain value, itself included."""
    found: Parts = {}
    level = [value]
    while level:
        found |= {id(part): part for part in level if type(part) in _ENCODE}
        holding = [part for part in level if type(part) in _HOLDING]
        level = [part for part in gc.get_referents(*holding) if type(part) not in _ATOMS]
    return found


def _array(_: Encoder, value: Any) -> Any:
    if value.dtype.kind not in "biufcSUmM" or not value.flags.c_contiguous:
        raise NotPlain(f"an array of dtype '{value.dtype}'")
    return {"0": value[()]} if value.ndim == 0 else value.copy()


def _dict(encoder: Encoder, value: Any) -> Any:
    return {"d": [encoder.encode(part) for item in value.items() for part in item]}


def _deque(encoder: Encoder, value: Any) -> Any:
    return {"q": [encoder.items(value), value.maxlen]}


def encode_generator(generator: np.random.Generator) -> Any:
    """Return the plain form of a generator: what it draws, and what it spawns.

    Raises:
        NotPlain: its bit generator is not one of NumPy's.
    """
    state = dict(generator.bit_generator.state)
    name = state.pop("bit_generator")
    if name not in _BITS:
        raise NotPlain(f"a generator '{name}'")
    seeding = seeding_of(generator)
    return [name, state] if seeding is None else [name, state, seeding]


def seeding_of(generator: np.random.Generator) -> list[Any] | None:
    """Return what a generator's children are spawned from, None if it cannot spawn as NumPy does.

    (Its entropy, spawn key and pool size, and the number of children.)
    """
    found: Any = generator.bit_generator.seed_seq
    if type(found) is not np.random.SeedSequence:
        return None
    entropy = found.entropy
    if type(entropy) is not int and entropy is not None:
        entropy = np.asarray(entropy).tolist()
    return [entropy, list(found.spawn_key), found.pool_size, found.n_children_spawned]


def _python_random(_: Encoder, value: random.Random) -> Any:
    version, words, gauss = value.getstate()
    return {"p": [version, np.array(words, np.uint64), gauss]}


_ENCODE: Final[dict[type, Callable[[Encoder, Any], Any]]] = {
    np.ndarray: _array,
    list: lambda encoder, value: encoder.items(value),
    dict: _dict,
    deque: _deque,
    set: lambda encoder, value: {"s": encoder.items(value)},
    frozenset: lambda encoder, value: {"f": encoder.items(value)},
    bytearray: lambda _, value: {"b": bytes(value)},
    np.random.Generator: lambda _, value: {"g": encode_generator(value)},
    np.random.RandomState: lambda _, value: {"r": value.get_state(legacy=False)},
    random.Random: _python_random,
    RunningMeanStd: lambda encoder, value: {"m": _dict(encoder, vars(value))["d"]},
}


def decode(plain: Any) -> Any:
    """Return the value of a plain form, with writeable arrays.

    Raises:
        IntegrityError: it is not a plain form.
    """
    kind = type(plain)
    if kind is list:
        return _decode_items(plain)
    if kind is np.ndarray:
        return plain.copy()
    if kind is not dict:
        return plain
    ((tag, body),) = plain.items() if len(plain) == 1 else ((None, None),)
    if tag not in _DECODE:
        raise IntegrityError(f"unknown kind '{tag}' of a value in a snapshot")
    return _DECODE[tag](body)


def _decode_items(items: list[Any]) -> list[Any]:
    # most are atoms, for which a call would be most of the work
    return [each if type(each) in _ATOMS else decode(each) for each in items]


def _decode_dict(body: Any) -> dict[Any, Any]:
    parts = _decode_items(body)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def decode_generator(body: Any) -> np.random.Generator:
    """Return the generator of a plain form.

    Raises:
        IntegrityError: its bit generator is not one of NumPy's.
    """
    name, state, *seeding = body
    if name not in _BITS:
        raise IntegrityError(f"unknown bit generator '{name}'")
    bits = getattr(np.random, name)(_seed_sequence(*seeding[0]) if seeding else 0)
    bits.state = {"bit_generator": name, **state}
    return np.random.Generator(bits)


def _seed_sequence(entropy: Any, key: Any, size: int, spawned: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(
        entropy, spawn_key=key, pool_size=size, n_children_spawned=spawned
    )


def _decode_random_state(body: Any) -> np.random.RandomState:
    made = np.random.RandomState()
    made.set_state(body)
    return made


def _decode_python_random(body: Any) -> random.Random:
    version, words, gauss = body
    made = random.Random()
    made.setstate((version, tuple(words.tolist()), gauss))
    return made


def _decode_mean(body: Any) -> RunningMeanStd:
    made = RunningMeanStd.__new__(RunningMeanStd)
    vars(made).update(_decode_dict(body))
    return made


_DECODE: Final[dict[Any, Callable[[Any], Any]]] = {
    "0": np.array,
    "t": lambda body: tuple(_decode_items(body)),
    "d": _decode_dict,
    "q": lambda body: deque(map(decode, body[0]), body[1]),
    "s": lambda body: set(map(decode, body)),
    "f": lambda body: frozenset(map(decode, body)),
    "b": bytearray,
    "g": decode_generator,
    "r": _decode_random_state,
    "p": _decode_python_random,
    "m": _decode_mean,
}
