"""The agent's loop: act on a trace, replay it from an empty cluster, observe, reward.

It knows neither Gymnasium nor the store. The state of an episode is small: the edit of the
trace so far, the seed, the number of replays, and the last counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from simgit.errors import ClusterError, warn
from simgit.kube.cluster import ClusterRows, KeptRows
from simgit.kube.observation import Observation, at_goal, failed
from simgit.kube.task.actions import ActionResult, act
from simgit.kube.task.cluster_setup import ClusterSetup
from simgit.kube.task.replayed import Replayed, content_key
from simgit.kube.task.resources import Resources, last_applied, read_resources
from simgit.kube.task.reward import REWARDS, outcome
from simgit.kube.task.task import Task, selection, written_requests
from simgit.kube.task.vectors import VECTORS, Vector
from simgit.kube.trace.model import Trace
from simgit.kube.trace.patch import Patch, apply_patch, patch_of
from simgit.kube.unmodelled import unmodelled

FIRST_TRIES: Final = 100
"""The number of tries of an episode's first observation, which must not fail."""
LIVE_TRIES: Final = 3
"""The number of observations in a row that may fail on a real cluster, each after minutes."""


@dataclass(frozen=True, slots=True)
class Step:
    """An observation, with the action before it and its reward (None for an episode's first).

    ``seen`` is the observation or, if it failed, the last that did not: the vector and the reward
    are computed from it. ``requests`` are as the observed trace writes them; ``edit`` is the
    difference from the episode's first trace.
    """

    observation: Observation
    seen: Observation
    resources: Resources
    requests: dict[str, Any]
    goal: bool
    edit: Patch
    action: str | None = None
    result: ActionResult | None = None
    reward: float | None = None

    def info(self) -> dict[str, Any]:
        """Return what is recorded of the step; a failed observation has no counts."""
        seen = self.observation.plain() if self.observation.valid else {}
        info = {**seen, **self.requests, "validity": self.observation.validity}
        if not self.observation.valid:
            info["failure"] = self.observation.error
        if self.edit:
            info["edit"] = self.edit
        return info if self.result is None else info | self.result.info()


