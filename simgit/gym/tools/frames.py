"""Frames of single recorded states, although nothing was filmed.

The environments that were restored are kept: the next state of the same history costs one step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from time import monotonic
from typing import Any, Final, TypeVar

from simgit.errors import InvalidInput, NotFound, SimgitError
from simgit.gym.drivers import randomness
from simgit.gym.restoring.recorded_path import SNAPSHOT, RecordedPath
from simgit.gym.restoring.reexecute import Reexecution
from simgit.gym.restoring.reseeding import Seeds
from simgit.gym.restoring.restore import restored
from simgit.gym.restoring.sessions import SESSION, Sessions
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.film import make_rendering, rendered
from simgit.objects.oid import Oid
from simgit.plot.notebook import Pixels
from simgit.recording.attached_steps import attached_steps
from simgit.refs import attachments
from simgit.refs.runs import RunInfo
from simgit.repository import Repository

T = TypeVar("T")
KEPT: Final = 4
"""The number of environments that are kept, those that were asked for last."""
NEAR: Final = 64
"""The steps that are executed on rather than restored from a snapshot between."""

FEW: Final = 5000
"""Attachments of all states that are looked at, rather than states."""
FRESH: Final = 30.0
"""Seconds for which what is known of the runs of a line is not read again."""


@dataclass
class _Kept:
    """An environment at a state, with the global generators as it left them."""

    env: Any
    oid: Oid
    step: int
    sessions: Sessions
    reseeds: Seeds
    generators: Mapping[str, Any]


@dataclass(frozen=True)
class _Notes:
    """Notes of the runs that recorded a line of states; with many runs they take long to read."""

    until: float
    step: int
    runs: list[str]
    recorded_in: list[RunInfo]
    sessions: Sessions
    reseeds: Seeds
    known: dict[str, list[int]]

    @classmethod
    def of(cls, path: RecordedPath) -> _Notes:
        """Read it."""
        until, known = monotonic() + FRESH, _known(path)
        found = cls(
            until, path.step, path.runs, path.recorded_in, path.sessions, path.reseeds, known
        )
        found.give(path)
        return found

    def are_fresh(self, repo: Repository) -> bool:
        """Return whether they are new, and the runs have the metadata (verdicts) that they had."""
        if monotonic() >= self.until:
            return False
        try:
            return all(repo.runs[each.name].metadata == each.metadata for each in self.recorded_in)
        except NotFound:
            return False

    def give(self, path: RecordedPath) -> None:
        """Spare a path to read it again."""
        path.runs, path.recorded_in = self.runs, self.recorded_in
        if path.step < self.step:  # not those that went on after it
            began = [each for each in self.recorded_in if _began(path, each)]
            path.recorded_in = began or self.recorded_in
        if path.step <= self.step or not _begins(path, self.step + 1):
            path.sessions = {at: each for at, each in self.sessions.items() if at <= path.step}
        path.reseeds = {at: seed for at, seed in self.reseeds.items() if at < path.step}
        if path.step <= self.step:
            path.known = {
                n: [at for at in each if at <= path.step] for n, each in self.known.items()
            }


def _began(path: RecordedPath, run: RunInfo) -> bool:
    """Return whether a run has states of its own up to that of a path."""
    point = run.branch_point
    return point is None or path.repo.state(point).step < path.step


def _begins(path: RecordedPath, oldest: int) -> bool:
    """Return whether a session, of the path or of another run, begins at a step or after it."""
    found = attached_steps(path.repo.odb, path.trajectory, SESSION, path.step, oldest)
    return next(found, None) is not None


def _known(path: RecordedPath) -> dict[str, list[int]]:
    """Return the steps of a path that have snapshots, and new sessions, unless these are many."""
    with path.repo.odb.read() as txn:
        names = (SNAPSHOT, SESSION) if attachments.count(txn) < FEW else ()
    return {name: [*path.attached(name, path.step)] for name in names}


class Frames:
    """Renders recorded states; see ``simgit.gym.tools.film`` for ranges of them."""

    def __init__(self, trust: Trust = None) -> None:
        """Begin without environments.

        Args:
            trust: see ``restore``.
        """
        self._trust = trust
        self._kept: list[_Kept] = []
        """The one that was asked for last is the last."""
        self._notes: dict[tuple[Oid, int], _Notes] = {}

    def frame(self, repo: Repository, oid: Oid) -> Pixels:
        """Return the image of a state, of shape (height, width, 3).

        Raises:
            NotFound, InvalidInput, Untrusted, Divergence: see ``restore``; or the environment
                renders no images.
        """
        return self.noted(repo, oid, self._frame, NEAR)

    def noted(
        self, repo: Repository, oid: Oid, use: Callable[[RecordedPath], T], near: int = 0
    ) -> T:
        """Use the path to a state, which is spared to read again what is known of its runs.

        ``near``: also if it lies so many steps after the states of which that is known; ``use``
        must fail if others recorded it.
        """
        path = RecordedPath(repo, oid)
        key = path.trajectory[0].oid, path.trajectory[path.step].place.line
        notes = self._notes.get(key)
        is_known = notes is not None and (path.step <= notes.step or near)
        if is_known and notes is not None and notes.are_fresh(repo):
            if path.step > notes.step + near:
                notes.give(path)
                sessions, known = path.sessions, _known(path)
                notes = replace(notes, step=path.step, sessions=sessions, known=known)
                self._notes[key] = notes
            notes.give(path)
            try:
                return use(path)
            except SimgitError:  # perhaps not all of it is of the same runs
                del self._notes[key]
                path = RecordedPath(repo, oid)
        self._notes[key] = _Notes.of(path)
        while len(self._notes) > KEPT:
            del self._notes[next(iter(self._notes))]
        return use(path)

    def _frame(self, path: RecordedPath) -> Pixels:
        refuse_live(path)
        path.check_make(self._trust)  # each time: trust can be taken back
        kept = self._nearest(path)
        if kept is None:
            return self._restored(path)
        try:
            return self._advanced(kept, path)
        except SimgitError:  # something moved what environments share: restore it alone
            self._drop(kept)
        except BaseException:
            self._drop(kept)
            raise
        return self._restored(path)

    def _nearest(self, path: RecordedPath) -> _Kept | None:
        """Return the environment that is before a state on its path, the nearest; or None."""
        nearest = sorted(self._kept, key=lambda each: -each.step)
        kept = next((each for each in nearest if _is_on(path, each)), None)
        if kept is None:
            return None
        later = takewhile(lambda at: at > kept.step, path.begun(path.step))
        if any(path.is_reset(at) for at in later):
            return None  # another environment took over there
        if path.step - kept.step > NEAR:
            snapshot = next(iter(path.attached(SNAPSHOT, path.step)), -1)
            if snapshot > kept.step:
                return None
        return kept

    def _advanced(self, kept: _Kept, path: RecordedPath) -> Pixels:
        randomness.apply_globals(kept.generators)
        replay = Reexecution(kept.env, reseeds=path.reseeds, ignore=path.ignored)
        replay.replay(path.trajectory[kept.step + 1 :])
        kept.oid, kept.step = path.oid, path.step
        kept.sessions, kept.reseeds = path.sessions, path.reseeds
        return self._shown(kept)

    def _restored(self, path: RecordedPath) -> Pixels:
        env = make_rendering(path, self._trust)
        try:
            restored(path, env=env, trust=self._trust)
        except BaseException:
            env.close()
            raise
        kept = _Kept(env, path.oid, path.step, path.sessions, path.reseeds, {})
        self._kept.append(kept)
        while len(self._kept) > KEPT:
            self._drop(self._kept[0])
        return self._shown(kept)

    def _shown(self, kept: _Kept) -> Pixels:
        try:
            found = rendered(kept.env)
        except InvalidInput:
            self._drop(kept)
            raise
        kept.generators = randomness.capture_globals()
        self._kept.remove(kept)
        self._kept.append(kept)
        return found

    def _drop(self, kept: _Kept) -> None:
        self._kept = [each for each in self._kept if each is not kept]
        with suppress(Exception):  # of the environment
            kept.env.close()


def refuse_live(path: RecordedPath) -> None:
    """Refuse states of a live cluster: to make their environment is to connect to it.

    Raises:
        InvalidInput: the state is of one.
    """
    if path.is_live:
        raise InvalidInput(
            f"state '{path.oid.short()}' was recorded on a live cluster: it is not re-executed",
            oid=path.oid,
        )


def _is_on(path: RecordedPath, kept: _Kept) -> bool:
    """Return True if an environment is at a state of a path, begun and reseeded as on it."""
    if kept.step > path.step or path.trajectory[kept.step].oid != kept.oid:
        return False
    both = (
        (
            {at: name for at, name in sessions.items() if at <= kept.step},
            {at: seed for at, seed in reseeds.items() if at < kept.step},
        )
        for sessions, reseeds in ((path.sessions, path.reseeds), (kept.sessions, kept.reseeds))
    )
    return next(both) == next(both)
