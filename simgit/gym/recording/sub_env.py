"""A sub-environment (lane) of a vector: the work done where it lives, maybe in another process.

``gymnasium.make_vec(…, vectorization_mode="async", wrappers=[Lane])`` is what a user writes. The
methods that begin with ``lane_`` are called through ``VectorEnv.call``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from simgit.gym import drivers
from simgit.gym.recording.session import open_repository, seed_in_use, start_of
from simgit.gym.restoring.restore import restore
from simgit.gym.spec.permit import Trust
from simgit.repository import Repository

MARK: Final = "simgit.lane"
"""The metadata entry of environments with this wrapper: the vector environment shows it too."""


class Lane(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Takes snapshots of an environment and restores it, in the process in which it lives.

    A lane that was restored at an episode's end resets at its next step, as with NEXT_STEP: the new
    vector environment above does not know of the end.
    """

    is_observer = True
    lane_number = -1
    """The number of the lane; the vector recorder sets it."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment, with all wrappers that change anything inside."""
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.metadata = {**env.metadata, MARK: True}
        self._driver: drivers.Driver | None = None
        self._resets = False

    def set_wrapper_attr(self, name: str, value: Any, **options: Any) -> Any:
        """Set an attribute; of this wrapper too, below which Gymnasium 1.0 begins to look."""
        if name != "lane_number":
            return super().set_wrapper_attr(name, value, **options)
        self.lane_number = value
        return True

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment, or reset it if it was restored at an episode's end."""
        if not self._resets:
            return self.env.step(action)
        observation, info = self.reset()
        return observation, 0, False, False, info

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment."""
        self._resets = False
        return self.env.reset(seed=seed, options=options)

    def lane_driver(self) -> dict[str, Any]:
        """Return the driver's facts that the recorder needs."""
        self._driver = self._driver or drivers.select(self.env)
        return {name: getattr(self._driver, name) for name in ("name", "where", "lead")}

    def lane_seed(self) -> int | None:
        """Return the seed of the environment's generator."""
        return seed_in_use(self.env)

    def lane_start(self, before: Any) -> dict[str, Any] | None:
        """Return the generators that the first reset may draw from; see ``start_of``."""
        return start_of(self.env, before)

    def lane_snapshot(self, number: int) -> dict[str, Any] | None:
        """Return a snapshot in its stored form; None if ``number`` is another lane's.

        Raises:
            CannotSnapshot: see ``Driver``.
        """
        if number != self.lane_number:
            return None
        self._driver = self._driver or drivers.select(self.env)
        taken = self._driver.snapshot(self.env)
        return None if taken is None else drivers.pack(taken)

    def lane_restore(
        self,
        repo: Repository | str | Path,
        runs: Sequence[str],
        resets: Sequence[bool],
        trust: Trust,
    ) -> None:
        """Restore the environment to a state of this lane's run.

        Args:
            repo: the repository.
            runs: the state of each lane, or its run for the newest one.
            resets: for each lane, True if its next step is a reset.
            trust: see ``restore``.

        Raises:
            NotFound, InvalidInput, Untrusted, Divergence: see ``restore``.
        """
        opened = open_repository(repo)
        try:
            restore(opened, runs[self.lane_number], env=self.env, trust=trust)
        finally:
            if opened is not repo:
                opened.close()
        self._resets = resets[self.lane_number]
