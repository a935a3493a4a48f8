"""Environments of several agents put back into recorded states, by re-execution from a reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from simgit.errors import InvalidInput
from simgit.integrations.pettingzoo.joint import JointEnv, joint_env
from simgit.integrations.pettingzoo.lanes import cut_lanes, lane_at, lanes_of
from simgit.integrations.pettingzoo.recorders import JointRecording, wrapped
from simgit.objects.oid import Oid
from simgit.recording.catch_up import CatchUp
from simgit.recording.simulators.checks import SimulatorCheck
from simgit.recording.simulators.history import SimulatorHistory
from simgit.recording.simulators.hooks import SimulatorHooks
from simgit.recording.simulators.replay import put_back
from simgit.recording.verdicts import VERDICT, Verification
from simgit.repository import Repository

Make = Callable[[], Any]
"""Makes a new environment, as the recorded one was made."""


def _hooks(make: Make) -> SimulatorHooks:
    def rebuild(**mark: Any) -> JointEnv:
        made = joint_env(make())
        made.reset(mark)
        return made

    def restart(joint: JointEnv, mark: Any) -> JointEnv:
        joint.reset(dict(mark) if isinstance(mark, Mapping) else {})
        return joint

    def advance(joint: JointEnv, action: Any) -> None:
        joint.step(joint.replayed(action))

    def observe(joint: JointEnv) -> dict[str, Any]:
        return joint.joint()

    return SimulatorHooks(rebuild=rebuild, restart=restart, advance=advance, observe=observe)


def _history(repo: Repository, revision: str | Oid, run: str) -> SimulatorHistory:
    return SimulatorHistory(repo.odb, repo.trajectory(repo.resolve(revision)), repo.lineage(run))


def _run_of(repo: Repository, revision: str | Oid) -> str:
    """Return the run that a revision names, or one that has the state."""
    if isinstance(revision, str):
        name = revision.partition("@")[0].partition("~")[0].partition("^")[0]
        if name in repo.runs:
            return name
    found = repo.contains(revision)
    if not found:
        raise InvalidInput(f"state '{revision}' is in no run", revision=revision)
    return found[0]


def restore(repo: Repository, revision: str | Oid, *, make: Make) -> Any:
    """Return a new environment at a recorded joint step, without a recorder.

    It is made, reset with the recorded seed, and moved by the recorded actions; each joint step is
    compared with the recorded one.

    Args:
        repo: the repository.
        revision: a state of the run of the whole, not of an agent's lane.
        make: makes a new environment, as the recorded one was made.

    Raises:
        NotFound: no such state.
        Divergence: the environment does not repeat the recorded steps.
    """
    history = _history(repo, revision, _run_of(repo, revision))
    return put_back(_hooks(make), history).simulator.env


def resume(
    repo: Repository,
    run: str,
    *,
    make: Make,
    at: int | None = None,
    **options: Any,
) -> Any:
    """Return a recorded environment that continues a run, from its newest joint step or another.

    From an earlier one the next joint steps are compared with the recorded ones, until the newest
    is reached.

    Args:
        repo: the repository.
        run: the run of the whole.
        make: makes a new environment, as the recorded one was made.
        at: the step; None for the newest.
        options: arguments of ``Repository.recorder``.

    Raises:
        NotFound: no such run or step.
        Divergence: the environment does not repeat the recorded steps.
    """
    last = repo.runs[run].step
    if last is None:
        raise InvalidInput(f"run '{run}' has no states: record it", name=run)
    step = last if at is None else at
    repo.resolve(f"{run}@{step}")
    history = _history(repo, run, run)
    joint = put_back(_hooks(make), history, step=step).simulator
    cut_lanes(repo, run, last)
    catch_up = CatchUp(history.states, step, history.ignored, repo.attach)
    return wrapped(joint, lambda made: JointRecording(repo, run, made, options, step, catch_up))


def branch(repo: Repository, new: str, revision: str, **settings: Any) -> None:
    """Branch a run of the whole and the lanes of its agents off a joint step; then ``resume`` it.

    Args:
        repo: the repository.
        new: the name of the new run; the lanes are ``NEW/AGENT``.
        revision: the joint step, such as ``main@57``.
        settings: further arguments of ``Repository.branch``, for the run of the whole.

    Raises:
        NotFound: no such state.
        AlreadyExists: there is such a run.
    """
    run, step = _run_of(repo, revision), repo.state(revision).step
    with repo.transaction("branch", new, revision):
        repo.branch(new, revision, **settings)
        for lane in lanes_of(repo, run):
            at = lane_at(repo, lane, step)
            if at is not None:
                repo.branch(f"{new}/{lane[len(run) + 1 :]}", at)


def verify(repo: Repository, run: str, *, make: Make) -> Verification:
    """Re-execute all joint steps of a run, compare each, and note the verdict with the run.

    Raises:
        NotFound: no such run.
    """
    history = _history(repo, run, run)
    found = SimulatorCheck(_hooks(make), history).verification(1, None)
    if found.verdict is not None and not repo.read_only:
        repo.configure(run, metadata={VERDICT: found.verdict.to_json()})
    return found
