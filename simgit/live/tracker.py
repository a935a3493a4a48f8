"""Simulations from outside: handles of them, and the tracker that starts, watches and ends them.

A tracker may die: its simulations go on, and the next one adopts them. A server has one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from simgit.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    SimgitError,
    StorageError,
    TimedOut,
    Untrusted,
    near_or_known,
    warn,
)
from simgit.live import processes
from simgit.live.channel import call, socket_folder
from simgit.live.inputs import SCRIPT, inputs_of, type_metadata, type_of
from simgit.live.kept_usage import usage_of
from simgit.live.records import Records
from simgit.live.registry import BUILT_IN, SimulationType, check_remote, load, type_name
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid
from simgit.process import is_alive, machine, now, this_writer, writer_of
from simgit.refs.simulations import MOST_PRIORITY, SimulationRecord
from simgit.repository import Repository
from simgit.storage.failpoints import fail_point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOOK_SECONDS: Final = 0.05
"""Seconds between two looks of a tracker at what has changed."""
_GRACE: Final = 0.5
"""Seconds for which the end of a process is left to the tracker that began it."""
_END: Final = 1 << 18
"""Bytes of a log's end that are looked at for its last lines."""
_MOST: Final = 1 << 20
"""The most bytes of a log that are read at once."""
PRESET: Final = "preset/"
"""What the names of presets begin with: runs without states that hold settings."""
EVENTS: Final = (
    "starting", "running", "paused", "asking", "stopping", "ended", "completed", "stopped",
    "failed", "crashed",
)  # fmt: skip
"""What a callback can wait for: a phase, or how a simulation ended."""


