"""The entry point: answers at once what needs no command, and starts click for the rest."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from simgit import __version__
from simgit.cli.commands import overview
from simgit.cli.exits import USAGE, printed


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
        sys.exit(printed(f"simgit {__version__}"))
    elif words in (["--help"], ["-h"], ["help"]):
        sys.exit(printed(overview()))
    from simgit.cli.root import cli

    cli.main(words, prog_name="simgit")
