"""Films of recorded states, rendered afterwards by re-execution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput
from simgit.gym.restoring.recorded_path import RecordedPath, path_to_last
from simgit.gym.restoring.reexecute import Progress, Reexecution
from simgit.gym.restoring.verify import environment_before, sessions
from simgit.gym.spec.permit import Trust
from simgit.history.trajectory import Trajectory
from simgit.plot.notebook import Pixels
from simgit.repository import Repository

MODE: Final = "rgb_array"
USUAL_FPS: Final = 30.0


class Film:
    """The frames of a range of recorded states; iterating renders them.

    A rendering environment is restored just before the first state, and the recorded actions are
    re-executed. Each state is compared with the recorded one, so the film shows what happened.
    """

    def __init__(
        self,
        repo: Repository,
        revision: str,
        *,
        every: int = 1,
        trust: Trust = None,
        progress: Progress | None = None,
    ) -> None:
        """Check that there is something to render; nothing is executed yet.

        Args:
            repo: the repository.
            revision: the states: a run, a range, or an episode.
            every: one frame for so many states, and one for the last.
            trust: see ``restore``.
            progress: called with the number of states re-executed, and of all.

        Raises:
            NotFound: no such states, or their environment is not installed.
            InvalidInput: the environment renders no images, or the states have no environment.
        """
        if every < 1:
            raise InvalidInput(f"'every' must be at least 1, got {every}")
        self._states = repo.trajectory(revision)
        self._every = every
        self._trust = trust
        self._progress = progress
        if not len(self._states):
            raise InvalidInput(f"'{revision}' has no states to render")
        self._end = path_to_last(repo, self._states, revision)
        env = make_rendering(self._end, trust)
        self.fps = float(env.metadata.get("render_fps") or USUAL_FPS)
        env.close()

    def __len__(self) -> int:
        """Return the number of frames."""
        return -(-(len(self._states) - 1) // self._every) + 1

    def __iter__(self) -> Iterator[Pixels]:
        """Yield frames of shape (height, width, 3).

        Raises:
            InvalidInput, Untrusted: see ``restore``.
            Divergence: the environment does not repeat the recorded steps.
        """
        states = self._states
        for start, stop in sessions(self._end, states):
            yield from self._session(states[start - states.start : stop - states.start])

    def _session(self, part: Trajectory) -> Iterator[Pixels]:
        env, seed = environment_before(
            self._end, part, self._trust, lambda _: make_rendering(self._end, self._trust)
        )
        try:
            replay = Reexecution(env, reseeds=self._end.reseeds, ignore=self._end.ignored)
            for state in replay.steps(part, seed=seed):
                at = state.step - self._states.start
                if self._progress is not None:
                    self._progress(at + 1, len(self._states))
                if at % self._every == 0 or at == len(self._states) - 1:
                    yield rendered(env)
        finally:
            env.close()


def rendered(env: Any) -> Pixels:
    """Return the image that an environment renders.

    Raises:
        InvalidInput: it cannot, or it is no image.
    """
    try:
        found = env.render()
    except Exception as error:  # drawing libraries raise anything
        why = str(error).partition("\n")[0] or type(error).__name__
        raise InvalidInput(f"cannot render the environment here: {why}") from error
    return picture(found)


def make_rendering(path: RecordedPath, trust: Trust) -> Any:
    """Make the environment of a recorded path, rendering to arrays.

    Raises:
        NotFound, InvalidInput, Untrusted: see ``RecordedPath.make``; or it renders no images.
    """
    described = path.spec["environment"]
    name = described.get("id") or described["entry_point"]
    modes = _modes(path, trust)
    if MODE not in modes:
        raise InvalidInput(
            f"environment '{name}' renders no images, only {', '.join(modes) or 'nothing'}"
        )
    return path.make(trust, render_mode=MODE)


def _modes(path: RecordedPath, trust: Trust) -> list[str]:
    """Return the render modes of an environment: asking for an unknown one may raise."""
    env = path.make(trust)
    modes = list(env.metadata.get("render_modes") or [])
    env.close()
    return modes


def picture(found: Any) -> Pixels:
    """Return the rendered image, the newest of several.

    Raises:
        InvalidInput: it is not an image.
    """
    frame = found[-1] if isinstance(found, list) and found else found
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[2] < 3:
        raise InvalidInput("the environment rendered no image")
    return np.ascontiguousarray(frame[:, :, :3], dtype=np.uint8)
