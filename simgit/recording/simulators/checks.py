"""Verification of a simulator's run: re-executed, and continued from its snapshots."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

from simgit.errors import Divergence, InvalidInput, SimgitError
from simgit.recording.simulators.history import DRIVER, FORM, SimulatorHistory, StartingPoint
from simgit.recording.simulators.hooks import SimulatorHooks
from simgit.recording.simulators.replay import Progress, SimulatorReplay, put_back
from simgit.recording.verdicts import (
    Outcome,
    Verdict,
    Verification,
    details,
    judged,
    named,
    spread,
)

SNAPSHOTS: Final = 12
"""The greatest number of snapshots from which a run is continued, evenly spread."""


class SimulatorCheck:
    """The checks of the recorded states of a simulator.

    Args:
        hooks: the user's functions.
        history: the states up to the last one in question, from the root on.
        start: the step of the first one in question.
    """

    def __init__(self, hooks: SimulatorHooks, history: SimulatorHistory, start: int = 0) -> None:
        self._hooks = hooks
        self._history = history
        self._start = start
        self._stop = len(history.states)
        self._chosen: list[int] = []
        """The steps of the snapshots that are tried, and compared with what is saved there now."""

    def verification(self, snapshots: int, progress: Progress | None) -> Verification:
        """Re-execute the states; try at most so many snapshots too, if it is a whole history.

        Raises:
            InvalidInput: a hook is missing, or the states have nothing that could be compared.
        """
        begun = perf_counter()
        every: list[int] = []
        if self._hooks.load is not None and snapshots:
            every = sorted(self._history.snapshots(self._stop - 1))
            # after a reset there is little that a snapshot could lack
            usual = [at for at in every if at not in set(self._history.resets)] or every
            self._chosen = spread([at for at in usual if at >= self._start], snapshots)
        whole = not self._start
        verdict: Verdict | None = None
        failed: Divergence | None = None
        replayed = Outcome(0, unmade="there is no rebuild=")
        if whole and self._hooks.rebuild is None:
            stop = self._start
        else:
            stop, failed, compared = self._replayed(progress)
            if not compared and failed is None:
                raise InvalidInput(
                    "nothing can be compared: the states have nothing that a simulator gave; "
                    "observe= says what is recorded of it"
                )
            replayed = _outcome(0, compared, failed)
        if whole and (snapshots or failed is not None):
            tried = self._continued()
            again = None
            if failed is not None:
                again = _outcome(0, compared, self._replayed(None)[1])
            verdict = judged(tried, replayed, again, len(every), self._stop - 1, "the same")
            if replayed.unmade:  # from the first of the snapshots on
                stop = self._stop if tried and verdict.result == "exact" else self._start
        return Verification(self._start, stop, perf_counter() - begun, failed, verdict)

    def _replayed(self, progress: Progress | None) -> tuple[int, Divergence | None, int]:
        """Return the step after the last that agreed, what differs, how many were compared."""
        at = self._start
        replay, before = None, 0
        try:
            if at:
                replay = put_back(self._hooks, self._history, step=at - 1, warns=False)
                before = replay.compared
            else:
                replay = SimulatorReplay(self._hooks, self._history, StartingPoint(0, False))
            replay.follow(self._stop, progress, self._chosen)
        except Divergence as error:
            step = int(error.step)  # type: ignore[attr-defined]
            return max(step, at), error, replay.compared - before if replay else 0
        return self._stop, None, replay.compared - before

    def _continued(self) -> list[Outcome]:
        """Continue from snapshots, each up to the next that is tried."""
        starts = [at for at in self._chosen if at < self._stop - 1]
        ends = [*(at + 1 for at in starts[1:]), self._stop]
        return [self._from(at, end) for at, end in zip(starts, ends, strict=False)]

    def _from(self, step: int, end: int) -> Outcome:
        if self._hooks.rebuild is None:
            end = min([end, *(each for each in self._history.resets if each > step)])
        made: dict[str, Any] = {"driver": DRIVER, "form": FORM}
        replay = None
        try:
            replay = SimulatorReplay(self._hooks, self._history, StartingPoint(step, True))
            replay.follow(end, None, self._chosen)
        except Divergence as error:
            made["differs"] = details(error)
        except InvalidInput:
            raise
        except SimgitError as error:
            made["unmade"] = named(error)
        return Outcome(step, compared=replay.compared if replay else 0, **made)


def _outcome(start: int, compared: int, failed: Divergence | None) -> Outcome:
    """Return the result of a re-execution; its digest says what was found where it differs."""
    if failed is None:
        return Outcome(start, compared=compared)
    found = repr(getattr(failed, "found", None))
    digest = f"{getattr(failed, 'step', None)} {getattr(failed, 'field', None)} {found}"
    return Outcome(start, compared=compared, differs=details(failed), digest=digest)
