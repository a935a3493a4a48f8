"""The callback that writes checkpoints, and puts a resumed learner into the state of one."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from simgit.errors import Divergence, InvalidInput, Stopped, warn
from simgit.integrations.replay import Replay
from simgit.integrations.sb3 import checkpoints, pieces, settings
from simgit.integrations.sb3.lanes import LearnerLane, lanes_of, runs_of
from simgit.integrations.sb3.simulations import LearningSimulation
from simgit.objects.arguments import checked
from simgit.objects.oid import Oid
from simgit.repository import Repository


@dataclass
class Restart:
    """The beginning of a resumed ``learn``, and what it is compared with.

    Attributes:
        data: the checkpoint.
        is_end: it is of the end of ``learn``.
        changes: the settings that change, each with the timesteps from which on they hold.
        known: the digests of later checkpoints, by timesteps and whether ``learn`` ended there.
    """

    data: Mapping[str, Any]
    is_end: bool
    changes: Sequence[tuple[int, Mapping[str, Any]]] = ()
    known: Mapping[tuple[int, bool], bytes] = field(default_factory=dict)


class SimgitCallback(BaseCallback):  # type: ignore[misc, unused-ignore]
    """Writes a checkpoint of the whole learner every so many timesteps, for ``resume``.

    It is written at the start of the first rollout after each multiple of ``every``, at the start
    and at the end of ``learn``. Nothing of the training changes.
    """

    @checked
    def __init__(self, every: int = 10_000, verbose: int = 0, *, controlled: bool = False) -> None:
        """Take the distance of checkpoints.

        Args:
            every: timesteps between two checkpoints, over all environments.
            verbose: 1 prints a line for each checkpoint.
            controlled: True lets people watch, pause and stop ``learn`` with ``simgit sim``: it is
                a simulation of the first lane's run. A stop ends ``learn``, and nothing more.

        Raises:
            InvalidInput: ``every`` is less than 1.
        """
        super().__init__(verbose)
        if every < 1:
            raise InvalidInput(f"every must be at least 1, got {every}", path="every")
        self.every = int(every)
        self.is_stopped = False
        self.again: str | None = None  # how a command resumes it
        self._controlled = controlled
        self._simulation: LearningSimulation | None = None
        self._restart: Restart | None = None
        self._known: dict[tuple[int, bool], bytes] = {}
        self._changes: list[tuple[int, Mapping[str, Any]]] = []
        self._last: int | None = None
        self._is_between = False
        self._said: set[str] = set()
        self._root: Any = None
        self._repo: Repository | None = None
        self._replay: Replay | None = None

    def restart(self, found: Restart) -> None:
        """Take what the next ``learn`` begins with."""
        self._restart = found

    def _on_training_start(self) -> None:
        self._root = self.locals["callback"]
        settings.check_algorithm(self.model)
        self._runs = runs_of(self.training_env)
        self._repo = self.training_env.get_attr("repo", [0])[0]
        self._last = None
        self._replay = pieces.replay_of(self.model)
        self.is_stopped = False
        self.leave(InvalidInput("learn() raised an error"))  # of a call before this one
        if self._controlled:
            run = self._runs[0]
            again = self.again or (
                f"resume it in a script of your own, {sys.argv[0] or 'this one'}: "
                f"simgit.integrations.sb3.resume(repo, {run!r})"
            )
            self._simulation = LearningSimulation(self._repo, run, self.training_env, again)

    def leave(self, error: BaseException | None = None) -> None:
        """End the simulation that ``learn`` is; to be called where ``learn`` raised an error."""
        if self._simulation is not None:
            self._simulation.end(error)
            self._simulation = None

    def _on_rollout_start(self) -> None:
        self._is_between = False
        if self._simulation is not None:
            self._simulation.find_step()
        if self._restart is not None:
            self._put_back(self._restart)
            return
        self._change(self.model.num_timesteps)
        now = self.model.num_timesteps
        if (now, False) in self._known:
            self._compare((now, False))
            self._last = now
        elif self._last is None or now // self.every != self._last // self.every:
            self._write(is_end=False)
            self._last = now

    def _put_back(self, restart: Restart) -> None:
        self._restart = None
        assert self._repo is not None
        self._replay = checkpoints.put_back(
            self.model, restart.data, self._repo, self._root, draws=restart.is_end
        )
        total, now = int(restart.data["total"]), int(self.model._total_timesteps)
        moving = [n for n, each in restart.data["schedules"].items() if each["constant"] is None]
        if moving and total != now and not restart.is_end:
            warn(
                f"learn() ends at {now} timesteps, and ended at {total} at the checkpoint: "
                f"'{', '.join(moving)}' changes by that, as it would not have"
            )
        self._last = restart.data["timesteps"]
        self._known = dict(restart.known)
        self._changes = list(restart.changes)
        self._change(self.model.num_timesteps)

    def _on_step(self) -> bool:
        if self._changes:
            self._change(self.model.num_timesteps)
        if self._simulation is not None:
            self.is_stopped = not self._simulation.goes_on(self.model)
        return not self.is_stopped

    def _change(self, now: int) -> None:
        """Change the settings that hold from here on."""
        while self._changes and self._changes[0][0] <= now:
            settings.change(self.model, self._changes.pop(0)[1])

    def _on_rollout_end(self) -> None:
        self._is_between = True

    def _on_training_end(self) -> None:
        try:
            self._finish()
        finally:
            self.leave(Stopped() if self.is_stopped else None)

    def _finish(self) -> None:
        if not self._is_between:
            return  # a callback stopped in the middle of a rollout: the checkpoint before it holds
        if (self.model.num_timesteps, True) in self._known:
            self._compare((self.model.num_timesteps, True))
        else:
            self._write(is_end=True)

    def _lanes(self) -> list[LearnerLane]:
        assert self._repo is not None
        return lanes_of(self.training_env, self._repo)

    def _write(self, *, is_end: bool) -> None:
        assert self._repo is not None
        lanes = self._lanes()
        data = checkpoints.capture(
            self.model, self._root, self._repo, lanes, self._replay, self._said
        )
        first = lanes[0]
        self._configure()
        checkpoints.save(self._repo, first.run, Oid(first.oid), data, is_end=is_end)
        if self.verbose:
            print(f"checkpoint at {data['timesteps']} timesteps: {first.run}@{first.step}")

    def _configure(self) -> None:
        """Note the settings with the runs, once: branches override them."""
        assert self._repo is not None
        for run in self._runs:
            if "agent" not in self._repo.config(run):
                training = {"total": int(self.model._total_timesteps), "every": self.every}
                self._repo.configure(run, {"agent": settings.plain(self.model),
                                           "training": training})  # fmt: skip

    def _compare(self, key: tuple[int, bool]) -> None:
        """Compare the learner with a recorded checkpoint that it has come to.

        Raises:
            Divergence: it has other weights, optimizer states or random generators.
        """
        found, recorded = checkpoints.digest_of(self.model), self._known.pop(key)
        if found != recorded:
            raise Divergence(
                f"the learner differs from the recorded checkpoint at {key[0]} timesteps: its "
                "networks, optimizers or random numbers are others",
                step=key[0], field="learner", recorded=recorded.hex(), found=found.hex(),
            )  # fmt: skip
