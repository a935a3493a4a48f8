"""The ids of simgit's environments, for ``gymnasium.make("simgit.gym:simgit/…")``."""

from __future__ import annotations

from typing import Final

from gymnasium.envs.registration import register as register_env
from gymnasium.envs.registration import registry

ENTRY_POINTS: Final = {
    "simgit/Replay-v0": "simgit.gym.envs.replay:ReplayEnv",
    "simgit/SimKube-v0": "simgit.gym.envs.simkube:SimKubeEnv",
}


def register() -> None:
    """Register the ids that are not registered yet."""
    for name, entry_point in ENTRY_POINTS.items():
        if name not in registry:
            register_env(id=name, entry_point=entry_point)
