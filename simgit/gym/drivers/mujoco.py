"""MuJoCo: the integration state, and derived arrays that lag behind it."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Final

import numpy as np

from simgit.gym.drivers.base import Engine

LAGGING: Final = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "site_xmat",
    "subtree_com", "cinert", "cvel", "cacc", "cfrc_int", "cfrc_ext", "qfrc_actuator",
)  # fmt: skip
"""Arrays of the state before the last substep of ``mj_step``, which cannot be computed from the
state. Ant's and Humanoid's rewards use them."""


class Mujoco(Engine):
    """The engine of Gymnasium's MuJoCo environments, with DeepMind's bindings."""

    name: ClassVar[str] = "mujoco"
    owned: ClassVar[frozenset[str]] = frozenset({"model", "data", "mujoco_renderer"})

    def accepts(self, core: Any) -> bool:
        """Return True for a MujocoEnv with ``MjModel`` and ``MjData``."""
        module = sys.modules.get("gymnasium.envs.mujoco.mujoco_env")
        mujoco = sys.modules.get("mujoco")
        if module is None or mujoco is None or not isinstance(core, module.MujocoEnv):
            return False
        return isinstance(core.data, mujoco.MjData)

    def capture(self, core: Any) -> Any:
        """Return the state as float64, shape (state size,), and the arrays that lag behind."""
        mujoco = sys.modules["mujoco"]
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(core.model, kind), np.float64)
        mujoco.mj_getState(core.model, core.data, state, kind)
        behind = np.concatenate([np.ravel(getattr(core.data, name)) for name in LAGGING])
        return {"state": state, "lagging": behind}

    def apply(self, core: Any, data: Any) -> None:
        """Put both back."""
        mujoco = sys.modules["mujoco"]
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(core.model, core.data, np.array(data["state"], np.float64), kind)
        behind, start = data["lagging"], 0
        for name in LAGGING:
            array = getattr(core.data, name)
            array[...] = behind[start : start + array.size].reshape(array.shape)
            start += array.size
