"""Usage of a simulation's processes: processor time, memory, threads, bytes read and written."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

psutil: Any = None
with suppress(ImportError):  # of the extra 'web'
    psutil = import_module("psutil")

SECONDS: Final = 2.0
"""Seconds between two samples."""
COLUMNS: Final = ("time", "step", "cpu", "memory", "threads", "read", "written")
"""The columns of a sample: seconds since 1970, the newest step, percent of a processor, bytes,
a number, bytes since the process began."""
_MOST: Final = 1800


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
