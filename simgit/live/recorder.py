"""The environment of a simulation: recorded, and looking at its control before each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput, shown
from simgit.gym.recording.recorder import Recorder
from simgit.gym.tools.collect import make_environment

if TYPE_CHECKING:
    from simgit.live.inputs import Begin
    from simgit.repository import Repository


@dataclass
class Last:
    """What the environment returned last."""

    observation: Any
    reward: Any = None
    terminated: Any = None
    truncated: Any = None
    info: Any = None


class LiveRecorder(Recorder):
    """A recorder whose steps let people stop, pause and change the simulation.

    Attributes:
        look: called before each step.
        seen: called with what each step and reset returned.
    """

    look: Callable[[], None] | None = None
    seen: Callable[[Last], None] | None = None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Look, then step and record; see ``Recorder.step``.

        Raises:
            Stopped: somebody stops the simulation; the action was not taken.
        """
        if self.look is not None:
            self.look()
        result = super().step(action)
        if self.seen is not None:
            self.seen(Last(*result))
        return result

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset and record; see ``Recorder.reset``."""
        found = super().reset(seed=seed, options=options)
        if self.seen is not None:
            self.seen(Last(found[0], info=found[1]))
        return found


def opened(
    repo: Repository,
    run: str,
    environment: Any,
    begin: Begin,
    options: Mapping[str, Any],
    *,
    seed: Any,
    reset: bool,
    flush_seconds: float,
    look: Callable[[], None],
    seen: Callable[[Last], None],
) -> LiveRecorder:
    """Return the environment of a simulation where that begins; see ``Control.env``.

    Raises:
        NotFound, InvalidInput: see ``simgit.gym.Recorder`` and ``restore``.
    """
    if not isinstance(environment, str) and not hasattr(environment, "action_space"):
        raise InvalidInput(f"env must be an id or an environment, got {shown(environment)}")
    given: dict[str, Any] = {"flush_seconds": flush_seconds}
    if isinstance(environment, str):
        env: Any = make_environment(environment, **options)
    else:
        env, given = environment, {**given, **options}
    try:
        if not begin.position:  # without a seed too: what is drawn later can be drawn again
            env.action_space.seed(seed)
        if begin.until:
            made = LiveRecorder.resume(repo, run, at=begin.position - 1, env=env, **given)
        else:
            made = LiveRecorder(env, repo, run, **given)
    except BaseException:
        env.close()
        raise
    made.look, made.seen = look, seen
    ended = False
    if begin.position:
        state = repo.state(f"{run}@{begin.position - 1}")
        seen(Last(made.observation, state.reward, state.terminated, state.truncated, state.info))
        # nobody steps on from an episode's end; what recorded it did not come to its reset
        ended = bool(state.terminated or state.truncated) and begin.position == begin.until
    if reset and (ended or not begin.position):
        made.reset(seed=None if ended else seed)
    return made
