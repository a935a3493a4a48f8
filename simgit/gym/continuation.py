"""An environment that goes on with a run from an earlier state, and is recorded past its end."""

from __future__ import annotations

from typing import Any

from simgit.errors import Divergence, shown
from simgit.gym import spec as specs
from simgit.gym.compare import Comparer
from simgit.gym.recorder import Recorder
from simgit.gym.restore import restore
from simgit.gym.rows import rows
from simgit.oid import Oid
from simgit.repository import Repository


class Continuation:
    """Behaves like the recorder of a run whose newest states are still to be done again.

    What is done is compared with what is recorded until the run's end is reached; from there on
    it is recorded. So whoever acts goes on exactly, from wherever they can, and a run that was
    interrupted is the run that would have been.
    """

    def __init__(self, repo: Repository, run: str, at: Oid | None, **options: Any) -> None:
        """Restore the environment.

        Args:
            repo: the repository.
            run: the run.
            at: the state to begin at, which lies in the run's history; None for before its first.
            options: of the recorder.

        Raises:
            NotFound: the run, or its environment, is not there.
            InvalidInput: the run is completed, or was not recorded from an environment.
            Conflict: the run is being recorded by somebody else.
        """
        start = -1 if at is None else repo.state(at).step
        states = repo.trajectory(run)[start + 1 :]
        env = specs.make(repo.origin(run)) if at is None else restore(repo, _moved(repo, at))
        self._comparer = Comparer(env)
        self._recorder = Recorder(env, repo, run, **options)
        self._expected = rows(states)
        self._end = start + len(states)
        self._repo = repo
        self.step_count = start
        self.observation_space, self.action_space = env.observation_space, env.action_space

    @property
    def unwrapped(self) -> Any:
        """The environment without wrappers."""
        return self._recorder.unwrapped

    @property
    def run(self) -> str:
        """The run that is written."""
        return self._recorder.run

    @property
    def is_repeating(self) -> bool:
        """Whether the run's end is still ahead."""
        return self.step_count < self._end

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; Divergence if the run went on otherwise."""
        repeating, self.step_count = self.is_repeating, self.step_count + 1
        if not repeating:
            return self._recorder.reset(seed=seed, options=options)
        given = {"seed": seed, "options": options}
        kept = {name: value for name, value in given.items() if value is not None}
        result = self._recorder.env.reset(seed=seed, options=options)
        self._check("reset", kept, result)
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment; Divergence if the run went on otherwise."""
        repeating, self.step_count = self.is_repeating, self.step_count + 1
        if not repeating:
            return self._recorder.step(action)
        result = self._recorder.env.step(action)
        self._check("action", action, result)
        return result

    def _check(self, field: str, given: Any, returned: tuple[Any, ...]) -> None:
        row = next(self._expected)
        recorded = getattr(row, field)
        if recorded is None or recorded != given:
            raise Divergence(
                f"going on does not repeat step {row.step}: '{field}' is {shown(given)}, "
                f"recorded is {shown(recorded)}",
                step=row.step, field=field, recorded=recorded, found=given,
            )  # fmt: skip
        self._comparer.check(row, returned)

    def attach(self, name: str, data: Any) -> None:
        """Bind data to the newest state."""
        if self.is_repeating:
            self._repo.attach(f"{self.run}@{self.step_count}", name, data)
        else:
            self._recorder.attach(name, data)

    def flush(self) -> None:
        """Store what is buffered, durably."""
        self._recorder.flush()

    @property
    def tip(self) -> Oid | None:
        """The oid of the run's newest state; it is stored first."""
        return self._recorder.tip

    def close(self) -> None:
        """Store what is buffered, release the run, and close the environment."""
        self._recorder.close()


def _moved(repo: Repository, at: Oid) -> Oid:
    """Return the state itself, or the one before it in which the environment moved last."""
    state = repo.state(at)
    while state.action is None and state.reset is None and state.parents:
        state = repo.state(state.parents[0])  # a merge of agents does nothing to the environment
    return state.oid
