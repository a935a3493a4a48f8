"""Verification: recorded actions are re-executed, and the states compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from time import perf_counter
from typing import Any, Final

from simgit.errors import Divergence, InvalidInput
from simgit.gym.restoring.check_process import SECONDS, check_run
from simgit.gym.restoring.recorded_path import RecordedPath, path_to_last
from simgit.gym.restoring.reexecute import Progress, Reexecution
from simgit.gym.restoring.restore import restored, settled
from simgit.gym.restoring.run_notes import (
    BY_REPLAY,
    DIVERGES,
    EXACT,
    LIVE,
    RESETS,
    UNKNOWN,
    UNSEEDED,
    Verdict,
    own,
    resets_fail,
    verdict_of,
)
from simgit.gym.restoring.run_notes import note as note_verdict
from simgit.gym.spec.permit import Trust
from simgit.history.trajectory import Trajectory
from simgit.objects.arguments import checked
from simgit.objects.coerce import check_number
from simgit.odb import foreign
from simgit.recording.verdicts import Verification, details
from simgit.repository import Repository

SNAPSHOTS: Final = 12
"""The greatest number of snapshots from which a run is continued, evenly spread."""


@checked
def verify(
    repo: Repository,
    revision: str,
    *,
    trust: Trust = None,
    progress: Progress | None = None,
    make: Callable[[Any], Any] | None = None,
    snapshots: int | None = None,
) -> Verification:
    """Re-execute a range of a run and compare each state; of a whole run, try its snapshots too.

    Args:
        repo: the repository.
        revision: a run, a range or an episode, as in ``Repository.trajectory``. If it does not
            begin at a root, the state before it is restored first.
        trust: see ``restore``.
        progress: called with the number of states compared, and of all.
        make: makes an environment from its spec; then snapshots are not tried.
        snapshots: the greatest number of a run's snapshots to continue from, evenly spread, each
            in a new process and up to the next one of them (default 12); 0 for none.

    What was recorded on a live cluster is not re-executed: nothing is compared, see
    ``Verification.is_live``.

    Raises:
        NotFound, InvalidInput, Untrusted: see ``restore``.
    """
    sample = SNAPSHOTS if snapshots is None else check_number(snapshots, "snapshots", whole=True)
    states = repo.trajectory(revision)
    if not len(states):
        raise InvalidInput(f"'{revision}' has no states to re-execute")
    end = path_to_last(repo, states, revision)
    if end.is_live and make is None:
        return Verification(states.start, states.start, 0.0, None, is_live=True)
    begun, done = perf_counter(), 0
    failed: Divergence | None = None
    for start, stop in sessions(end, states):
        part = states[start - states.start : stop - states.start]
        try:
            _verify(end, part, trust, _shifted(progress, done, len(states)), make)
        except Divergence as error:
            failed = error
            break
        done += len(part)
    agreed = states.stop if failed is None else int(failed.step)  # type: ignore[attr-defined]
    seconds = perf_counter() - begun
    verdict = None
    if sample and make is None and revision in repo.runs:
        how = {"sample": sample, "stretches": True, "trust": _elsewhere(end, trust)}
        how |= {} if failed is not None else {"replayed": agreed}
        verdict = check_run(repo, revision, seconds=max(SECONDS, 4 * seconds), **how)
    return Verification(states.start, agreed, perf_counter() - begun, failed, verdict)


def sessions(end: RecordedPath, states: Trajectory) -> list[tuple[int, int]]:
    """Split states up to an end into ranges, each given by one environment."""
    borders = [
        step for step in end.begun(states.stop - 1) if step > states.start and end.is_reset(step)
    ]
    edges = [states.start, *reversed(borders), states.stop]
    return list(pairwise(edges))


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda here, _: progress(done + here, total)


def _verify(
    end: RecordedPath,
    part: Trajectory,
    trust: Trust,
    progress: Progress | None,
    make: Callable[[Any], Any] | None,
) -> None:
    env, seed = environment_before(end, part, trust, make)
    with closing(env):
        replay = Reexecution(
            env, reseeds=end.reseeds, total=len(part), progress=progress, ignore=end.ignored
        )
        replay.replay(part, seed=seed)


def environment_before(
    end: RecordedPath, part: Trajectory, trust: Trust, make: Callable[[Any], Any] | None = None
) -> tuple[Any, int | None]:
    """Return an environment just before the first of some states, and the seed of its reset.

    Args:
        end: the path to the last state.
        part: the states of one environment, see ``sessions``.
        trust: see ``restore``.
        make: makes an environment from its spec.
    """
    path = end.upto(part.start)
    made_at, seed = path.creation()
    if made_at == path.step and (seed is not None or path.step == 0):
        new = end.make(trust) if make is None else make(path.spec)
        path.put_back_start(new)
        return new, seed
    env = None if make is None else make(path.spec)
    return restored(end.upto(path.step - 1), trust=trust, env=env), None


# --- verdicts ------------------------------------------------------------------------------------


def _elsewhere(end: RecordedPath, trust: Trust) -> Trust:
    """Return the trust for the process that checks a run, which cannot ask.

    Raises:
        Untrusted: making the environment is not permitted.
    """
    end.check_make(trust)
    if end.repo.directory is None and trust is None:
        with end.repo.odb.read() as txn:
            if not foreign.is_any(txn):
                return True  # it reads a bundle of this repository, where all is foreign
    return settled([end], trust, makes=True)


@checked
def judge(repo: Repository, run: str, *, trust: Trust = None, seconds: float = SECONDS) -> Verdict:
    """Check a run in a process of its own, and note the verdict with the run.

    It is continued from an early, a middle and a late snapshot, each in a new environment, and
    re-executed from its beginning, as far as the time allows.

    Args:
        repo: the repository.
        run: the run's name.
        trust: see ``restore``.
        seconds: the greatest time to wait.

    Raises:
        NotFound: no such run.
        InvalidInput, Untrusted: see ``restore``.
    """
    repo.runs[run]  # raises NotFound
    path = RecordedPath(repo, run)
    if path.is_live:
        return Verdict(LIVE)
    verdict = check_run(repo, run, seconds=seconds, trust=_elsewhere(path, trust))
    note_verdict(repo, run, verdict)
    return verdict


def note(repo: Repository, run: str, found: Verification) -> None:
    """Note the verdict of verifying a whole run, unless that says less than the one it has."""
    if found.is_live:
        return
    (info,) = own(repo, [repo.runs[run]])
    known = verdict_of([info]) or Verdict(UNKNOWN)
    verdict = found.verdict
    if verdict is None:
        if found.divergence is None and known.result in (EXACT, BY_REPLAY):
            return
        result = BY_REPLAY if found.divergence is None else DIVERGES
        differs = {} if found.divergence is None else details(found.divergence)
        verdict = Verdict(result, known.driver, differs)
    elif "from" in known.details and "from" not in verdict.details:
        # a snapshot that failed, once and somewhere, was not among those that were tried now
        verdict = known
    else:  # a reset that failed, likewise
        kept = {
            kind: known.details[kind] for kind in (RESETS, UNSEEDED) if resets_fail([info], kind)
        }
        verdict = replace(verdict, details={**verdict.details, **kept})
    note_verdict(repo, run, verdict)


__all__ = ["Verification", "environment_before", "judge", "note", "sessions", "verify"]
