"""TorchRL: an environment with a recorder in it, stepped by TorchRL's own rollouts and collector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torchrl")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_rollouts_and_a_collector_are_recorded(tmp_path: Path, unchecked: None) -> None:
    import gymnasium
    import torch
    from torchrl import collectors
    from torchrl.envs import GymWrapper

    import simgit.gym
    from simgit import Repository

    torch.manual_seed(3)
    repo = Repository.init(tmp_path)
    recorder = simgit.gym.Recorder(gymnasium.make("CartPole-v1"), repo, "torchrl")
    env = GymWrapper(recorder)
    env.set_seed(5)
    found = env.rollout(40, break_when_any_done=False)
    recorder.flush()
    states = repo["torchrl"]
    moved = ~np.isnan(states.column("action", fill=np.nan).astype(float))
    recorded = states.observations[moved]
    assert np.array_equal(found["next", "observation"].numpy(), recorded)
    assert np.array_equal(found["action"].argmax(-1).numpy(), states.actions[moved])

    kind = getattr(collectors, "Collector", None) or collectors.SyncDataCollector
    collector = kind(env, None, frames_per_batch=32, total_frames=64)
    frames = [batch["next", "observation"].numpy().copy() for batch in collector]
    recorder.flush()
    states = repo["torchrl"]
    moved = ~np.isnan(states.column("action", fill=np.nan).astype(float))
    assert np.array_equal(np.concatenate(frames), states.observations[moved][-64:])
    collector.shutdown()
    assert simgit.gym.verify(repo, "torchrl").is_exact
