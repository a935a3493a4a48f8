"""The notes in the metadata of runs about restoring them, in a repository."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from simgit.objects.oid import Oid
from simgit.recording.verdicts import (
    BY_PROCESS,
    BY_REPLAY,
    DIVERGES,
    EXACT,
    IGNORE,
    LEFT_OUT,
    LIVE,
    NOT_CHECKED,
    REEXECUTE,
    RESETS,
    UNKNOWN,
    UNSEEDED,
    VERDICT,
    VOLATILE,
    Verdict,
    declares,
    ignored,
    is_of,
    noted,
    replay_differs,
    resets_fail,
    resets_tried,
    said_of,
    snapshots_fail,
    verdict_of,
    vouches,
)
from simgit.refs.runs import FORGETS, RunInfo
from simgit.repository import Repository


def note(repo: Repository, run: str, verdict: Verdict) -> None:
    """Note a verdict with a run."""
    repo.configure(run, metadata={VERDICT: verdict.to_json()})


def runs_of(repo: Repository, state: Oid, names: Sequence[str] | None = None) -> list[RunInfo]:
    """Return the runs that recorded a state, and those they were branched off.

    (Not the many that begin after it, if there are others.)

    Args:
        repo: the repository.
        state: the state.
        names: the runs that contain it, if they are known already.
    """
    found: dict[str, RunInfo] = {}
    points = {state}
    waiting = [(state, repo.contains(state) if names is None else names)]
    while waiting:
        at, known = waiting.pop()
        for name in _recorders(repo, at, known) or known:
            for run in repo.lineage(name):
                if run.name in found:
                    break
                found[run.name] = run
                point = run.branch_point
                if point is not None and run.parent is None and point not in points:
                    points.add(point)  # branched off a state given by its oid
                    waiting.append((point, repo.contains(point)))
    return own(repo, found.values())


def own(repo: Repository, runs: Iterable[RunInfo]) -> list[RunInfo]:
    """Return runs; in a repository that the user does not trust all of them are foreign."""
    if repo.is_trusted():
        return list(runs)
    return [run.as_foreign() for run in runs]


def _recorders(repo: Repository, state: Oid, names: Sequence[str]) -> list[str]:
    """Return the runs of ``names`` that contain a state and do not begin at it or after it."""
    step = _step(repo, state)
    points = ((name, repo.runs[name].branch_point) for name in names)
    return [name for name, point in points if point is None or _step(repo, point) < step]


_steps: Final[dict[Oid, int]] = {}
"""The steps of states that were looked up: they follow from the oids, in any repository."""
_MOST: Final = 100_000


def _step(repo: Repository, state: Oid) -> int:
    """Return the step of a state; of a branch point it is asked for again and again."""
    found = _steps.get(state)
    if found is None:
        if len(_steps) >= _MOST:
            _steps.clear()
        found = _steps[state] = repo.state(state).step
    return found


__all__ = [
    "BY_PROCESS", "BY_REPLAY", "DIVERGES", "EXACT", "FORGETS", "IGNORE", "LEFT_OUT", "LIVE",
    "NOT_CHECKED", "REEXECUTE", "RESETS", "UNKNOWN", "UNSEEDED", "VERDICT", "VOLATILE", "Verdict",
    "declares", "ignored", "is_of", "note", "noted", "own", "replay_differs", "resets_fail",
    "resets_tried", "runs_of", "said_of", "snapshots_fail", "verdict_of", "vouches",
]  # fmt: skip
