"""Where the user's list of trusted repositories lies, and asking whether to trust one."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simgit.cli.output import without_progress
from simgit.cli.trust_store import TrustFile

if TYPE_CHECKING:
    from simgit.repository import Repository


def trust_file() -> TrustFile:
    """Return the list: ``trusted`` in SIMGIT_CONFIG_DIR, or in the user's config directory."""
    own = os.environ.get("SIMGIT_CONFIG_DIR")
    if own:
        return TrustFile(Path(own) / "trusted")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return TrustFile(Path(base) / "simgit" / "trusted")


class Asker:
    """Says whether a repository is trusted; asks once, if there is somebody to ask."""

    def __init__(self, repo: Repository) -> None:
        self._directory = repo.directory
        self._answer: bool | None = None

    def __call__(self) -> bool:
        """Return whether pickles of the repository may be loaded."""
        if self._answer is None:
            known = trust_file()
            self._answer = known.has(self._directory) or self._ask(known)
        return self._answer

    def _ask(self, known: TrustFile) -> bool:
        if self._directory is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        shown = self._directory.parent
        with without_progress():
            yes = click.confirm(
                f"The snapshots of '{shown}' hold pickles, which run code of who recorded them.\n"
                "Trust this repository from now on?",
                err=True,
            )
        if yes:
            known.add(self._directory)
        return yes
