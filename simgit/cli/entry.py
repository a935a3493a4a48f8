"""The entry point: answers at once what needs no command, and starts click for the rest."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from simgit import __version__
from simgit.cli.commands import overview
from simgit.cli.exits import USAGE, printed

_START: Final = 50_000
"""About as many objects as the modules of a command consist of."""
_OTHERS_CODE: Final = (
    "simgit.gym", "simgit.integrations", "simgit.live", "simgit.recording.simulators",
    "simgit.training",
)  # fmt: skip
"""What runs environments, simulations and models, whose objects may want to be finalized."""
_thresholds: list[tuple[int, int, int]] = []
"""Those of the collector from its first collection on."""


def main(argv: Sequence[str] | None = None, *, is_alone: bool = False) -> None:
    """Run a command line and exit.

    Args:
        argv: its words without the program's name; None for those of this process.
        is_alone: True if the process is for this command alone; see ``command``.
    """
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
    if is_alone:
        _spare_the_modules()
    from simgit.cli.root import cli

    cli.main(words, prog_name="simgit")


def command() -> None:
    """Run the command line of this process, which is for it alone, and exit."""
    main(is_alone=True)


def _spare_the_modules() -> None:
    """Keep the collector from going through modules, which stay: a third of a short command.

    It begins when more objects were made than those consist of, and is then as it always is.
    """
    if _collects not in gc.callbacks:
        _thresholds.append(gc.get_threshold())
        gc.callbacks.append(_collects)
        gc.set_threshold(_START, *_thresholds[0][1:])
        atexit.register(_leaves)


def _collects(phase: str, info: dict[str, Any]) -> None:
    while _thresholds:
        gc.set_threshold(*_thresholds.pop())


def _leaves() -> None:
    if not any(name in sys.modules for name in _OTHERS_CODE):
        gc.freeze()
