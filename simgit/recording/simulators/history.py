"""The recorded states of a simulator, and the places from which it can be put back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from simgit.history.trajectory import Trajectory
from simgit.odb import trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.trees import Target
from simgit.recording.attached_steps import attached_steps
from simgit.recording.simulators.hooks import SimulatorHooks
from simgit.recording.verdicts import ignored, snapshots_fail, vouches
from simgit.refs import attachments
from simgit.refs.own_names import own_name, stored_session, unmarked
from simgit.refs.runs import RunInfo
from simgit.refs.sessions import Sessions, at
from simgit.storage.base import ReadTxn

SNAPSHOT: Final = "snapshot"
"""The name of the attachment of what ``save`` returned."""
DRIVER: Final = "simulator"
"""The name of these snapshots' driver in verdicts."""
FORM: Final = 1
"""The version of their form."""
MOST_STEPS: Final = 200
"""The greatest number of steps that are re-executed only to compare."""


@dataclass(frozen=True)
class StartingPoint:
    """A state from which a simulator can be put back: its own snapshot, or a reset.

    Attributes:
        step: the step of the state.
        is_snapshot: True for a snapshot.
        doubt: True if nothing would be compared on the way, and no verdict vouches for it.
        is_followed_by_own: True if the state to be reached has a snapshot to compare with.
        is_saved: True if the state of a reset has one, which a new simulator has to agree with: it
            may draw other numbers.
    """

    step: int
    is_snapshot: bool
    doubt: bool = False
    is_followed_by_own: bool = False
    is_saved: bool = False


class SimulatorHistory:
    """The states that lead to a state of a simulator.

    Attributes:
        states: all of them, from the root on.
        ignored: the paths of fields that are not compared.
    """

    def __init__(
        self,
        odb: ObjectDatabase,
        states: Trajectory,
        runs: Sequence[RunInfo],
        sessions: Sessions | None = None,
    ) -> None:
        """Take the states, the runs that recorded them, the nearest first, and their sessions."""
        self.odb = odb
        self.states = states
        self._runs = runs
        self.ignored = ignored(runs)
        self.sessions = sessions or {}
        marked = states.present("reset") if states.has("reset") else np.zeros(len(states), bool)
        self.resets: list[int] = sorted({0, *np.flatnonzero(marked).tolist()})

    @property
    def run(self) -> RunInfo | None:
        """The run, if the states are in one."""
        return self._runs[0] if self._runs else None

    def snapshots(self, newest: int) -> Iterator[int]:
        """Yield the steps of the snapshots up to a step, the newest first.

        Those of other runs that share the states are left out.
        """
        own = {step: own_name(SNAPSHOT, each) for step, each in self.sessions.items()}
        for step in attached_steps(self.odb, self.states, SNAPSHOT, newest, beside=own):
            with self.odb.read() as txn:
                target = self._target(txn, step)
                if stored_session(self.odb, txn, target) != at(self.sessions, step):
                    continue
            yield step

    def snapshot(self, step: int) -> Any:
        """Return the snapshot of a state; its arrays can be written.

        Raises:
            NotFound: it has none.
        """
        with self.odb.read() as txn:
            found = trees.load_data(self.odb, txn, *self._target(txn, step))
        return writable(found if at(self.sessions, step) is None else unmarked(found))

    def _target(self, txn: ReadTxn, step: int) -> Target:
        """Return what is attached as the snapshot of a state, by the run's own session if it is."""
        state, session = self.states[step].oid, at(self.sessions, step)
        own = SNAPSHOT if session is None else own_name(SNAPSHOT, session)
        name = own if attachments.is_bound(txn, state, own) else SNAPSHOT
        return attachments.find(self.odb, txn, state, name)

    def starts(
        self, hooks: SimulatorHooks, step: int, moves: bool = True
    ) -> Iterator[StartingPoint]:
        """Yield where to begin in order to reach a state, the best first.

        A snapshot of the state itself is used if a verdict vouches for it. If not, the way begins
        at an earlier one, so that something is compared, where that costs little. (Without
        ``moves`` whoever has the simulator moves it on, and it is compared then.)
        """
        resets = self.resets
        if hooks.restart is not None:
            resets = [at for at in resets if at == 0 or hooks.is_start(self.states[at].reset)]
        reset = max(each for each in resets if each <= step)
        saved = None
        if hooks.load is not None and not snapshots_fail(self._runs, DRIVER):
            found = self.snapshots(step)
            saved = next(found, None)
            if saved is not None and (saved >= reset or hooks.rebuild is None):
                if saved == reset == step and hooks.rebuild is not None:
                    yield StartingPoint(reset, False, is_saved=True)
                is_own = saved == step and not vouches(self._runs, DRIVER, FORM, saved)
                if is_own and (hooks.advance is not None or not moves):
                    before = next(found, -1)
                    is_saved = before >= reset or hooks.rebuild is None
                    earlier = before if is_saved else reset
                    if 0 <= earlier < step and step - earlier <= MOST_STEPS:
                        yield StartingPoint(earlier, is_saved, False, True)
                yield StartingPoint(saved, True, is_own)
        if hooks.rebuild is not None:
            yield StartingPoint(reset, False)


def writable(data: Any) -> Any:
    """Return a copy of plain data, for a hook that may keep or change it."""
    if isinstance(data, np.ndarray):
        return data.copy()
    if isinstance(data, dict):
        return {key: writable(item) for key, item in data.items()}
    return type(data)(map(writable, data)) if type(data) in (list, tuple) else data