class Loop:
    """One episode of a task on a trace.

    ``keeps_rows`` keeps what a real cluster showed at the last observation, to be rendered.
    """

    keeps_rows = False

    def __init__(self, task: Task, setup: ClusterSetup, trace: Trace, seed: int = 0) -> None:
        """Start an episode; raises NotFound or InvalidInput if the trace does not suit the task."""
        self.task = task
        self.setup = setup
        self.base = self.trace = trace
        self.seed = seed
        self.replays = 0
        self.seen: Observation | None = None
        self.workload = task.find(trace)
        self.selection = selection(trace, self.workload, setup.simulation)
        self._observed = trace
        self._cluster: ClusterRows | None = None
        self._failures = 0
        # Where something is drawn anew in each replay, and on a real cluster, none is like another.
        self._replayed = None if setup.live is not None or setup.random else Replayed()

    def check(self) -> None:
        """Replay the trace once, to find early what a cluster refuses in it; not on a real one.

        Raises InvalidInput. A fault that strikes is ignored: the trace did not cause it.
        """
        if self.setup.live is not None:
            return
        with suppress(ClusterError):
            self.setup.replay(self.trace, self.seed, 0)
        self.warn_of_unmodelled()

    def warn_of_unmodelled(self) -> None:
        """Warn of each thing in the trace that the embedded cluster ignores, and of late events."""
        for told in (*unmodelled(self.base), *self.setup.late_events(self.base)):
            warn(told)

    def start(self) -> Step:
        """Observe the first trace, and warn of a task without pods.

        Raises ClusterError if every try fails.
        """
        for _ in range(FIRST_TRIES):
            observation = self._observe()
            if observation.valid:
                if observation.reason is not None:
                    warn(f"no pods to observe: {observation.reason}")
                return self._step(observation)
        raise ClusterError(f"no observation in {FIRST_TRIES} tries: {observation.error}")

    def step(self, action: str) -> Step:
        """Apply an action and observe, in the task's order.

        A failed observation changes no counts: its reward is that of the last counts. Raises
        ClusterError, with the trace as it was, where a real cluster is lost.
        """
        before, result = self.trace, act(self.trace, self.workload, action)
        if self.task.order == "after":
            self.trace = result.trace
        try:
            observation = self._observe()
        except BaseException:
            self.trace = before
            raise
        self.trace = result.trace
        return self._step(observation, action, result)

    def vector(self, step: Step) -> Vector:
        """Return the state vector of a step."""
        return VECTORS.get(self.task.vector)(step.seen, step.resources, self.task.target)

    @property
    def cluster(self) -> ClusterRows:
        """The cluster of the last observation; raises ClusterError if a fault struck.

        Of a real one, which is empty by then, what was kept of it.
        """
        if self._cluster is None:
            if self.setup.live is not None:
                raise ClusterError("a live cluster is not re-executed")
            number = max(0, self.replays - 1)
            self._cluster = self.setup.replay(self._observed, self.seed, number)
        return self._cluster

    def state(self) -> dict[str, Any]:
        """Return plain data for ``restore``, which also needs the task, setup and first trace."""
        return {
            "edit": patch_of(self.base, self.trace),
            "observed": patch_of(self.base, self._observed),
            "seed": self.seed,
            "replays": self.replays,
            "seen": None if self.seen is None else self.seen.counts(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a state of an episode with the same task and first trace."""
        self.trace = apply_patch(self.base, state["edit"])
        same = state["observed"] == state["edit"]
        self._observed = self.trace if same else apply_patch(self.base, state["observed"])
        self.seed, self.replays = state["seed"], state["replays"]
        self._replayed = None if self._replayed is None else Replayed()  # those were of its seed
        self.seen = None if state["seen"] is None else Observation(*state["seen"])
        self._cluster = None

    def _observe(self) -> Observation:
        number, self.replays = self.replays, self.replays + 1
        self._observed, self._cluster = self.trace, None
        if self._replayed is None:
            return self._replay(number)
        key = content_key(self.trace)
        observation = self._replayed.get(key)
        if observation is None:
            observation = self._replay(number)
            if observation.valid:
                self._replayed.put(key, observation)
        return observation

    def _replay(self, number: int) -> Observation:
        """Replay the trace, and observe it at the end."""
        observation = None
        try:
            with self.setup.settled(self.trace, self.seed, number, self.selection) as cluster:
                observation = cluster.observe(self.selection)
                if self.setup.live is None:
                    self._cluster = cluster
                elif self.keeps_rows:
                    self._cluster = KeptRows(cluster.pods(), cluster.nodes())
        except ClusterError as error:
            if observation is None:
                is_late = error.__dict__.get("timeout")
                observation = failed("timeout" if is_late else "error", str(error))
            else:  # the counts are right; the cluster could not be emptied
                warn(str(error))
        self._failures = 0 if observation.valid else self._failures + 1
        if self.setup.live is not None and self._failures >= LIVE_TRIES:
            self._failures = 0
            raise ClusterError(f"no observation in {LIVE_TRIES} tries: {observation.error}")
        return observation

    def _step(
        self,
        observation: Observation,
        action: str | None = None,
        result: ActionResult | None = None,
    ) -> Step:
        if observation.valid:
            self.seen = observation
        assert self.seen is not None, "an episode starts with an observation"
        observed = last_applied(self._observed, self.workload)
        resources, requests = read_resources(observed), written_requests(observed)
        goal = at_goal(observation, self.task.target)
        edit = patch_of(self.base, self.trace)
        name = self.task.reward
        reward = None if result is None else self._reward(self.seen, resources, result, name)
        return Step(observation, self.seen, resources, requests, goal, edit, action, result, reward)

    def rewards(self, step: Step) -> dict[str, float]:
        """Return the value of every registered reward for a step."""
        assert step.result is not None, "an episode's first observation earns nothing"
        return {
            name: self._reward(step.seen, step.resources, step.result, name) for name in REWARDS
        }

    def _reward(
        self, seen: Observation, resources: Resources, result: ActionResult, name: str
    ) -> float:
        task = self.task
        blocked, penalty = result.blocked, task.step_penalty
        found = outcome(seen, resources, task.target, blocked=blocked, step_penalty=penalty)
        return REWARDS.get(name)(found)
