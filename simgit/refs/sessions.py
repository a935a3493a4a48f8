"""The sessions of a run, by the steps where they begin, as the metadata of runs name them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from simgit.objects.kinds import Run
from simgit.objects.oid import Oid
from simgit.refs.own_names import SESSIONS, is_session
from simgit.refs.runs import RunInfo

Sessions = dict[int, str]


def noted_in(run: RunInfo | Run) -> Sessions:
    """Return the sessions that a run's metadata name."""
    noted = run.metadata.get(SESSIONS)
    if not isinstance(noted, Mapping):
        return {}
    return {
        int(step): session
        for step, session in noted.items()
        if isinstance(step, str) and step.isdecimal() and len(step) < 19 and is_session(session)
    }


def note_of(found: Sessions, run: RunInfo | None = None) -> dict[str, Any]:
    """Return the metadata that name the sessions of a run.

    Those that the run has noted after the last of them are removed: it was set back since.
    """
    noted: dict[str, str | None] = {str(step): session for step, session in found.items()}
    last = max(found, default=-1)
    stale = [step for step in (noted_in(run) if run is not None else ()) if step > last]
    noted |= dict.fromkeys(map(str, stale))
    return {SESSIONS: noted} if noted else {}


def at(found: Sessions, step: int) -> str | None:
    """Return the session that gave the state of a step, None if it is not known."""
    begun = max((each for each in found if each <= step), default=None)
    return None if begun is None else found[begun]


def of_records(
    records: Iterable[RunInfo | Run], step_of: Callable[[Oid], int | None], upto: int
) -> Sessions:
    """Return the sessions up to a step that runs have noted.

    Args:
        records: a run, that which it was branched off, and so on.
        step_of: returns the step of a state, None if that is not there any more.
        upto: the step.
    """
    found: Sessions = {}
    for each in records:
        noted = {step: session for step, session in noted_in(each).items() if step <= upto}
        start = None if each.branch_point is None else step_of(each.branch_point)
        if start is None:
            return {**noted, **found}
        found |= {step: session for step, session in noted.items() if step > start}
        upto = min(upto, start)
        before = {step: session for step, session in noted.items() if step <= upto}
        if before:
            return {**before, **found}
    return found
