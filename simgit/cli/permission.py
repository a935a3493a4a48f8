"""Which repositories may load pickles: the user's list of trusted ones, and asking for trust.

The list is a file of the user's, one JSON string a line: the directories of the repositories.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simgit.cli.output import without_progress
from simgit.errors import InvalidInput, StorageError, visible

if TYPE_CHECKING:
    from simgit.repository import Repository


class TrustFile:
    """The user's list of trusted repositories."""

    def __init__(self, path: Path) -> None:
        """Note the path of the list, which need not exist."""
        self.path = path

    def directories(self) -> list[Path]:
        """Return the trusted directories, oldest first.

        Raises:
            InvalidInput: the file is damaged.
            StorageError: it cannot be read.
        """
        try:
            lines = self.path.read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"cannot read '{self.path}': {error.strerror}") from None
        try:
            return [Path(json.loads(line)) for line in lines if line]
        except (ValueError, TypeError):
            raise InvalidInput(f"'{self.path}' must have a JSON string on each line") from None

    def has(self, directory: Path | None) -> bool:
        """Return whether a repository is trusted; one in memory was made by this process."""
        return directory is None or directory.resolve() in self.directories()

    def add(self, directory: Path) -> None:
        """Trust a repository.

        Raises:
            StorageError: the list cannot be written.
        """
        known = self.directories()
        if directory.resolve() not in known:
            self._write([*known, directory.resolve()])

    def remove(self, directory: Path) -> bool:
        """Stop trusting a repository; return whether it was trusted.

        Raises:
            StorageError: the list cannot be written.
        """
        known = self.directories()
        left = [each for each in known if each != directory.resolve()]
        if len(left) == len(known):
            return False
        self._write(left)
        return True

    def _write(self, directories: list[Path]) -> None:
        text = "".join(json.dumps(str(each), ensure_ascii=False) + "\n" for each in directories)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside = self.path.with_name(self.path.name + ".new")
            beside.write_text(text, "utf-8")
            beside.replace(self.path)
        except OSError as error:
            raise StorageError(f"cannot write '{self.path}': {error.strerror}") from None


def trust_file() -> TrustFile:
    """Return the list: ``trusted`` in SIMGIT_CONFIG_DIR, or in the user's config directory."""
    own = os.environ.get("SIMGIT_CONFIG_DIR")
    if own:
        return TrustFile(Path(own) / "trusted")
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return TrustFile(Path(base) / "simgit" / "trusted")


class Asker:
    """Answers whether a repository is trusted; asks the user once, at a terminal."""

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
        shown = visible(str(self._directory.parent))
        with without_progress():
            yes = click.confirm(
                f"The snapshots of '{shown}' contain pickles, which can run any code.\n"
                "Trust this repository from now on?",
                err=True,
            )
        if yes:
            known.add(self._directory)
        return yes
