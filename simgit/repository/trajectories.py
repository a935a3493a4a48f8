"""States as columns, and differences between runs, states and configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput
from simgit.history.state import State, load_state
from simgit.objects.kinds import Spec
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.odb.location import Location
from simgit.refs.names import HEAD, RUNS
from simgit.refs.revision import Found, Range, whole_episode
from simgit.repository.runs import RunOperations
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    from simgit.history.bisect import FirstDifference
    from simgit.history.diff.runs import RunDiff
    from simgit.history.diff.values import Change, StateDiff
    from simgit.history.trajectory import Trajectory


class DataOperations(RunOperations):
    """States as columns, and differences between runs, states and configurations."""

    def trajectory(self, revision: str | Oid = HEAD) -> Trajectory:
        """Return states as columns: all that lead to a state, a range, or an episode.

        ``main`` is the whole history of a run's newest state; ``a..b`` what is in b's first-parent
        history after a; ``main@ep5`` the states of episode 5.

        Raises:
            NotFound: there is no such state.
            InvalidInput: the range is symmetric, or its start is no ancestor of its end.
        """
        with self._read() as txn:
            if isinstance(revision, Oid):
                return self._trajectory(self.odb.locate(txn, revision), 0, None, None)
            ends = self.revisions.resolve_range(txn, revision)
            if ends is not None:
                return self._trajectory_between(txn, revision, ends)
            found = self.revisions.find(txn, revision)
            start, stop = 0, None
            if (episode := whole_episode(revision)) is not None:
                tip = self.revisions.find(txn, episode.base).place
                start = found.place.step
                stop = ancestry.episode_end(self.odb, txn, tip, episode.number) + 1
                found = Found(ancestry.ancestor(txn, tip, stop - 1), found.run)
            return self._trajectory(found.place, start, stop, found.run)

    def origin(self, revision: str | Oid = HEAD) -> dict[str, Any]:
        """Return what the history that leads to a state began with, {} if that was not recorded.

        What a Gymnasium environment was made of is under ``environment``, ``wrappers``,
        ``observation_space`` and ``action_space``.
        """
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            root = load_state(self.odb, txn, ancestry.ancestor(txn, place, 0))
            found = self.odb.object(txn, root.origin) if root.origin is not None else None
        return dict(found.fields) if isinstance(found, Spec) else {}

    def __getitem__(self, revision: str) -> Trajectory:
        return self.trajectory(revision)

    def _trajectory_between(self, txn: ReadTxn, text: str, ends: Range) -> Trajectory:
        fork = ancestry.merge_bases(self.odb, txn, ends.start.place, ends.end.place)
        if ends.symmetric or fork != [ends.start.place]:
            raise InvalidInput(f"'{text}' is not a stretch of one history: use 'ancestor..state'")
        start = ends.start.place.step + 1
        return self._trajectory(ends.end.place, start, None, ends.end.run)

    def _trajectory(
        self, place: Location, start: int, stop: int | None, run: str | None
    ) -> Trajectory:
        from simgit.history.trajectory import Trajectory

        def make(where: Location, values: dict[str, Any] | None) -> State:
            with self._read() as txn:
                return load_state(self.odb, txn, where, run)

        end = place.step + 1 if stop is None else stop
        return Trajectory(self.odb, place, start, end, run or "", make)

    def diff(self, a: str | Oid, b: str | Oid = HEAD, *, whole: bool = True) -> StateDiff | RunDiff:
        """Compare two runs, or two states.

        Two names of runs are compared as runs: common ancestor, first difference, return and
        length on each side (and, if ``whole``, how many aligned states are equal after it).
        Everything else is compared as states, field by field.
        """
        from simgit.history.diff.runs import diff_runs
        from simgit.history.diff.values import diff_states

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
            runs = all(isinstance(x, str) and self._names_run(txn, x) for x in (a, b))
        if runs:
            return diff_runs(self.odb, one.place, two.place, whole=whole)
        return diff_states(self.odb, one.place, two.place)

    def diff_states(self, a: str | Oid, b: str | Oid = HEAD) -> StateDiff:
        """Compare two states field by field."""
        from simgit.history.diff.values import diff_states

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
        return diff_states(self.odb, one.place, two.place)

    def diff_runs(self, a: str | Oid, b: str | Oid = HEAD, *, whole: bool = True) -> RunDiff:
        """Compare the histories that lead to two states."""
        from simgit.history.diff.runs import diff_runs

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
        return diff_runs(self.odb, one.place, two.place, whole=whole)

    def bisect(self, a: str | Oid, b: str | Oid = HEAD) -> FirstDifference:
        """Return the first state in which two histories differ, and what made them differ.

        Names are compared, as many as the logarithm of the shorter history.
        """
        from simgit.history.bisect import bisect

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
        known = one.run is not None and two.run is not None
        settings = self.diff_configs(str(one.run), str(two.run)) if known else ()
        return bisect(self.odb, one.place, two.place, settings)

    def diff_configs(self, a: str, b: str) -> tuple[Change, ...]:
        """Return the settings in which the resolved configurations of two runs differ."""
        from simgit.history.diff.values import diff_configs

        return diff_configs(self.config(a), self.config(b))

    def _names_run(self, txn: ReadTxn, text: str) -> bool:
        name = text[len(RUNS) :] if text.startswith(RUNS) else text
        return self.refs.has_run(txn, name)
