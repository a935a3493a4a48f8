"""Which repositories a user trusts: pickles are loaded from no others.

The list is a file of the user's, one JSON string a line: the directories of the repositories. Where
it lies is said by the caller.
"""

from __future__ import annotations

import json
from pathlib import Path

from simgit.errors import InvalidInput, StorageError


class TrustFile:
    """The user's list of trusted repositories."""

    def __init__(self, path: Path) -> None:
        """Note where the list is; it need not exist."""
        self.path = path

    def directories(self) -> list[Path]:
        """Return the trusted directories, in the order in which they came to be.

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
            raise InvalidInput(f"'{self.path}' is no list of directories") from None

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
        """Trust a repository no longer; return whether it was trusted.

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
