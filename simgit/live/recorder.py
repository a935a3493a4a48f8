"""The environment of a simulation: recorded, and restored to where the simulation begins."""

from __future__ import annotations

from collections.abc import Mapping
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
) -> Recorder:
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
            made = Recorder.resume(repo, run, at=begin.position - 1, env=env, **given)
        else:
            made = Recorder(env, repo, run, **given)
    except BaseException:
        env.close()
        raise
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
