"""NumPy's random generators as plain data: what they draw, and what they spawn."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from simgit.errors import IntegrityError
from simgit.gym.drivers.limits import NotPlain

_BITS: Final = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


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


def own_generator(layer: Any) -> np.random.Generator | None:
    """Return the generator that Gymnasium keeps for a layer, None if there is none yet."""
    found = vars(layer).get("_np_random")
    return found if type(found) is np.random.Generator else None
