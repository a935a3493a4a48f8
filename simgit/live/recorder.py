"""The environment of a simulation: recorded, and looking at its control before each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput, shown
from simgit.gym.recording.recorder import Recorder
from simgit.gym.tools.collect import make_environment
from simgit.live.inputs import SNAPSHOT, is_end

if TYPE_CHECKING:
    from simgit.live.inputs import Begin
    from simgit.repository import Repository


@dataclass
class Last:
    """The newest result of an environment."""

    observation: Any
    reward: Any = None
    terminated: Any = None
    truncated: Any = None
    info: Any = None


class LiveRecorder(Recorder):
    """A recorder whose steps let people stop, pause and change the simulation.

    Attributes:
        look: called before each step.
        returned: what the newest step or reset returned.
    """

    look: Callable[[], None] | None = None
    returned: Any = None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Look, then step and record; see ``Recorder.step``.

        Raises:
            Stopped: somebody stops the simulation; the action was not taken.
        """
        if self.look is not None:
            self.look()
        result = self.returned = super().step(action)
        return result

    @property
    def last(self) -> Last | None:
        """The newest result, by name; None before the first reset."""
        found = self.returned
        if found is None:
            return None
        return Last(*found) if len(found) == 5 else Last(found[0], info=found[1])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset and record; see ``Recorder.reset``."""
        found = self.returned = super().reset(seed=seed, options=options)
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
    made.look = look
    ended = False
    if begin.position:
        state = repo.state(f"{run}@{begin.position - 1}")
        made.returned = (
            made.observation, state.reward, state.terminated, state.truncated, state.info,
        )  # fmt: skip
        if SNAPSHOT not in repo.attachments(state.oid):  # nothing says what the next draws were
            given_seed = int(str(state.oid)[:8], 16) if seed is None else seed
            env.action_space.seed(given_seed)
        # nobody steps on from an episode's end; what recorded it did not come to its reset
        ended = is_end(state)
    if reset and (ended or not begin.position):
        made.reset(seed=None if ended else seed)
    return made
