"""Films: sent while they are made, and kept for as long as the server runs.

Browsers ask for parts of those that are there.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Final

KEPT: Final = 8
"""The most films that are kept, those that were asked for last."""
BYTES: Final = 1 << 30
"""The most bytes of them."""
_PIECE: Final = 1 << 18
_PAUSE: Final = 0.05
"""Seconds between two looks at a file that grows."""


class BrokenFilmError(Exception):
    """A film that was sent in part could not be finished: the connection is closed before its end.

    So nobody takes it for a shorter one.
    """


class MadeFilm:
    """A film, from the moment at which it begins to be made.

    Attributes:
        path: its file, which grows.
        warnings: what is to be said of it, as far as is known.
        size: its bytes, None while it is made.
        error: why it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        """Begin without bytes."""
        self.path = path
        self.warnings: list[str] = []
        self.size: int | None = None
        self.error: BaseException | None = None
        self._readers = 0
        self._changed = threading.Condition()
        self._has_begun = False

    def begin(self, warnings: list[str]) -> None:
        """Note that there are frames, so that those who wait for the film are sent it."""
        with self._changed:
            self.warnings, self._has_begun = warnings, True
            self._changed.notify_all()

    def make(self, work: Callable[[MadeFilm], list[str]], end: Callable[[MadeFilm], None]) -> None:
        """Have it made; ``work`` returns what is to be said of it."""
        error: BaseException | None = None
        try:
            self.warnings = work(self)
            size = self.path.stat().st_size
        except BaseException as raised:
            error = raised
        with self._changed:
            self.error, self.size = error, None if error else size
            self._changed.notify_all()
        end(self)

    @property
    def is_over(self) -> bool:
        """True if it is whole, or cannot be made."""
        return self.size is not None or self.error is not None

    @property
    def is_wanted(self) -> bool:
        """True if somebody waits for it."""
        return self._readers > 0

    def enter(self) -> None:
        """Note that somebody wants it."""
        with self._changed:
            self._readers += 1

    def leave(self) -> None:
        """Note that somebody does not want it any more; nobody makes what nobody wants."""
        with self._changed:
            self._readers -= 1

    def wait(self, *, is_whole: bool) -> None:
        """Wait until it has begun, or is whole.

        Raises:
            BaseException: what was raised where it is made.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_over or (self._has_begun and not is_whole))
        if self.error is not None:
            raise self.error

    async def read(self) -> AsyncIterator[bytes]:
        """Yield its bytes as they come.

        Raises:
            BrokenFilmError: it is not going to be whole.
        """
        file: IO[bytes] | None = None
        try:
            while True:
                was_over = self.is_over
                if file is None and self.path.exists():
                    file = self.path.open("rb")
                piece = await asyncio.to_thread(file.read, _PIECE) if file is not None else b""
                if piece:
                    yield piece
                elif not was_over:
                    await asyncio.sleep(_PAUSE)
                elif self.error is not None:
                    raise BrokenFilmError(str(self.error)) from None
                else:
                    return
        finally:
            self.leave()
            if file is not None:
                file.close()


class Films:
    """Films by what they show, in a directory that only the user can read."""

    def __init__(self) -> None:
        """Begin without; the directory is made for the first."""
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._found: OrderedDict[str, MadeFilm] = OrderedDict()
        self._next = 0

    def film(self, tag: str, suffix: str, make: Callable[[MadeFilm], list[str]]) -> MadeFilm:
        """Return a film, which is being made if it was not there; the caller has to leave it.

        Args:
            tag: what it shows, and how.
            suffix: the end of its name, such as ``.mp4``.
            make: writes it to its path, until nobody wants it; returns warnings.
        """
        with self._lock:
            if (there := self._found.get(tag)) is not None and there.error is None:
                there.enter()
                self._found.move_to_end(tag)
                return there
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="simgit-films-")
            self._next += 1
            made = self._found[tag] = MadeFilm(Path(self._folder.name) / f"{self._next}{suffix}")
            made.enter()

        def end(film: MadeFilm) -> None:
            with self._lock:
                if film.error is not None:
                    self._drop(tag, film)
                self._make_room()

        threading.Thread(target=made.make, args=(make, end), name="film", daemon=True).start()
        return made

    def _drop(self, tag: str, film: MadeFilm) -> None:
        if self._found.get(tag) is film:
            del self._found[tag]
        for each in (film.path, *film.path.parent.glob(f".*.{film.path.name}")):
            each.unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Forget the whole films that were asked for the longest ago; readers keep theirs."""
        whole = [tag for tag, film in self._found.items() if film.size is not None]
        for tag in whole[:-1]:
            if len(whole) <= KEPT and self._bytes() <= BYTES:
                break
            whole = whole[1:]
            self._drop(tag, self._found[tag])

    def _bytes(self) -> int:
        return sum(film.size or 0 for film in self._found.values())

    def close(self) -> None:
        """Remove all films."""
        with self._lock:
            self._found.clear()
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None
