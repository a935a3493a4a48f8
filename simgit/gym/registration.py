"""The environments' ids, under which ``gymnasium.make("simgit:simgit/…")`` finds them."""

from __future__ import annotations

from typing import Final

import gymnasium

ENTRY_POINTS: Final = {
    "simgit/Replay-v0": "simgit.gym.replay:ReplayEnv",
    "simgit/SimKube-v0": "simgit.gym.simkube:SimKubeEnv",
}


def register() -> None:
    """Register those ids that are not registered yet."""
    for name, entry_point in ENTRY_POINTS.items():
        if name not in gymnasium.registry:
            gymnasium.register(id=name, entry_point=entry_point)
