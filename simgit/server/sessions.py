"""Sessions of browsers: a cookie has the id of one, never a token."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Final

from blake3 import blake3

MOST: Final = 256
"""The most sessions of a level at once; the one that was used the longest ago ends first."""


class Sessions:
    """The sessions of one server, which end with it.

    An id is looked up by its hash, so that the time that takes says nothing about any id.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._levels: dict[str, OrderedDict[bytes, None]] = {}

    def begin(self, level: str) -> str:
        """Return the id of a new session that may do what a level may."""
        made = secrets.token_urlsafe(32)
        with self._lock:
            found = self._levels.setdefault(level, OrderedDict())
            found[_digest(made)] = None
            while len(found) > MOST:
                found.popitem(last=False)
        return made

    def level(self, given: str) -> str | None:
        """Return the level of the session with an id, None if it is unknown."""
        digest = _digest(given)
        with self._lock:
            for level, found in self._levels.items():
                if digest in found:
                    found.move_to_end(digest)
                    return level
        return None

    def end(self, given: str) -> None:
        """End a session."""
        digest = _digest(given)
        with self._lock:
            for found in self._levels.values():
                found.pop(digest, None)


def _digest(given: str) -> bytes:
    return blake3(given.encode(errors="replace")).digest()
