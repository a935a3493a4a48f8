"""Episodes of histories that were read before: what leads to an oid never changes.

A mark is the oid of a segment's last state, with what has to be known there to read on. Marks of
one history share its columns, so that a run that grows, and a branch, are read from the nearest.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy.typing as npt

Columns: TypeAlias = "tuple[npt.NDArray[Any], ...]"
"""Of each episode its first step, its return, and the two flags of the state before it."""

_MOST: Final = 2_000_000
"""The most episodes in memory; each takes 18 bytes."""
_MOST_MARKS: Final = 20_000


class Mark(NamedTuple):
    """A place in a history: the step after it, and what is read before that.

    Attributes:
        stop: the step after the state.
        begun: how many episodes have begun.
        returned: the return of the newest up to the state.
        flags: whether the state is terminated, and truncated.
    """

    stop: int
    begun: int
    returned: float
    flags: tuple[bool, bool]


class Known(NamedTuple):
    """A mark with its oid, and the columns of the episodes that have begun up to it."""

    oid: bytes
    mark: Mark
    columns: Columns


class _Shared:
    """The columns of one history; they only become longer."""

    def __init__(self) -> None:
        self.columns: Columns = ()
        self.newest = b""


class KnownEpisodes:
    """Marks of histories, those that were used last."""

    def __init__(self) -> None:
        """Begin with none."""
        self._marks: OrderedDict[bytes, tuple[Mark, _Shared]] = OrderedDict()
        self._lock = Lock()

    def known(self, oid: bytes) -> Known | None:
        """Return what is known of the history up to a state."""
        with self._lock:
            found = self._marks.get(oid)
            if found is None:
                return None
            self._marks.move_to_end(oid)
            mark, shared = found
            return Known(oid, mark, tuple(each[: mark.begun] for each in shared.columns))

    def keep(self, marks: dict[bytes, Mark], columns: Columns, after: bytes | None) -> None:
        """Keep the marks of a history whose columns were read on from a known mark."""
        if not marks or len(columns[0]) > _MOST:
            return
        with self._lock:
            before = None if after is None else self._marks.get(after)
            shared = before[1] if before is not None and before[1].newest == after else None
            if shared is None:
                shared = _Shared()
            shared.columns = columns  # up to the mark they are as before
            self._marks |= {oid: (mark, shared) for oid, mark in marks.items()}
            shared.newest = next(reversed(marks))
            self._forget()

    def _forget(self) -> None:
        """Forget the marks that were used the longest time ago, where there are too many."""
        size, seen, kept = 0, set(), 0
        for _, shared in reversed(self._marks.values()):
            if id(shared) not in seen:
                seen.add(id(shared))
                size += len(shared.columns[0])
            if size > _MOST or kept == _MOST_MARKS:
                break
            kept += 1
        while len(self._marks) > kept:
            self._marks.popitem(last=False)
