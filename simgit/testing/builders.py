"""Builders of small stores for tests: states from plain dicts, and long CartPole-like runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from simgit.objects.coerce import coerce
from simgit.objects.columns import ABSENT, FIELDS, Column, Columns, DenseColumn
from simgit.objects.oid import Oid
from simgit.odb.database import ObjectDatabase
from simgit.odb.segments.batch import Tip
from simgit.recording.states import (
    coerce_flag,
    coerce_message,
    coerce_reset,
    coerce_reward,
    prepare,
    store,
)
from simgit.storage.memory import MemoryStorage

_COERCE: Final[dict[str, Callable[[Any], Any]]] = {
    "reward": coerce_reward,
    "terminated": lambda value: coerce_flag(value, "terminated"),
    "truncated": lambda value: coerce_flag(value, "truncated"),
    "reset": coerce_reset,
    "message": coerce_message,
    "files": lambda value: value,
}


def memory_database() -> ObjectDatabase:
    """Return an empty object database in memory."""
    return ObjectDatabase(MemoryStorage())


def state_columns(states: Sequence[dict[str, Any]]) -> Columns:
    """Return the columns of states given as dicts of top-level fields."""
    columns: dict[str, Column] = {}
    for name in FIELDS:
        values = [_frozen(name, state[name]) if name in state else ABSENT for state in states]
        if any(value is not ABSENT for value in values):
            columns[name] = values
    return columns


def _frozen(name: str, value: Any) -> Any:
    convert = _COERCE.get(name)
    return coerce(value, name) if convert is None else convert(value)


def record(
    odb: ObjectDatabase,
    states: Sequence[dict[str, Any]],
    parents: Tip | Sequence[Tip] | None = None,
    origin: Oid | None = None,
) -> Tip:
    """Store states one after the other; return the tip of the last.

    Args:
        odb: the object database.
        states: at least one, each a dict of top-level fields (``reset`` may be True).
        parents: the parents of the first state; empty for a root.
        origin: the oid of a root's spec.
    """
    return record_columns(odb, state_columns(states), parents, origin)


def record_columns(
    odb: ObjectDatabase,
    columns: Columns,
    parents: Tip | Sequence[Tip] | None = None,
    origin: Oid | None = None,
) -> Tip:
    """Store states given as columns; see ``record``."""
    above = (parents,) if isinstance(parents, Tip) else tuple(parents or ())
    batches = prepare(columns, above, origin)
    with odb.write() as txn:
        return store(odb, txn, batches, above)


def cartpole_columns(count: int, seed: int = 0, episode: int = 200) -> Columns:
    """Return the columns of CartPole-like states: a walk of 4 float32, cut into episodes.

    Args:
        count: of states; the first is a reset.
        seed: of the random numbers.
        episode: states from one reset to the next.
    """
    generator = np.random.default_rng(seed)
    walk = np.cumsum(generator.normal(0, 0.02, (count, 4)), axis=0).astype("<f4")
    resets = np.arange(count) % episode == 0
    stepped = np.flatnonzero(~resets)
    ended = np.zeros(count, bool)
    ended[:-1] = resets[1:]
    return {
        "observation": DenseColumn(walk),
        "action": DenseColumn(generator.integers(0, 2, count), stepped),
        "reward": DenseColumn(np.ones(count), stepped),
        "terminated": DenseColumn(ended, stepped),
        "truncated": DenseColumn(np.zeros(count, bool), stepped),
        "info": [{} for _ in range(count)],
        "reset": [{} if mark else ABSENT for mark in resets.tolist()],
    }


def record_cartpole(
    odb: ObjectDatabase,
    count: int,
    seed: int = 0,
    parent: Tip | None = None,
    flush: int = 65536,
    episode: int = 200,
) -> Tip:
    """Store CartPole-like states in flushes of ``flush`` states; return the tip of the last."""
    tip = parent
    done = 0
    while done < count:
        size = min(flush, count - done)
        tip = record_columns(odb, cartpole_columns(size, seed + done, episode), tip)
        done += size
    assert tip is not None
    return tip


def frames(count: int, seed: int = 0, shape: tuple[int, ...] = (210, 160, 3)) -> list[Any]:
    """Return Atari-like frames: a fixed background on which a few small things move."""
    generator = np.random.default_rng(seed)
    frame = generator.integers(0, 256, shape, np.uint8)
    out = []
    for _ in range(count):
        frame = frame.copy()
        at = [int(generator.integers(0, max(size - 4, 1))) for size in shape[:2]]
        frame[at[0] : at[0] + 4, at[1] : at[1] + 4] ^= 0x55
        out.append(frame)
    return out
