"""A recording session: one environment, or a batch, recorded to its runs from start to end."""

from __future__ import annotations

import os
import re
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from simgit.errors import (
    InvalidInput,
    NotFound,
    SimgitError,
    SimgitWarning,
    StorageError,
    Unverified,
    shown,
)
from simgit.gym.drivers import layers, pack, randomness, unpack
from simgit.gym.drivers.limits import NotPlain
from simgit.gym.recording.selfcheck import PATIENCE, SelfCheck
from simgit.gym.recording.volatile import Volatile, ignored_paths, volatile_paths
from simgit.gym.restoring.run_notes import IGNORE, NOT_CHECKED, VOLATILE, Verdict, note
from simgit.gym.restoring.sessions import SESSION, Sessions, at, named, note_of, sessions
from simgit.gym.spec.diff import spec_difference, title
from simgit.gym.spec.provenance import Provenance
from simgit.gym.spec.spec import compare_spaces
from simgit.history.state import State
from simgit.objects.kinds import Spec
from simgit.objects.simplify import Simplifier
from simgit.process import machine
from simgit.recording.finalize import abandon, is_crashing, settle, status_after
from simgit.refs.own_names import KEY
from simgit.refs.runs import ANOTHER_RUN, being_recorded, completed
from simgit.repository import Repository

GENERATORS: Final = "generators"
"""The attachment of an unseeded reset's generators, where there are no snapshots."""
TORCH: Final = "torch_seed"
"""The key of a run's metadata for torch's seed, if torch was loaded while the run was recorded."""
DIFF: Final = "code.diff"
SKIP, RAISE = "skip", "raise"
"""What to do with values that cannot be stored."""
LEFT_OUT: Final = "left_out"
"""The key of the run's metadata that says what was left out, and why, by path."""
_MOST: Final = 32
"""The most paths that are noted and warned of; environments can make new ones at each step."""
_GAP: Final = "simgit: nothing is recorded until the next reset"


