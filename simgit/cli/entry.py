"""The entry point: answers at once what needs no command, and starts click for the rest."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from simgit import __version__
from simgit.cli.commands import overview

USAGE: Final = 2
"""The exit code of wrong usage."""
CLOSED_PIPE: Final = 141
"""The exit code when the reader of the output has left, as a shell reports it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")  # not every encoding has all that is printed
    words = list(sys.argv[1:] if argv is None else argv)
    if "_SIMGIT_COMPLETE" in os.environ:  # a shell asks
        from simgit.cli.shell import completions

        if (found := completions(os.environ)) is not None:
            sys.exit(printed("\n".join(found)))
    elif not words:
        print(overview(), file=sys.stderr)
        sys.exit(USAGE)
    elif words == ["--version"]:
        sys.exit(printed(version()))
    elif words in (["--help"], ["-h"], ["help"]):
        sys.exit(printed(overview()))
    from simgit.cli.root import cli

    cli.main(words, prog_name="simgit")


def version() -> str:
    """Return what ``--version`` prints."""
    return f"simgit {__version__}"


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
