"""A loop of TorchRL (collector, replay buffer, Q-learning) is resumed exactly."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simgit

torch = pytest.importorskip("torch")
gym = pytest.importorskip("gymnasium")
pytest.importorskip("torchrl")

pytestmark = [
    pytest.mark.slow,  # TorchRL takes seconds to import
    pytest.mark.filterwarnings("ignore"),  # and warns of its own next versions
]


class Stop(Exception):
    """The end of a process, as far as these tests care."""


def train(directory: Path, run: str, stop: int = 0) -> bytes:
    from torchrl import collectors
    from torchrl.data import LazyTensorStorage, ReplayBuffer
    from torchrl.envs import GymWrapper
    from torchrl.modules import EGreedyModule, QValueActor

    from simgit.integrations.torch import TrainingLoop

    collector = getattr(collectors, "Collector", None) or collectors.SyncDataCollector
    sequential = pytest.importorskip("tensordict.nn").TensorDictSequential
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    memory = ReplayBuffer(storage=LazyTensorStorage(100), batch_size=16)
    given: dict[str, Any] = {"net": net, "optimizer": optimizer, "memory": memory}
    with TrainingLoop(directory, run, gym.make("CartPole-v1"), every=2, **given) as loop:
        env = GymWrapper(loop.envs)
        actor = QValueActor(module=net, in_keys=["observation"], spec=env.action_spec)
        explore = EGreedyModule(env.action_spec, eps_init=0.3, eps_end=0.3)
        collected = collector(env, sequential(actor, explore), frames_per_batch=15, total_frames=-1)
        env.set_seed(1)
        collected.reset()
        batches = iter(collected)
        for i in loop(range(12)):
            loop.point()
            memory.extend(next(batches).exclude("collector", "action_value", "chosen_action_value"))
            if i == stop > 0:
                raise Stop
            for _ in range(3):
                batch = memory.sample()
                value = (net(batch["observation"]) * batch["action"]).sum(-1)
                with torch.no_grad():
                    after = net(batch["next", "observation"]).amax(-1)
                    goes_on = ~batch["next", "terminated"][:, 0]
                    target = batch["next", "reward"][:, 0] + 0.9 * after * goes_on
                optimizer.zero_grad()
                (value - target).square().mean().backward()
                optimizer.step()
    return b"".join(parameter.detach().numpy().tobytes() for parameter in net.parameters())


@pytest.mark.parametrize("stop", [5, 8, 9])
def test_a_collector_and_its_buffer_are_resumed(tmp_path: Path, stop: int) -> None:
    full = train(tmp_path, "full")
    with pytest.raises(Stop):
        train(tmp_path, "part", stop)
    torch.randn(3)
    assert train(tmp_path, "part") == full
    with simgit.Repository.open(tmp_path) as repo:
        assert len(repo["part"]) == len(repo["full"])
        found = repo.attachment("part", "torch-part", newest=True)["objects"]["memory"]["data"]
        assert found["bytes"] == {}, "all that the buffer holds is recorded"
        assert repo.fsck().is_clean
