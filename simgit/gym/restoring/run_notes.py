"""Notes in the metadata of runs about restoring them: verdicts, and other facts by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from simgit.objects.oid import Oid
from simgit.refs.runs import RunInfo
from simgit.repository import Repository

EXACT: Final = "exact"
BY_REPLAY: Final = "exact by replay"
BY_PROCESS: Final = "depends on the process"
DIVERGES: Final = "not deterministic"
UNKNOWN: Final = "unknown"
NOT_CHECKED: Final = "not checked"
REEXECUTE: Final = "reexecute"
"""The key of a run's metadata that is False if its environment must not be re-executed unasked."""
LEFT_OUT: Final = "wrappers_left_out"
"""The key of the classes of wrappers that the spec lacks although making them may change much."""
VERDICT: Final = "verdict"


@dataclass(frozen=True)
class Verdict:
    """The result of a check of a run's restores, noted with the run as ``verdict``.

    Attributes:
        result: "exact" (from snapshots), "exact by replay", "depends on the process",
            "not deterministic", "unknown", "not checked".
        driver: the driver of the snapshots, None if no snapshot was tried.
        details: ``format`` of the snapshots, ``upto`` which step the run was recorded,
            ``snapshots`` (how many were ``checked``, ``of`` how many, up to which ``step``), the
            step and the field that differed first, the snapshot ``from`` which they did, or the
            ``reason`` why something was not possible.
    """

    result: str
    driver: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as it is noted with the run."""
        return {"result": self.result, "driver": self.driver, **self.details}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Return a noted verdict."""
        rest = {key: value for key, value in data.items() if key not in ("result", "driver")}
        driver = data.get("driver")
        return cls(str(data.get("result")), driver if isinstance(driver, str) else None, rest)


def note(repo: Repository, run: str, verdict: Verdict) -> None:
    """Note a verdict with a run."""
    repo.configure(run, metadata={VERDICT: verdict.to_json()})


def verdict_of(runs: Iterable[RunInfo]) -> Verdict | None:
    """Return the verdict of the first run that has one, None without one.

    One that came from elsewhere says only what its writer wants: it is as if not checked.
    """
    return next(_verdicts(runs), None)


def _verdicts(runs: Iterable[RunInfo]) -> Iterator[Verdict]:
    for run in runs:
        found = run.metadata.get(VERDICT)
        if isinstance(found, Mapping) and found:
            yield Verdict(NOT_CHECKED) if run.is_foreign else Verdict.from_json(found)


def noted(runs: Iterable[RunInfo], key: str, *kinds: type) -> Any:
    """Return the value of a metadata key in the first run that has one of some kinds, or None.

    Metadata are whatever someone wrote: what is of another kind does not count.
    """
    found = (run.metadata.get(key) for run in runs)
    return next((each for each in found if each is not None and is_of(each, *kinds)), None)


def is_of(value: Any, *kinds: type) -> bool:
    """Return True if a value of metadata is of one of some kinds; True and False are no numbers."""
    is_number = not isinstance(value, bool) or bool in kinds
    return not kinds or (isinstance(value, kinds) and is_number)


IGNORE, VOLATILE = "ignore", "volatile"
"""Metadata keys: the paths of fields that are not compared, and not even part of the states."""


def ignored(runs: Iterable[RunInfo]) -> list[str]:
    """Return the paths of fields that are not compared, as noted with some runs."""
    noted_paths = [run.metadata.get(key) for run in runs for key in (IGNORE, VOLATILE)]
    return sorted(
        {path for each in noted_paths if isinstance(each, (list, tuple)) for path in map(str, each)}
    )


def snapshots_fail(runs: Iterable[RunInfo], driver: str | None = None) -> bool:
    """Return True if one of the runs is known to have snapshots that fail.

    The verdict has details of a snapshot that failed; without details "exact by replay" only says
    that there was no snapshot to try.

    Args:
        runs: the runs.
        driver: the driver in question; None for any.
    """
    return any(
        each.result in (BY_REPLAY, BY_PROCESS, DIVERGES)
        and not each.details.keys().isdisjoint(("from", "step", "reason"))
        and driver in (None, each.driver)
        for each in _verdicts(runs)
    )


def vouches(runs: Iterable[RunInfo], driver: str | None, form: Any, step: int) -> bool:
    """Return True if a verdict says that a snapshot continues exactly.

    (Earlier versions looked at one snapshot, in the process that recorded: theirs do not.)

    Args:
        runs: the runs; the first one with a verdict counts.
        driver: the snapshot's driver.
        form: its format.
        step: its step; what was recorded after a check has no verdict.
    """
    found = verdict_of(runs)
    upto = None if found is None else found.details.get("upto")
    return (
        found is not None
        and found.result == EXACT
        and "snapshots" in found.details
        and (found.driver, found.details.get("format")) == (driver, form)
        and is_of(upto, int)
        and step <= upto  # type: ignore[operator]
    )


def replay_differs(runs: Iterable[RunInfo]) -> bool:
    """Return True if a run is exact from snapshots, and not from its beginning."""
    found = verdict_of(runs)
    return found is not None and found.result == EXACT and "replay" in found.details


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
    return [replace(run, is_foreign=True) for run in runs]


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
