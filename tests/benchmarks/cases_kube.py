"""SimKube: steps of the environment, replays of a trace, bytes of a recorded training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .case import Bench, Case, NotBuilt, at_least, at_most
from .measure import disk, scratch, seconds

REAL = Path(__file__).resolve().parents[3] / "shared/simkube/traces/dsb-scaling.sktrace"

steps = Case(
    "kube-steps",
    "SimKube, one Deployment: act, replay, observe, reward",
    "steps/s",
    at_least(5_000),
    "each step replays the edited trace from an empty cluster, unless the episode has seen it",
)
replay = Case(
    "kube-replay",
    "replay of dsb-scaling: 27 Deployments, 1 134 s",
    "ms",
    at_most(100),
    "a real trace; left out where it is not at hand",
)
size = Case(
    "kube-bytes",
    "bytes a recorded step of SimKube with its mutated trace, after gc",
    "bytes",
    at_most(150),
    "60 episodes of cpu-slight, epsilon-greedy table, snapshots included",
)
CASES = [steps, replay, size]


def _environment(**arguments: Any) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise NotBuilt from error
    return gymnasium.make(
        "simgit.gym:simgit/SimKube-v0", trace="cpu-slight", disable_env_checker=True, **arguments
    )


@steps.side("simgit")
def _(bench: Bench) -> float:
    count = bench.size(5_000, 500)
    env = _environment(max_steps=count + 1)
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(7, size=count)
    return count / seconds(lambda: [env.step(action) for action in actions])


@replay.side("simgit")
def _(bench: Bench) -> float:
    from simgit.kube.simulation import simulate
    from simgit.kube.trace.files import read_trace_file

    if not REAL.exists():
        raise NotBuilt
    trace = read_trace_file(REAL)
    return 1e3 * min(seconds(lambda: simulate(trace)) for _ in range(bench.size(20, 5)))


@size.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    from simgit.gym import Recorder
    from simgit.repository import Repository

    with scratch(bench.path) as empty, scratch(bench.path) as path:
        Repository.init(empty).close()
        repo = Repository.init(path)
        env = Recorder(_environment(), repo, "main")
        count = _train(env, bench.size(60, 10))
        env.close()
        repo.gc()
        repo.close()
        return (disk(path) - disk(empty)) / count


def _train(env: Any, episodes: int) -> int:
    """Train a table as the loop does; return how many steps that took."""
    from simgit import agents
    from simgit.kube.task.actions import STANDARD

    agent = agents.make("greedy", 5, STANDARD, 0)
    count = 0
    for episode in range(episodes):
        observation, _ = env.reset(seed=1000 * episode)
        ended = False
        while not ended:
            action = agent.act(observation, explore=True)
            after, reward, terminated, truncated, _ = env.step(action)
            agent.observe(observation, action, reward, after, terminated, truncated)
            agent.update()
            observation, ended, count = after, terminated or truncated, count + 1
    return count
