"""The Arcade Learning Environment: the emulator's own state, with its random generators."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import numpy as np

from simgit.gym.drivers.base import Engine
from simgit.gym.drivers.mersenne_twister import Twister, put_back, take_out

_FRAMES: Final = 12
"""Frames after which the emulator has taken over an action, but for a chance of 0.25 ** 12."""


class Ale(Engine):
    """The engine of AtariEnv.

    With sticky actions the emulator keeps the action that it plays, which is missing in the state
    that it exports. So an earlier state is restored and the actions from there are re-executed,
    which sets that action; then the state itself is restored.
    The screen is that of the last frame that was emulated: the observation at a restored state is
    the recorded one.
    """

    name: ClassVar[str] = "ale"
    owned: ClassVar[frozenset[str]] = frozenset({"ale", "_action_set"})

    def accepts(self, core: Any) -> bool:
        """Return True for an AtariEnv."""
        module = sys.modules.get("ale_py.env")
        return module is not None and isinstance(core, module.AtariEnv)

    def lead(self, core: Any) -> int:
        """Return the number of steps in twelve frames, at least three, even without sticky actions.

        (Q*bert is not exact by the state alone even without them.)
        """
        skip = core._frameskip if isinstance(core._frameskip, int) else core._frameskip[0]
        return max(3, -(-_FRAMES // skip))

    def __init__(self) -> None:
        self._twisters: WeakKeyDictionary[Any, list[Twister]] = WeakKeyDictionary()

    def capture(self, core: Any) -> Any:
        """Return the emulator's state as bytes in an array, and its two random generators."""
        state = core.ale.cloneState(include_rng=True).__getstate__()
        rest, found = take_out(state, self._twisters.setdefault(core, []))
        return {"state": np.frombuffer(rest, np.uint8), "twisters": found}

    def apply(self, core: Any, data: Any) -> None:
        """Put the emulator's state back."""
        rest = np.asarray(data["state"], np.uint8).tobytes()
        state = put_back(rest, data.get("twisters", ()))
        core.ale.restoreState(sys.modules["ale_py"].ALEState(state))

    def reseed(self, core: Any, seed: int) -> None:
        """Load the game anew with another seed, then put its state back."""
        state = core.ale.cloneState(include_rng=False)
        core.ale.setInt("random_seed", seed)
        core.load_game()
        core.ale.reset_game()
        core.ale.restoreState(state)
