"""The columns of ``log --graph``, as git draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simgit.objects.oid import Oid


class Graph:
    """Keeps which state each column waits for, and draws what happens to the columns.

    States come children before parents; for each call ``row``, then print ``after``.
    """

    def __init__(self) -> None:
        self.columns: list[Oid] = []
        self._at = 0
        self._parents: Sequence[Oid] = ()
        self._ended = False

    def gap(self, oid: Oid) -> list[str]:
        """Return the line before a state that would else look like the parent of a root."""
        is_below = self._ended and oid not in self.columns and len(self.columns) == self._at
        return [("| " * self._at).rstrip()] if is_below else []

    def row(self, oid: Oid, parents: Sequence[Oid]) -> str:
        """Return the columns before a state's text."""
        columns = self.columns
        if oid not in columns:
            columns.append(oid)
        at = self._at = columns.index(oid)
        self._parents, self._ended = parents, not parents
        text = "| " * at + "* " + "| " * (len(columns) - at - 1)
        return text + "  " * (len(parents) - 1)

    @property
    def plain(self) -> bool:
        """True if the state that was drawn last changes no columns."""
        parents = self._parents
        return len(parents) == 1 and parents[0] not in self.columns

    def after(self) -> list[str]:
        """Return the lines between the state that was drawn last and the next one."""
        at, parents = self._at, self._parents
        if self.plain:
            self.columns[at] = parents[0]
            return []
        if not parents:  # the column ends; those right of it move left
            del self.columns[at]
            right = len(self.columns) - at
            return [("| " * at + " /" * right).rstrip()] if right else []
        self.columns[at] = parents[0]
        drawn = []
        for parent in reversed(parents[1:]):
            drawn.append("| " * at + "|\\ " + "\\ " * (len(self.columns) - at - 1))
            self.columns.insert(at + 1, parent)
        return [line.rstrip() for line in drawn + self._collapse()]

    @property
    def padding(self) -> str:
        """The columns before further lines of text of the state that was drawn last."""
        gone = self._at if not self._parents else -1
        return "".join("  " if i == gone else "| " for i in range(len(self.columns)))

    def _collapse(self) -> list[str]:
        """Join columns that wait for the same state, the rightmost first."""
        drawn = []
        while (pair := self._twins()) is not None:
            left, right = pair
            drawn += self._join(left, right)
            del self.columns[right]
        return drawn

    def _twins(self) -> tuple[int, int] | None:
        for right in range(len(self.columns) - 1, 0, -1):
            left = self.columns.index(self.columns[right])
            if left < right:
                return left, right
        return None

    def _join(self, left: int, right: int) -> list[str]:
        moved = " /" * (len(self.columns) - right - 1)
        if right == left + 1:
            return ["| " * left + "|/" + moved]
        across = "| " * (left + 1) + "_".join("|" * (right - left - 1)) + "/" + moved
        rest = len(self.columns) - left - 2
        return [across, "| " * left + "|/" + "| " * rest]
