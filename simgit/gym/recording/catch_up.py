"""Catching up with a recorded run: steps are compared with it, not written again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from simgit.errors import Divergence, InvalidInput, shown
from simgit.gym.restoring.compare import USUAL, difference, ignoring
from simgit.gym.restoring.recorded_steps import RecordedStep, recorded_steps
from simgit.gym.restoring.run_notes import ignored
from simgit.gym.spec.values import left_out
from simgit.history.trajectory import Trajectory
from simgit.objects.columns import ABSENT
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplifier
from simgit.recording.states import simplified_fields
from simgit.repository import Repository


class CatchUp:
    """Stands in for a run's recorder until the run's newest state is reached.

    Appended states are compared with the recorded ones after ``step``.
    """

    def __init__(self, repo: Repository, run: str, step: int) -> None:
        self._repo = repo
        self._states: Trajectory = repo.trajectory(run)
        self._step = step
        self._rows: Iterator[RecordedStep] = recorded_steps(self._states[step + 1 :])
        self._failed: Divergence | None = None
        self._ignored = ignoring((*USUAL, *ignored(repo.lineage(run))))

    @property
    def is_done(self) -> bool:
        """True once the newest recorded state is reached."""
        return self._step >= len(self._states) - 1

    def append(
        self,
        observation: Any,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        reset: Any = None,
        attachments: Mapping[str, Any] | None = None,
    ) -> None:
        """Compare the next state with the recorded one; attachments are ignored.

        Raises:
            Divergence: this state or an earlier one differs.
        """
        if self._failed is not None:
            raise self._failed
        state = next(self._rows)
        given = {
            "reset": reset,
            "action": action,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            "observation": observation,
            "info": info,
        }
        found = simplified_fields(Simplifier(left_out, numbers=True), given)
        for name in (*given, "rewards"):
            pair = getattr(state, name), found.get(name)
            empty: Any = {} if name == "info" else None
            self._check(
                state.step,
                name,
                *(empty if each is None or each is ABSENT else each for each in pair),
            )
        self._step += 1

    def _check(self, step: int, name: str, recorded: Any, found: Any) -> None:
        differs = difference(name, recorded, found, self._ignored)
        if differs is None:
            return
        self._failed = Divergence(
            f"step {step} was recorded with another '{differs.field}': it is "
            f"{shown(differs.found)}, recorded is {shown(differs.recorded)}; "
            "branch off to record what is different",
            step=step, field=differs.field, recorded=differs.recorded, found=differs.found,
        )  # fmt: skip
        raise self._failed

    def attach(
        self, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Attach data to the recorded state that was reached."""
        self._repo.attach(self._states[self._step].oid, name, data, path=path)


def moved(repo: Repository, oid: Oid) -> Oid:
    """Return the state, or the newest before it that the environment gave."""
    state = repo.state(oid)
    while state.action is None and state.reset is None and state.parents:
        state = repo.state(state.parents[0])  # a merge of agents does not step the environment
    return state.oid


def state_of(repo: Repository, run: str, at: str | int | Oid) -> Oid:
    """Return a state of a run's own history.

    Raises:
        InvalidInput: it is not in the run's history.
    """
    oid = repo.resolve(f"{run}@{at}" if isinstance(at, int) else at)
    step = len(repo.trajectory(oid)) - 1
    if step > (repo.runs[run].step or 0) or repo.resolve(f"{run}@{step}") != oid:
        raise InvalidInput(f"state '{oid.short()}' is not in the history of run '{run}'", oid=oid)
    return oid
