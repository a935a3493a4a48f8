"""The way to a state, as a record: from where, how many steps, how long, whether exactly."""

from __future__ import annotations

from typing import Any

from simgit.errors import SimgitError
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.restore import RestorePlan, is_vouched_for, planned
from simgit.gym.restoring.run_notes import (
    BY_PROCESS,
    BY_REPLAY,
    DIVERGES,
    EXACT,
    replay_differs,
    verdict_of,
)
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.frames import refuse_live


def restore_record(path: RecordedPath, *, trust: Trust = None) -> dict[str, Any]:
    """Return how ``restore`` would reach the last state of a path; nothing is re-executed.

    Args:
        path: the path.
        trust: see ``restore``.

    Returns:
        ``oid``, ``step`` and ``run`` of the state; ``how`` (snapshot, episode or creation; None if
        it cannot be restored); ``start`` (oid, step and run of the state that it begins at);
        ``steps`` that are executed again; ``seconds`` (None if no step was timed); ``exact`` (None
        where nothing has verified that); ``why`` it is not known to be exact, or not restored, in
        one line; ``error`` (the class of the error that a restore would raise).
    """
    record: dict[str, Any] = {
        **_place(path, path.step), "how": None, "start": None, "steps": None, "seconds": None,
        "exact": None, "why": None, "error": None,
    }  # fmt: skip
    try:
        refuse_live(path)
        found = planned(path, trust)
    except SimgitError as error:
        return record | {"exact": False, "why": str(error), "error": type(error).__name__}
    first = found.start if found.lead is None else found.lead
    exact, why = _exactness(path, found)
    return record | {
        "how": found.how, "start": _place(path, first), "steps": found.cost,
        "seconds": found.seconds, "exact": exact, "why": why,
    }  # fmt: skip


def _place(path: RecordedPath, step: int) -> dict[str, Any]:
    """Return a state on the path, with the run that recorded it."""
    found = None
    for run in path.recorded_in:  # the one that recorded the last state is first
        point = run.branch_point
        if point is None or path.repo.state(point).step < step:
            found = run.name
            break
    return {"oid": path.trajectory[step].oid.hex(), "step": step, "run": found}


def _exactness(path: RecordedPath, found: RestorePlan) -> tuple[bool | None, str | None]:
    """Return whether a plan leads to the very state, None if unknown; and why not surely."""
    verdict = verdict_of(path.recorded_in)
    result = None if verdict is None else verdict.result
    if result in (BY_PROCESS, DIVERGES):
        return False, f"verification found its run: {result}"
    if found.tried:
        return None, f"that its resets forget was tried ({found.tried}), and is not proved"
    if found.how == "snapshot":
        is_exact = is_vouched_for(path, found)
    else:
        is_exact = result == BY_REPLAY or (result == EXACT and not replay_differs(path.recorded_in))
    if is_exact:
        return True, None
    return None, found.doubt or "its run was not verified, which 'simgit verify' does"
