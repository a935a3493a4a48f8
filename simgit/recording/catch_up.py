"""Catching up with a recorded run: steps are compared with it, not written again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, Final

import numpy as np

from simgit.errors import Divergence, shown
from simgit.history.diff.bits import USUAL, difference, ignoring
from simgit.history.recorded_steps import RecordedStep, recorded_steps
from simgit.history.trajectory import Trajectory
from simgit.objects.columns import ABSENT
from simgit.objects.simplify import Simplifier, left_out
from simgit.recording.states import simplified_fields

_PLAIN: Final = frozenset((bool, int, float, str, bytes, type(None)))
_OUTCOME: Final = ("observation", "reward", "terminated", "truncated", "rewards")
"""The fields, beside info, that a simulator gives; the others are given to it."""


def _is_same(recorded: Any, given: Any) -> bool:
    """Return True if a value is plainly the recorded one; False if that needs a closer look."""
    kind = type(given)
    if kind is not type(recorded):
        return False
    if kind in _PLAIN:
        return bool(recorded == given)
    if kind is dict:
        return recorded.keys() == given.keys() and all(
            _is_same(recorded[key], value) for key, value in given.items()
        )
    if kind is np.ndarray and given.dtype == recorded.dtype and given.dtype.kind in "biuf":
        return bool(given.shape == recorded.shape and given.tobytes() == recorded.tobytes())
    return False


class CatchUp:
    """Stands in for a run's recorder until the run's newest state is reached.

    Appended states are compared with the recorded ones after ``step``.

    Args:
        states: the run's states.
        step: the step of the state after which the first one is appended, -1 for none.
        ignored: the paths of fields that are not compared, beside the usual ones.
        attach: attaches data to a state, as ``Repository.attach`` does.

    Attributes:
        compared: the number of states in which something was compared that the simulator gave.
    """

    def __init__(
        self, states: Trajectory, step: int, ignored: Iterable[str], attach: Callable[..., Any]
    ) -> None:
        self._states = states
        self._step = step
        self._attach = attach
        self._rows: Iterator[RecordedStep] = recorded_steps(states[step + 1 :])
        self._failed: Divergence | None = None
        self._ignored = ignoring((*USUAL, *ignored))
        self._outcome = [name for name in _OUTCOME if not self._ignored(name)]
        self.compared = 0

    @property
    def step(self) -> int:
        """The step of the newest state that was compared."""
        return self._step

    @property
    def is_done(self) -> bool:
        """True once the newest recorded state is reached."""
        return self._step >= len(self._states) - 1

    def append(
        self,
        observation: Any = None,
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
        left = {
            name: value
            for name, value in given.items()
            if not _is_same(getattr(state, name), value)
        }
        if left or state.rewards is not None:
            found = simplified_fields(Simplifier(left_out, numbers=True), left)
            for name in (*left, "rewards"):
                pair = getattr(state, name), found.get(name)
                empty: Any = {} if name == "info" else None
                self._check(
                    state.step,
                    name,
                    *(empty if each is None or each is ABSENT else each for each in pair),
                )
        self._step += 1
        self.compared += any(getattr(state, name) is not None for name in self._outcome) or any(
            not self._ignored(f"info.{key}") for key in state.info or ()
        )

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
        self._attach(self._states[self._step].oid, name, data, path=path)
