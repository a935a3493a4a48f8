"""Identity of writing processes: machine, number and start; whether one is still alive. Cores."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess


def now() -> int:
    """Return the time in nanoseconds since 1970, UTC."""
    return time.time_ns()


@cache
def machine() -> str:
    """Return an identity of this machine since its last boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{platform.node()} {boot}".strip()


def process_start(pid: int) -> str:
    """Return the start time of a process, which differs from that of a later one of its number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_is_paused = False


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep Python from looking for circles of garbage while many objects are made that have none.

    The more of them there are, the longer each look takes: a third of the time for 100,000.
    """
    global _is_paused
    if not gc.isenabled():  # as the program wants it, or another thread pauses it
        yield
        return
    _is_paused = True
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        _is_paused = False


def _resume() -> None:
    """Collect again in a child that was forked meanwhile: the thread that would is not there."""
    global _is_paused
    if _is_paused:
        _is_paused = False
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_resume)


def end_with_parent() -> None:
    """Let this process, which ``multiprocessing`` started, end when its parent is killed.

    A worker of an executor would wait for work for ever: it has both ends of the queue.
    """
    import multiprocessing

    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def this_writer() -> dict[str, Any]:
    """Return the identity of this process."""
    return writer_of(os.getpid())


def writer_of(pid: int) -> dict[str, Any]:
    """Return the identity of a process of this machine."""
    return {"machine": machine(), "pid": pid, "start": process_start(pid)}


def exit_code(child: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code of a child (negative for a signal), None while it runs.

    It is not reaped by that: until it is, no other process can get its number, or that of its
    group, so that those of the group that are left can be killed.
    """
    if child.returncode is not None or not hasattr(os, "waitid"):  # macOS before Python 3.13
        return child.poll()
    try:
        found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # somebody else has reaped it
        return child.poll()
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def is_alive(writer: dict[str, Any]) -> bool:
    """Return True if a writer still runs; those on other machines are assumed to."""
    if writer["machine"] != machine():
        # after a reboot of this machine none of its old processes runs
        return str(writer["machine"]).split(" ")[0] != machine().split(" ")[0]
    try:
        os.kill(writer["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return process_start(writer["pid"]) == str(writer["start"])
