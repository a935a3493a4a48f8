"""simgit: git for simulations.

Every state of every run is an immutable object named by its hash; runs are refs; branch from any
state and go on exactly.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from simgit.errors import (
    AlreadyExists,
    Cluster,
    Conflict,
    Divergence,
    EnvironmentChanged,
    Format,
    Full,
    Integrity,
    InvalidInput,
    NotFound,
    SimgitError,
    SimgitWarning,
    Storage,
    Unverified,
)
from simgit.import_hook import announce

if TYPE_CHECKING:
    from simgit.oid import Oid
    from simgit.repository import Repository
    from simgit.state import State
    from simgit.trajectory import Trajectory

__version__ = "0.1.0"
__all__ = [
    "AlreadyExists",
    "Cluster",
    "Conflict",
    "Divergence",
    "EnvironmentChanged",
    "Format",
    "Integrity",
    "InvalidInput",
    "NotFound",
    "Oid",
    "Repository",
    "SimgitError",
    "SimgitWarning",
    "State",
    "Full",
    "Storage",
    "Trajectory",
    "Unverified",
]


_LAZY = {"Oid": "oid", "Repository": "repository", "State": "state", "Trajectory": "trajectory"}


def __getattr__(name: str) -> Any:
    # imported when it is asked for: what stands beside the store does not need the store
    if name in _LAZY:
        return getattr(import_module(f"simgit.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'simgit' has no attribute '{name}'")


announce()
