"""The first state in which two runs differ, found by comparing names.

A state's name has that of the state before in it: once two runs differ, they differ for good. So
the first difference is found by bisection, whatever the runs' lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from simgit.diff import Change, diff_states
from simgit.odb import ObjectDatabase
from simgit.segment.header import Location
from simgit.storage.base import ReadTxn

Cause = Literal["environment", "reset", "action", "outcome"]


@dataclass(frozen=True)
class FirstDifference:
    """Where two runs part.

    Attributes:
        step: of the first states that differ; None if one run begins with all of the other.
        compared: how many pairs of names were looked at.
        cause: what made them differ: they are of other environments, were reset in another way,
            got another action, or the same action had another outcome (nondeterminism).
        changes: the fields in which the two states differ.
    """

    step: int | None
    compared: int
    cause: Cause | None = None
    changes: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        changes = [change.to_json() for change in self.changes]
        return {
            "step": self.step, "compared": self.compared, "cause": self.cause, "changes": changes,
        }  # fmt: skip


def bisect(odb: ObjectDatabase, a: Location, b: Location) -> FirstDifference:
    """Return where the histories of two states part.

    Args:
        odb: where they lie.
        a: the place of one state.
        b: the place of the other.

    Raises:
        Integrity: stored bytes are damaged.
    """
    low, high, compared = 0, min(a.step, b.step) + 1, 0
    with odb.read() as txn:
        while low < high:
            middle = (low + high) // 2
            compared += 1
            if _name(odb, txn, a, middle) == _name(odb, txn, b, middle):
                low = middle + 1
            else:
                high = middle
        if low > min(a.step, b.step):
            return FirstDifference(None, compared)
        places = [odb.states.ancestor(txn, place, low) for place in (a, b)]
    changes = diff_states(odb, *places).changes
    return FirstDifference(low, compared, _cause(changes), changes)


def _name(odb: ObjectDatabase, txn: ReadTxn, tip: Location, step: int) -> bytes:
    return odb.states.state(txn, odb.states.ancestor(txn, tip, step))[0]


def _cause(changes: tuple[Change, ...]) -> Cause:
    """Return what differs first in the order in which things happen: given, then returned."""
    if not changes:
        return "environment"  # the values are the same: the origins are not
    fields = {change.path[0] for change in changes}
    if "reset" in fields:
        return "reset"
    return "action" if "action" in fields else "outcome"
