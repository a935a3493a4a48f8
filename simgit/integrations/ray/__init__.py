"""Ray: actors that record, what-if on a cluster, recorded states as data, RLlib's trainings.

``RolloutWorker`` is an actor that records into a repository of its own and pushes to a remote;
``rollouts`` runs some of them. ``fan_out`` continues a state in thousands of ways, ``RayExecutor``
lends the cluster to whatever takes a ``concurrent.futures.Executor``. ``read`` makes a
``ray.data.Dataset`` of recorded states; ``RLlibCallback`` records the episodes of an RLlib
training, and attaches its checkpoints. docs/ray.md shows them.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgit.integrations.ray.executor import RayExecutor
    from simgit.integrations.ray.reading import read
    from simgit.integrations.ray.rllib import RLlibCallback
    from simgit.integrations.ray.rollout_workers import (
        RolloutRange,
        Rollouts,
        RolloutWorker,
        rollouts,
    )
    from simgit.integrations.ray.what_if import fan_out

if find_spec("ray") is None:
    from simgit.errors import NotFound

    raise NotFound("simgit.integrations.ray needs Ray: pip install 'simgit[ray]'")

__all__ = [
    "RLlibCallback", "RayExecutor", "RolloutRange", "RolloutWorker", "Rollouts", "fan_out", "read",
    "rollouts",
]  # fmt: skip
_LAZY = {
    "RLlibCallback": "rllib",
    "RayExecutor": "executor",
    "RolloutRange": "rollout_workers",
    "RolloutWorker": "rollout_workers",
    "Rollouts": "rollout_workers",
    "fan_out": "what_if",
    "read": "reading",
    "rollouts": "rollout_workers",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: Ray takes seconds."""
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
