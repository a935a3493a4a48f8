"""Processes of simulations: begun in a session of their own, and ended with all their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from simgit.errors import Conflict, StorageError, reason
from simgit.live.channel import socket_folder, socket_path
from simgit.process import is_alive, machine, process_start
from simgit.refs.simulations import SimulationRecord

AFTER_TERM: Final = 1.0
"""Seconds between SIGTERM and SIGKILL."""
AFTER_SIGNAL: Final = 1.0
"""The most seconds until a process has stopped, or goes on, after it was told to."""


class Child(subprocess.Popen[bytes]):
    """A process that may outlive this one: nothing warns of that."""

    def __del__(self, *_: object) -> None:
        pass


def spawn(directory: Path, run: str, execution: str, folder: str) -> Child:
    """Begin the process of a simulation, whose output is its log.

    Raises:
        StorageError: it cannot be begun, or nobody could reach it.
    """
    socket_path(directory, execution)  # what is wrong with it is said here, not in a log
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-P", "-m", "simgit.live.child", str(directory), run, execution]
    try:
        with log_path(directory, execution).open("ab") as log:
            return Child(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder or None,
                env=environment, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise StorageError(f"cannot begin a process in '{folder}': {reason(error)}") from None


def log_path(directory: Path, execution: str) -> Path:
    """Return the file that has the output of a simulation's process."""
    return directory / "live" / f"{execution}.log"


def sweep(directory: Path, records: Callable[[], Iterable[SimulationRecord]]) -> None:
    """Remove the logs and sockets of executions that nobody knows of any more."""
    found = [*(directory / "live").glob("*.log"), *socket_folder(directory).glob("*.sock")]
    known = {each.execution for each in records()} if found else set()  # after the files
    for each in found:
        if each.stem not in known:
            with suppress(OSError):
                each.unlink()


def signal_name(code: int) -> str:
    """Return the name of the signal that ended a process, by its negative exit code."""
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def end(process: dict[str, Any], *, politely: bool) -> bool:
    """End a process and all its descendants; return True once that is so.

    Args:
        process: its machine, number and start: one that took its number since is left alone.
        politely: send SIGTERM first, and SIGKILL a second later.

    Raises:
        Conflict: it runs on another machine.
    """
    if process["machine"] != machine():
        raise Conflict(
            f"the simulation runs on '{process['machine'].partition(' ')[0]}': end it there"
        )
    if not _is_here(process):
        return not is_alive(process)
    pid = int(process["pid"])
    lead, family = {pid: str(process["start"])}, descendants(pid)
    if politely:
        _signal(lead, signal.SIGTERM)
        deadline = time.monotonic() + AFTER_TERM
        while is_alive(process) and time.monotonic() < deadline:
            time.sleep(0.01)
    family = {**family, **descendants(pid)}
    with suppress(ProcessLookupError, PermissionError):
        if is_alive(process):
            os.killpg(pid, signal.SIGKILL)  # it leads a group of its own, unless run by hand
    _signal(lead, signal.SIGKILL)
    _signal(family, signal.SIGKILL)
    deadline = time.monotonic() + AFTER_TERM
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not is_alive(process)


def interrupt(process: dict[str, Any]) -> None:
    """Send SIGINT to a process, as Ctrl-C does; one that took its number since is left alone."""
    if _is_here(process):
        _signal({int(process["pid"]): str(process["start"])}, signal.SIGINT)


def suspend(process: dict[str, Any], on: bool) -> None:
    """Stop a process and its descendants where they are (SIGSTOP), or let them go on."""
    if _is_here(process):
        pid = int(process["pid"])
        family = {pid: str(process["start"]), **descendants(pid)}
        _signal(family, signal.SIGSTOP if on else signal.SIGCONT)
        deadline = time.monotonic() + AFTER_SIGNAL  # it is told, and comes to it soon
        while is_alive(process) and is_suspended(process) != on and time.monotonic() < deadline:
            time.sleep(0.001)


def is_suspended(process: Mapping[str, Any]) -> bool:
    """Return True if a process of this machine is stopped where it is."""
    if process["machine"] != machine():
        return False
    try:
        state = Path(f"/proc/{process['pid']}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state == "T"


def includes(process: dict[str, Any], pid: int) -> bool:
    """Return True if ``suspend`` and ``end`` are also of the process of a number."""
    return _is_here(process) and (process["pid"] == pid or pid in descendants(int(process["pid"])))


def _is_here(process: dict[str, Any]) -> bool:
    """Return True for a living process of this machine; what a record says may be anything."""
    is_process = process["machine"] == machine() and process["pid"] > 1 and process["start"]
    return bool(is_process) and is_alive(process)


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below one, and those of its session, each with its start."""
    below: dict[int, list[int]] = {}
    starts: dict[int, str] = {}
    session: list[int] = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(each.name)
        starts[number] = fields[19]
        below.setdefault(int(fields[1]), []).append(number)
        if int(fields[3]) == pid and number != pid:
            session.append(number)
    found: dict[int, str] = {}
    left = [*below.get(pid, ()), *session]
    while left:
        number = left.pop()
        if number not in found and number != pid:
            found[number] = starts[number]
            left += below.get(number, ())
    return found


def _signal(family: Mapping[int, str], which: int) -> None:
    """Send a signal to processes by their starts: others that took their numbers are left alone."""
    for pid, start in family.items():
        if process_start(pid) == start:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, which)