class Simulation:
    """A simulation, from any process.

    Attributes:
        run: the name of its run.
    """

    def __init__(self, repo: Repository, run: str) -> None:
        """Take the simulation of a run, which may be forgotten; see ``find``."""
        self._repo = repo
        self._records = Records(repo)
        self.run = run

    def __repr__(self) -> str:
        found = self._records.find(self.run)
        return f"<simulation '{self.run}': {found.phase if found else 'forgotten'}>"

    @property
    def record(self) -> SimulationRecord:
        """Its record; see ``SimulationRecord``."""
        return self._records.get(self.run)

    @property
    def phase(self) -> str:
        """Its phase: queued, starting, running, paused, asking, stopping or ended."""
        found = self.record
        return "ended" if found.is_gone else found.phase

    @property
    def outcome(self) -> str | None:
        """Its end: completed, stopped, failed or crashed; None while it has not."""
        found = self.record
        if found.is_gone:
            found = self.record  # its end may have been noted since, before its process was gone
        return "crashed" if found.is_gone else found.outcome

    @property
    def reason(self) -> str | None:
        """The reason why it failed, crashed or was killed, in a line."""
        return self.record.reason

    @property
    def status(self) -> dict[str, Any]:
        """Its own words on how it stands: progress, questions, usage, seconds since it looked.

        Raises:
            Conflict: it is not running.
        """
        return self.look()

    def look(self, timeout: float = 5.0) -> dict[str, Any]:
        """Return ``status``, waiting ``timeout`` seconds at most.

        Raises:
            Conflict: it is not running.
            TimedOut: its process has not answered.
        """
        found: dict[str, Any] = self._call({"do": "status"}, timeout)
        return found

    @property
    def is_frozen(self) -> bool:
        """True if its processes were stopped where they are; see ``freeze``."""
        process = self.record.process
        return process is not None and processes.is_suspended(process)

    @property
    def progress(self) -> dict[str, Any]:
        """Its progress; see ``status``."""
        found: dict[str, Any] = self.status["progress"]
        return found

    @property
    def usage(self) -> NDArray[np.float64]:
        """The usage of its processes that is kept with the run; see ``usage_of``."""
        return usage_of(self._repo, self.run)

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The questions that wait for an answer; none if it does not run."""
        if self.phase != "asking":
            return []
        found: list[dict[str, Any]] = self.status["questions"]
        return found

    def lines(self, after: int = 0) -> tuple[list[str], int]:
        """Return the lines of its log after a place in the file, and the place after them."""
        path = processes.log_path(self._records.directory, self.record.execution)
        try:
            with path.open("rb") as log:
                log.seek(after)
                data = log.read(_MOST)
        except OSError:
            return [], after
        end = data.rfind(b"\n") + 1 or (len(data) if len(data) == _MOST else 0)  # or a long line
        return data[:end].decode(errors="replace").splitlines(), after + end

    def tail(self, count: int) -> tuple[list[str], int]:
        """Return the last lines of its log, ``count`` at most, and the place after them.

        Of a log with very long lines they are fewer: those of its last 256 KiB.
        """
        path = processes.log_path(self._records.directory, self.record.execution)
        try:
            start = max(0, path.stat().st_size - _END)
        except OSError:
            return [], 0
        found, place = self.lines(start)
        if start:
            found = found[1:]  # of which the beginning is missing
        return found[max(0, len(found) - count) :], place

    # --- what people ask of it ---

    def watch(self, seconds: float = 5.0) -> None:
        """Say that somebody looks: what it records in the next seconds can be seen at once.

        Raises:
            Conflict: it does not run.
        """
        self._call({"do": "watching", "seconds": seconds})

    def stop(self, timeout: float = 10.0, *, by: str | None = None) -> str:
        """Ask it to stop; end its processes if it does not look within ``timeout`` seconds.

        Then it gets SIGTERM, and a second later SIGKILL, with all its children. One that has looked
        has as long again to store what it has. One that is queued leaves the queue.

        Returns:
            How it ended.

        Raises:
            Conflict: it has ended already.
            TimedOut: it could not be ended.
        """
        who = by or f"process {os.getpid()}"
        if self._has_not_begun(who):
            return "stopped"
        deadline = time.monotonic() + timeout
        if self._ask_to_stop(who, deadline):
            deadline = time.monotonic() + timeout
        if self._wait_until(deadline) is None:
            self._end(f"stopped by {who}, and did not end in {timeout:g} s", politely=True)
        return str(self.outcome)

    def _ask_to_stop(self, who: str, deadline: float) -> bool:
        """Ask until it has looked, or the time is over; return True if it has."""
        while time.monotonic() < deadline:
            with contextlib.suppress(TimedOut, StorageError):  # a full disk does not keep it alive
                try:
                    left = max(0.01, deadline - time.monotonic())
                    call(self._socket(), {"do": "stop", "by": who}, left)
                    return True
                except Conflict:
                    if self.record.is_over:
                        return True
                    time.sleep(0.02)  # it is starting, or ending
        return False

    def kill(self, *, by: str | None = None) -> str:
        """End its processes at once (SIGKILL), with all children; return how it ended.

        Raises:
            Conflict: it has ended already.
            TimedOut: it could not be ended.
        """
        who = by or f"process {os.getpid()}"
        if self._has_not_begun(who):
            return "stopped"
        self._end(f"SIGKILL by {who}", politely=False)
        return str(self.outcome)

    def _has_not_begun(self, who: str) -> bool:
        """End one whose process has not begun, and return True.

        Raises:
            Conflict: it has ended already.
        """
        while True:
            found = self.record
            if found.is_over:
                raise Conflict(f"the simulation of run '{self.run}' has ended already")
            if found.process is not None:
                return False
            reason = f"stopped by {who} before it began"
            with contextlib.suppress(Conflict):  # it begins at this moment: look again
                self._records.change(
                    self.run, found, "ended", {"outcome": "stopped", "reason": reason},
                    phase="ended", ended=now(), outcome="stopped", reason=reason,
                )  # fmt: skip
                return True

    def _end(self, reason: str, *, politely: bool) -> None:
        found = self.record
        if found.process is not None and not found.is_over:
            processes.suspend(found.process, False)  # it may hold what the next line waits for
            # for whoever sees its end first; it is ended where nothing can be stored too
            with contextlib.suppress(Conflict, StorageError):
                self._records.change(self.run, found, reason=reason)
            if not processes.end(found.process, politely=politely):
                raise TimedOut(f"the processes of run '{self.run}' could not be ended")
        settle(self._repo, self.run, self.record, reason)

    def pause(self, timeout: float = 10.0, *, by: str | None = None) -> int:
        """Let it wait at its next look; return the step of the state at which it does.

        Raises:
            TimedOut: it has not looked in time.
            Conflict: it does not run, or is paused already.
        """
        return int(self._call({"do": "pause", "by": by}, timeout)["step"])

    def resume(self, timeout: float = 10.0) -> None:
        """Let it go on after a pause, or after ``freeze``.

        Raises:
            Conflict: it is not paused.
        """
        process = self.record.process
        if process is not None and processes.is_suspended(process):
            processes.suspend(process, False)
            return
        self._call({"do": "resume"}, timeout)

    def freeze(self) -> None:
        """Stop its processes where they are (SIGSTOP), for one that does not look.

        It is never amid a transaction, for which all others that write would have to wait.

        Raises:
            Conflict: it does not run, or not on this machine, or is the process that calls.
        """
        # what has noted its end would stay where it is for ever: nothing resumes it
        with self._records.held(self.run) as found:
            if found.process is None or found.is_over or found.process["machine"] != machine():
                raise Conflict(f"the simulation of run '{self.run}' does not run here")
            if processes.includes(found.process, os.getpid()):
                raise Conflict(f"the simulation of run '{self.run}' cannot freeze itself")
            processes.suspend(found.process, True)

    def configure(
        self, overrides: Mapping[str, Any], timeout: float = 10.0, *, by: str | None = None
    ) -> int:
        """Change settings while it runs; return the number of states before the first affected.

        Raises:
            TimedOut: it has not looked in time.
            Conflict: it does not run.
        """
        request = {"do": "set", "overrides": dict(overrides), "by": by}
        return int(self._call(request, timeout)["from"])

    def query(self, name: str, argument: Any = None, timeout: float = 10.0) -> Any:
        """Ask a query of its type; return the answer.

        Raises:
            NotFound: the type has no such query.
            TimedOut: it has not looked in time.
            Conflict: it does not run.
        """
        return self.query_at(name, argument, timeout)["value"]

    def query_at(self, name: str, argument: Any = None, timeout: float = 10.0) -> dict[str, Any]:
        """Return the ``value`` of ``query``, and the ``step`` of the newest state then."""
        found = self._call({"do": "query", "name": name, "argument": argument}, timeout)
        return {"value": found["value"], "step": found["step"]}

    def answer(
        self,
        value: Mapping[str, Any],
        *,
        question: int | None = None,
        by: str | None = None,
        timeout: float = 10.0,
    ) -> dict[str, Any]:
        """Answer its question; return the answer with what it left out.

        Args:
            value: the fields of the answer.
            question: the number of the question; the newest if None.
            by: who answers.
            timeout: in seconds.

        Raises:
            Conflict: it asks nothing, or has an answer already.
            InvalidInput: the answer does not fit the question's form.
        """
        if self.phase != "asking":
            raise Conflict(f"the simulation of run '{self.run}' asks nothing")
        request = {"do": "answer", "value": dict(value), "question": question, "by": by}
        found: dict[str, Any] = self._call(request, timeout)["value"]
        return found

    def wait(self, timeout: float | None = None) -> str:
        """Wait until it has ended; return how.

        Raises:
            TimedOut: it has not ended in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        found = self._wait_until(deadline)
        if found is None:
            raise TimedOut(f"the simulation of run '{self.run}' has not ended in {timeout:g} s")
        return found

    def _wait_until(self, deadline: float | None) -> str | None:
        gone: float | None = None
        while True:
            found = self.record
            if found.phase == "ended":
                return str(found.outcome)
            if found.is_gone:
                gone = gone or time.monotonic()
                if _may_settle(found, gone):
                    settle(self._repo, self.run, found, None)
                    continue
            if deadline is not None and time.monotonic() >= deadline:
                return None
            time.sleep(0.02)

    def _socket(self) -> str:
        found = self.record
        if found.socket is None or found.is_over:
            raise Conflict(f"the simulation of run '{self.run}' does not run: it is {self.phase}")
        return found.socket

    def _call(self, request: Mapping[str, Any], timeout: float = 5.0) -> Any:
        return call(self._socket(), request, timeout)


