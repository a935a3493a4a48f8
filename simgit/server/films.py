"""Films that were made, for as long as the server runs: browsers ask for parts of them."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

KEPT: Final = 8
"""The most films that are kept, those that were asked for last."""
BYTES: Final = 1 << 30
"""The most bytes of them."""


class Films:
    """Films by what they show, in a directory that only the user can read."""

    def __init__(self) -> None:
        """Begin without; the directory is made for the first."""
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._found: OrderedDict[str, tuple[Path, int]] = OrderedDict()
        self._next = 0

    def opened(self, tag: str, suffix: str, make: Callable[[Path], None]) -> tuple[IO[bytes], int]:
        """Return a film, open, and its size; it is made if it is not there.

        Args:
            tag: what it shows, and how.
            suffix: the end of its name, such as ``.mp4``.
            make: writes it to a path.
        """
        with self._lock:
            if (there := self._found.get(tag)) is not None:
                self._found.move_to_end(tag)
                return there[0].open("rb"), there[1]
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="simgit-films-")
            self._next += 1
            path = Path(self._folder.name) / f"{self._next}{suffix}"
        try:
            make(path)
        except BaseException:
            for each in (path, *path.parent.glob(f".*.{path.name}")):  # and what was half written
                each.unlink(missing_ok=True)
            raise
        with self._lock:
            size = path.stat().st_size
            self._found[tag] = path, size
            file = path.open("rb")
            while len(self._found) > KEPT or self._bytes() > BYTES:
                self._found.popitem(last=False)[1][0].unlink(missing_ok=True)
            return file, size

    def _bytes(self) -> int:
        return sum(size for _, size in self._found.values())

    def close(self) -> None:
        """Remove all films."""
        with self._lock:
            self._found.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None
