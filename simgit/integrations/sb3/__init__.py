"""Stable-Baselines3 and sb3-contrib: training that is recorded, resumed exactly and branched.

``record`` records the environments, ``SimgitCallback`` attaches checkpoints to their states,
``resume`` and ``branch`` return a model that continues from one. ``pieces``, ``wrappers`` and
``callbacks`` say what a checkpoint holds; docs/sb3.md has its format.
"""

try:
    import stable_baselines3  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "stable_baselines3":
        raise
    from simgit.errors import NotFound

    raise NotFound(
        "simgit.integrations.sb3 needs Stable-Baselines3: pip install 'simgit[sb3]'"
    ) from None

from simgit.integrations.sb3.callback import SimgitCallback
from simgit.integrations.sb3.lanes import record
from simgit.integrations.sb3.resuming import branch, resume

__all__ = ["SimgitCallback", "branch", "record", "resume"]