def find(repo: Repository, run: str) -> Simulation:
    """Return the simulation of a run, whoever started it.

    Raises:
        NotFound: none was started.
    """
    found = Simulation(repo, run)
    _ = found.record
    return found


def _may_settle(record: SimulationRecord, since: float) -> bool:
    """Return whether anybody may note an end that was seen at a time.

    The tracker whose child the process was comes first: it knows the signal that ended it.
    """
    tracker = record.tracker
    is_child = tracker is not None and tracker != record.process and is_alive(tracker)
    return not is_child or time.monotonic() > since + _GRACE


def settle(
    repo: Repository,
    run: str,
    record: SimulationRecord,
    reason: str | None,
    code: int | None = None,
) -> None:
    """Note the end of a simulation whose processes ended without doing so.

    Args:
        repo: the repository.
        run: the run.
        record: what is known of it.
        reason: why, if that is known.
        code: the exit code of its process, if it is known to have ended.
    """
    is_unclaimed = record.process is None and code is not None
    if record.phase == "ended" or not (record.is_gone or is_unclaimed):
        return
    from simgit.live.child import attach_log

    records = Records(repo)
    reason = reason or record.reason
    why = reason or "its process ended without a word"
    if reason is None and code is not None:
        why = processes.signal_name(code) if code < 0 else f"its process left with code {code}"
    outcome = "crashed"
    # in one transaction: should somebody else note the end, the run may be continued at once
    with contextlib.suppress(SimgitError), repo.transaction("set-status", run, outcome):
        if records.find(run) != record:
            return  # somebody else has
        info = repo.runs[run]  # NotFound if it was deleted
        if info.status != "active" or info.writer is None:  # else another process records it
            attach_log(repo, run, processes.log_path(records.directory, record.execution))
            repo.set_status(run, outcome)
    with contextlib.suppress(Conflict):
        records.change(
            run, record, "ended", {"outcome": outcome, "reason": why}, phase="ended",
            ended=now(), outcome=outcome, reason=why, socket=None,
        )  # fmt: skip
    if record.socket is not None:
        with contextlib.suppress(OSError):  # not what the record says, which may be anything
            (socket_folder(records.directory) / f"{record.execution}.sock").unlink()


