"""simgit: git for simulations.

Every state of every run is an immutable object named by its hash; runs are refs; branch from any
state and continue exactly.
"""

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from simgit.errors import (
    AlreadyExists,
    ClusterError,
    Conflict,
    Divergence,
    EnvironmentChanged,
    FormatError,
    IntegrityError,
    InvalidInput,
    Missing,
    NotFound,
    SimgitError,
    SimgitWarning,
    StorageError,
    StorageFullError,
    TransportError,
    Unverified,
)

if TYPE_CHECKING:
    from simgit import worker as worker
    from simgit.history.state import State
    from simgit.history.trajectory import Trajectory
    from simgit.objects.oid import Oid
    from simgit.repository import Repository

__version__ = "0.1.0"
__all__ = [
    "AlreadyExists",
    "ClusterError",
    "Conflict",
    "Divergence",
    "EnvironmentChanged",
    "FormatError",
    "IntegrityError",
    "InvalidInput",
    "Missing",
    "NotFound",
    "Oid",
    "Repository",
    "SimgitError",
    "SimgitWarning",
    "State",
    "StorageFullError",
    "StorageError",
    "Trajectory",
    "TransportError",
    "Unverified",
]

_LAZY = {
    "Oid": "objects.oid",
    "Repository": "repository",
    "State": "history.state",
    "Trajectory": "history.trajectory",
}


def __getattr__(name: str) -> Any:
    # imported when it is first used: kube, agents and plot do not need the store
    if name == "worker":
        return import_module("simgit.worker")
    if name not in _LAZY:
        raise AttributeError(f"module 'simgit' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"simgit.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__"})


if "gymnasium.envs.registration" in sys.modules:
    # ``gymnasium.make("simgit:simgit/SimKube-v0")`` imports this package to find its environments.
    # Where Gymnasium comes later, ``simgit.gym`` registers them: "simgit.gym:simgit/SimKube-v0".
    with suppress(Exception):  # another package's fault must not keep simgit from being imported
        import_module("simgit.gym")
