"""Stable-Baselines3 and sb3-contrib: training that is recorded, resumed exactly and branched.

``record`` records the environments, ``SimgitCallback`` attaches checkpoints to their states,
``resume`` and ``branch`` return a model that continues from one. ``pieces``, ``wrappers`` and
``callbacks`` say what a checkpoint holds; docs/sb3.md has its format.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simgit.integrations.sb3.callback import SimgitCallback
    from simgit.integrations.sb3.lanes import record
    from simgit.integrations.sb3.resuming import branch, resume

if find_spec("stable_baselines3") is None:
    from simgit.errors import NotFound

    raise NotFound("simgit.integrations.sb3 needs Stable-Baselines3: pip install 'simgit[sb3]'")

__all__ = ["SimgitCallback", "branch", "record", "resume"]
_LAZY = {
    "SimgitCallback": "callback",
    "branch": "resuming",
    "record": "lanes",
    "resume": "resuming",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the library takes seconds."""
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
