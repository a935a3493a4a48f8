"""Training: what recording adds to it, and how soon a trained agent is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .case import Bench, Case, NotBuilt, Target, at_most
from .measure import scratch, seconds

TRACE = {"trace": "cpu-slight", "target": 3}
recorded = Case(
    "train-dqn",
    "training of a DQN on SimKube, every step recorded, checkpoints attached",
    "steps/s",
    Target(lambda peers: 0.95 * peers["not recorded"], at_least=True),
    "the main job's 60 episodes with and without, in steps a second of CPU time; "
    "recording, with its check of the first episode, may take a twentieth",
)
restored = Case(
    "train-restore",
    "restore agent and environment at a checkpoint of 2000 steps of replay buffer",
    "ms",
    at_most(1_000),
    "until the next episode can begin",
)
CASES = [recorded, restored]


def _config(episodes: int) -> Any:
    try:
        import torch  # noqa: F401

        from simgit.training import Config
    except ImportError as error:
        raise NotBuilt from error
    return Config("dqn", episodes=episodes, checkpoint=20, trials=0)


def _rate(train: Callable[[], int]) -> float:
    start = time.process_time()
    return train() / (time.process_time() - start)


@recorded.side("simgit", repeat=3)
def _(bench: Bench) -> float:
    from simgit.repository import Repository
    from simgit.training import train

    config = _config(bench.size(60, 4))
    # a new repository each time: states that it has already would be looked up, and not stored
    with scratch(bench.path) as path, Repository.init(path) as repo:
        with train(repo, "main", config, arguments=TRACE) as training:
            start = time.process_time()
            training.finish()
            taken = time.process_time() - start
        return int(repo.trajectory("main").lengths.sum()) / taken


@recorded.side("not recorded", repeat=3)
def _(bench: Bench) -> float:
    from simgit.gym.envs.agent_view import View, make
    from simgit.training import episode

    config = _config(bench.size(60, 4))
    env = make("simgit/SimKube-v0", **TRACE)
    view = View(env)
    agent = config.make_agent(view.size, view.actions)
    numbers = range(1, config.episodes + 1)
    return _rate(
        lambda: sum(episode(env, agent, view, config.episode_seed(n)).length for n in numbers)
    )


@restored.side("simgit")
def _(bench: Bench) -> float:
    from simgit.repository import Repository
    from simgit.training import resume, train

    episodes = bench.size(60, 4)

    def trained() -> Any:
        repo = Repository.init(":memory:")
        with train(repo, "a", _config(episodes), arguments=TRACE) as training:
            training.finish()
        repo.set_status("a", "active")
        repo.configure("a", {"training.episodes": episodes + 1})
        return repo

    repo = bench.keep("trained", trained)
    return 1e3 * seconds(lambda: resume(repo, "a").close())
