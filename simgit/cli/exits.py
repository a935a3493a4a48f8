"""Exit codes, and a quiet end when the reader of the output has left."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

USAGE: Final = 2
"""The exit code of wrong usage."""
CLOSED_PIPE: Final = 141
"""The exit code when the reader of the output has left, as a shell reports it."""


def printed(text: str) -> int:
    """Print a text; return the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return quiet_pipe()
    return 0


def quiet_pipe() -> int:
    """Redirect stdout, whose reader has left, to nothing, for the interpreter's last flush."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLOSED_PIPE
