"""The self-check of what is recorded: in a process of its own, while recording continues.

Nothing of it happens in the script's process: no environment is made, no generator moves on.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from simgit.errors import StorageError
from simgit.gym.restoring.check_process import CheckHost, CheckProcess
from simgit.gym.restoring.run_notes import BY_REPLAY, EXACT, NOT_CHECKED, Verdict
from simgit.repository import Repository

STATES: Final = 2000
SECONDS: Final = 10.0
"""States, and seconds, after which an episode that has not ended is checked as far as it is."""
REST: Final = 1.0
"""The seconds for the check of what was recorded since the first one."""
PATIENCE: Final = 10.0
"""The seconds that closing waits for a check."""


def may_reexecute(env: Any) -> bool:
    """Return True unless an environment's metadata say that it must not be re-executed.

    (``{"simgit": {"reexecute": False}}``: it holds a device, or a connection; or it is live.)
    """
    if getattr(env.unwrapped, "is_live", False):
        return False
    declared = (getattr(env, "metadata", None) or {}).get("simgit")
    return not (isinstance(declared, dict) and declared.get("reexecute") is False)


class SelfCheck:
    """Checks the first states of new runs, once.

    Attributes:
        is_due_at: the time from which on an episode that has not ended is checked.
    """

    def __init__(self, is_wanted: bool) -> None:
        """Begin; ``is_wanted`` is False if nothing is to be checked."""
        self.is_waiting = is_wanted
        self.is_due_at = monotonic() + SECONDS
        self._process: CheckProcess | None = None
        self._stops: dict[str, int] = {}
        self._fine: set[str] = set()
        if is_wanted:
            CheckHost.hold(self)

    def is_due(self, count: int) -> bool:
        """Return True if an episode that has not ended is long enough to be checked."""
        return self.is_waiting and (count >= STATES or monotonic() > self.is_due_at)

    def start(self, repo: Repository, runs: Sequence[str]) -> dict[str, Verdict]:
        """Start the check of what is stored of runs; return verdicts if it cannot be started."""
        self.is_waiting = False
        states = {run: _states(repo, run) for run in runs}
        self._stops = {run: count for run, count in states.items() if count >= 2}
        if not self._stops:
            return {}
        try:
            self._process = CheckProcess(repo, self._stops)
        except StorageError as error:
            return dict.fromkeys(self._stops, Verdict(NOT_CHECKED, None, {"reason": str(error)}))
        return {}

    def verdicts(self, seconds: float | None = 0.0) -> dict[str, Verdict]:
        """Return the verdicts when they are there, once; without, an empty dictionary.

        Args:
            seconds: the time to wait for them, after which there is a verdict without them; None
                to ask only.
        """
        process = self._process
        CheckHost.tidy()
        if process is None or (not process.wait(seconds or 0.0) and seconds is None):
            return {}
        try:
            found = process.verdicts(
                "its re-execution was not finished when the recorder was closed; "
                "check it with 'simgit verify'"
            )
            self._fine = {run for run, each in found.items() if each.result in (EXACT, BY_REPLAY)}
            return found
        finally:
            self.cancel()

    def rest(self, repo: Repository, runs: Sequence[str], seconds: float) -> dict[str, Verdict]:
        """Check again what is recorded of runs, if it is more than was checked and found fine.

        Args:
            repo: the repository, with everything stored.
            runs: the runs.
            seconds: the greatest time to wait; what is not checked by then has no verdict.
        """
        stops = {run: _states(repo, run) for run in runs if run in self._fine}
        stops = {run: count for run, count in stops.items() if count != self._stops[run]}
        if not stops or seconds < 1:
            return {}
        try:
            self._process = CheckProcess(repo, stops, seconds=REST)
        except StorageError:
            return {}
        found = self.verdicts(min(seconds, 5 * REST))
        return {run: each for run, each in found.items() if each.result != NOT_CHECKED}

    def cancel(self) -> None:
        """End the check."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def give_up(self) -> None:
        """End the check, and make no other one."""
        self.is_waiting = False
        self._fine.clear()
        self.cancel()

    def end(self) -> None:
        """End the check, and let go of the process for checks."""
        self.cancel()
        CheckHost.release(self)


def _states(repo: Repository, run: str) -> int:
    step = repo.runs[run].step
    return 0 if step is None else step + 1
