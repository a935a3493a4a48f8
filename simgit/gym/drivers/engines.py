"""Engines that need no library: the generic one, an environment's own methods, retro."""

from __future__ import annotations

import copy
import sys
from typing import Any, ClassVar

import numpy as np

from simgit.gym.drivers.base import Engine


class Generic(Engine):
    """The engine of environments whose state is their attributes."""

    def accepts(self, core: Any) -> bool:
        """Return True: storing the attributes will show whether it is possible."""
        return True


class Methods(Engine):
    """The engine of environments with ``get_state() -> data`` and ``set_state(data)``."""

    name: ClassVar[str] = "methods"
    has_attributes: ClassVar[bool] = False

    def accepts(self, core: Any) -> bool:
        """Return True if the environment has both methods."""
        return callable(getattr(core, "get_state", None)) and callable(
            getattr(core, "set_state", None)
        )

    def capture(self, core: Any) -> Any:
        """Return a copy of ``get_state()``, which may refer to live objects."""
        return copy.deepcopy(core.get_state())

    def apply(self, core: Any, data: Any) -> None:
        """Pass a copy with writeable arrays to ``set_state``."""
        core.set_state(copy.deepcopy(data))


class Functional(Engine):
    """The engine of functional JAX environments (``phys2d``, ``tabular``): state and rng."""

    name: ClassVar[str] = "functional"
    owned: ClassVar[frozenset[str]] = frozenset({"state", "rng", "func_env", "render_state"})

    def accepts(self, core: Any) -> bool:
        """Return True for Gymnasium's functional environments."""
        module = sys.modules.get("gymnasium.envs.functional_jax_env")
        return module is not None and isinstance(
            core, (module.FunctionalJaxEnv, module.FunctionalJaxVectorEnv)
        )

    def capture(self, core: Any) -> Any:
        """Return the leaves of ``state`` and ``rng``."""
        tree = sys.modules["jax"].tree
        leaves = [np.array(leaf) for leaf in tree.leaves((getattr(core, "state", None), core.rng))]
        return {"leaves": leaves, "reset": hasattr(core, "state")}

    def apply(self, core: Any, data: Any) -> None:
        """Put leaves into a state of the same form, which a reset makes."""
        jax = sys.modules["jax"]
        if not data["reset"]:
            core.rng = jax.numpy.asarray(data["leaves"][0])
            return
        if not hasattr(core, "state"):
            core.reset()
        form = jax.tree.structure((core.state, core.rng))
        leaves = [jax.numpy.asarray(leaf) for leaf in data["leaves"]]
        core.state, core.rng = jax.tree.unflatten(form, leaves)

    def reseed(self, core: Any, seed: int) -> None:
        """Reseed ``rng``."""
        core.rng = sys.modules["jax"].random.PRNGKey(seed)


class Retro(Engine):
    """The engine of stable-retro: the emulator's own state. Untested."""

    name: ClassVar[str] = "retro"
    owned: ClassVar[frozenset[str]] = frozenset({"em", "data", "movie", "ram", "img"})

    def accepts(self, core: Any) -> bool:
        """Return True for a RetroEnv."""
        module = sys.modules.get("retro") or sys.modules.get("stable_retro")
        return module is not None and isinstance(core, module.RetroEnv)

    def capture(self, core: Any) -> Any:
        """Return the emulator's state."""
        return {"state": np.frombuffer(core.em.get_state(), np.uint8)}

    def apply(self, core: Any, data: Any) -> None:
        """Put it back, and read the game's variables from it, as its reset does."""
        core.em.set_state(np.asarray(data["state"], np.uint8).tobytes())
        core.data.reset()
        core.data.update_ram()
