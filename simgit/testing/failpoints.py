"""Armed fail points: a process ends, fails or waits at a named place of the library.

``python -m simgit.testing.failpoints commit.before=kill@2 -- gc`` runs a command of the command
line with a point armed. A fault is written ``POINT=ACTION``, ``POINT=ACTION@N`` for the N-th time
that it is passed; the point ``*`` stands for all points.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simgit.storage.failpoints import set_hook

ENDED: Final = 97
"""The exit code of a process that ``exit`` ended."""
DELAY: Final = 0.05
"""Seconds that ``delay`` waits."""
_SPEC: Final = re.compile(r"([\w.*]+)=([a-z]+)(?:@(\d+))?")
_CALL: Final = re.compile(r'\bfail_point\("([^"]+)"\)')


def _exit() -> None:
    os._exit(ENDED)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise OSError(errno.EIO, "injected fault")


def _delay() -> None:
    time.sleep(DELAY)


ACTIONS: Final[dict[str, Callable[[], None]]] = {
    "exit": _exit, "kill": _kill, "raise": _raise, "delay": _delay,
}  # fmt: skip


@dataclass
class Fault:
    """The action at a point, and the number of passes before it.

    Attributes:
        point: its name, ``*`` for every point.
        action: one of ``ACTIONS``.
        left: the number of passes left, this one included.
    """

    point: str
    action: str
    left: int = 1

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Parse ``POINT=ACTION`` or ``POINT=ACTION@N``.

        Raises:
            ValueError: it is malformed, or the action is unknown.
        """
        match = _SPEC.fullmatch(text)
        if match is None or match[2] not in ACTIONS:
            raise ValueError(f"malformed fault '{text}': must be POINT=ACTION or POINT=ACTION@N")
        return cls(match[1], match[2], int(match[3] or 1))

    def passed(self, name: str) -> None:
        """Count a pass of a point, and act at the last one."""
        if self.point not in ("*", name):
            return
        self.left -= 1
        if self.left == 0:
            ACTIONS[self.action]()


def arm(*faults: Fault | str) -> None:
    """Arm points of this process until ``disarm``, replacing those armed before."""
    armed = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]

    def hook(name: str) -> None:
        for fault in armed:
            fault.passed(name)

    set_hook(hook)


def disarm() -> None:
    """Disarm all points."""
    set_hook(None)


@contextmanager
def traced() -> Iterator[list[str]]:
    """Collect the names of the points that are passed in the block, in order."""
    names: list[str] = []
    set_hook(names.append)
    try:
        yield names
    finally:
        disarm()


def points(package: Path) -> set[str]:
    """Return the names of all points in the sources of a package."""
    return {name for path in package.rglob("*.py") for name in _CALL.findall(path.read_text())}


def main(arguments: Sequence[str]) -> None:
    """Run a command of the command line with points armed: ``FAULT… -- COMMAND…``."""
    end = list(arguments).index("--")
    arm(*arguments[:end])
    from simgit.cli import main as run

    sys.argv = ["simgit", *arguments[end + 1 :]]
    run()


if __name__ == "__main__":
    main(sys.argv[1:])
