"""Notes in the metadata of runs about restoring them: verdicts, and other facts by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from simgit.objects.oid import Oid
from simgit.refs.runs import RunInfo
from simgit.repository import Repository

EXACT: Final = "exact"
BY_REPLAY: Final = "exact by replay"
DIVERGES: Final = "not deterministic"
_VERDICT: Final = "verdict"


@dataclass(frozen=True)
class Verdict:
    """The result of a check of a run's restores, noted with the run as ``verdict``.

    Attributes:
        result: "exact" (from a snapshot to the end), "exact by replay", "not deterministic".
        driver: the driver of the snapshots, None if no snapshot was tried.
        details: the step and the field that differed first, or why a snapshot or the replay
            failed.
    """

    result: str
    driver: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


def note(repo: Repository, run: str, verdict: Verdict) -> None:
    """Note a verdict with a run."""
    data = {"result": verdict.result, "driver": verdict.driver, **verdict.details}
    repo.configure(run, metadata={_VERDICT: data})


def noted(runs: Iterable[RunInfo], key: str) -> Any:
    """Return the value of a metadata key in the first run that has it, or None."""
    return next((run.metadata[key] for run in runs if run.metadata.get(key) is not None), None)


IGNORE, VOLATILE = "ignore", "volatile"
"""Metadata keys: the paths of fields that are not compared, and not even part of the states."""


def ignored(runs: Iterable[RunInfo]) -> list[str]:
    """Return the paths of fields that are not compared, as noted with some runs."""
    noted_paths = [run.metadata.get(key) for run in runs for key in (IGNORE, VOLATILE)]
    return sorted(
        {path for each in noted_paths if isinstance(each, (list, tuple)) for path in map(str, each)}
    )


def snapshots_fail(runs: Iterable[RunInfo]) -> bool:
    """Return True if one of the runs is known to have snapshots that fail.

    The verdict has details of a snapshot that failed; without details "exact by replay" only says
    that there was no snapshot to try.
    """
    found = (run.metadata.get(_VERDICT) or {} for run in runs)
    return any(
        each.get("result") == BY_REPLAY and ("step" in each or "reason" in each) for each in found
    )


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
    return list(found.values())


def _recorders(repo: Repository, state: Oid, names: Sequence[str]) -> list[str]:
    """Return the runs of ``names`` that contain a state and do not begin at it or after it."""
    step = repo.state(state).step
    starts: dict[Oid | None, int] = {None: -1}
    found = []
    for name in names:
        point = repo.runs[name].branch_point
        if point not in starts and point is not None:
            starts[point] = repo.state(point).step
        if starts[point] < step:
            found.append(name)
    return found
