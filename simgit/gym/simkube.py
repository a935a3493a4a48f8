"""SimKube as a Gymnasium environment: an agent repairs a workload whose pods do not get ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as evolve
from typing import Any, ClassVar, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding

from simgit.errors import Cluster, InvalidInput
from simgit.gym.cluster_text import cluster_text
from simgit.kube.catalogue import Catalogue, Source, catalogue, content
from simgit.kube.loop import Loop
from simgit.kube.observe import Vector, vector_bounds
from simgit.kube.setting import Nodes, setting
from simgit.kube.task import Order, Task
from simgit.kube.trace_format import dump_trace, load_trace

MAX_STEPS: Final = 100
STATE_VERSION: Final = 1
_OPTIONS: Final = ("trace", "target")


class SimKubeEnv(gymnasium.Env[Vector, np.int64]):
    """One episode is one trace: it terminates at the goal and is truncated at the step limit.

    The observation is a float32 vector; counts, requests and validity are in info. After an
    observation that failed (``info["validity"]`` says how) the vector shows the counts that were
    last seen beside the requests of now, and the reward is theirs: never zeros that look real.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi"],
        "render_fps": 4,
    }

    def __init__(
        self,
        trace: Source = "cpu-slight",
        target: int = 3,
        reward: str = "shaped",
        *,
        workload: str | None = None,
        actions: Sequence[str] | None = None,
        vector: str = "base",
        max_steps: int = MAX_STEPS,
        step_penalty: float = 0.0,
        order: Order = "after",
        nodes: Nodes = None,
        simulation: Mapping[str, Any] | None = None,
        faults: Mapping[str, Any] | None = None,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        """Check everything before anything happens.

        Args:
            trace: what ``simgit.kube.catalogue`` reads: a scenario's name, a file, a directory,
                content. With several traces each episode draws one, unless reset names it.
            target: how many pods are to exist, all ready.
            reward: a name of ``simgit.kube.reward``.
            workload: 'name', 'namespace/name' or 'kind/namespace/name'; None for the first
                Deployment.
            actions: names of ``simgit.kube.actions`` in the order of their indices; None for all.
            vector: a name of ``simgit.kube.observe``.
            max_steps: after so many steps an episode is truncated.
            step_penalty: what cost_aware_v2 takes off at each step.
            order: 'after' observes once the action took effect; 'before' as the earlier loop did.
            nodes: how many nodes, or their fields; None for three of 16 CPU and 32Gi.
            simulation: speed, duration, delays and linger; see ``simgit.kube.simulation``.
            faults: what goes wrong; see ``simgit.kube.embedded.faults``.
            seed: of the environment until reset is given another.
            render_mode: None or 'ansi'.

        Raises:
            NotFound: a trace, workload, container, or a name of a registry does not exist.
            InvalidInput: a value is out of range, or the trace is malformed.
        """
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise InvalidInput(f"bad step limit '{max_steps}', expected a whole number above 0")
        self.render_mode = render_mode
        self.max_steps = max_steps
        self.task = Task(
            target, reward, workload, tuple(actions or ()), vector, order, step_penalty
        )
        self.setting = setting(nodes, simulation, faults)
        self._traces = catalogue(trace)
        self._seed = seed
        self._np_random, self._np_random_seed = seeding.np_random(seed)
        for each in self._traces.values():
            Loop(self.task, self.setting, each)
        self.loop = Loop(self.task, self.setting, next(iter(self._traces.values())))
        self._steps = 0
        low, high = vector_bounds(vector)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(len(self.task.actions))

    @property
    def spec(self) -> EnvSpec | None:
        """What re-creates this environment, even if every file that it was made from is gone."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec.kwargs = {**self.settings(), "render_mode": self.render_mode}
        self._spec = spec

    _spec: EnvSpec | None = None

    def settings(self) -> dict[str, Any]:
        """Return all arguments as data that JSON can hold: traces by their content."""
        task = self.task
        return {
            "trace": content(self._traces),
            "target": task.target,
            "reward": task.reward,
            "workload": task.workload,
            "actions": list(task.actions),
            "vector": task.vector,
            "max_steps": self.max_steps,
            "step_penalty": task.step_penalty,
            "order": task.order,
            "seed": self._seed,
            **self.setting.plain(),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: of everything that is drawn from here on.
            options: ``trace`` (a name among the environment's traces, or any source of one) and
                ``target``, for this episode.

        Raises:
            Cluster: the cluster could not be observed, whatever was tried.
        """
        super().reset(seed=seed)
        name, loop = self._begin(dict(options or {}))
        step = loop.start()
        self.loop, self._steps = loop, 0
        return loop.vector(step), {**step.info(), "trace": name}

    def _begin(self, options: dict[str, Any]) -> tuple[str, Loop]:
        for key in options:
            if key not in _OPTIONS:
                raise InvalidInput(f"unknown option '{key}', expected {' or '.join(_OPTIONS)}")
        traces = self._chosen(options.get("trace"))
        names = list(traces)
        name = names[int(self.np_random.integers(len(names))) if len(names) > 1 else 0]
        seed = int(self.np_random.integers(2**62))
        task = self.task
        if options.get("target") is not None:
            task = evolve(task, target=options["target"])
        return name, Loop(task, self.setting, traces[name], seed)

    def _chosen(self, trace: Any) -> Catalogue:
        if trace is None:
            return self._traces
        if isinstance(trace, str) and trace in self._traces:
            return {trace: self._traces[trace]}
        return catalogue(trace)

    def step(self, action: np.int64) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Do one action; the reward is computed from the observation that is returned."""
        step = self.loop.step(self._action(action))
        self._steps += 1
        truncated = not step.goal and self._steps >= self.max_steps
        assert step.reward is not None
        return self.loop.vector(step), step.reward, step.goal, truncated, step.info()

    def _action(self, action: Any) -> str:
        if not self.action_space.contains(action):
            raise InvalidInput(f"action '{action}' is not in {self.action_space}", value=action)
        return self.task.actions[int(action)]

    def get_state(self) -> dict[str, Any]:
        """Return the state of the episode as plain data: the trace as it is now, and counters.

        What is drawn at the next reset is in ``np_random``, which snapshots keep by themselves.
        """
        state = self.loop.state()
        observed = state.pop("observed")
        if observed is not state["trace"]:
            state["observed"] = dump_trace(observed)
        return {
            **state,
            "version": STATE_VERSION,
            "trace": dump_trace(state["trace"]),
            "target": self.loop.task.target,
            "steps": self._steps,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that ``get_state`` returned, here or in another process.

        Raises:
            InvalidInput: it is no state of this version.
        """
        if state.get("version") != STATE_VERSION:
            raise InvalidInput(f"unknown version '{state.get('version')}' of a state of SimKube")
        trace = load_trace(state["trace"])
        observed = load_trace(state["observed"]) if "observed" in state else trace
        loop = Loop(evolve(self.task, target=state["target"]), self.setting, trace)
        loop.restore({**state, "trace": trace, "observed": observed})
        self.loop, self._steps = loop, state["steps"]

    def render(self) -> str | None:
        """Return the cluster as the last observation found it, as the render mode says."""
        return self._text() if self.render_mode == "ansi" else None

    def _text(self) -> str:
        try:
            picture = cluster_text(self.loop.cluster)
        except Cluster as error:
            picture = f"not seen: {error}"
        return f"step {self._steps} of {self.max_steps}\n{picture}\n"
