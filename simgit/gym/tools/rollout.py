"""A rollout: a continuation of a recorded state, executed in this process and recorded as a run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simgit.gym import drivers
from simgit.gym.drivers import randomness
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.reseeding import WHAT_IF
from simgit.gym.restoring.restore import restored
from simgit.gym.restoring.run_notes import snapshots_fail
from simgit.gym.spec.permit import Trust
from simgit.gym.spec.values import cast_for, hard_step, keeper, kept_or_simplified, thaw
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplifier, left_out
from simgit.repository import Repository

Policy = Callable[..., Any]
"""Returns the action for an observation; an arm's overrides are its named arguments.

It may have a method ``reset``, which is called with the seed of the rollout (or None) before it.
The global random generators of Python, NumPy and torch are seeded for it likewise. Each rollout has
a copy of an object; a function is not copied, and must not change what it refers to.
"""


@dataclass(frozen=True)
class Rollout:
    """A rollout to execute.

    Attributes:
        state: the state to start from.
        run: the name of the run to record.
        actions: the first actions; those of the policy follow, or random ones, up to ``horizon``.
        horizon: the greatest number of actions; an episode's end ends the rollout.
        seed: the random seed for the environment and for random actions; None continues with the
            random numbers of the recorded run.
        is_branched: the run is there already.
        of: the run whose state it is, None if the state was given by its oid.
        overrides: settings of the run, which are named arguments of the policy.
        noted: what the metadata of the run say of the path to the state.
    """

    state: Oid
    run: str
    actions: tuple[Any, ...]
    horizon: int
    seed: int | None = None
    is_branched: bool = False
    of: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)

    @property
    def start(self) -> tuple[Oid, str | None]:
        """The state with its run."""
        return self.state, self.of

    def path(self, repo: Repository) -> RecordedPath:
        """Return the path to the state."""
        return RecordedPath(repo, self.state, self.of)

    def branch(self, repo: Repository) -> None:
        """Make the run; by the state's oid: the path to it is compared."""
        facts = {"from": self.state.hex(), "seed": self.seed, "horizon": self.horizon}
        metadata = {WHAT_IF: facts, **self.noted}
        repo.branch(self.run, self.state, overrides=self.overrides, metadata=metadata)


@dataclass(frozen=True)
class Continuation:
    """The result of a rollout.

    Attributes:
        run: the name of its run.
        tip: its newest state.
        return_: the sum of the rewards since the start.
        length: the number of actions.
        terminated: the flag of the last step.
        truncated: likewise.
    """

    run: str
    tip: Oid
    return_: float
    length: int
    terminated: bool
    truncated: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        return {**vars(self), "tip": self.tip.hex()}


class Starts:
    """The live environment of the state that was restored last.

    The same state is not restored twice in a row.
    """

    def __init__(self, repo: Repository, trust: Trust) -> None:
        self._repo = repo
        self._trust = trust
        self._start: tuple[Oid, str | None] | None = None
        self._env: Any = None
        self._driver: Any = None
        self._snapshot: Any = None

    def env(self, job: Rollout) -> Any:
        """Return an environment at the state that a rollout begins at, with its seed.

        Raises:
            NotFound, InvalidInput, Untrusted, Divergence: see ``simgit.gym.restore``.
        """
        if self._start == job.start:
            self._driver.restore(self._env, self._snapshot)
        else:
            self.close()
            path = job.path(self._repo)
            self._env = restored(path, trust=self._trust)
            self._driver = drivers.select(self._env)
            # without snapshots the state is restored each time
            if self._driver.where == "any" and not snapshots_fail(path.recorded_in):
                self._start, self._snapshot = job.start, self._driver.snapshot(self._env)
        if job.seed is not None:
            self._driver.reseed(self._env, job.seed)
        return self._env

    def close(self) -> None:
        """Close the environment."""
        env, self._env, self._start = self._env, None, None
        if env is not None:
            env.close()


def in_turn(
    repo: Repository, jobs: Sequence[Rollout], trust: Trust, policy: Policy | None
) -> Generator[Continuation, None, None]:
    """Execute rollouts one after another."""
    starts = Starts(repo, trust)
    try:
        for job in jobs:
            yield record_rollout(repo, starts.env(job), job, policy)
    finally:
        starts.close()


def record_rollout(repo: Repository, env: Any, job: Rollout, policy: Policy | None) -> Continuation:
    """Execute a rollout in an environment at its state, and record it."""
    if not job.is_branched:
        job.branch(repo)
    cast, keep = cast_for(env.observation_space), keeper(env.action_space, "action")
    total, length = 0.0, 0
    terminated = truncated = False
    observation = None
    if policy is not None:
        observation = thaw(env.observation_space, repo.state(job.state).observation)
    act: Callable[[Any], Any] | None = None
    with repo.recorder(job.run) as recorder:
        simplifier = recorder.simplifier = Simplifier(left_out, numbers=True)
        while length < job.horizon and not (terminated or truncated):
            if length < len(job.actions):
                action = job.actions[length]
            else:
                act = act or _chooser(env, job, policy)
                action = act(observation)
            kept = kept_or_simplified(keep, action, "action", simplifier)
            observation, reward, terminated, truncated, info = env.step(action)
            seen, value, *flags, info = hard_step(
                simplifier, cast, (observation, reward, terminated, truncated), info
            )
            recorder.append(seen, kept, value, *flags, info)
            total, length = total + float(reward), length + 1
    return Continuation(
        job.run, repo.resolve(job.run), total, length, bool(terminated), bool(truncated)
    )


def _chooser(env: Any, job: Rollout, policy: Policy | None) -> Callable[[Any], Any]:
    """Return what chooses the actions that are not given: the policy, or the random generator."""
    if policy is None:
        env.action_space.seed(job.seed)
        return lambda observation: env.action_space.sample()
    return _Apart(policy, job)


class _Apart:
    """A policy for one rollout, with global random generators of its own.

    The environment's are put back after each call: they continue as they will when the actions
    are re-executed, and the policy's are seeded by the rollout.
    """

    def __init__(self, policy: Policy, job: Rollout) -> None:
        self._policy = copy.deepcopy(policy)  # what one rollout changes is not seen by the next
        self._overrides = job.overrides
        before = randomness.capture_globals()
        try:
            randomness.seed_globals(job.seed)
            if hasattr(self._policy, "reset"):
                self._policy.reset(job.seed)
            self._globals = randomness.capture_globals()
        finally:
            randomness.apply_globals(before)

    def __call__(self, observation: Any) -> Any:
        before = randomness.capture_globals()
        try:
            randomness.apply_globals(self._globals)
            action = self._policy(observation, **self._overrides)
            self._globals = randomness.capture_globals()
        finally:
            randomness.apply_globals(before)
        return action
