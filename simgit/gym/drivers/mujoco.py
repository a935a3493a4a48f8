"""MuJoCo: the integration state, derived arrays that lag behind it, and a digest of the model."""

from __future__ import annotations

import hashlib
import sys
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import numpy as np

from simgit.gym.drivers.base import Engine
from simgit.gym.drivers.limits import CannotRestore

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

    def __init__(self) -> None:
        self._models: WeakKeyDictionary[Any, tuple[Any, bytes]] = WeakKeyDictionary()

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
        return {"state": state, "lagging": behind, "model": self._digest(core)}

    def _digest(self, core: Any) -> bytes:
        """Return the digest of a model, which an environment may change: masses, gravity, …"""
        mujoco = sys.modules["mujoco"]
        size = mujoco.mj_sizeModel(core.model)
        image = np.zeros(-(-size // 8), np.uint64)
        mujoco.mj_saveModel(core.model, None, image.view(np.uint8)[:size])
        known = self._models.get(core)
        if known is None or not np.array_equal(known[0], image):
            digest = hashlib.blake2b(image.data, digest_size=12).digest()
            known = self._models[core] = (image, digest)
        return known[1]

    def apply(self, core: Any, data: Any) -> None:
        """Put both back.

        Raises:
            CannotRestore: the model is another one.
        """
        mujoco = sys.modules["mujoco"]
        if data.get("model", self._digest(core)) != self._digest(core):
            raise CannotRestore("the environment's MuJoCo model is not as it was")
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(core.model, core.data, np.array(data["state"], np.float64), kind)
        behind, start = data["lagging"], 0
        for name in LAGGING:
            array = getattr(core.data, name)
            array[...] = behind[start : start + array.size].reshape(array.shape)
            start += array.size
