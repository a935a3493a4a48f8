"""simgit: git for simulations.

Every state of every run is an immutable object named by its hash; runs are refs; branch from any
state and go on exactly.
"""

from typing import TYPE_CHECKING, Any

from simgit.errors import (
    AlreadyExists,
    Cluster,
    Conflict,
    Divergence,
    Format,
    Integrity,
    InvalidInput,
    NotFound,
    SimgitError,
    Storage,
)
from simgit.oid import Oid
from simgit.repository import Repository
from simgit.state import State

if TYPE_CHECKING:
    from simgit.trajectory import Trajectory

__version__ = "0.1.0"
__all__ = [
    "AlreadyExists",
    "Cluster",
    "Conflict",
    "Divergence",
    "Format",
    "Integrity",
    "InvalidInput",
    "NotFound",
    "Oid",
    "Repository",
    "SimgitError",
    "State",
    "Storage",
    "Trajectory",
]


def __getattr__(name: str) -> Any:
    # what a command that reads one state does not need is imported when it is asked for
    if name == "Trajectory":
        from simgit.trajectory import Trajectory

        return Trajectory
    raise AttributeError(f"module 'simgit' has no attribute '{name}'")
