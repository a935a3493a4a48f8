"""Usage of a simulation's processes: processor time, memory, threads, bytes read and written.

And of the whole machine: processors, memory, disk, graphics processors.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

psutil: Any = None
with suppress(ImportError):  # of the extra 'web'
    psutil = import_module("psutil")

pynvml: Any = None
with suppress(ImportError):  # of the extra 'gpu'
    pynvml = import_module("pynvml")

SECONDS: Final = 2.0
"""Seconds between two samples."""
COLUMNS: Final = ("time", "step", "cpu", "memory", "threads", "read", "written")
"""The columns of a sample: seconds since 1970, the newest step, percent of a processor, bytes,
a number, bytes since the process began."""
_MOST: Final = 1800
_LEAST: Final = 0.05
"""Seconds of processors that a percentage is of, at least."""


class Sampler:
    """Samples this process and those below it, in a thread; only its step without psutil."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, ...]] = []
        self._taken = 0
        self._stopped = threading.Event()
        self._step: Any = None
        self._known: dict[int, Any] = {}
        self._thread: threading.Thread | None = None

    def start(self, step: Any) -> None:
        """Begin to sample; ``step`` returns the newest step."""
        self._step = step
        self._thread = threading.Thread(target=self._run, name="simgit-usage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def newest(self) -> dict[str, float] | None:
        """Return the newest sample by column, None without one."""
        return dict(zip(COLUMNS, self._samples[-1], strict=True)) if self._samples else None

    def take(self) -> list[tuple[float, ...]]:
        """Return the samples that were not taken yet."""
        found = self._samples[self._taken :]
        self._taken = len(self._samples)
        return found

    def _run(self) -> None:
        while True:
            step = self._step()
            if psutil is not None:
                with suppress(psutil.Error, OSError):
                    self._samples.append(self._sample(step))
            if len(self._samples) > _MOST:
                gone = len(self._samples) // 2
                del self._samples[:gone]
                self._taken = max(0, self._taken - gone)
            if self._stopped.wait(SECONDS):
                return

    def _sample(self, step: int) -> tuple[float, ...]:
        me = self._known.setdefault(os.getpid(), psutil.Process())
        family = [me]
        for each in me.children(recursive=True):
            family.append(self._known.setdefault(each.pid, each))
        cpu = memory = threads = read = written = 0.0
        for each in family:
            with suppress(psutil.Error, OSError), each.oneshot():
                cpu += each.cpu_percent()
                memory += each.memory_info().rss
                threads += each.num_threads()
                moved = each.io_counters()
                read += moved.read_bytes
                written += moved.write_bytes
        return (time.time(), float(step), cpu, memory, threads, read, written)


def machine(directory: Path | None) -> dict[str, Any]:
    """Return the usage of this machine, in bytes and percent; what cannot be told is None.

    Args:
        directory: the directory whose file system is meant by the disk; None for no disk.

    Returns:
        ``cpu`` (count, percent since the last call, load: the means of 1, 5 and 15 minutes),
        ``memory`` and ``disk`` (total, used, free), ``gpus``: of each name, percent, and memory.
    """
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    cpu: dict[str, Any] = {"count": os.cpu_count(), "percent": _cpu_percent(), "load": load}
    found: dict[str, Any] = {"cpu": cpu, "memory": None, "disk": None, "gpus": _gpus()}
    if psutil is not None:
        memory = psutil.virtual_memory()
        used = memory.total - memory.available
        found["memory"] = {"total": memory.total, "used": used, "free": memory.available}
    if directory is not None:
        with suppress(OSError):
            disk = shutil.disk_usage(directory)
            found["disk"] = {"total": disk.total, "used": disk.used, "free": disk.free}
    return found


_lock: Final = threading.Lock()
_before: list[float] = []


def _cpu_percent() -> float | None:
    """Return the percent of all processors since the last call; at first over a tenth of a second.

    (psutil's own memory of the last call is of one thread.)
    """
    if psutil is None:
        return None
    with _lock:
        if not _before:
            _before[:] = _busy()
            time.sleep(0.1)
        busy, total = _busy()
        spent = total - _before[1]
        if spent < _LEAST and len(_before) > 2:
            return _before[2]
        percent = 100 * (busy - _before[0]) / spent if spent > 0 else 0.0
        _before[:] = busy, total, min(100.0, max(0.0, percent))
        return _before[2]


def _busy() -> tuple[float, float]:
    """Return the seconds that processors were busy, and all that they had."""
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _gpus() -> list[dict[str, Any]]:
    """Return the graphics processors; none without the driver."""
    if pynvml is None:
        return []
    found = []
    try:
        pynvml.nvmlInit()
        for i in range(pynvml.nvmlDeviceGetCount()):
            one = pynvml.nvmlDeviceGetHandleByIndex(i)
            name, memory = pynvml.nvmlDeviceGetName(one), pynvml.nvmlDeviceGetMemoryInfo(one)
            percent = None
            with suppress(pynvml.NVMLError):  # a part of one does not tell
                percent = float(pynvml.nvmlDeviceGetUtilizationRates(one).gpu)
            found.append({
                "name": name.decode() if isinstance(name, bytes) else name, "percent": percent,
                "memory": {"total": memory.total, "used": memory.used, "free": memory.free},
            })  # fmt: skip
    except (pynvml.NVMLError, OSError):
        return found
    return found
