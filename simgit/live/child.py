"""The process of a simulation: ``python -m simgit.live.child DIRECTORY RUN EXECUTION``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from simgit.errors import (
    Conflict,
    SimgitError,
    Stopped,
    StorageFullError,
    Untrusted,
    without_folders,
)
from simgit.live.channel import Listener, socket_path
from simgit.live.control import Control, enter, leave, write_line
from simgit.live.inputs import begin_of
from simgit.live.kept_usage import keep_usage
from simgit.live.processes import log_path
from simgit.live.records import Records
from simgit.live.registry import SimulationType, check_remote, load
from simgit.live.usage import Sampler
from simgit.process import now, this_writer
from simgit.refs.simulations import SimulationRecord
from simgit.repository import Repository
from simgit.storage.failpoints import fail_point

LOG: Final = "log"
"""The attachment of a run's newest state with the end of the log."""
MOST_LOG: Final = 64 << 10
FAILED, LOST = 1, 3
"""Exit codes: the simulation failed; another process executes it."""
STATUSES: Final = {"completed": "completed", "stopped": "paused", "failed": "failed"}
"""The status of the run by how its simulation ended."""


class Execution:
    """An execution of a run's simulation in this process, from its claim to its end."""

    def __init__(
        self,
        repo: Repository,
        run: str,
        execution: str,
        *,
        is_own: bool = True,
        logs: bool = True,
    ) -> None:
        """Claim it, and listen.

        Args:
            repo: the repository.
            run: the run.
            execution: which execution this process was started for.
            is_own: the run's status is set at the end.
            logs: the process is for nothing else: its output is the simulation's log.

        Raises:
            Conflict: it is another process's.
        """
        self._is_own, self._logs, self._has_spent = is_own, logs, False
        self.repo = repo
        self.run = run
        self.records = Records(repo)
        self.process = os.getpid()
        path = socket_path(self.records.directory, execution)
        self.record = self._claimed(execution, path)
        fail_point("live.claimed")
        self.control: Control | None = None
        self.usage = Sampler(partial(keep_usage, repo, run))
        self.listener = Listener(path, self._at_once)

    def _claimed(self, execution: str, path: Path) -> SimulationRecord:
        while True:
            found = self.records.get(self.run)
            is_free = found.phase == "starting" and found.process in (None, this_writer())
            if found.execution != execution or not is_free:
                raise Conflict(f"the simulation of run '{self.run}' is executed by another process")
            with suppress(Conflict):  # somebody has changed it meanwhile: look again
                return self.records.change(self.run, found, process=this_writer(), socket=str(path))

    def begin(self, kind: SimulationType) -> Control:
        """Find where it begins, and return its control."""
        begin = begin_of(self.repo, self.run, kind.name)
        self.control = Control(self.repo, self.run, kind, begin, self.listener, self.note)
        enter(self.control)
        self.usage.start(self.control.note_look)
        self._change(
            "running", {"begin": begin.position},
            phase="running", began=now(), begin=begin.position,
        )  # fmt: skip
        if self._logs and begin.position < begin.branched:
            self.control.log(
                f"begins after step {begin.position - 1} with its parent's settings; its own apply "
                f"from step {begin.branched} on"
            )
        fail_point("live.running")
        return self.control

    def note(self, what: str, **data: Any) -> None:
        """Note a phase, or an input.

        Raises:
            Stopped: the simulation was taken from this process: its run was deleted.
        """
        data = {key: value for key, value in data.items() if value is not None}
        if what == "input":
            self.records.note(self.run, data.pop("kind"), data)
            return
        try:
            self._change(what, data, phase=what)
        except Conflict as error:
            raise Stopped(str(error)) from None

    def _change(self, event: str, data: Mapping[str, Any], **changes: Any) -> None:
        while True:
            try:
                self.record = self.records.change(self.run, self.record, event, data, **changes)
                return
            except Conflict:
                found = self.records.find(self.run)
                if found is None or found.execution != self.record.execution or found.is_over:
                    raise
                self.record = found  # somebody has noted why it is to be ended

    def end(self, outcome: str, reason: str | None) -> None:
        """Store everything, and note how it ended."""
        if os.getpid() != self.process:
            os._exit(FAILED)  # a fork of the simulation's that came out of its function
        fail_point("live.ending")
        if self.control is not None:
            leave(self.control)
            try:
                self.control.close(soon=outcome == "stopped")
            except Exception as error:
                if outcome != "failed":
                    outcome, reason = "failed", _line(error)
                if self._logs:
                    write_line(traceback.format_exc(), "error", self.control.position - 1)
            if not self._is_own and outcome in ("completed", "stopped"):
                with suppress(Exception):  # its own error, which whoever closes it is told
                    self.control.flush()  # the usage belongs to a state that is stored
        is_ours = False
        with suppress(SimgitError):  # the run was deleted
            is_ours = not is_recorded_elsewhere(self.repo, self.run)
        self.usage.stop(keeps=is_ours)
        if self._is_own:
            with suppress(SimgitError):
                if is_ours:
                    self._attach_log()
            with suppress(SimgitError):
                if is_ours:
                    self._with_reserve(partial(self.repo.set_status, self.run, STATUSES[outcome]))
        fail_point("live.ended")
        try:
            self._with_reserve(partial(
                self._change, "ended", {"outcome": outcome, "reason": reason or ""},
                phase="ended", ended=now(), outcome=outcome, reason=reason, socket=None,
            ))  # fmt: skip
        except Conflict:  # the run was deleted, with what is known of its simulation
            write_line("the run was deleted while it was recorded", "error", -1)
        finally:
            self.listener.close()

    def _with_reserve(self, write: Callable[[], None]) -> None:
        """Write how it ended; on a full disk with the first part of the space that is gc's."""
        try:
            write()
        except StorageFullError:
            if not self._has_spent:
                self._has_spent = self.repo.odb.storage.give_up_reserve()
            write()

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End the execution with the block, according to how that ends."""
        outcome, reason = "completed", None
        try:
            yield
        except Stopped:
            outcome = "stopped"
            raise
        except SystemExit as error:
            if error.code not in (None, 0):
                outcome, reason = "failed", f"it left with exit code {error.code}"
            raise
        except BaseException as error:  # whoever raised it: its own code, too
            outcome, reason = "failed", _line(error)
            if isinstance(error, KeyboardInterrupt) and not self._logs:
                outcome, reason = "stopped", "interrupted"
            if self._logs:
                step = self.control.position - 1 if self.control else -1
                write_line(traceback.format_exc(), "error", step)
            raise
        finally:
            self.end(outcome, reason)

    def _attach_log(self) -> None:
        attach_log(self.repo, self.run, log_path(self.records.directory, self.record.execution))

    def _at_once(self, request: dict[str, Any]) -> Any | None:
        """Answer what does not need the simulation's own thread."""
        if request.get("do") == "watching":
            if self.control is not None:
                self.control.watched(float(request.get("seconds", 5.0)))
        elif request.get("do") != "status":
            return None
        found = self.control.status() if self.control else {"phase": self.record.phase}
        return {**found, "usage": self.usage.newest()}


