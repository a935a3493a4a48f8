"""Verification: recorded actions are re-executed, and the states compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

from simgit.errors import Divergence, InvalidInput, NotFound, SimgitError
from simgit.gym.restoring.recorded_path import SESSION, RecordedPath, path_to_last
from simgit.gym.restoring.reexecute import Progress, Reexecution
from simgit.gym.restoring.restore import RestorePlan, execute, from_snapshot, restore
from simgit.gym.restoring.run_notes import BY_REPLAY, DIVERGES, EXACT, Verdict
from simgit.gym.restoring.run_notes import note as note_verdict
from simgit.gym.spec.permit import Trust
from simgit.history.trajectory import Trajectory
from simgit.objects.arguments import checked
from simgit.repository import Repository


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        start: the first step that was compared.
        stop: the step after the last that agreed.
        seconds: the duration.
        divergence: the difference at ``stop``, None if all states agree.
    """

    start: int
    stop: int
    seconds: float
    divergence: Divergence | None

    def to_json(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        found: dict[str, Any] = {
            "start": self.start, "stop": self.stop, "seconds": self.seconds,
            "exact": self.divergence is None,
        }  # fmt: skip
        if self.divergence is not None:
            names = ("step", "field", "recorded", "found")
            found |= {name: getattr(self.divergence, name) for name in names}
        return found


@checked
def verify(
    repo: Repository,
    revision: str,
    *,
    trust: Trust = None,
    progress: Progress | None = None,
    make: Callable[[Any], Any] | None = None,
) -> Verification:
    """Re-execute a range of a run and compare each state.

    Args:
        repo: the repository.
        revision: a run, a range or an episode, as in ``Repository.trajectory``. If it does not
            begin at a root, the state before it is restored first.
        trust: see ``restore``.
        progress: called with the number of states compared, and of all.
        make: makes an environment from its spec.

    Raises:
        NotFound, InvalidInput, Untrusted: see ``restore``.
    """
    states = repo.trajectory(revision)
    if not len(states):
        raise InvalidInput(f"'{revision}' has no states to re-execute")
    end = path_to_last(repo, states, revision)
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
    return Verification(states.start, agreed, perf_counter() - begun, failed)


def sessions(end: RecordedPath, states: Trajectory) -> list[tuple[int, int]]:
    """Split states up to an end into ranges, each given by one environment."""
    borders = [
        step
        for step in end.attached(SESSION, states.stop - 1)
        if step > states.start and end.is_reset(step)
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
    path = RecordedPath(end.repo, part[0].oid)
    made_at, seed = path.creation()
    if made_at == path.step and (seed is not None or path.step == 0):
        new = end.make(trust) if make is None else make(path.spec)
        path.put_back_start(new)
        return new, seed
    env = None if make is None else make(path.spec)
    return restore(end.repo, end.revision(path.step - 1), trust=trust, env=env), None


# --- verdicts ------------------------------------------------------------------------------------


@checked
def judge(repo: Repository, run: str, *, trust: Trust = None) -> Verdict:
    """Check the first episode of a run, and note the verdict with the run.

    Its actions are re-executed from the newest snapshot that has states after it, and in a new
    environment up to that snapshot; to the end if the snapshot fails.

    Args:
        repo: the repository.
        run: the run's name.
        trust: see ``restore``; True is safe for a run that this process recorded.

    Raises:
        NotFound: no such run, or its environment is not installed.
        InvalidInput: the run was not recorded from an environment.
    """
    verdict = _judged(repo, run, trust)
    note_verdict(repo, run, verdict)
    return verdict


def note(repo: Repository, run: str, found: Verification) -> None:
    """Note the verdict of verifying a whole run, unless it has a verdict."""
    known = repo.runs[run].metadata.get("verdict", {})
    if found.divergence is not None:
        verdict = Verdict(DIVERGES, known.get("driver"), _details(found.divergence))
    elif known.get("result") in (EXACT, BY_REPLAY):
        return
    else:
        verdict = Verdict(BY_REPLAY, known.get("driver"))
    note_verdict(repo, run, verdict)


def _judged(repo: Repository, run: str, trust: Trust) -> Verdict:
    whole = repo.trajectory(run)
    resets = whole.episode_starts[1:].nonzero()[0]
    first = whole[: int(resets[0]) + 1] if len(resets) else whole
    end = RecordedPath(repo, first[len(first) - 1].oid)
    found = _tried_snapshot(end, trust)
    plan, failed = found if found is not None else (None, None)
    is_exact = plan is not None and failed is None
    left = first[: plan.start + 1] if plan is not None and is_exact else first
    replayed = _outcome(lambda: _verify(end, left, trust, None, None))
    driver = plan.driver if plan is not None else None
    if is_exact:
        return Verdict(EXACT, driver, {} if replayed is None else {"replay": _details(replayed)})
    if replayed is None:
        return Verdict(BY_REPLAY, driver, _details(failed))
    return Verdict(DIVERGES, driver, _details(replayed))


def _tried_snapshot(
    path: RecordedPath, trust: Trust
) -> tuple[RestorePlan, SimgitError | None] | None:
    """Return the plan from a snapshot before a state, and the error of executing it."""
    plan = from_snapshot(path, trust, path.step - 1)
    if plan is None:
        return None
    env = path.make(trust)
    return plan, _outcome(lambda: execute(path, env, plan))


def _outcome(check: Callable[[], Any]) -> SimgitError | None:
    try:
        check()
    except NotFound:
        raise
    except SimgitError as error:
        return error
    return None


def _details(error: SimgitError | None) -> dict[str, Any]:
    if error is None:
        return {}
    if isinstance(error, Divergence):
        return {"step": error.step, "field": error.field}  # type: ignore[attr-defined]
    return {"reason": str(error)}
