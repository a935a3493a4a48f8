"""The tree of states in foreign tables: who is whose parent, in integers, whatever the size.

A state is a row with an ``id`` and the id of its parent. Here it is a number, in the order of the
ids' bytes; its parent's number stands in an array. So a tree of a million states takes some tens of
megabytes, and orphans and cycles are found without following a single path.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import IntegrityError

ROOT: Final = -1
"""The parent of a state that has none."""
MISSING: Final = -2
"""The parent of a state whose parent is not in the tables."""
_PART: Final = 65536
_LONGEST: Final = 256
Numbers = npt.NDArray[np.int64]


class StateTree:
    """The ids of states, and the number of each one's parent.

    Attributes:
        parents: by the number of a state; ``ROOT`` or ``MISSING`` for none.
        doubles: ids that stood there twice; the first counts.
    """

    def __init__(self, rows: Iterable[tuple[Any, Any]]) -> None:
        """Read pairs of an id and its parent's id, which is None for a root.

        Raises:
            IntegrityError: an id is missing, or too long for one.
        """
        ids, parents = _texts(rows)
        order = np.argsort(ids, kind="stable")
        ids, parents = ids[order], parents[order]
        again = np.zeros(len(ids), bool)
        again[1:] = ids[1:] == ids[:-1]
        self.doubles = [_decoded(each) for each in ids[again]]
        self._ids, above = ids[~again], parents[~again]
        self.parents: Numbers = np.full(len(above), ROOT, np.int64)
        named = above != b""
        self.parents[named] = self._numbers(above[named])

    def __len__(self) -> int:
        return len(self._ids)

    def id(self, number: int) -> str:
        """Return the id of a state."""
        return _decoded(self._ids[number])

    def ids(self, numbers: Iterable[int]) -> list[str]:
        """Return the ids of states."""
        return [_decoded(each) for each in self._ids[list(numbers)]]

    def array(self, numbers: Any) -> Any:
        """Return the ids of states as an array of bytes."""
        return self._ids[numbers]

    def number(self, id_: Any) -> int:
        """Return the number of the state with an id, ``MISSING`` if there is none."""
        return int(self._numbers(np.array([str(id_).encode()]))[0]) if id_ is not None else MISSING

    def _numbers(self, wanted: Any) -> Numbers:
        found = np.searchsorted(self._ids, wanted)
        found[found == len(self._ids)] = 0
        if not len(self._ids):
            return np.full(len(wanted), MISSING, np.int64)
        return np.where(self._ids[found] == wanted, found, MISSING).astype(np.int64)

    def fates(self) -> tuple[Numbers, Numbers]:
        """Return the numbers of states that come from a missing parent, and of those in circles.

        What comes from a circle belongs to it. Found by doubling: each round replaces the ancestor
        that is known of each state by that one's.
        """
        count = len(self)
        # two more that lead to themselves: the end of what has a root, and of what has none
        above = np.concatenate([self.parents, [count, count + 1]])
        above[above == ROOT] = count
        above[above == MISSING] = count + 1
        for _ in range(max(1, count).bit_length()):
            above = above[above]
        ends = above[:count]
        return np.flatnonzero(ends == count + 1), np.flatnonzero(ends < count)

    def leaves(self) -> Numbers:
        """Return the numbers of the states that are nobody's parent."""
        is_parent = np.zeros(len(self), bool)
        is_parent[self.parents[self.parents >= 0]] = True
        return np.flatnonzero(~is_parent)


def _texts(rows: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Return the ids and the parents' ids as arrays of bytes, parts of which are read at a time."""
    parts: list[tuple[Any, Any]] = []
    rest = iter(rows)
    while part := list(islice(rest, _PART)):
        parts.append((
            np.array([_encoded(id_) for id_, _ in part]),
            np.array([b"" if above is None else _encoded(above) for _, above in part]),
        ))  # fmt: skip
    if not parts:
        return np.array([], "S1"), np.array([], "S1")
    ids, above = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(above)


def _encoded(id_: Any) -> bytes:
    data = str(id_).encode("utf-8", "surrogateescape") if id_ is not None else b""
    if not data or len(data) > _LONGEST or data.endswith(b"\0"):
        raise IntegrityError(f"malformed id of a state: {data[:40]!r}")
    return data


def _decoded(id_: Any) -> str:
    return bytes(id_).decode("utf-8", "surrogateescape")
