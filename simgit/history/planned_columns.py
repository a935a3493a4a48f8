"""Columns of a trajectory that are read by plans: those of a longer range, or of another form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simgit.history.array_reader import ArrayForm
from simgit.history.column_reader import ColumnPlan, read_forms, read_leaves
from simgit.history.leaf_column import LeafColumn
from simgit.history.paths import FieldPath
from simgit.history.step_range import Piece
from simgit.history.trajectory import Trajectory
from simgit.objects.schema import Path, Schema
from simgit.storage.base import Storage


def planned_columns(
    states: Trajectory, plans: Mapping[FieldPath, ColumnPlan]
) -> dict[FieldPath, LeafColumn]:
    """Return the columns of some plans, whose keys are free; the trajectory keeps none of them.

    Numbers that the trajectory has read before share their memory.

    Raises:
        IntegrityError: stored bytes are damaged.
    """
    known = {key: leaf for key, plan in plans.items() if (leaf := _known(states, plan)) is not None}
    rest = {key: plan for key, plan in plans.items() if key not in known}
    return known | states._reading(lambda steps, txn: read_leaves(steps, txn, rest))


def _known(states: Trajectory, plan: ColumnPlan) -> LeafColumn | None:
    """Return a column that was read already, if it is the array that a plan asks for."""
    if plan.kind not in ("dense", "array") or plan.inside:
        return None
    path = plan.path
    for depth in range(1, len(path) + 1):
        found = states._cached(path[:depth])
        for part in path[depth:]:
            if isinstance(found, tuple):
                found = found[int(part)] if int(part) < len(found) else None
            else:
                found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, LeafColumn) and isinstance(found.values, np.ndarray):
            is_same = found.objects is None and plan.dtype in (None, found.values.dtype)
            return found if is_same else None
    return None


def pieces_of(states: Trajectory) -> list[Piece]:
    """Return where the states lie, line by line."""
    return states._reading(lambda steps, txn: list(steps.pieces(txn)))


def steps_of(states: Trajectory, start: int, stop: int) -> Trajectory:
    """Return other steps of the same history, which may lie before the states."""
    return Trajectory(states._range.odb, states.place, start, stop, states.name)


def storage_of(states: Trajectory) -> Storage:
    """Return where the states lie."""
    return states._range.odb.storage


def schemas_of(states: Trajectory) -> list[Schema]:
    """Return the schemas of the states; of an empty trajectory, that of the state before."""
    return states._reading(lambda steps, txn: list(steps.schemas(txn)))


def array_forms(states: Trajectory, path: Path) -> set[ArrayForm]:
    """Return the dtypes and shapes of the large arrays of a field, without decoding them.

    Raises:
        IntegrityError: stored bytes are damaged.
    """
    return states._reading(lambda steps, txn: read_forms(steps, txn, path))
