"""Verification of a simulator's run: re-executed, and continued from its snapshots."""

from __future__ import annotations

from time import perf_counter
from typing import Final

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
        before: the history up to the state before that one; None if that is a root.
    """

    def __init__(
        self,
        hooks: SimulatorHooks,
        history: SimulatorHistory,
        start: int,
        before: SimulatorHistory | None,
    ) -> None:
        self._hooks = hooks
        self._history = history
        self._start = start
        self._before = before
        self._stop = len(history.states)

    def verification(self, snapshots: int, progress: Progress | None) -> Verification:
        """Re-execute the states; try at most so many snapshots too, if it is a whole history.

        Raises:
            InvalidInput: a hook is missing.
        """
        begun = perf_counter()
        whole = self._before is None
        verdict: Verdict | None = None
        failed: Divergence | None = None
        replayed = Outcome(0, unmade="there is no rebuild=")
        if whole and self._hooks.rebuild is None:
            stop = self._start
        else:
            stop, failed = self._replayed(progress)
            replayed = _outcome(0, stop - self._start, failed)
        if whole and (snapshots or failed is not None):
            tried, total = self._continued(snapshots) if self._hooks.load is not None else ([], 0)
            again = None
            if failed is not None:
                again = _outcome(0, stop, self._replayed(None)[1])
            verdict = judged(tried, replayed, again, total, self._stop - 1, "the same")
            if replayed.unmade:  # from the first of the snapshots on
                stop = self._stop if tried and verdict.result == "exact" else self._start
        return Verification(self._start, stop, perf_counter() - begun, failed, verdict)

    def _replayed(self, progress: Progress | None) -> tuple[int, Divergence | None]:
        """Return the step after the last that agreed, and what differs there."""
        at = self._start
        total = self._stop - at
        try:
            if self._before is None:
                replay = SimulatorReplay(self._hooks, self._history, StartingPoint(0, False))
            else:
                replay = put_back(self._hooks, self._before)

            def tell() -> None:
                if progress is not None:
                    progress(replay.position - at, total)

            replay.follow(self._stop, tell)
        except Divergence as error:
            step = int(error.step)  # type: ignore[attr-defined]
            return max(step, at), error
        return self._stop, None

    def _continued(self, most: int) -> tuple[list[Outcome], int]:
        """Continue from some snapshots, each up to the next of them; return their number too."""
        every = sorted(self._history.snapshots(self._stop - 2))
        # after a reset there is little that a snapshot could lack
        chosen = [at for at in every if at not in set(self._history.resets)] or every
        chosen = spread(chosen, most)
        ends = [*(at + 1 for at in chosen[1:]), self._stop]
        return [self._from(at, end) for at, end in zip(chosen, ends, strict=True)], len(every)

    def _from(self, step: int, end: int) -> Outcome:
        if self._hooks.rebuild is None:
            end = min([end, *(each for each in self._history.resets if each > step)])
        made = {"driver": DRIVER, "form": FORM}
        done = step + 1
        try:
            replay = SimulatorReplay(self._hooks, self._history, StartingPoint(step, True))
            replay.follow(end)
            done = replay.position
        except Divergence as error:
            at = int(error.step)  # type: ignore[attr-defined]
            return Outcome(step, compared=max(0, at - done), differs=details(error), **made)  # type: ignore[arg-type]
        except InvalidInput:
            raise
        except SimgitError as error:
            return Outcome(step, unmade=named(error), **made)  # type: ignore[arg-type]
        return Outcome(step, compared=done - step - 1, **made)  # type: ignore[arg-type]


def _outcome(start: int, compared: int, failed: Divergence | None) -> Outcome:
    """Return the result of a re-execution; its digest says what was found where it differs."""
    if failed is None:
        return Outcome(start, compared=compared)
    found = repr(getattr(failed, "found", None))
    digest = f"{getattr(failed, 'step', None)} {getattr(failed, 'field', None)} {found}"
    return Outcome(start, compared=compared, differs=details(failed), digest=digest)
