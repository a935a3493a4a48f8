"""Identity of writing processes: machine, number and start; whether one is still alive."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any


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


def this_writer() -> dict[str, Any]:
    """Return the identity of this process."""
    return writer_of(os.getpid())


def writer_of(pid: int) -> dict[str, Any]:
    """Return the identity of a process of this machine."""
    return {"machine": machine(), "pid": pid, "start": process_start(pid)}


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
