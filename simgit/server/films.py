"""Films: sent while they are made, and kept for as long as the server runs.

Browsers ask for parts of those that are there.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from simgit.server.problems import Refused

KEPT: Final = 8
"""The most films that are kept, those that were asked for last."""
WAITING: Final = 8
"""The most requests that wait for films; there are 40 threads."""
BYTES: Final = 1 << 30
"""The most bytes of them."""
_PIECE: Final = 1 << 18
_LOOK: Final = 0.5
"""Seconds between two looks at whether somebody still waits."""
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
        self._is_given_up = False
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
        """True if somebody waits for it, or reads it."""
        return self._readers > 0

    def goes_on(self) -> bool:
        """Return whether it is to be made further; if nobody wants it now, nobody can any more."""
        with self._changed:
            self._is_given_up = self._is_given_up or not self._readers
            return not self._is_given_up

    def enter(self) -> bool:
        """Note that somebody wants it; return False if it is not going to be there."""
        with self._changed:
            if self._is_given_up or self.error is not None:
                return False
            self._readers += 1
            return True

    def leave(self) -> None:
        """Note that somebody does not want it any more; nobody makes what nobody wants."""
        with self._changed:
            self._readers -= 1

    def wait(self, *, is_whole: bool, is_lost: Callable[[], bool]) -> None:
        """Wait until it has begun, or is whole.

        Args:
            is_whole: wait until it is whole.
            is_lost: returns whether nobody waits any more; asked now and then.

        Raises:
            Refused: nobody waits any more.
            BaseException: what was raised where it is made.
        """
        while True:
            with self._changed:
                if self._changed.wait_for(
                    lambda: self.is_over or (self._has_begun and not is_whole), _LOOK
                ):
                    break
            if is_lost():
                raise Refused(499, "the client closed the request")
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
                elif self.error is not None or file is None:
                    raise BrokenFilmError(str(self.error or "it was removed")) from None
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
        self._waiting = threading.Semaphore(WAITING)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let a thread wait for a film in the block.

        Raises:
            Refused: too many do: other requests need threads too.
        """
        if not self._waiting.acquire(blocking=False):
            why = f"{WAITING} requests wait for films"
            raise Refused(429, why, {"Retry-After": "5"}, limit=WAITING)
        try:
            yield
        finally:
            self._waiting.release()

    def film(self, tag: str, suffix: str, make: Callable[[MadeFilm], list[str]]) -> MadeFilm:
        """Return a film, which is being made if it was not there; the caller has to leave it.

        Args:
            tag: what it shows, and how.
            suffix: the end of its name, such as ``.mp4``.
            make: writes it to its path, until nobody wants it; returns warnings.
        """
        with self._lock:
            if (there := self._found.get(tag)) is not None and there.enter():
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
        count = len(whole)
        for tag in whole[:-1]:
            if count <= KEPT and self._bytes() <= BYTES:
                break
            if not self._found[tag].is_wanted:  # who waits for it may not have opened it yet
                count -= 1
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
