"""A simulator that is moved along recorded states, each compared with what it gives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from simgit.errors import Divergence, InvalidInput, SimgitError, Unverified, shown, warn
from simgit.history.diff.bits import USUAL, difference, ignoring
from simgit.history.recorded_steps import RecordedStep, recorded_steps
from simgit.objects.coerce import coerce
from simgit.recording.catch_up import CatchUp
from simgit.recording.simulators.history import SNAPSHOT, SimulatorHistory, StartingPoint, writable
from simgit.recording.simulators.hooks import SimulatorHooks, as_fields

Progress = Callable[[int, int | None], None]
"""Called with the number of steps done, and of all steps."""


class SimulatorReplay:
    """A simulator at a recorded state.

    Attributes:
        simulator: the simulator.
        position: the number of states that it has given.
        compared: the number of them in which something could be compared.
    """

    def __init__(self, hooks: SimulatorHooks, history: SimulatorHistory, at: StartingPoint) -> None:
        """Make a simulator that starts at a state.

        Raises:
            Divergence: the state is a reset, and the new simulator gives something else; or a hook
                raised.
        """
        self._hooks = hooks
        self._history = history
        self._states = history.states
        self.simulator: Any = None
        self.compared = 0
        if at.is_snapshot:
            data = history.snapshot(at.step)
            assert hooks.load is not None
            self.simulator = self._guarded(at.step, lambda load: load(data), hooks.load)
            self.position = at.step + 1
            return
        self.position = at.step
        if hooks.advance is not None or hooks.observe is not None:
            self.follow(at.step + 1, snapshots=(at.step,) if at.is_saved else ())
        else:  # who moves it records the state of its reset again, and that is compared
            self._rebuild(at.step, writable(self._states[at.step].reset))

    def follow(
        self, stop: int, progress: Progress | None = None, snapshots: Collection[int] = ()
    ) -> None:
        """Move the simulator along the recorded states before a step, and compare each.

        Args:
            stop: the step after the last one.
            progress: called with the number of states re-executed, and of all.
            snapshots: the steps at which it is saved, and that compared with what was saved there:
                a state that nobody observes may differ.

        Raises:
            Divergence: the simulator gives something else than recorded, or a hook raised.
            InvalidInput: there is no hook to move it.
        """
        first = self.position
        compared = CatchUp(self._states[:stop], first - 1, self._history.ignored, _nowhere)
        try:
            for state in recorded_steps(self._states[first:stop]):
                compared.append(**self._moved(state))
                self.position += 1
                if state.step in snapshots and self._hooks.save is not None:
                    self._compare_snapshot(state.step, self._hooks.save)
                if progress is not None:
                    progress(self.position - first, stop - first)
        finally:
            self.compared += compared.compared

    def _moved(self, state: RecordedStep) -> dict[str, Any]:
        """Move the simulator to a state, and return what it gives, as arguments of ``append``."""
        hooks = self._hooks
        if state.reset is not None or state.step == 0:
            mark = state.given("reset")
            self._rebuild(state.step, writable(mark))
            given: dict[str, Any] = {"reset": mark}
            returned = None
        else:
            if hooks.advance is None:
                raise InvalidInput(
                    f"cannot reach step {state.step}: pass advance= to move the simulator there "
                    f"from step {state.step - 1}",
                    step=state.step,
                )
            action = state.given("action")
            given = {"action": action}
            returned = self._guarded(
                state.step, lambda advance: advance(self.simulator, writable(action)), hooks.advance
            )
        seen = self._guarded(
            state.step, lambda observed: observed(self.simulator, returned), hooks.observed
        )
        return as_fields(seen) | given

    def _compare_snapshot(self, step: int, save: Callable[[Any], Any]) -> None:
        found = coerce(self._guarded(step, lambda save: save(self.simulator), save), SNAPSHOT)
        ignored = ignoring((*USUAL, *self._history.ignored))
        differs = difference(SNAPSHOT, self._history.snapshot(step), found, ignored)
        if differs is not None:
            raise Divergence(
                f"step {step} was saved with another '{differs.field}': it is "
                f"{shown(differs.found)}, saved is {shown(differs.recorded)}",
                step=step, field=differs.field, recorded=differs.recorded, found=differs.found,
            )  # fmt: skip
        self.compared += 1

    def _rebuild(self, step: int, mark: Any) -> None:
        before = self.simulator
        self.simulator = self._guarded(step, lambda make: make(mark, before), self._hooks.rebuilt)

    def _guarded(self, step: int, call: Callable[[Any], Any], hook: Any) -> Any:
        """Call a hook; what it raises did not happen when the state was recorded."""
        try:
            return call(hook)
        except SimgitError:
            raise
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise Divergence(
                f"the simulator does not repeat step {step}: it raises {shown(found)}",
                step=step, field="exception", recorded=None, found=found,
            ) from error  # fmt: skip


def put_back(
    hooks: SimulatorHooks,
    history: SimulatorHistory,
    *,
    step: int | None = None,
    warns: bool = True,
    progress: Progress | None = None,
    moves: bool = True,
) -> SimulatorReplay:
    """Put a simulator back into a state of a history.

    Args:
        hooks: the user's functions.
        history: the states up to that state, or more.
        step: its step; None for the last one.
        warns: warn if nothing was compared on the way.
        progress: called with the number of states re-executed, and of all.
        moves: go on to the state by ``advance``; else stay where the way begins, if that hook is
            not there: whoever moves it compares.

    Raises:
        InvalidInput: there is nothing to begin from, or a hook is missing.
        Divergence: the simulator does not repeat the recorded states.
    """
    step = len(history.states) - 1 if step is None else step
    failed: Divergence | None = None
    for at in history.starts(hooks, step, moves):
        try:
            replay = SimulatorReplay(hooks, history, at)
            if moves or hooks.advance is not None:
                own = (step,) if at.is_followed_by_own else ()
                replay.follow(step + 1, progress, own)
        except Divergence as error:
            failed = failed or error
            continue
        is_vouched = at.is_snapshot and at.step == step and not at.doubt
        is_there = replay.position == step + 1
        if warns and is_there and not replay.compared and not is_vouched:
            how = " from its own snapshot" if at.doubt else ""
            why = "" if at.doubt else ": the states on the way have nothing that observe= gave"
            short = history.states[step].oid.short()
            warn(f"state '{short}' was restored{how}, and nothing was compared{why}", Unverified)
        return replay
    raise failed or InvalidInput(
        f"cannot restore step {step}: no state up to it has a snapshot that can be used, and there "
        "is no rebuild=",
        step=step,
    )


def _nowhere(*given: Any, **named: Any) -> None:
    """Take what would be attached to a state that is recorded already."""
