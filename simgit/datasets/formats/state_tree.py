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
        ids = ids[order]
        again = np.zeros(len(ids), bool)
        again[1:] = ids[1:] == ids[:-1]
        self.doubles = [_decoded(each) for each in ids[again]]
        self._ids = ids[~again] if self.doubles else ids
        found = [np.zeros(0, np.int64)]
        while parents:
            found.append(self._parents(parents.pop(0)))
        self.parents: Numbers = np.concatenate(found)[order[~again]]

    def _parents(self, texts: Any) -> Numbers:
        found = self._numbers(texts)
        found[texts == b""] = ROOT
        return found

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
        return int(self.numbers([id_])[0]) if id_ is not None else MISSING

    def numbers(self, ids: Iterable[Any]) -> Numbers:
        """Return the numbers of the states with some ids, ``MISSING`` where there is none."""
        texts = [str(each).encode("utf-8", "surrogateescape") for each in ids]
        return self._numbers(np.array(texts))

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


def _texts(rows: Iterable[tuple[Any, Any]]) -> tuple[Any, list[Any]]:
    """Return the ids as one array of bytes, and the parents' ids as arrays of parts."""
    ids, above = [np.array([], "S1")], []
    rest = iter(rows)
    while part := list(islice(rest, _PART)):
        ids.append(np.array([_encoded(id_) for id_, _ in part]))
        above.append(np.array([b"" if each is None else _encoded(each) for _, each in part]))
    return np.concatenate(ids), above


def _encoded(id_: Any) -> bytes:
    data = str(id_).encode("utf-8", "surrogateescape") if id_ is not None else b""
    if not data or len(data) > _LONGEST or data.endswith(b"\0"):
        raise IntegrityError(f"malformed id of a state: {data[:40]!r}")
    return data


def _decoded(id_: Any) -> str:
    return bytes(id_).decode("utf-8", "surrogateescape")
