"""Fields of many histories in buckets, for bands: what histories share is read once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simgit.history.buckets import (
    field_paths,
    gathered,
    known_paths,
    trailing,
)
from simgit.odb.location import Location
from simgit.odb.segments.lines import first_parent, line_of_step, read_line

if TYPE_CHECKING:
    import numpy.typing as npt

    from simgit.odb.database import ObjectDatabase
    from simgit.storage.base import ReadTxn

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


class Sums(NamedTuple):
    """A field of a history in whole buckets from step 0: how many values each has, their sum."""

    n: Ints
    sum: Floats

    def means(self, window: int = 1) -> Floats:
        """Return the mean of each bucket and those before it, ``window`` in all; NaN for none."""
        n, total = self.n, self.sum
        with np.errstate(all="ignore"):
            if window > 1:
                return trailing(total, window) / trailing(n, window)
            return total / n

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.n.nbytes + self.sum.nbytes


class SharedSums:
    """One field of many histories in buckets of one width; what they share is read once.

    It holds for one transaction: lines are renumbered in another one.
    """

    def __init__(self, odb: ObjectDatabase, txn: ReadTxn, name: str, width: int) -> None:
        """Begin with nothing read."""
        self._odb, self._txn, self._name, self._width = odb, txn, name, width
        self._lines: dict[int, Sums] = {}
        """The buckets that end before the newest known state of a line, by the line."""

    def of(self, tip: Location) -> Sums:
        """Return the buckets of a state's history.

        Raises:
            NotFound: its states have no such field.
            InvalidInput: it is not a number.
        """
        known_paths(self._odb, self._txn, tip, [self._name])
        txn, width = self._txn, self._width
        found = Sums(np.zeros(0, np.int64), np.zeros(0))
        left: list[tuple[Location, int]] = []
        at = tip
        while stop := at.step // width * width:
            # the state after a bucket too: it says whether an episode has ended
            place = line_of_step(txn, at, stop)
            known = self._lines.get(place.line)
            if known is not None and len(known.n) * width >= stop:
                found = Sums(known.n[: stop // width], known.sum[: stop // width])
                break
            left.append((place, stop))
            if known is not None:
                found = known
                break
            line = read_line(txn, place.line)
            if line.is_root:
                break
            at = first_parent(txn, line)
        for place, stop in reversed(left):
            found = self._lines[place.line] = self._longer(found, place, stop)
        return self._longer(found, tip, tip.step + 1)

    def _longer(self, before: Sums, tip: Location, stop: int) -> Sums:
        """Return buckets and those that follow up to a step."""
        low = len(before.n) * self._width
        if stop <= low:
            return before
        names, count = [self._name], -(-(stop - low) // self._width)
        found, _ = gathered(
            self._odb, self._txn, tip, names, field_paths(names), low, stop, count, self._width
        )
        n, sums = np.concatenate([before.n, found.n[0]]), np.concatenate([before.sum, found.sum[0]])
        return Sums(n, sums)


def distinct_states(txn: ReadTxn, tips: Iterable[Location]) -> int:
    """Return how many states some histories have together; shared ones count once."""
    stops: dict[int, int] = {}
    count = 0
    for tip in tips:
        at = tip
        while True:
            line = read_line(txn, at.line)
            stop, known = at.step + 1, stops.get(line.id, line.step)
            count += max(0, stop - known)
            is_new = line.id not in stops
            stops[line.id] = max(stop, known)
            if line.is_root or not is_new:
                break
            at = first_parent(txn, line)
    return count
