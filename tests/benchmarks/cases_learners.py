"""Learners: checkpoints of a torch loop, and replay buffers as references to recorded steps."""

from __future__ import annotations

import pickle
import time
from typing import Any

import numpy as np

from .case import Bench, Case, NotBuilt, Target, at_most

saved = Case(
    "torch-checkpoint",
    "checkpoint of a PPO agent (2 × 64 twice, Adam), its generators and 4 environments",
    "ms",
    None,
    "one point of a TrainingLoop with everything durable; beside it torch.save of modules and "
    "optimizer into a file that is synced",
)
sized = Case(
    "torch-checkpoint-size",
    "the same, bytes on disk for each of 20 checkpoints",
    "KiB",
    None,
    "torch.save keeps no difference to the checkpoint before",
)
referred = Case(
    "replay-save",
    "checkpoint of a replay buffer of 100 000 transitions, 1000 of them new",
    "ms",
    at_most(100),
    "compared bit by bit with what is recorded; beside it a pickle of the arrays",
)
referred_size = Case(
    "replay-size",
    "the same, bytes stored",
    "bytes",
    Target(1000, at_least=False),
    "of 5.2 MB",
)
CASES = [saved, sized, referred, referred_size]


def _agent() -> tuple[Any, Any]:
    try:
        import torch
    except ImportError as error:
        raise NotBuilt from error
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def net(out: int) -> Any:
        layers = [torch.nn.Linear(4, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64)]
        return torch.nn.Sequential(*layers, torch.nn.Tanh(), torch.nn.Linear(64, out))

    agent = torch.nn.ModuleDict({"actor": net(2), "critic": net(1)})
    return agent, torch.optim.Adam(agent.parameters(), lr=1e-3)


def _learn(agent: Any, optimizer: Any) -> None:
    import torch

    for _ in range(20):
        x = torch.randn(64, 4)
        loss = agent["actor"](x).square().mean() + (agent["critic"](x) - x[:, :1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _checkpoints(bench: Bench) -> tuple[float, float]:
    """Return milliseconds and KiB of a checkpoint."""
    import gymnasium as gym

    from simgit.integrations.torch import TrainingLoop

    agent, optimizer = _agent()
    envs: Any = gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 4)
    name = f"r{len(list(bench.folder('torch').glob('*')))}"
    path = bench.folder("torch") / name
    taken = []
    options = {"self_check": False, "snapshots": None}
    with TrainingLoop(path, "a", envs, recorder=options, agent=agent, optimizer=optimizer) as loop:
        loop.envs.reset(seed=0)
        loop.save()
        before = loop.repo.size()
        for _ in range(20):
            _learn(agent, optimizer)
            loop.envs.step(np.zeros(4, np.int64))
            start = time.perf_counter()
            loop.save()
            taken.append(time.perf_counter() - start)
        size = loop.repo.size()
    return float(np.median(taken)) * 1000, (size - before) / 20 / 1024


@saved.side("simgit", repeat=3)
def _(bench: Bench) -> float:
    return _checkpoints(bench)[0]


@sized.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    return _checkpoints(bench)[1]


def _torch_save(bench: Bench) -> tuple[float, float]:
    import os

    import torch

    agent, optimizer = _agent()
    path = bench.folder("torch-save") / "agent.pt"
    taken = []
    for _ in range(20):
        _learn(agent, optimizer)
        start = time.perf_counter()
        with path.open("wb") as file:
            torch.save({"a": agent.state_dict(), "o": optimizer.state_dict()}, file)
            file.flush()
            os.fsync(file.fileno())
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000, path.stat().st_size / 1024


@saved.side("torch.save", repeat=3)
def _(bench: Bench) -> float:
    return _torch_save(bench)[0]


@sized.side("torch.save", repeat=1)
def _(bench: Bench) -> float:
    return _torch_save(bench)[1]


def _buffer(bench: Bench) -> Any:
    """Return a repository and a replay buffer whose transitions are recorded in it."""

    def build() -> Any:
        try:
            from stable_baselines3.common.buffers import ReplayBuffer
        except ImportError as error:
            raise NotBuilt from error
        import gymnasium as gym

        from simgit.gym import Recorder
        from simgit.integrations.replay import Replay

        size = bench.size(100_000, 2_000)
        env = Recorder(gym.make("CartPole-v1"), bench.folder("replay") / "repo", self_check=False)
        buffer = ReplayBuffer(size, env.observation_space, env.action_space, "cpu")
        replay = Replay(buffer)
        found = {"env": env, "buffer": buffer, "replay": replay}
        found["seen"], _ = env.reset(seed=0)
        _act(found, size + size // 3)
        replay.save(env.repo, [env.tip])
        return found

    return bench.keep("replay", build)


def _act(found: Any, steps: int) -> None:
    env, rng = found["env"], np.random.default_rng(0)
    for action in rng.integers(0, 2, steps):
        after, reward, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        found["buffer"].add(
            found["seen"], after, np.array([action]), np.array([reward]), np.array([ended]), [info]
        )
        found["seen"] = env.reset()[0] if ended else after


@referred.side("simgit", repeat=3)
def _(bench: Bench) -> float:
    found = _buffer(bench)
    _act(found, 1000)
    tip = found["env"].tip
    start = time.perf_counter()
    data = found["replay"].save(found["env"].repo, [tip])
    taken = time.perf_counter() - start
    assert not data["bytes"]
    return taken * 1000


@referred_size.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    from simgit.objects.codec import encode_value

    found = _buffer(bench)
    data = found["replay"].save(found["env"].repo, [found["env"].tip])
    return float(len(encode_value(data)))


@referred.side("pickle", repeat=3)
def _(bench: Bench) -> float:
    found = _buffer(bench)
    start = time.perf_counter()
    pickle.dumps(found["buffer"])
    return (time.perf_counter() - start) * 1000


@referred_size.side("pickle", repeat=1)
def _(bench: Bench) -> float:
    return float(len(pickle.dumps(_buffer(bench)["buffer"])))
