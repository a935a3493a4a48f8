"""Work done in forked children, which may be killed or crash without harm to the tests."""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.patience import PATIENCE


@dataclass
class Child:
    """A forked process that runs a function, and what it has said so far.

    Attributes:
        pid: its number.
        said: the messages that it has sent, in order.
        status: how it ended: its exit code, or minus the signal's number; None while it runs.
    """

    pid: int
    pipe: int
    said: list[Any] = field(default_factory=list)
    status: int | None = None
    _rest: bytes = b""

    def kill(self) -> None:
        """End it with SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Collect what it says until it ends; return how it ended."""
        end = time.monotonic() + seconds
        while select.select([self.pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            data = os.read(self.pipe, 1 << 16)
            if not data:
                break
            self._take(data)
        else:
            self.kill()
            self.said.append(f"hung for {seconds} seconds")
        os.close(self.pipe)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def _take(self, data: bytes) -> None:
        self._rest += data
        while len(self._rest) >= 4:
            end = 4 + int.from_bytes(self._rest[:4], "little")
            if len(self._rest) < end:
                return
            self.said.append(pickle.loads(self._rest[4:end]))
            self._rest = self._rest[end:]


Say = Callable[[Any], None]


def start(work: Callable[[Say], None]) -> Child:
    """Run a function in a forked child; what it says is collected by ``wait``."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(write)
        return Child(pid, read)
    code = 1
    try:
        gc.freeze()  # what is here belongs to threads that a child does not have
        os.close(read)

        def say(message: Any) -> None:
            data = pickle.dumps(message)
            os.write(write, len(data).to_bytes(4, "little") + data)

        try:
            work(say)
            code = 0
        except BaseException:
            say(traceback.format_exc())
    finally:
        os._exit(code)


def in_child(work: Callable[[], Any], seconds: float = PATIENCE) -> tuple[int, Any]:
    """Run a function in a child; return how that ended, and what the function returned.

    A function that raised has ended with 1 and returned the traceback as text.
    """
    child = start(lambda say: say(work()))
    status = child.wait(seconds)
    return status, child.said[-1] if child.said else None
