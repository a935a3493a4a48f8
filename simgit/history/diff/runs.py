"""Differences of two runs: their fork, what each has of its own, and the steps that still agree.

Sums come from the headers of segments. Only the states after the fork are ever decoded, and only
as far as both runs reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from simgit.history.diff.rows import top_level_equal
from simgit.history.diff.values import Change, diff_states
from simgit.history.step_range import StepRange
from simgit.objects.rows import Rows
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import fork_point
from simgit.storage.base import ReadTxn

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """One of two runs."""

    length: int
    """States in all."""
    only: int
    """States after the fork."""
    episodes: int
    """Episodes in all."""
    episodes_after: int
    """Episodes that start after the fork."""
    total_return: float
    """The sum of all rewards."""
    return_after: float
    """The sum of the rewards after the fork."""

    def to_json(self) -> dict[str, Any]:
        """Return the side as JSON types."""
        return dict(vars(self))


@dataclass(frozen=True)
class RunDiff:
    """The differences of two runs."""

    ancestor: Location | None
    """The newest common state, None if there is none."""
    a: Side
    b: Side
    aligned: int
    """Steps after the fork that both have."""
    first_step: int | None
    """The first step at which the two states differ in content."""
    changes: tuple[Change, ...]
    """The fields in which these two states differ."""
    equal: dict[str, int] = field(default_factory=dict)
    """The number of aligned steps at which a top-level field is equal, by name, and ``state`` for
    all fields together; empty if that was not asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON types."""
        return {
            "ancestor_step": None if self.ancestor is None else self.ancestor.step,
            "a": self.a.to_json(),
            "b": self.b.to_json(),
            "aligned": self.aligned,
            "first_step": self.first_step,
            "changes": [change.to_json() for change in self.changes],
            "equal": self.equal,
        }


def diff_runs(odb: ObjectDatabase, a: Location, b: Location, *, whole: bool = True) -> RunDiff:
    """Return the differences of the runs that end at two states.

    Args:
        odb: the database of both.
        a: the newest state of one.
        b: the newest state of the other.
        whole: compare all aligned steps (at the speed of memory), not only up to the first
            difference.

    Raises:
        IntegrityError: stored bytes are damaged.
    """
    with odb.read() as txn:
        ancestor = fork_point(txn, a, b)
        sides = [_side(odb, txn, place, ancestor) for place in (a, b)]
        start = 0 if ancestor is None else ancestor.step + 1
        stop = min(a.step, b.step) + 1
        left, right = (StepRange(odb, place, start, max(start, stop)) for place in (a, b))
        first, equal = _compare(txn, left, right, whole)
        changes: tuple[Change, ...] = ()
        places = [] if first is None else [odb.states.ancestor(txn, p, first) for p in (a, b)]
    if places:
        changes = diff_states(odb, places[0], places[1]).changes
    aligned = max(0, stop - start)
    return RunDiff(ancestor, sides[0], sides[1], aligned, first, changes, equal if whole else {})


def _side(odb: ObjectDatabase, txn: ReadTxn, place: Location, fork: Location | None) -> Side:
    episodes, _, returned = _standing(odb, txn, place)
    before, _, shared = (0, 0, 0.0) if fork is None else _standing(odb, txn, fork)
    only = place.step if fork is None else place.step - fork.step - 1
    return Side(place.step + 1, only + 1, episodes, episodes - before, returned, returned - shared)


def _standing(odb: ObjectDatabase, txn: ReadTxn, place: Location) -> tuple[int, int, float]:
    return odb.states.known_standing(txn, odb.states.header(txn, place), place.step)


def _compare(
    txn: ReadTxn, a: StepRange, b: StepRange, whole: bool
) -> tuple[int | None, dict[str, int]]:
    """Return the first step of different content, and the number of equal steps by field."""
    first = None
    counts = {"state": 0}
    done = 0
    for step, left, right in _pairs(txn, a, b):
        masks = top_level_equal(left, right)
        masks["state"] = np.logical_and.reduce(list(masks.values())) | np.zeros(left.count, bool)
        for name in counts.keys() | masks.keys():
            # a field that neither schema has is equal
            equal = int(masks[name].sum()) if name in masks else left.count
            counts[name] = counts.get(name, done) + equal
        if first is None and not masks["state"].all():
            first = step + int(np.argmin(masks["state"]))
            if not whole:
                break
        done += left.count
    return first, dict(sorted(counts.items()))


def _pairs(txn: ReadTxn, a: StepRange, b: StepRange) -> Iterator[tuple[int, Rows, Rows]]:
    """Yield (first step, rows, rows) of the steps that two ranges share."""
    left, right = a.rows(txn), b.rows(txn)
    one, two = next(left, None), next(right, None)
    while one is not None and two is not None:
        count = min(one[2].count, two[2].count)
        yield one[1], one[2].slice(0, count), two[2].slice(0, count)
        one = _rest(one, count) or next(left, None)
        two = _rest(two, count) or next(right, None)


def _rest(block: tuple[int, int, Rows], count: int) -> tuple[int, int, Rows] | None:
    line, step, rows = block
    if count == rows.count:
        return None
    return line, step + count, rows.slice(count, rows.count)