def note_failure(repo: Repository, run: str, execution: str, reason: str) -> None:
    """Note that this process, which has an execution, could not begin it."""
    records = Records(repo)
    found = records.find(run)
    is_mine = found is not None and found.process in (None, this_writer())
    if found is None or found.execution != execution or not is_mine or found.phase == "ended":
        return
    with suppress(SimgitError):  # the tracker has noted its end
        repo.set_status(run, "failed")
        records.change(
            run, found, "ended", {"outcome": "failed", "reason": reason}, phase="ended",
            ended=now(), outcome="failed", reason=reason, socket=None,
        )  # fmt: skip


def is_recorded_elsewhere(repo: Repository, run: str) -> bool:
    """Return True if a living process other than this one records a run."""
    info = repo.runs[run]
    return info.status == "active" and info.writer not in (None, this_writer())


def attach_log(repo: Repository, run: str, path: Path) -> None:
    """Attach the end of a log to a run's newest own state; nothing if there is none.

    It goes wherever the run goes: what it says of files of this machine is shortened.
    """
    info = repo.runs[run]
    if info.oid is None or info.oid == info.branch_point or not path.is_file():
        return
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - MOST_LOG))
        data = log.read(MOST_LOG)
    if data:
        text = without_folders(data.decode(errors="surrogateescape"))
        repo.attach(info.oid, LOG, text.encode(errors="surrogateescape"))


def execute(work: Execution) -> int:
    """Execute a simulation to its end; return the exit code."""
    try:
        with work.repo, work.ending():  # what could not be stored ends as the simulation did
            if not work.repo.is_trusted():
                raise Untrusted("the repository is not trusted to start code; see 'simgit trust'")
            if work.record.folder:
                sys.path.insert(0, work.record.folder)
            kind = load(work.repo, work.record.type, work.record.folder)
            control = work.begin(kind)
            if work.record.is_remote:  # on what is in force, whoever has changed it since
                check_remote(work.repo, work.record.type, control.config)
            kind.function(control)
    except Stopped:
        return 0
    except SystemExit as error:
        return FAILED if error.code not in (None, 0) else 0
    except BaseException:  # it is in the log
        return FAILED
    return 0


def _line(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def main(directory: str, run: str, execution: str) -> int:
    """Execute the simulation of a run; return the exit code."""
    try:
        repo = Repository.open(directory)
    except SimgitError as error:
        write_line(str(error), "error", -1)
        return LOST
    try:
        work = Execution(repo, run, execution)
    except SimgitError as error:
        write_line(str(error), "error", -1)
        if not isinstance(error, Conflict):
            note_failure(repo, run, execution, _line(error))
        return LOST

    def stop(which: int, _: Any) -> None:
        if os.getpid() != work.process:  # a fork of the simulation's: nobody looks there
            signal.signal(which, signal.SIG_DFL)
            os.kill(os.getpid(), which)
            return
        # not in this thread's midst: the lock of the queue may be held
        name = signal.Signals(which).name
        threading.Thread(target=work.listener.put, args=({"do": "stop", "by": name},)).start()

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, stop)
    try:
        return execute(work)
    finally:
        with suppress(SimgitError):
            repo.close()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
