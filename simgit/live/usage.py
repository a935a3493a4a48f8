"""Usage of a simulation's processes: processor time, memory, threads, bytes read and written.

And of the whole machine: processors, memory, disk, graphics processors.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from simgit.errors import SimgitError

psutil: Any = None
with suppress(ImportError):  # of the extra 'web'
    psutil = import_module("psutil")

pynvml: Any = None
with suppress(ImportError):  # of the extra 'gpu'
    pynvml = import_module("pynvml")

SECONDS: Final = 2.0
"""Seconds between two samples."""
KEEP_SECONDS: Final = 60.0
"""Seconds after which samples are kept with the run."""
COLUMNS: Final = ("time", "step", "cpu", "memory", "threads", "read", "written")
"""The columns of a sample: seconds since 1970, the newest step, percent of a processor, bytes,
a number, bytes since the process began."""
_MOST: Final = 1800
_PATIENCE: Final = 10.0
"""Seconds that the end waits for samples that are just being kept."""
_LEAST: Final = 0.05
"""Seconds of processors that a percentage is of, at least."""


Row = tuple[float, ...]
"""The values of ``COLUMNS``."""


class Sampler:
    """Samples this process and those below it, in a thread; only its step without psutil."""

    def __init__(self, keep: Callable[[list[Row]], bool]) -> None:
        """Take what keeps samples, in the thread; False if it cannot yet."""
        self._keep = keep
        self._samples: list[Row] = []
        self._newest: Row | None = None
        self._last: tuple[float, float] | None = None
        self._kept = time.monotonic()
        self._stopped = threading.Event()
        self._step: Callable[[], int] = lambda: -1
        self._known: dict[int, Any] = {}
        self._thread: threading.Thread | None = None

    def start(self, step: Callable[[], int]) -> None:
        """Begin to sample; ``step`` returns the newest step."""
        self._step = step
        self._kept = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="simgit-usage", daemon=True)
        self._thread.start()

    def stop(self, *, keeps: bool) -> None:
        """End the thread, and keep what was not kept yet, with a last sample."""
        self._stopped.set()
        if self._thread is None:
            return
        self._thread.join(_PATIENCE)
        if keeps and not self._thread.is_alive():
            self._note()
            self._hand_over()

    def newest(self) -> dict[str, float] | None:
        """Return the newest sample by column, None without one."""
        found = self._newest
        return None if found is None else dict(zip(COLUMNS, found, strict=True))

    def _run(self) -> None:
        while True:
            self._note()
            if time.monotonic() - self._kept >= KEEP_SECONDS:
                self._hand_over()
            if self._stopped.wait(SECONDS):
                return

    def _note(self) -> None:
        step = self._step()
        if psutil is None:
            return
        with suppress(psutil.Error, OSError):
            self._newest = self._sample(step)
            self._samples.append(self._newest)
        if len(self._samples) > _MOST:  # there is no state that they could be kept with
            del self._samples[: len(self._samples) // 2]

    def _hand_over(self) -> None:
        """Let the samples be kept; what cannot be is tried again a minute later."""
        self._kept = time.monotonic()
        with suppress(SimgitError, OSError):
            if self._samples and self._keep(self._samples):
                self._samples.clear()

    def _sample(self, step: int) -> Row:
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
        return (self._now(), float(step), cpu, memory, threads, read, written)

    def _now(self) -> float:
        """Return the time in seconds since 1970, always a later one, though the clock be set."""
        at, elapsed = time.time(), time.monotonic()
        if self._last is not None:
            at = max(at, self._last[0] + elapsed - self._last[1])
        self._last = at, elapsed
        return at


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
