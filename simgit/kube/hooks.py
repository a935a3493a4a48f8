"""Hooks: programs of the user's that run before and after a simulation or a training.

A hook is a list of arguments, run without a shell. It has a time limit, its output is kept, and
what it started is ended with it where it fails, takes too long or is interrupted. Programs that a
hook which succeeded left in the background go on running: starting them may be its purpose.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from time import monotonic, sleep
from typing import IO, Final

from simgit.errors import ClusterError, InvalidInput, reason, warn
from simgit.process import exit_code

SECONDS: Final = 60.0
"""The default time limit of a hook."""
TAIL: Final = 4096
"""The number of bytes that are kept of a hook's output, its last ones."""
GRACE: Final = 2.0
"""The seconds between SIGTERM and SIGKILL."""
_LOOK: Final = 0.005
"""The seconds between two looks whether a hook has ended."""
_SHOWN: Final = 200
_LAST: Final = 1.0
"""The seconds for output that the pipe still holds when the hook has ended."""


@dataclass(frozen=True, slots=True)
class HookResult:
    """A hook that succeeded: the end of its output (stdout and stderr), and its seconds."""

    argv: tuple[str, ...]
    output: str
    seconds: float


def parse(text: str, name: str = "hook") -> tuple[str, ...]:
    """Return the arguments of a hook that is written as in a shell: quotes, and no expansion.

    Raises:
        InvalidInput: a quote is not closed, or there is no such program.
    """
    try:
        argv = tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidInput(f"{name} '{text}': {str(error).lower()}", path=name) from None
    if not argv:
        raise InvalidInput(f"{name} must name a program, got ''", path=name)
    if shutil.which(argv[0]) is None:
        raise InvalidInput(
            f"{name} '{text}': program '{argv[0]}' not found (no shell runs it; "
            "for one write: sh -c '…')",
            path=name,
        )
    return argv


def run(
    argv: Sequence[str],
    name: str = "hook",
    *,
    seconds: float = SECONDS,
    grace: float = GRACE,
    variables: Mapping[str, str] | None = None,
) -> HookResult:
    """Run a hook and wait for its end.

    Args:
        argv: the program and its arguments; nothing in them is expanded.
        name: what messages call it, such as ``pre-hook``.
        seconds: the time limit, after which it gets SIGTERM, with all that it started.
        grace: the seconds after which those that are left get SIGKILL.
        variables: environment variables in addition to this process's.

    Raises:
        ClusterError: it cannot be started, fails, or takes too long; ``output`` is the end of its
            output, ``code`` its exit code (None if it has none, negative for a signal).
    """
    shown, began = f"{name} '{shlex.join(argv)}'", monotonic()
    process = subprocess.Popen.__new__(subprocess.Popen)
    try:  # made in place: of an interrupt in the middle the process is known
        process.__init__(  # type: ignore[misc]
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **(variables or {})}, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        kept = _Tail(process.stdout)
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise ClusterError(f"cannot start {shown}: {why}", output="", code=None) from None
    except BaseException:
        if getattr(process, "pid", None) is not None:
            _end(process, grace)
        raise
    try:
        code = _code(process, seconds)
    except BaseException:  # Ctrl-C reaches this process only: the hook has a session of its own
        _end(process, grace)
        raise
    if code is None:
        _end(process, grace)
        text = kept.text()
        raise ClusterError(
            f"{shown} took longer than {seconds:g} s and was ended{_quoted(text)}",
            output=text, code=None,
        )  # fmt: skip
    if code != 0:
        _signal(process, signal.SIGKILL)
    process.wait()
    if code != 0:
        text = kept.text()
        ended = f"exited with {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
        raise ClusterError(f"{shown} {ended}{_quoted(text)}", output=text, code=code)
    return HookResult(tuple(argv), kept.text(), monotonic() - began)


@dataclass(frozen=True, slots=True)
class Hooks:
    """The arguments of a hook before and of one after something; () for none."""

    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()
    seconds: float = SECONDS

    @contextmanager
    def around(self, variables: Mapping[str, str] | None = None) -> Iterator[None]:
        """Run the first hook now, and the other at the end, also where that is an error.

        If the first fails, neither what it is before nor the other hook is run.

        Raises:
            ClusterError: see ``run``. After another error a failing hook is only warned of.
        """
        if self.pre:
            run(self.pre, "pre-hook", seconds=self.seconds, variables=variables)
        try:
            yield
        except BaseException:
            try:
                self._after(variables)
            except ClusterError as error:
                warn(str(error))
            raise
        self._after(variables)

    def _after(self, variables: Mapping[str, str] | None) -> None:
        if self.post:
            run(self.post, "post-hook", seconds=self.seconds, variables=variables)


class _Tail:
    """The end of what a pipe brings, read by a thread, so that no writer ever waits.

    The thread reads on when the hook has ended, for those that it left in the background.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._bytes = b""
        self._thread = Thread(target=self._read, args=(pipe,), name="hook output", daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while data := os.read(pipe.fileno(), 1 << 16):
                self._bytes = (self._bytes + data)[-TAIL:]

    def text(self) -> str:
        """Return the end of the output of a hook that has ended."""
        self._thread.join(_LAST)
        return self._bytes.decode(errors="replace")


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process with all of its group."""
    _signal(process, signal.SIGTERM)
    _code(process, grace)
    _signal(process, signal.SIGKILL)  # those that ignored it, the process's children too
    process.wait()


def _code(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code of a process, None if it has not ended in time; see ``exit_code``."""
    until = monotonic() + seconds
    while (found := exit_code(process)) is None and monotonic() < until:
        sleep(_LOOK)
    return found


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the group has ended
        os.killpg(process.pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _quoted(text: str) -> str:
    """Return the end of an output for a message of one line."""
    words = " ".join(text.split())
    return f": {'…' if len(words) > _SHOWN else ''}{words[-_SHOWN:]}" if words else ""
