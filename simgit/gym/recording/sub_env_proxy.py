"""Handles of the lanes of a vector environment, for snapshots, in whichever process they live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium.vector import AsyncVectorEnv, VectorEnv

from simgit.gym.recording.session import seed_in_use, start_of
from simgit.gym.recording.sub_env import MARK


def parts_of(env: VectorEnv[Any, Any, Any]) -> Sequence[Any]:
    """Return the environments of the lanes, or handles of those in other processes.

    The result is empty if the lanes are not environments of their own, or live in other processes
    without a ``simgit.gym.Lane`` around them.
    """
    core = env.unwrapped
    if not isinstance(core, AsyncVectorEnv):
        return list(getattr(core, "envs", ()))
    if not core.metadata.get(MARK):
        return ()
    core.set_attr("lane_number", list(range(core.num_envs)))
    return [RemoteLane(core, i) for i in range(core.num_envs)]


@dataclass(frozen=True)
class RemoteLane:
    """A lane in another process, reached through ``vector``."""

    vector: AsyncVectorEnv
    number: int

    @property
    def seed(self) -> int | None:
        """The seed of the environment's generator."""
        seed: int | None = self.vector.call("lane_seed")[self.number]
        return seed

    def start(self, before: Any) -> Any:
        """Return the generators that its first reset may draw from; see ``start_of``."""
        return self.vector.call("lane_start", before)[self.number]

    def driver(self) -> RemoteDriver:
        """Return the driver that has its snapshots taken there."""
        return RemoteDriver(**self.vector.call("lane_driver")[self.number])


@dataclass
class RemoteDriver:
    """Takes snapshots in the process in which a lane lives; see ``drivers.Driver``."""

    name: str
    where: str
    lead: int

    def snapshot(self, lane: RemoteLane) -> Any:
        """Return a snapshot in its stored form, None if there is none."""
        return lane.vector.call("lane_snapshot", lane.number)[lane.number]


def seed_of(part: Any) -> int | None:
    """Return the seed of the generator of a lane's environment."""
    return part.seed if isinstance(part, RemoteLane) else seed_in_use(part)


def lane_start(part: Any, before: Any = None) -> Any:
    """Return the generators that the first reset of a lane may draw from; see ``start_of``."""
    return part.start(before) if isinstance(part, RemoteLane) else start_of(part, before)
