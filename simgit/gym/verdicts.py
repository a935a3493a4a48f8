"""What is noted with runs about taking them up again: verdicts, and other facts by their keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from simgit.oid import Oid
from simgit.repository import Repository
from simgit.runs import RunInfo

EXACT: Final = "exact"
BY_REPLAY: Final = "exact by replay"
DIVERGES: Final = "not deterministic"
_VERDICT: Final = "verdict"


@dataclass(frozen=True)
class Verdict:
    """Whether a run can be taken up again: noted with the run as ``verdict``.

    Attributes:
        result: "exact" (from a snapshot to the end), "exact by replay", "not deterministic".
        driver: that makes the snapshots, None if none were looked at.
        details: the step and the field that differed first, or why snapshots or a replay do not
            serve.
    """

    result: str
    driver: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """Return it as what is noted."""
        return {"result": self.result, "driver": self.driver, **self.details}


def note(repo: Repository, run: str, verdict: Verdict) -> None:
    """Note a verdict with a run."""
    repo.configure(run, metadata={_VERDICT: verdict.to_data()})


def noted(repo: Repository, state: Oid, key: str) -> Any:
    """Return what is noted under a key with a run that has a state, None if nothing is."""
    return next(_all_noted(repo, state, key), None)


def snapshots_fail(repo: Repository, state: Oid) -> bool:
    """Return whether it is known that snapshots do not serve where a state was recorded.

    A verdict tells what differed after a snapshot, or why it could not be put back, if one was
    tried; without that, "exact by replay" only says that there was none to try.
    """
    found: Iterator[Mapping[str, Any]] = _all_noted(repo, state, _VERDICT)
    return any(
        each.get("result") == BY_REPLAY and ("step" in each or "reason" in each) for each in found
    )


def _all_noted(repo: Repository, state: Oid, key: str) -> Iterator[Any]:
    """Yield what is noted with the runs that have a state, and those they were branched off."""
    return (run.metadata[key] for run in _runs(repo, state) if run.metadata.get(key) is not None)


def _runs(repo: Repository, state: Oid) -> Iterator[RunInfo]:
    names: set[str] = set()
    seen, waiting = {state}, [state]
    while waiting:
        for name in repo.contains(waiting.pop()):
            for run in repo.lineage(name):
                if run.name in names:
                    break
                names.add(run.name)
                yield run
                point = run.branch_point
                if point is not None and run.parent is None and point not in seen:
                    seen.add(point)  # branched off a state that was named by its oid
                    waiting.append(point)
