"""Playing on from a recorded state with a keyboard, recorded as a run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces

from simgit.errors import InvalidInput, NotFound
from simgit.gym.recording.recorder import Recorder
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.reexecute import Progress
from simgit.gym.spec.permit import Trust
from simgit.gym.spec.values import thaw
from simgit.gym.tools.film import make_rendering
from simgit.repository import Repository

Keys = dict[Any, Any]
RIGHT, LEFT, DOWN, UP = range(1073741903, 1073741907)
_OLD_ARROWS: Final = {273: UP, 274: DOWN, 275: RIGHT, 276: LEFT}
"""The arrow keys by their numbers before pygame 2, which some environments still use."""


@dataclass(frozen=True)
class Controls:
    """The keys of a game.

    ``keys`` maps characters, or tuples of them pressed together, to actions. ``noop`` is the action
    while no key is pressed; if it is None, the game waits for a key.
    """

    keys: Keys
    noop: Any = None


def controls(env: Any, keys: Mapping[str, Any] | None = None, noop: Any = None) -> Controls:
    """Return the controls of an environment: the given ones, its own, or default ones.

    The default keys of a Discrete space are the digits, and for two or three actions also a and d
    and the arrows, for left and right.

    Raises:
        InvalidInput: no keys are known, or an action is not in the space.
    """
    space = env.action_space
    found: Keys = dict(keys or {})
    if not found and env.has_wrapper_attr("get_keys_to_action"):
        found, idle = _own(env, space)
        noop = idle if noop is None else noop
    found = found or _usual(space)
    if not found:
        raise InvalidInput(f"no default keys for {space}: give them, like 'a=[-1.0]'")
    made = {key: _action(space, value, f"key '{key}'") for key, value in found.items()}
    return Controls(made, None if noop is None else _action(space, noop, "without a key"))


def _own(env: Any, space: Any) -> tuple[Keys, Any]:
    """Return the keys that an environment defines, and its action without a key."""
    named = dict(env.get_wrapper_attr("get_keys_to_action")())
    idle = named.pop((), 0 if space.contains(0) else None)
    return {
        tuple(_OLD_ARROWS.get(each, each) for each in key) if isinstance(key, tuple) else key: value
        for key, value in named.items()
    }, idle


def _usual(space: Any) -> Keys:
    if not isinstance(space, spaces.Discrete) or space.n > 10:
        return {}
    first, count = int(space.start), int(space.n)
    found: Keys = {str(i): first + i for i in range(count)}
    if count in (2, 3):
        left, right = first, first + count - 1
        found |= {"a": left, "d": right, (LEFT,): left, (RIGHT,): right}
    return found


def _action(space: Any, value: Any, what: str) -> Any:
    action = value
    if isinstance(space, (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)):
        action = np.asarray(value, space.dtype)
    if not space.contains(action):
        raise InvalidInput(f"{what}: {value} is not an action of {space}")
    return action


def play(
    repo: Repository,
    run: str,
    *,
    keys: Mapping[str, Any] | None = None,
    noop: Any = None,
    fps: int | None = None,
    zoom: float | None = None,
    trust: Trust = None,
    progress: Progress | None = None,
) -> int:
    """Let a person continue a run from its newest state; return the number of new states.

    A window opens; closing it, or Escape, ends the game.

    Args:
        repo: the repository.
        run: the run to continue: branch one off the state to begin at.
        keys: see ``Controls``.
        noop: see ``Controls``.
        fps: steps per second (default: the environment's own).
        zoom: the factor from the image to the window.
        trust: see ``restore``.
        progress: see ``restore``.

    Raises:
        NotFound: pygame is not installed.
        InvalidInput: the environment cannot be restored, shown or controlled.
    """
    player = _player()
    state = repo.state(run)
    env = make_rendering(RecordedPath(repo, run), trust)
    try:
        chosen = controls(env, keys, noop)
        recorder = Recorder.resume(repo, run, env=env, trust=trust, progress=progress)
    except BaseException:
        env.close()
        raise
    over = bool(state.terminated or state.truncated)
    observation = thaw(env.observation_space, state.observation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of players and windows are of no use to a person
        with _GoOn(recorder, observation, state.info or {}, swallowed=1 if over else 2) as game:
            player(
                game,
                fps=fps or round(env.metadata.get("render_fps") or 30),
                zoom=zoom,
                keys_to_action=chosen.keys,
                noop=chosen.noop,
                wait_on_player=chosen.noop is None,
            )
    return repo.state(run).step - state.step


def _player() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # it probes matplotlib for a window that it may not need
            from gymnasium.utils.play import play as found
    except (ImportError, gymnasium.error.DependencyNotInstalled):
        raise NotFound("playing needs pygame: pip install 'gymnasium[classic-control]'") from None
    return found


class _GoOn(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Lets Gymnasium's player, which begins with resets, begin at the restored state."""

    def __init__(self, env: Any, observation: Any, info: dict[str, Any], swallowed: int) -> None:
        super().__init__(env)
        self._standing = observation, info
        self._swallowed = swallowed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the restored state the first times; later reset."""
        if self._swallowed:
            self._swallowed -= 1
            return self._standing
        return self.env.reset(seed=seed, options=options)
