"""SimKube as a Gymnasium environment: an agent repairs a workload whose pods are not ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as evolve
from typing import Any, ClassVar, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding

from simgit.errors import ClusterError, InvalidInput, NotFound, near_or_known, shown
from simgit.gym.envs.cluster_rendering import cluster_image, cluster_text
from simgit.kube.task.catalogue import Catalogue, Source, catalogue, content
from simgit.kube.task.cluster_setup import Nodes, cluster_setup
from simgit.kube.task.loop import Loop
from simgit.kube.task.task import Order, Task
from simgit.kube.task.vectors import Vector, vector_bounds
from simgit.kube.trace.sktrace import dump_trace, load_trace
from simgit.plot.bins import NodeBox, Pixels, node_bins
from simgit.repository import live_clusters

ID: Final = "simgit/SimKube-v0"
ENTRY_POINT: Final = "simgit.gym.envs.simkube:SimKubeEnv"
MAX_STEPS: Final = 100
STATE_VERSION: Final = 1
_OPTIONS: Final = ("trace", "target")


class SimKubeEnv(gymnasium.Env[Vector, np.int64]):
    """The SimKube environment: an episode is one trace, which terminates at the goal.

    At the step limit an episode is truncated. The observation is a float32 vector; counts, requests
    and validity are in info. After a failed observation (``info["validity"]`` has the reason) the
    vector holds the last known counts beside the present requests, and the reward is computed from
    them: never zeros that look real.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["ansi", "rgb_array"],
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
        cluster: Mapping[str, Any] | None = None,
        seed: int = 0,
        render_mode: str | None = None,
    ) -> None:
        """Check all arguments.

        Args:
            trace: a source for ``simgit.kube.task.catalogue``: a scenario's name, a file, a
                directory, content. With several traces each episode draws one, unless reset
                names it.
            target: the number of pods that have to exist, all ready.
            reward: a name of ``simgit.kube.task.reward``.
            workload: 'name', 'namespace/name' or 'kind/namespace/name'; None for the first
                Deployment.
            actions: names of ``simgit.kube.task.actions``, by number; None for all.
            vector: a name of ``simgit.kube.task.vectors``.
            max_steps: the number of steps after which an episode is truncated.
            step_penalty: the amount that the reward 'cost_aware_v2' subtracts at each step.
            order: 'after' observes once the action took effect; 'before' observes before it.
            nodes: the number of nodes, or their fields; None for three of 16 CPU and 32Gi.
            simulation: speed, duration, delays and linger; see ``simgit.kube.simulation``.
            faults: injected faults; see ``simgit.kube.embedded.faults``.
            cluster: settings of a real cluster (``context``, ``driver``, …; see
                ``simgit.kube.live.driver.LiveSettings``), which has nodes and faults of its own;
                None for the embedded one.
            seed: the random seed until reset is given another.
            render_mode: None, 'ansi', or 'rgb_array': nodes as bins filled by pods.

        Raises:
            NotFound: a trace, workload, container, or a name of a registry does not exist.
            InvalidInput: a value is out of range, or the trace is malformed.
        """
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise InvalidInput(f"max_steps must be a positive integer, got {shown(max_steps)}")
        self.render_mode = render_mode
        self.max_steps = max_steps
        self.task = Task(
            target, reward, workload, tuple(actions or ()), vector, order, step_penalty
        )
        self.setup = cluster_setup(nodes, simulation, faults, cluster)
        if self.is_live:
            live_clusters.prepare()
        self._traces = catalogue(trace)
        self._seed = seed
        self._np_random, self._np_random_seed = seeding.np_random(seed)
        for each in self._traces.values():
            Loop(self.task, self.setup, each).check()
        self._name = next(iter(self._traces))
        self.loop = Loop(self.task, self.setup, self._traces[self._name])
        self._steps = 0
        self._spec: EnvSpec | None = EnvSpec(ID, ENTRY_POINT, kwargs=self._arguments())
        low, high = vector_bounds(vector)
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.action_space = spaces.Discrete(len(self.task.actions))

    @property
    def is_live(self) -> bool:
        """True on a real cluster, whose outcomes need not repeat: nothing is re-executed."""
        return self.setup.live is not None

    def facts(self) -> dict[str, Any]:
        """Return the facts of a real cluster (versions, nodes), empty for the embedded one.

        Raises ClusterError if it cannot be used; nothing was sent to it before.
        """
        return self.setup.facts()

    def close(self) -> None:
        """Close the connections to a real cluster."""
        self.setup.close()

    @property
    def spec(self) -> EnvSpec | None:
        """The EnvSpec that re-creates this environment, even without the files it was made from."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None:
            spec.kwargs = self._arguments()
        self._spec = spec

    def _arguments(self) -> dict[str, Any]:
        shown = {} if self.render_mode is None else {"render_mode": self.render_mode}
        return self.settings() | shown

    def settings(self) -> dict[str, Any]:
        """Return all arguments as data for JSON, traces by their content."""
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
            **self.setup.plain(),
        }

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Vector, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: the random seed of everything that is drawn from here on.
            options: ``trace`` (a name among the environment's traces, or any source of one) and
                ``target``, for this episode.

        Raises:
            ClusterError: the cluster could not be observed, retries included.
        """
        super().reset(seed=seed)
        traces, task = self._chosen(dict(options or {}))
        names = list(traces)
        self._name = names[int(self.np_random.integers(len(names))) if len(names) > 1 else 0]
        trace = traces[self._name]
        self.loop = Loop(task, self.setup, trace, int(self.np_random.integers(2**62)))
        self.loop.keeps_rows = self.render_mode is not None
        self._steps = 0
        step = self.loop.start()
        return self.loop.vector(step), {**step.info(), **self._beginning()}

    def _chosen(self, options: dict[str, Any]) -> tuple[Catalogue, Task]:
        for key in options:
            if key not in _OPTIONS:
                near = near_or_known(str(key), _OPTIONS)
                raise InvalidInput(f"unknown option '{key}' of reset{near}")
        trace, target = options.get("trace"), options.get("target")
        task = self.task if target is None else evolve(self.task, target=target)
        if trace is None:
            return self._traces, task
        if isinstance(trace, str) and trace in self._traces:
            return {trace: self._traces[trace]}, task
        return catalogue(trace), task

    def _beginning(self) -> dict[str, Any]:
        """Return the facts of an episode from which each of its clusters can be rebuilt."""
        found = {"trace": self._name, "seed": self.loop.seed, "replays": self.loop.replays}
        if self.loop.task is not self.task:
            found["target"] = self.loop.task.target
        return found | ({} if self._is_own() else {"content": dump_trace(self.loop.base)})

    def _is_own(self) -> bool:
        """Return True if the episode's trace is one that the environment was made with."""
        return self._traces.get(self._name) is self.loop.base

    def step(self, action: np.int64) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        """Execute one action; the reward is computed from the returned observation."""
        if not self.action_space.contains(action):
            raise InvalidInput(f"action '{action}' is not in {self.action_space}", value=action)
        step = self.loop.step(self.task.actions[int(action)])
        self._steps += 1
        truncated = not step.goal and self._steps >= self.max_steps
        assert step.reward is not None
        return self.loop.vector(step), step.reward, step.goal, truncated, step.info()

    def get_state(self) -> dict[str, Any]:
        """Return the state of the episode as plain data: its trace, the edit, and counters.

        The generator ``np_random`` is not in it: snapshots keep it separately.
        """
        own = self._is_own()
        return {
            "version": STATE_VERSION,
            "trace": self._name,
            **({} if own else {"content": dump_trace(self.loop.base)}),
            "target": self.loop.task.target,
            "steps": self._steps,
            **self.loop.state(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Put back a state of ``get_state``, from this or another process.

        Raises:
            InvalidInput: it is not a state of this version.
            NotFound: the environment was made with other traces.
        """
        if state.get("version") != STATE_VERSION:
            raise InvalidInput(
                f"the version of a state must be {STATE_VERSION}, got '{state.get('version')}'"
            )
        name, task = state["trace"], self.task
        if "content" not in state and name not in self._traces:
            raise NotFound(f"trace '{name}' not found in the environment", name=name)
        base = load_trace(state["content"]) if "content" in state else self._traces[name]
        if state["target"] != task.target:
            task = evolve(task, target=state["target"])
        loop = Loop(task, self.setup, base)
        loop.restore(state)
        loop.keeps_rows = self.render_mode is not None
        self.loop, self._name, self._steps = loop, name, state["steps"]

    def render(self) -> Any:
        """Return the last observed cluster in the form of the render mode."""
        if self.render_mode == "rgb_array":
            return self._image()
        return self._text() if self.render_mode == "ansi" else None

    def _image(self) -> Pixels:
        title = f"step {self._steps} of {self.max_steps}"
        try:
            return cluster_image(self.loop.cluster, title)
        except ClusterError:
            unseen = [] if self.is_live else [NodeBox(node.name, ()) for node in self.setup.nodes]
            return node_bins(unseen, (), f"{title}: not seen")

    def _text(self) -> str:
        try:
            picture = cluster_text(self.loop.cluster)
        except ClusterError as error:
            picture = f"not seen: {error}"
        return f"step {self._steps} of {self.max_steps}\n{picture}\n"
