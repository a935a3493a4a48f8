"""The agent's loop: act on a trace, replay it from an empty cluster, observe, reward.

It knows neither Gymnasium nor the store. An episode's whole state is small: the trace as it is
now, the seed, how often it was replayed, and what was last seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from simgit.errors import ClusterError
from simgit.kube.embedded import EmbeddedCluster
from simgit.kube.observation import Observation, at_goal, failed
from simgit.kube.task.actions import ActionResult, act
from simgit.kube.task.cluster_setup import ClusterSetup
from simgit.kube.task.resources import Resources, final_resources
from simgit.kube.task.reward import REWARDS, outcome
from simgit.kube.task.task import Task, selection, written_requests
from simgit.kube.task.vectors import VECTORS, Vector
from simgit.kube.trace.model import Trace
from simgit.kube.trace.patch import Patch, apply_patch, patch_of

FIRST_TRIES: Final = 100
"""How often an episode's first observation is tried: without any there is nothing to go by."""


@dataclass(frozen=True, slots=True)
class Step:
    """One observation, and the action and reward that led there (None for an episode's first).

    ``seen`` is the observation itself or, where it failed, the last that did not: what the
    vector and the reward are computed from. ``requests`` are as the observed trace writes them;
    ``edit`` is what all actions so far have made of the episode's first trace.
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
        """Return what is recorded of the step; counts are there only if they were seen."""
        seen = self.observation.plain() if self.observation.valid else {}
        info = {**seen, **self.requests, "validity": self.observation.validity}
        if not self.observation.valid:
            info["failure"] = self.observation.error
        if self.edit:
            info["edit"] = self.edit
        return info if self.result is None else info | self.result.info()


class Loop:
    """One episode of a task on a trace."""

    def __init__(self, task: Task, setup: ClusterSetup, trace: Trace, seed: int = 0) -> None:
        """Check the trace against the task; NotFound or InvalidInput says what is wrong."""
        self.task = task
        self.setup = setup
        self.base = self.trace = trace
        self.seed = seed
        self.replays = 0
        self.seen: Observation | None = None
        self.workload = task.find(trace)
        self.selection = selection(trace, self.workload, setup.simulation)
        self._observed = trace
        self._cluster: EmbeddedCluster | None = None

    def check(self) -> None:
        """Replay the trace once, so that what a cluster refuses in it is refused early.

        Raises InvalidInput; a fault that strikes says nothing about the trace.
        """
        with suppress(ClusterError):
            self.setup.replay(self.trace, self.seed, 0)

    def start(self) -> Step:
        """Observe the trace as it is; raises ClusterError if that fails again and again."""
        for _ in range(FIRST_TRIES):
            observation = self._observe()
            if observation.valid:
                return self._step(observation)
        raise ClusterError(f"no observation in {FIRST_TRIES} tries: {observation.error}")

    def step(self, action: str) -> Step:
        """Do an action and observe, in the order that the task says.

        A failed observation changes no counts: its reward is that of the last that was seen.
        """
        result = act(self.trace, self.workload, action)
        if self.task.order == "after":
            self.trace = result.trace
        observation = self._observe()
        self.trace = result.trace
        return self._step(observation, action, result)

    def vector(self, step: Step) -> Vector:
        """Return the step as the agent's network sees it."""
        return VECTORS.get(self.task.vector)(step.seen, step.resources, self.task.target)

    @property
    def cluster(self) -> EmbeddedCluster:
        """The cluster as the last observation found it; raises ClusterError if a fault struck."""
        if self._cluster is None:
            number = max(0, self.replays - 1)
            self._cluster = self.setup.replay(self._observed, self.seed, number)
        return self._cluster

    def state(self) -> dict[str, Any]:
        """Return as plain data what ``restore`` needs besides task, setting and first trace."""
        return {
            "edit": patch_of(self.base, self.trace),
            "observed": patch_of(self.base, self._observed),
            "seed": self.seed,
            "replays": self.replays,
            "seen": None if self.seen is None else self.seen.counts(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of an episode of this task and first trace, in any process."""
        self.trace = apply_patch(self.base, state["edit"])
        same = state["observed"] == state["edit"]
        self._observed = self.trace if same else apply_patch(self.base, state["observed"])
        self.seed, self.replays = state["seed"], state["replays"]
        self.seen = None if state["seen"] is None else Observation(*state["seen"])
        self._cluster = None

    def _observe(self) -> Observation:
        number, self.replays = self.replays, self.replays + 1
        self._observed, self._cluster = self.trace, None
        try:
            self._cluster = self.setup.replay(self.trace, self.seed, number)
        except ClusterError as error:
            return failed("timeout" if error.__dict__.get("timeout") else "error", str(error))
        return self._cluster.observe(self.selection)

    def _step(
        self,
        observation: Observation,
        action: str | None = None,
        result: ActionResult | None = None,
    ) -> Step:
        if observation.valid:
            self.seen = observation
        assert self.seen is not None, "an episode starts with an observation"
        resources = final_resources(self._observed, self.workload)
        requests = written_requests(self._observed, self.workload)
        goal = at_goal(observation, self.task.target)
        edit = patch_of(self.base, self.trace)
        name = self.task.reward
        reward = None if result is None else self._reward(self.seen, resources, result, name)
        return Step(observation, self.seen, resources, requests, goal, edit, action, result, reward)

    def rewards(self, step: Step) -> dict[str, float]:
        """Return what every registered reward makes of a step."""
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
