"""The first state in which two runs differ, found by comparing hashes.

A state's hash covers that of the state before it: once two runs differ, they differ for good. So
bisection finds the first difference, whatever the runs' lengths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from simgit.history.diff.values import Change, diff_states
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.storage.base import ReadTxn

Cause = Literal["environment", "reset", "action", "settings", "outcome"]


@dataclass(frozen=True)
class FirstDifference:
    """The first difference of two runs.

    Attributes:
        step: of the first states that differ; None if one run begins with all of the other.
        compared: the number of pairs of hashes that were compared.
        cause: why they differ: another environment, another reset, another action, or another
            outcome of the same action: because of other settings, or else by nondeterminism
            (``outcome``).
        changes: the fields in which the two states differ.
        settings: the differences of the two runs' configurations, whatever the cause is.
    """

    step: int | None
    compared: int
    cause: Cause | None = None
    changes: tuple[Change, ...] = ()
    settings: tuple[Change, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {
            "step": self.step, "compared": self.compared, "cause": self.cause,
            "changes": [change.to_json() for change in self.changes],
            "settings": [change.to_json() for change in self.settings],
        }  # fmt: skip


def bisect(
    odb: ObjectDatabase, a: Location, b: Location, settings: tuple[Change, ...] = ()
) -> FirstDifference:
    """Return the first difference between the histories of two states.

    Args:
        odb: the database of both.
        a: the location of one state.
        b: the location of the other.
        settings: the differences of their runs' configurations.

    Raises:
        IntegrityError: stored bytes are damaged.
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
            return FirstDifference(None, compared, settings=settings)
        places = [odb.states.ancestor(txn, place, low) for place in (a, b)]
    changes = diff_states(odb, *places).changes
    cause = _cause(changes)
    if cause == "outcome" and settings:
        cause = "settings"
    return FirstDifference(low, compared, cause, changes, settings)


def _name(odb: ObjectDatabase, txn: ReadTxn, tip: Location, step: int) -> bytes:
    return odb.states.state(txn, odb.states.ancestor(txn, tip, step))[0]


def _cause(changes: tuple[Change, ...]) -> Cause:
    """Return the earliest cause: what was given to the environment, then what it returned."""
    if not changes:
        return "environment"  # the values are the same: the origins are not
    fields = {change.path[0] for change in changes}
    if "reset" in fields:
        return "reset"
    return "action" if "action" in fields else "outcome"