class Session:
    """Writes the runs of one environment; it is reopened if the environment steps after its end.

    ``is_new`` is False if the environment was restored to a recorded state.

    A session that nobody ends is ended when it is dropped or the process ends, and all that was
    recorded is stored. Its snapshot drivers must not refer to the recorder: a cycle would delay
    the end until the garbage collector finds it; see ``finalize``.
    """

    def __init__(
        self,
        repo: Repository,
        runs: str | Sequence[str],
        spec: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        config: Mapping[str, Any] | None,
        provenance: bool,
        unencodable: str,
        ignore: Sequence[str],
        volatile: Sequence[str],
        options: Mapping[str, Any],
    ) -> None:
        settle()
        if unencodable not in (SKIP, RAISE):
            raise InvalidInput(f"unencodable must be 'skip' or 'raise', got {shown(unencodable)}")
        ignored, apart = ignored_paths(ignore), volatile_paths(volatile)
        self._left_out: dict[str, str] = {}
        callback = partial(_leave_out, self._left_out) if unencodable == SKIP else None
        self.simplifier = Simplifier(callback, numbers=True)
        self._names = [runs] if isinstance(runs, str) else list(runs)
        specs = [spec] if isinstance(spec, Mapping) else spec
        for name, each in zip(self._names, specs, strict=True):
            check_spec(repo, name, each)
        self._given = repo
        self._repo = self._handle()
        self._arguments = {"run": runs, "config": config, "spec": spec, **options}
        try:
            self.recorder: Any = self._repo.recorder(**self._arguments)
        except BaseException:
            self._let_go_of_repository()
            raise
        current = self._current()  # numbers were filled in, or the run was branched
        self._names = [current] if isinstance(current, str) else current
        self.recorder.simplifier = self.simplifier
        self.volatile = [Volatile(apart) for _ in self._names] if apart else []
        self.is_open = True
        self.is_new = True
        self.self_check = SelfCheck(False)
        self._has_torch = randomness.torch_seed() is not None
        self._provenance = Provenance.collect() if provenance else None
        facts = {
            "provenance": self._provenance.facts if self._provenance else None,
            IGNORE: ignored, VOLATILE: apart,
        }  # fmt: skip
        facts = {key: each for key, each in facts.items() if each}
        self.note_all(dict.fromkeys(self._names, facts))
        self._finalizer: Any = None
        self._end_with_process()

    def watch(self, check: SelfCheck) -> None:
        """Take the self-check of the runs, whose verdict is noted when it is there."""
        self.self_check = check
        self._finalizer.detach()
        self._end_with_process()

    def _handle(self) -> Repository:
        """Return an own handle: its states are stored even after the user closed theirs."""
        return self._given.again()

    def begin(
        self, facts: Mapping[str, Any], snapshot: Any, step: int, lane: int | None = None
    ) -> dict[str, Any]:
        """Name a new session by what is known about its start, and note that with the run.

        Args:
            facts: the seed in use, and the generators as they were before the first reset.
            snapshot: the snapshot of its first state, if one can be taken: it has generators that
                an environment made itself.
            step: the step of its first state.
            lane: the lane, if there are several.

        Returns:
            The facts with the name.
        """
        begun = named(facts, snapshot)
        self._note_sessions({step: begun[KEY]}, lane)
        return begun

    def continued(self, lane: int | None = None) -> str | None:
        """Note the sessions of a run that is continued; return the newest one's name.

        So they are known if the run that it was branched off is deleted.
        """
        run = self._run_of(lane)
        tip = self._repo.runs[run].oid
        found = {} if tip is None else sessions(self._repo, tip, run)
        self._note_sessions(found, lane)
        return at(found, max(found, default=0))

    def _note_sessions(self, found: Sessions, lane: int | None) -> None:
        note = note_of(found, self._repo.runs[self._run_of(lane)])
        if note:
            self.recorder.note(*([] if lane is None else [lane]), note)

    def _run_of(self, lane: int | None) -> str:
        names = self._current()
        return names if isinstance(names, str) else names[lane or 0]

    def first_attachments(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attachments of the session's first state."""
        diff = self._provenance.diff if self._provenance else None
        return {
            **({SESSION: dict(facts)} if self.is_new else {}),
            **({DIFF: diff} if diff else {}),
        }

    def note(self, run: str, metadata: Mapping[str, Any]) -> None:
        """Add to a run's metadata."""
        self.note_all({run: metadata})

    def note_all(self, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Add to the metadata of runs, of all in one transaction."""
        metadata = {run: each for run, each in metadata.items() if each}
        if not metadata:
            return
        repo = self._repo if self.is_open else self._handle()
        with repo.transaction("configure", *metadata):
            for run, each in metadata.items():
                repo.configure(run, metadata=each)
        if not self.is_open and repo is not self._given:
            repo.close()

    def noter(self, lane: int = 0) -> Callable[[Mapping[str, Any]], None]:
        """Return the function that adds to the metadata of a lane's run."""
        return partial(self._note_lane, lane)

    def _note_lane(self, lane: int, metadata: Mapping[str, Any]) -> None:
        self.note(self._run_of(lane), metadata)

    def note_torch(self) -> None:
        """Note torch's seed with the runs, if torch was loaded since the session began.

        What was noted before has no state of its generators.
        """
        seed = randomness.torch_seed() if self.is_new and not self._has_torch else None
        if seed is not None:
            self._has_torch = True
            names = self._current()
            runs = [names] if isinstance(names, str) else names
            self.note_all({name: {TORCH: seed} for name in runs})

    def newest(self, lane: int = 0) -> int:
        """Return the step of a lane's newest stored state, -1 without states."""
        step = self._repo.runs[self._run_of(lane)].step
        return -1 if step is None else step

    def flush(self) -> None:
        """Store the buffered states durably.

        Raises:
            Conflict: another writer moved a run; see ``Recorder.flush``.
        """
        settle()
        if self.is_open:
            self.attach_volatile()
            self.recorder.flush()
            self._note_verdicts(self.self_check.verdicts(None))

    def attach_volatile(self, *, full: bool = False) -> None:
        """Attach the volatile entries to the newest states.

        Args:
            full: only where many entries wait.
        """
        if not full or any(each.is_due for each in self.volatile):
            _attach_volatile(self.recorder, self.volatile)

    def check(self) -> None:
        """Store everything, and start the self-check of what is recorded of the runs."""
        self.attach_volatile()
        self.recorder.flush()
        names = self._current()
        runs = [names] if isinstance(names, str) else names
        self._note_verdicts(self.self_check.start(self._repo, runs))

    def _note_verdicts(self, found: Mapping[str, Verdict]) -> None:
        with suppress(StorageError):  # the disk is full: the states matter more
            _note_all(self._repo, found)
        late = [
            f"not checked: run '{run}': {verdict.details.get('reason')}"
            for run, verdict in found.items()
            if verdict.result == NOT_CHECKED
        ]
        if late:
            more = f" (and {len(late) - 1} more)" if late[1:] else ""
            warnings.warn(late[0] + more, Unverified, stacklevel=4)

    def reopen(self) -> None:
        """Reopen the session after its end."""
        self._repo = self._handle()
        again = {"run": self._current(), "config": None}  # which may have been changed since
        self.recorder = self._repo.recorder(**{**self._arguments, **again})
        self.recorder.simplifier = self.simplifier
        self.is_open = True
        self._end_with_process()

    def _current(self) -> str | list[str]:
        """Return the runs being written: after a conflict not the requested ones."""
        found: str | list[str] = getattr(self.recorder, "runs", None) or self.recorder.run
        return found

    def end(self, status: str = "active") -> None:
        """Store everything and release the runs; ending twice is fine.

        Raises:
            Conflict: another writer moved a run; all states are stored, see ``Recorder.flush``.
            StorageError: it could not be stored; the session stays open and keeps all states.
        """
        settle()
        if not self.is_open:
            return
        _note_left_out(self._repo, self.recorder, self._left_out)
        try:
            self.note_torch()
            self.attach_volatile()
            self.recorder.close(status)
        except StorageError:
            raise
        except BaseException:
            self._let_go()
            raise
        try:
            if status == "active":
                until = monotonic() + PATIENCE
                self._note_verdicts(self.self_check.verdicts(PATIENCE))
                names = self._current()
                runs = [names] if isinstance(names, str) else names
                self._note_verdicts(self.self_check.rest(self._repo, runs, until - monotonic()))
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self.self_check.end()
        self.is_open = False
        self._finalizer.detach()
        self._let_go_of_repository()

    def _let_go_of_repository(self) -> None:
        if self._repo is not self._given:
            self._repo.close()

    def fail(self, error: BaseException, run: str, facts: Mapping[str, Any]) -> None:
        """End because of an error, which is noted with the run; never raises another."""
        status = status_after(error)
        try:
            self.end(status)
            if status == "failed":
                kind, message = type(error), str(error)[:1000]
                described = {"type": f"{kind.__module__}.{kind.__qualname__}", "message": message}
                self.note(run, {"error": {**described, **facts}})
        except SimgitError as second:
            error.add_note(f"simgit: {second}")

    def _end_with_process(self) -> None:
        is_own = self._repo is not self._given
        end = partial(
            _finish, self.recorder, self._repo, is_own, self._left_out, self.volatile,
            self.self_check,
        )  # fmt: skip
        self._finalizer = weakref.finalize(self, abandon, os.getpid(), end)


def _leave_out(known: dict[str, str], path: str, why: str) -> None:
    """Note a value that is left out, and warn once for each path."""
    path = re.sub(r"\[\d+\]", "[]", path)[:200]
    if path in known or len(known) > _MOST:
        return
    if len(known) == _MOST:
        path, why = "…", f"more than {_MOST} fields are left out"
    known[path] = why
    warnings.warn(
        f"'{path}' is left out of the recording: {why} (unencodable='raise' stops instead)",
        SimgitWarning,
        stacklevel=2,
    )


def _note_left_out(repo: Repository, recorder: Any, left_out: Mapping[str, str]) -> None:
    """Note with the runs what was left out of them."""
    if not left_out:
        return
    for name in getattr(recorder, "runs", None) or [recorder.run]:
        with suppress(SimgitError):  # the states matter more, and a warning was given
            repo.configure(name, metadata={LEFT_OUT: dict(left_out)})


def _note_all(repo: Repository, found: Mapping[str, Verdict]) -> None:
    """Note verdicts with their runs, in one transaction."""
    if not found:
        return
    with repo.transaction("configure", *found):
        for run, verdict in found.items():
            with suppress(NotFound):  # it was deleted meanwhile
                note(repo, run, verdict)


def _attach_volatile(recorder: Any, volatile: Sequence[Volatile]) -> None:
    """Attach the volatile entries of each lane to its newest state."""
    for lane, each in enumerate(volatile):
        many = hasattr(recorder, "runs")
        each.attach(partial(recorder.attach, lane) if many else recorder.attach)


def _finish(
    recorder: Any,
    repo: Repository,
    is_own: bool,
    left_out: Mapping[str, str],
    volatile: Sequence[Volatile],
    check: SelfCheck,
) -> None:
    """Store the states of a session that nobody ended: it was dropped, or the process ends.

    Raises:
        StorageError: it could not be stored; try again later.
        Conflict: another writer moved a run; the states went to a run of their own.
    """
    _note_left_out(repo, recorder, left_out)
    try:
        _attach_volatile(recorder, volatile)
        recorder.close("crashed" if is_crashing() else "active")
        _note_all(repo, check.verdicts())  # nothing is waited for here
    except StorageError:
        raise  # with the repository open
    except BaseException:
        check.end()
        _close(repo, is_own)
        raise
    check.end()
    _close(repo, is_own)


def _close(repo: Repository, is_own: bool) -> None:
    if is_own:
        repo.close()


def gap_after(error: BaseException) -> str:
    """Return the message of the first state after an error."""
    if _GAP not in getattr(error, "__notes__", ()):
        error.add_note(_GAP)
    return f"what came right before is not recorded, because of {type(error).__name__}"


def open_repository(repo: Repository | str | Path) -> Repository:
    """Return a repository given as such or by its path, where it is created if missing."""
    if isinstance(repo, Repository):
        return repo
    if str(repo) == ":memory:":
        return Repository.init(repo)
    try:
        return Repository.open(repo)
    except NotFound:
        return Repository.init(repo)


def start_of(env: Any, before: Any = None) -> dict[str, Any] | None:
    """Return what the first reset may draw from besides the environment's own generator.

    That is what its spaces and the whole process draw from; None if it cannot be stored. It is
    noted before the reset, and again after it, with ``before``, for spaces that were never seeded.
    """
    stack = layers(env)
    try:
        if before is None:
            return pack(randomness.capture_start(stack))
        return pack(randomness.complete_start(stack, unpack(before)))
    except NotPlain:
        return None


def generators_of(env: Any, packed: Callable[[Any], Any]) -> dict[str, Any] | None:
    """Return the attachment of the state of an unseeded reset, None if nothing can be noted.

    It has the generators of the environment and its wrappers as they are before the reset.
    ``packed`` returns the stored form.
    """
    try:
        found = randomness.capture_layers(layers(env))
    except NotPlain:
        return None
    return {GENERATORS: packed(found)} if found else None


def seed_in_use(env: Any) -> int | None:
    """Return the seed of an environment's generator, without making the generator."""
    seed = getattr(env.unwrapped, "_np_random_seed", None)
    return seed if isinstance(seed, int) and seed >= 0 else None


def check_free(repo: Repository, name: str) -> None:
    """Check that no recorder writes a run.

    Raises:
        Conflict: one does.
    """
    if name not in repo.runs:
        return
    info = repo.runs[name]
    # a dead one's is shown as crashed; of another machine's the recorder knows when it is opened
    if info.status == "active" and info.writer and info.writer["machine"] == machine():
        raise being_recorded(name, info.writer, ANOTHER_RUN)


def check_open(repo: Repository, name: str) -> None:
    """Check that a run can be continued, before any work is done.

    Raises:
        InvalidInput: the run is completed.
        Conflict: another recorder writes it.
    """
    if repo.runs[name].status == "completed":
        raise completed(name)
    check_free(repo, name)


def check_spec(repo: Repository, name: str, spec: Mapping[str, Any]) -> None:
    """Check that a run to be continued is of the same environment.

    Raises:
        InvalidInput: it is of another environment or of no environment, of other spaces, or made
            with other arguments or wrappers.
    """
    if name not in repo.runs:
        return
    recorded = recorded_spec(repo, name)
    if recorded is None:
        if _root(repo, name) is not None:
            raise InvalidInput(
                f"run '{name}' was not recorded from an environment: record to another run (--run)",
                name=name,
            )
        return
    was, now = (title(each["environment"]) for each in (recorded, spec))
    if was != now:
        advice = "record to another run (--run)"
        if "__main__" in (was.partition(":")[0], now.partition(":")[0]):
            advice = "resume in the script of the class, or keep it in a module"
        raise InvalidInput(f"run '{name}' was recorded from '{was}', not from '{now}': {advice}")
    compare_spaces(spec, recorded)
    differs = spec_difference(recorded, spec)
    if differs is not None:
        raise InvalidInput(
            f"run '{name}' is of another environment: {differs.what} was "
            f"{shown(differs.recorded)}, is {shown(differs.found)}; record to another run (--run)",
            name=name,
        )


def recorded_spec(repo: Repository, revision: str) -> Mapping[str, Any] | None:
    """Return the spec of the environment that a history began with, None without one."""
    root = _root(repo, revision)
    found = repo.object(root.origin) if root is not None and root.origin is not None else None
    fields = found.fields if isinstance(found, Spec) else {}
    return fields if "environment" in fields else None


def _root(repo: Repository, revision: str) -> State | None:
    """Return the root state of a history; None if it has none or it is not in this repository."""
    if revision in repo.runs and repo.runs[revision].oid is None:
        return None
    try:
        return repo.state(f"{revision}@0")
    except NotFound:
        return None
