"""An environment that replays a recorded run, whatever the actions are."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces as gym_spaces
from gymnasium.utils.env_checker import data_equivalence

from simgit.errors import Divergence, InvalidInput, NotFound
from simgit.gym.spec import spaces
from simgit.gym.spec.values import cast_for, thaw
from simgit.history.leaf_column import LeafColumn
from simgit.history.state import State
from simgit.history.trajectory import Trajectory
from simgit.plot import notebook
from simgit.repository import Repository


class ReplayEnv(gymnasium.Env[Any, Any]):
    """Returns the recorded observations, rewards, flags and infos, whatever the action is.

    ``info["recorded_action"]`` is the recorded action. An episode that was cut off in the recording
    ends truncated. ``render_mode="rgb_array"`` shows observations that are images.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": 30,
    }

    def __init__(
        self,
        repository: str = ".",
        revision: str = "main",
        *,
        strict: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Open a repository for reading.

        Args:
            repository: its path.
            revision: the states to replay: a run, a range, or an episode.
            strict: raise Divergence for an action that is not the recorded one.
            render_mode: None or 'rgb_array'.

        Raises:
            NotFound: no such repository or revision, or it has no episode.
            InvalidInput: its spaces are unknown, or there is no image to render.
        """
        self.render_mode = render_mode
        self.strict = strict
        self._repo = Repository.open(repository, read_only=True)
        trajectory = self._repo.trajectory(revision)
        self._episodes = [each for each in trajectory.episodes if each.start == each.first]
        if not self._episodes:
            raise NotFound(f"'{revision}' contains no reset, so there is no episode to replay")
        self.observation_space, self.action_space = recorded_spaces(self._repo, trajectory)
        self._cast = cast_for(self.action_space)
        self._next = 0
        self._states: Any = iter(())
        self._now: State | None = None
        self._left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Go to the next episode, from the last on to the first.

        Args:
            seed: go to the first episode that was reset with it, or else to the first of all.
            options: ``{"episode": 5}`` goes to that episode, as numbered in its run.

        Raises:
            NotFound: no such episode.
        """
        super().reset(seed=seed)
        chosen = (options or {}).get("episode")
        if chosen is not None:
            self._next = self._numbered(int(chosen))
        elif seed is not None:
            matches = (i for i, each in enumerate(self._episodes) if each.seed == seed)
            self._next = next(matches, 0)
        episode = self._episodes[self._next]
        self._next = (self._next + 1) % len(self._episodes)
        self._states, self._left = iter(episode), len(episode)
        return self._advance()

    def _numbered(self, number: int) -> int:
        for index, episode in enumerate(self._episodes):
            if episode.number == number:
                return index
        raise NotFound(f"episode {number} not found in the recorded states")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return the next recorded step.

        Raises:
            InvalidInput: the recorded episode is over, or has not begun: call reset.
            Divergence: with ``strict``, another action was recorded.
        """
        if self._left == 0:
            raise InvalidInput("the recorded episode is over: call reset() for the next one")
        observation, info = self._advance()
        state = self._now
        assert state is not None
        if self.strict and not data_equivalence(self._cast(action), state.action):
            raise Divergence(
                f"action {action} at step {state.step}, but {state.action} was recorded",
                step=state.step, field="action",
            )  # fmt: skip
        terminated = bool(state.terminated)
        truncated = bool(state.truncated) or (self._left == 0 and not terminated)
        info["recorded_action"] = thaw(self.action_space, state.action)
        return observation, float(state.reward or 0.0), terminated, truncated, info

    def _advance(self) -> tuple[Any, dict[str, Any]]:
        state = self._now = next(self._states)
        self._left -= 1
        info = dict(state.info) if isinstance(state.info, dict) else {}
        return thaw(self.observation_space, state.observation), info

    def render(self) -> Any:
        """Return the first image in the observation.

        Raises:
            InvalidInput: the observation has no image.
        """
        if self.render_mode is None or self._now is None:
            return None
        found = next(notebook.images(self._now.observation), None)
        if found is None:
            raise InvalidInput(
                "the recorded observations have no images: 'simgit video' renders them again"
            )
        pixels = found[1]
        return np.repeat(pixels[:, :, :1], 3, axis=2) if pixels.shape[2] < 3 else pixels[:, :, :3]

    def close(self) -> None:
        """Close the repository."""
        self._repo.close()


Space = gym_spaces.Space[Any]


def recorded_spaces(repo: Repository, trajectory: Trajectory) -> tuple[Space, Space]:
    """Return the observation and action space of a run, recorded or derived from its values.

    Raises:
        InvalidInput: no spaces are recorded, and the values are neither arrays nor integers.
    """
    fields = repo.origin(trajectory[0].oid)
    if "observation_space" in fields:
        return spaces.decode(fields["observation_space"]), spaces.decode(fields["action_space"])
    return _fitting("observation", trajectory), _fitting("action", trajectory)


def _fitting(field: str, trajectory: Trajectory) -> Space:
    """Return a space that holds all values of a column of arrays or integers."""
    values = np.zeros(0, object)
    if trajectory.has(field):
        (found,) = trajectory.leaf_columns(field)
        if isinstance(found, LeafColumn) and isinstance(found.values, np.ndarray):
            values = found.values[~found.absent]
    if values.dtype.kind in "iu" and values.ndim == 1 and len(values):
        low = min(0, int(values.min()))
        return gym_spaces.Discrete(int(values.max()) - low + 1, start=low)
    if values.dtype.kind in "iuf":
        shape: Any = values.shape[1:]
        if values.dtype.kind == "f":
            return gym_spaces.Box(-np.inf, np.inf, shape, values.dtype.type)
        limits = np.iinfo(values.dtype)
        return gym_spaces.Box(int(limits.min), int(limits.max), shape, values.dtype.type)
    raise InvalidInput(f"the {field} space was not recorded: record with simgit.gym.Recorder")