@dataclass
class Callback:
    """A function that is called when simulations reach an event; see ``Tracker.when``."""

    how: str
    runs: list[str]
    event: str
    function: Callable[..., Any]
    once: bool
    done: set[str] = field(default_factory=set)
    is_over: bool = False

    def cancel(self) -> None:
        """Call it no more."""
        self.is_over = True


class Tracker:
    """Starts simulations as processes, keeps a queue of them, and notes how they end.

    Use it as a context manager. Closing it leaves the simulations running.
    """

    def __init__(self, repo: Repository | str | Path, *, workers: int = 1) -> None:
        """Begin to watch the simulations of a repository.

        Args:
            repo: the repository, or its path.
            workers: how many simulations of the queue this tracker lets run at once, those that it
                adopts included; 0 for none.

        Raises:
            InvalidInput: the repository is in memory, or the number of workers is negative.
            Untrusted: the repository is not trusted to start code.
        """
        if workers < 0:
            raise InvalidInput(f"workers must be at least 0, got {workers}")
        self._own = not isinstance(repo, Repository)
        self.repo = repo if isinstance(repo, Repository) else Repository.open(repo)
        self.workers = workers
        self._records = Records(self.repo)
        if not self.repo.is_trusted():
            raise Untrusted("the repository is not trusted to start code; see 'simgit trust'")
        processes.sweep(self._records.directory, lambda: self._records.all().values())
        self._owner = os.getpid()
        self._gone: dict[str, float] = {}
        self._children: dict[str, tuple[str, processes.Child]] = {}
        self._unnoted: dict[str, tuple[str, SimulationRecord, str]] = {}
        """Those that could not be begun, which could not be noted yet."""
        self._claimed: set[str] = set()
        self._adopted: set[str] = set()
        self._callbacks: list[Callback] = []
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._seen = -1
        self._known: dict[str, SimulationRecord] = {}
        self._alive: dict[str, SimulationRecord] = {}
        self._thread = threading.Thread(target=self._watch, name="simgit-tracker", daemon=True)
        self._thread.start()
        _trackers.add(self)

    # --- starting ---

    def start(
        self,
        type: str | Callable[..., Any] | None = None,
        run: str | None = None,
        *,
        at: str | Oid | None = None,
        preset: str | None = None,
        config: Mapping[str, Any] | None = None,
        seed: Any = None,
        folder: str | Path | None = None,
        is_remote: bool = False,
    ) -> Simulation:
        """Start a simulation now, whatever is queued.

        Args:
            type: its type: a registered name, an import path ``module:function``, or a function
                that can be imported; None for that of the preset or of the run that ``at`` is of.
            run: the name of the new run, which may have a counter, ``{auto}``; named after the
                type if None.
            at: the state to begin at, a revision; the run is branched off it.
            preset: the name of a preset, whose type and settings it inherits.
            config: settings; keys may be dotted.
            seed: the seed of the run.
            folder: the directory to execute it in; this one if None.
            is_remote: somebody asks for it over HTTP: it may not name code.

        Raises:
            NotFound: there is no such type, state or preset.
            AlreadyExists: there is a run of this name; ``restart`` continues it.
            InvalidInput: a setting is malformed.
            Untrusted: it names code and may not; or a run whose settings it inherits came from
                elsewhere.
        """
        return self._begin(type, run, at, preset, config, seed, folder, "starting", 0, is_remote)

    def queue(
        self,
        type: str | Callable[..., Any] | None = None,
        run: str | None = None,
        *,
        at: str | Oid | None = None,
        preset: str | None = None,
        config: Mapping[str, Any] | None = None,
        seed: Any = None,
        folder: str | Path | None = None,
        priority: int = 0,
        is_remote: bool = False,
    ) -> Simulation:
        """Queue a simulation; it is started by any tracker that has a worker free.

        Args:
            priority: those of a greater one come first, then those that were queued first.

        The other arguments and the errors are those of ``start``.
        """
        check_number(priority, "priority", most=MOST_PRIORITY, whole=True)
        return self._begin(
            type, run, at, preset, config, seed, folder, "queued", priority, is_remote
        )

    def fork(
        self,
        run: str,
        at: int | str | Oid,
        new: str | None = None,
        *,
        queue: bool = False,
        **options: Any,
    ) -> Simulation:
        """Start or queue a simulation of a run's type at one of its states; see ``start``."""
        start = f"{run}@{at}" if isinstance(at, int) else at
        name = f"{run}-{{auto}}" if new is None else new
        begin = self.queue if queue else self.start
        return begin(self.type_of(run), name, at=start, **options)

    def restart(
        self, run: str, *, queue: bool = False, priority: int = 0, is_remote: bool = False
    ) -> Simulation:
        """Continue a run whose simulation has ended, exactly, from where it can.

        Raises:
            Conflict: it has not ended.
            InvalidInput: the run is completed; or a setting does not fit its type any more.
            NotFound: no simulation was started for it.
            Untrusted: the run came from elsewhere; or it names code, and may not (``is_remote``).
        """
        check_number(priority, "priority", most=MOST_PRIORITY, whole=True)
        with self._lock:  # the thread of the tracker may note its end at this moment
            return self._restart(run, queue, priority, is_remote)

    def _restart(self, run: str, queue: bool, priority: int, is_remote: bool) -> Simulation:
        before = self._records.find(run)
        if type_of(self.repo.runs[run]) is not None:
            self.type_of(run)  # Untrusted comes first
        self._check_not_by_hand(run, before)
        kind = self.type_of(run)
        if is_remote:
            check_remote(self.repo, kind, self.repo.config(run))
        if before is not None and before.is_over:
            settle(self.repo, run, before, None)
            before = self._records.find(run)
        info = self.repo.runs[run]
        if info.status == "completed":
            raise InvalidInput(
                f"run '{run}' is completed; reopen it with 'simgit run reopen {run}', or fork it",
                name=run,
            )
        if before is not None and not before.is_over:
            raise Conflict(f"the simulation of run '{run}' is {before.phase}", name=run)
        folder = before.folder if before is not None else str(Path.cwd())
        self._check_fit(load(self.repo, kind, folder), run)
        if info.status != "active":
            self.repo.set_status(run, "active")
        phase = "queued" if queue else "starting"
        return self._put(run, kind, folder, phase, priority, before, is_remote)

    def _check_not_by_hand(self, run: str, record: SimulationRecord | None) -> None:
        """Refuse to restart what no type executes, and say how that is done.

        Raises:
            InvalidInput: the run was recorded by a program that somebody started by hand.
        """
        kind = type_of(self.repo.runs[run])
        if kind is not None and kind != SCRIPT:
            return
        begun = [each.data for each in self._records.events() if each.run == run]
        begun = [data for data in begun if "script" in data]
        if record is None:
            if kind is None:
                return
            how = "start it again; what it attaches to continues where the run ends"
        elif begun and "again" in begun[-1]:
            how = str(begun[-1]["again"])
        elif record.type in BUILT_IN and kind is None:
            how = f"resume it with: simgit train --resume --run {run}"
        else:
            script = begun[-1]["script"] if begun else "it"
            how = f"start {script} again in '{record.folder}'; it continues where the run ends"
        raise InvalidInput(
            f"run '{run}' was recorded by a program started by hand: {how}", name=run
        )

    def type_of(self, run: str) -> str:
        """Return the type that a run's simulation has.

        Raises:
            NotFound: no simulation was started for it.
            Untrusted: the run came from elsewhere.
        """
        info = self.repo.runs[run]
        kind = type_of(info)
        if kind is None:
            raise NotFound(f"run '{run}' was not recorded by a simulation", name=run)
        if not self._is_trusted(run):
            raise Untrusted(
                f"run '{run}' came from elsewhere, with the name of the code that it executes; "
                "see 'simgit trust'"
            )
        return kind

    def _begin(
        self,
        kind: str | Callable[..., Any] | None,
        run: str | None,
        at: str | Oid | None,
        preset: str | None,
        config: Mapping[str, Any] | None,
        seed: Any,
        folder: str | Path | None,
        phase: str,
        priority: int,
        is_remote: bool,
    ) -> Simulation:
        name, above = self._named(kind, at, preset)
        place = str(Path(folder or ".").resolve())
        if is_remote:
            check_remote(self.repo, name, {})
        loaded = load(self.repo, name, place)  # what cannot be is refused here, not in the queue
        loaded.check(config or {})
        wanted = run or f"{name.rpartition(':')[2]}-{{auto}}"
        made = self.repo.create_run(
            wanted, at if above is None else above, config=config, seed=seed,
            metadata=type_metadata(name),
        )  # fmt: skip
        try:
            self._check_settings(made, name, is_remote)
            self._check_fit(loaded, made)  # and what it inherits
        except (Untrusted, InvalidInput):
            self.repo.delete_run(made, force=True)
            raise
        before = self._records.find(made)  # of a run of this name that was undone
        return self._put(made, name, place, phase, priority, before, is_remote)

    def _check_fit(self, kind: SimulationType, run: str) -> None:
        """Refuse settings that a type does not take, also those that were changed while it ran.

        Raises:
            InvalidInput: one is of another kind than its default.
        """
        kind.check(inputs_of(self.repo, run)[1])

    def _check_settings(self, run: str, kind: str, is_remote: bool) -> None:
        """Refuse settings of a stranger's, and over HTTP those that name code.

        Raises:
            Untrusted: see above.
        """
        for each in self.repo.lineage(run)[1:]:
            if each.overrides and not self._is_trusted(each.name):
                raise Untrusted(
                    f"settings of run '{each.name}' came from elsewhere; see 'simgit trust'"
                )
        if is_remote:
            check_remote(self.repo, kind, self.repo.config(run))

    def _is_trusted(self, run: str) -> bool:
        with self.repo.odb.read() as txn:
            record = self.repo.refs.run(txn, run).record
        return self.repo.is_trusted(record)

    def _named(
        self, kind: str | Callable[..., Any] | None, at: str | Oid | None, preset: str | None
    ) -> tuple[str, str | None]:
        """Return the type of what is to be started, and the run whose settings it inherits."""
        if preset is not None and at is not None:
            raise InvalidInput("a simulation begins at a state or from a preset, not both")
        above = None
        if preset is not None:
            above = preset if preset in self.repo.runs else PRESET + preset
            if above not in self.repo.runs:
                known = [name for name in self.repo.runs if name.startswith(PRESET)]
                raise NotFound(f"preset '{preset}' not found{near_or_known(preset, known)}")
        if kind is None:
            if above is None and not isinstance(at, str):
                raise InvalidInput("a simulation needs a type, a preset or a state of a run")
            kind = self.type_of(above or str(at).partition("@")[0])
        return type_name(kind), above

    def _put(
        self,
        run: str,
        kind: str,
        folder: str,
        phase: str,
        priority: int,
        before: SimulationRecord | None,
        is_remote: bool,
    ) -> Simulation:
        tracker = None if phase == "queued" else this_writer()
        record = SimulationRecord(
            kind, phase, "", "", priority=priority, folder=folder, tracker=tracker,
            is_remote=is_remote,
        )  # fmt: skip
        record = self._records.put(run, record, before, type=kind)
        if before is not None:
            processes.log_path(self._records.directory, before.execution).unlink(missing_ok=True)
        if phase != "queued":
            self._spawn(run, record)
        return Simulation(self.repo, run)

    def _spawn(self, run: str, record: SimulationRecord) -> None:
        fail_point("live.spawn")
        try:
            child = processes.spawn(self._records.directory, run, record.execution, record.folder)
        except SimgitError as error:
            try:
                self._note_failure(run, record, str(error))
            except StorageError:  # such as a full disk: at another look
                self._unnoted[record.execution] = (run, record, str(error))
            raise
        with self._lock:
            self._children[record.execution] = (run, child)
        fail_point("live.spawned")
        # should this tracker end before the process has claimed it: it was started all the same
        with contextlib.suppress(Conflict, NotFound, StorageError):  # it has, or cannot either
            self._records.change(run, record, process=writer_of(child.pid))

    def _note_failure(self, run: str, record: SimulationRecord, why: str) -> None:
        """Note that a process could not be begun."""
        with (
            contextlib.suppress(NotFound),  # it was deleted
            self.repo.transaction("set-status", run, "failed"),
        ):
            if self._records.find(run) != record:
                return  # it was started again, or is another run
            self.repo.set_status(run, "failed")
        self._records.change(
            run, record, "ended", {"outcome": "failed", "reason": why}, phase="ended",
            ended=now(), outcome="failed", reason=why,
        )  # fmt: skip

    # --- looking ---

    @property
    def simulations(self) -> list[Simulation]:
        """All simulations of the repository, in the order of their runs' names."""
        return [Simulation(self.repo, run) for run in self._records.all()]

    def wait(
        self, simulations: Sequence[Simulation | str] | None = None, timeout: float | None = None
    ) -> list[str]:
        """Wait until simulations have ended, all if none are named; return how each did.

        Raises:
            TimedOut: one has not ended in time.
        """
        chosen = self.simulations if simulations is None else simulations
        found = [each if isinstance(each, Simulation) else self[each] for each in chosen]
        deadline = None if timeout is None else time.monotonic() + timeout
        ends = []
        for each in found:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ends.append(each.wait(left))
        return ends

    def __getitem__(self, run: str) -> Simulation:
        """Return the simulation of a run.

        Raises:
            NotFound: none was started.
        """
        return find(self.repo, run)

    def __iter__(self) -> Iterator[Simulation]:
        return iter(self.simulations)

    def pid(self, run: str) -> int | None:
        """Return the number of the process that this tracker started for a run, None without."""
        return next((child.pid for name, child in self._children.values() if name == run), None)

    def when(
        self,
        how: str,
        simulations: Sequence[Simulation | str] | str,
        event: str,
        function: Callable[..., Any],
        *,
        once: bool = False,
    ) -> Callback:
        """Call a function when simulations reach an event, in the tracker's thread.

        What is so already counts: nothing is too late.

        Args:
            how: "each": for each one, with its ``Simulation``; "any": for the first, with it;
                "all": when all have, with the list of them.
            simulations: the simulations, or what the names of their runs begin with, for those
                that come later too.
            event: a phase, ``ended``, or how one ended: completed, stopped, failed, crashed.
            function: what to call; an exception in it is shown as a warning.
            once: only once for each simulation with "each", also if it reaches it again.

        Returns:
            A handle whose ``cancel`` ends it.

        Raises:
            InvalidInput: ``how`` or ``event`` is unknown, or there are no simulations for "all".
        """
        if how not in ("each", "any", "all"):
            raise InvalidInput(f"how must be 'each', 'any' or 'all', got '{how}'")
        if event not in EVENTS:
            raise InvalidInput(f"unknown event '{event}'{near_or_known(event, EVENTS)}")
        if isinstance(simulations, str):
            runs = [simulations + "*"]
        else:
            runs = [each if isinstance(each, str) else each.run for each in simulations]
        if not runs and how == "all":
            raise InvalidInput("'all' needs simulations")
        made = Callback(how, runs, event, function, once)
        with self._lock:
            self._callbacks.append(made)
            self._seen = -1
        return made

    def clear(self, runs: Sequence[str] | None = None) -> int:
        """Forget simulations that have ended, all if none are named; their runs stay.

        Their logs are removed. Return how many.
        """
        count = 0
        for run, record in self._records.all().items():
            if record.is_over and (runs is None or run in runs):
                settle(self.repo, run, record, None)
                found = self._records.find(run)
                if found is not None and found.phase == "ended":
                    with contextlib.suppress(Conflict):  # it was restarted at this moment
                        self._records.remove(run, found)
                        count += 1
        processes.sweep(self._records.directory, lambda: self._records.all().values())
        return count

    # --- ending ---

    def close(self, *, stop: bool = False, timeout: float = 10.0) -> None:
        """End the tracker; its simulations go on, or with ``stop`` are stopped.

        Closing twice is fine.
        """
        if self._stopped.is_set() or os.getpid() != self._owner:
            return  # in a forked process it is the parent's
        self.workers = 0
        if stop:
            threads = [
                threading.Thread(target=self._stop_quietly, args=(each, timeout))
                for each in self.simulations
                if each.record.tracker == this_writer() and not each.record.is_over
            ]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        self._stopped.set()
        _trackers.discard(self)  # another one of this process may adopt what runs
        if threading.current_thread() is not self._thread:
            self._thread.join()
        try:
            self._look()
        finally:
            self._children.clear()
            if self._own:
                self.repo.close()

    @staticmethod
    def _stop_quietly(simulation: Simulation, timeout: float) -> None:
        with contextlib.suppress(SimgitError):
            simulation.stop(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the thread ---

    def _watch(self) -> None:
        said = ""
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                self._look()
                said = ""
            except Exception as error:  # the tracker must not end of it
                before, said = said, f"{type(error).__name__}: {error}"
                if not self._stopped.is_set() and said != before:
                    warn(f"the tracker could not look: {said}")

    def _look(self) -> None:
        with self._lock:
            for execution, (run, child) in list(self._children.items()):
                code = child.poll()
                if code is not None:
                    found = self._records.find(run)
                    if found is not None and found.execution == execution:
                        settle(self.repo, run, found, None, code)  # or at another look
                    del self._children[execution]
            for execution, (run, failed, why) in list(self._unnoted.items()):
                with contextlib.suppress(Conflict, NotFound):  # it was deleted
                    self._note_failure(run, failed, why)
                del self._unnoted[execution]
            number, records = self._records.look()
            if records is not self._known:
                self._known = records
                self._alive = {r: each for r, each in records.items() if each.phase != "ended"}
                for run in self._gone.keys() - self._alive.keys():
                    del self._gone[run]
            for run, record in self._alive.items():  # whether their processes live is in no store
                if record.is_orphan:
                    self._requeue(run, record)
                elif record.is_gone and record.execution not in self._children:
                    since = self._gone.setdefault(run, time.monotonic())
                    if record.execution in self._adopted or _may_settle(record, since):
                        settle(self.repo, run, record, None)
                else:
                    self._gone.pop(run, None)
            if self.workers and not self._stopped.is_set():
                self._adopt()
                self._claim()
            calls: list[tuple[Callback, Any]] = []
            if number != self._seen:
                self._seen = number
                calls = self._reached(records)
        for callback, what in calls:  # without the lock: they may wait for other threads
            self._tell(callback, what)

    def _requeue(self, run: str, record: SimulationRecord) -> None:
        """Put back what a tracker that has died had claimed and not started."""
        with contextlib.suppress(Conflict):
            self._records.put(
                run, record._replace(phase="queued", tracker=None), record, again=True
            )

    def _adopt(self) -> None:
        """Take over what a tracker that has died took from the queue: it is a worker of this one.

        One of several trackers gets it. What was started at once, or by hand, is nobody's worker.
        """
        running = {
            each.execution: (run, each)
            for run, each in self._alive.items()
            if each.number and each.phase != "queued" and each.process is not None
        }
        self._adopted &= running.keys()
        for execution, (run, record) in running.items():
            if not self._is_lost(record) or record.is_gone:
                continue
            with contextlib.suppress(Conflict):  # it has changed, or another tracker has it
                self._records.change(run, record, tracker=this_writer())
                self._adopted.add(execution)

    @staticmethod
    def _is_lost(record: SimulationRecord) -> bool:
        """Return whether the tracker of a simulation has ended."""
        if record.tracker == this_writer():  # a process may have had several
            return not any(each._holds(record.execution) for each in list(_trackers))
        return record.tracker is None or not is_alive(record.tracker)

    def _holds(self, execution: str) -> bool:
        return execution in self._children or execution in self._adopted

    def _claim(self) -> None:
        queued = sorted(
            (-each.priority, each.number, run, each)
            for run, each in self._alive.items()
            if each.phase == "queued"
        )
        for _, _, run, record in queued:
            if self._busy() >= self.workers:
                return
            try:
                made = self._records.change(
                    run, record, "starting", phase="starting", tracker=this_writer()
                )
            except Conflict:
                continue  # another tracker has it
            self._claimed.add(made.execution)
            with contextlib.suppress(SimgitError):
                self._spawn(run, made)

    def _busy(self) -> int:
        """Return how many run of the simulations that this tracker took from the queue, or adopted.

        What its records say is as old as its last look; of its own it knows.
        """
        return len(self._adopted) + sum(
            execution in self._claimed and child.poll() is None
            for execution, (_, child) in self._children.items()
        )

    def _reached(self, records: Mapping[str, SimulationRecord]) -> list[tuple[Callback, Any]]:
        found: list[tuple[Callback, Any]] = []
        for each in list(self._callbacks):
            if each.is_over:
                self._callbacks.remove(each)
                continue
            runs = _chosen(each.runs, records)
            reached = [run for run in runs if _has_reached(records.get(run), each.event)]
            if each.how == "each":
                if not each.once:  # those that have left it can reach it again
                    each.done -= {
                        f"{run} {records[run].execution}"
                        for run in runs
                        if run in records and run not in reached
                    }
                for run in reached:
                    record = records.get(run)
                    mark = run if each.once or not record else f"{run} {record.execution}"
                    if mark not in each.done:
                        each.done |= {run, mark}
                        found.append((each, Simulation(self.repo, run)))
            elif each.how == "any" and reached:
                each.is_over = True
                found.append((each, Simulation(self.repo, reached[0])))
            elif each.how == "all" and runs and len(reached) == len(runs):
                each.is_over = True
                found.append((each, [Simulation(self.repo, run) for run in runs]))
        return found

    @staticmethod
    def _tell(callback: Callback, what: Any) -> None:
        try:
            callback.function(what)
        except Exception as error:
            name = getattr(callback.function, "__name__", "a callback")
            warn(f"callback '{name}' failed: {type(error).__name__}: {error}")


_trackers: weakref.WeakSet[Tracker] = weakref.WeakSet()
"""Those of this process that are not closed."""


def _chosen(runs: Sequence[str], records: Mapping[str, SimulationRecord]) -> list[str]:
    if len(runs) == 1 and runs[0].endswith("*"):
        return [run for run in records if run.startswith(runs[0][:-1])]
    return list(runs)


def _has_reached(record: SimulationRecord | None, event: str) -> bool:
    if record is None:
        return event == "ended"  # it was forgotten
    if event in ("ended", "completed", "stopped", "failed", "crashed"):
        return record.phase == "ended" and event in ("ended", record.outcome)
    return record.phase == event
