"""Asking the user for trust, once, at a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from simgit.cli.output import without_progress
from simgit.errors import visible

if TYPE_CHECKING:
    from simgit.repository import Repository


class Asker:
    """Asks whether code that a repository names may be executed; called where there is no trust."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._answer: bool | None = None

    def __call__(self) -> bool:
        """Return the answer, False without a terminal; yes is kept in the user's list."""
        if self._answer is None:
            self._answer = self._ask()
        return self._answer

    def _ask(self) -> bool:
        directory = self._repo.directory
        if directory is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        shown = visible(str(directory.parent))
        with without_progress():
            yes = click.confirm(
                f"To do this, code that '{shown}' names has to run: a module, or a pickle, which "
                "can do anything.\n"
                "Trust this repository, with all that is in it now?",
                err=True,
            )
        if yes:
            self._repo.trust()
        return yes
