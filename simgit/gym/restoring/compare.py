"""Comparison of what an environment returns with what is recorded, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from simgit.errors import Divergence, shown
from simgit.gym.spec.values import (
    cast_for,
    comparable_info,
    kept_or_simplified,
    plain_outcome,
)
from simgit.history.diff.bits import USUAL, Difference, Ignored, difference, ignoring
from simgit.history.recorded_steps import RecordedStep
from simgit.objects.columns import ABSENT
from simgit.objects.simplify import Simplified, Simplifier, left_out
from simgit.recording.states import simplified_fields

_USUAL: Final = (float, bool, bool)
_LEAVE_OUT: Final = Simplifier(left_out, numbers=True)


class Comparer:
    """Compares the results of an environment with recorded states.

    Args:
        env: the environment.
        ignore: paths of fields that are not compared, beside the usual ones; see ``ignoring``.
    """

    def __init__(self, env: Any, ignore: Iterable[str] = ()) -> None:
        self._cast = cast_for(env.observation_space)
        self._ignored = ignoring((*USUAL, *ignore))

    def check(self, state: RecordedStep, returned: tuple[Any, ...]) -> None:
        """Compare one state.

        Args:
            state: the recorded one.
            returned: the result of reset or step.

        Raises:
            Divergence: a field differs.
        """
        found = self.difference(state, returned)
        if found is not None:
            raise Divergence(
                f"the environment does not repeat step {state.step}: '{found.field}' is "
                f"{shown(found.found)}, recorded is {shown(found.recorded)}",
                step=state.step, field=found.field, recorded=found.recorded, found=found.found,
            )  # fmt: skip

    def difference(self, state: RecordedStep, returned: tuple[Any, ...]) -> Difference | None:
        """Return the first field in which a state differs, None if there is none."""
        return next(self.differences(state, returned), None)

    def differences(self, state: RecordedStep, returned: tuple[Any, ...]) -> Iterator[Difference]:
        """Yield the first difference in each of the state's fields that differ."""
        observation, info = returned[0], returned[-1]
        if len(returned) > 2:
            yield from _of_step(state, returned)
        seen = kept_or_simplified(self._cast, observation, "observation", _LEAVE_OUT)
        found = difference("observation", state.observation, _plain(seen), self._ignored)
        if found is not None:
            found = difference(
                "observation", state.observation,
                _plain(_LEAVE_OUT.simplify(observation, "observation")), self._ignored,
            )  # fmt: skip
        if found is not None:
            yield found
        info = comparable_info(info)
        if info or state.info:
            found = difference("info", state.info or {}, info, self._ignored)
            if found is not None:
                yield found


def _of_step(state: RecordedStep, returned: tuple[Any, ...]) -> Iterator[Difference]:
    """Yield the differences in reward and flags."""
    names = ("reward", "terminated", "truncated")
    values = returned[1:4]
    recorded = state.reward, state.terminated, state.truncated
    if tuple(map(type, values)) == _USUAL and values == recorded:
        return
    fields = dict(zip(names, plain_outcome(*values), strict=True))
    found = simplified_fields(_LEAVE_OUT, fields)
    for name in (*names, "rewards"):
        each = difference(name, _plain(getattr(state, name)), _plain(found.get(name)))
        if each is not None:
            yield each


def _plain(value: Any) -> Any:
    """Return a value without its forms, None for what is left out."""
    value = value.value if isinstance(value, Simplified) else value
    return None if value is ABSENT else value


__all__ = ["USUAL", "Comparer", "Difference", "Ignored", "difference", "ignoring"]
