"""A person takes over: a recorded state, a window, a keyboard; what is done is recorded."""

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
from simgit.gym.restoring.restore import Trust
from simgit.gym.spec.values import thaw
from simgit.gym.tools.film import make_rendering
from simgit.repository import Repository

Keys = dict[Any, Any]
RIGHT, LEFT, DOWN, UP = range(1073741903, 1073741907)
_OLD_ARROWS: Final = {273: UP, 274: DOWN, 275: RIGHT, 276: LEFT}
"""The arrow keys as some environments still name them, from before pygame 2."""


@dataclass(frozen=True)
class Controls:
    """Which keys do what.

    ``keys`` maps characters, or tuples of them pressed together, to actions. ``noop`` is done while
    no key is pressed; where it is None, the game waits for a key.
    """

    keys: Keys
    noop: Any = None


def controls(env: Any, keys: Mapping[str, Any] | None = None, noop: Any = None) -> Controls:
    """Return the controls of an environment: those that are given, its own, or the usual ones.

    The usual ones of a Discrete space are the digits, and for two or three actions also a and d
    and the arrows, for left and right.

    Raises:
        InvalidInput: no keys are given nor known, or one's action is none of the space.
    """
    space = env.action_space
    found: Keys = dict(keys or {})
    if not found and env.has_wrapper_attr("get_keys_to_action"):
        found, idle = _own(env, space)
        noop = idle if noop is None else noop
    found = found or _usual(space)
    if not found:
        raise InvalidInput(f"no keys are known for {space}: give them, like 'a=[-1.0]'")
    made = {key: _action(space, value, f"key '{key}'") for key, value in found.items()}
    return Controls(made, None if noop is None else _action(space, noop, "without a key"))


def _own(env: Any, space: Any) -> tuple[Keys, Any]:
    """Return the keys that an environment names, and what it does without one."""
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
        raise InvalidInput(f"{what}: {value} is no action of {space}")
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
    """Let a person go on from a run's newest state, and record it; return how many states came.

    A window opens; closing it, or Escape, ends the game.

    Args:
        repo: the repository.
        run: the run to go on with: branch one off the state that is meant.
        keys: see ``Controls``.
        noop: see ``Controls``.
        fps: steps a second; the environment's own by default.
        zoom: how much larger the window is than the image.
        trust: see ``restore``.
        progress: see ``restore``.

    Raises:
        NotFound: pygame is not installed.
        InvalidInput: the environment cannot be restored, shown or steered.
    """
    player = _player()
    state = repo.state(run)
    env = make_rendering(RecordedPath(repo, run).spec)
    try:
        chosen = controls(env, keys, noop)
        recorder = Recorder.resume(repo, run, env=env, trust=trust, progress=progress)
    except BaseException:
        env.close()
        raise
    over = bool(state.terminated or state.truncated)
    observation = thaw(env.observation_space, state.observation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of players and windows: nothing that a person can act on
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
            warnings.simplefilter("ignore")  # it asks matplotlib for a window that it may not need
            from gymnasium.utils.play import play as found
    except (ImportError, gymnasium.error.DependencyNotInstalled):
        raise NotFound("playing needs pygame: pip install 'gymnasium[classic-control]'") from None
    return found


class _GoOn(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Lets a player that begins with resets begin with the state that is there."""

    def __init__(self, env: Any, observation: Any, info: dict[str, Any], swallowed: int) -> None:
        super().__init__(env)
        self._standing = observation, info
        self._swallowed = swallowed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return what is there, the first times; then reset."""
        if self._swallowed:
            self._swallowed -= 1
            return self._standing
        return self.env.reset(seed=seed, options=options)
