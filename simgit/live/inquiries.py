"""Many simulations asked how they stand, by one who waits for none of them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from simgit.live.channel import MOST_BYTES, encoded, user_of


@dataclass
class _Contact:
    """A connection to a simulation, and the part of an answer that has come."""

    connection: socket.socket
    is_asked: bool = False
    answer: bytearray = field(default_factory=bytearray)


class Inquiries:
    """Connections that are kept open, each to one simulation.

    One that does not answer, because it is frozen for instance, is not asked again before it does,
    and delays nobody.
    """

    def __init__(self) -> None:
        self._lines: dict[str, _Contact] = {}

    def ask(self, path: str, request: Mapping[str, Any]) -> None:
        """Send a request to the simulation that listens at a path, if it has answered the last."""
        found = self._lines.get(path) or self._connected(path)
        if found is None or found.is_asked:
            return
        try:
            found.connection.sendall(encoded(request))
            found.is_asked = True
        except OSError:  # it has ended
            self._drop(path)

    def answers(self) -> dict[str, dict[str, Any]]:
        """Return what has been answered since, by path; an error is no answer."""
        found: dict[str, dict[str, Any]] = {}
        for path, line in list(self._lines.items()):
            if line.is_asked and (result := self._read(path, line)) is not None:
                found[path] = result
        return found

    def keep(self, paths: set[str]) -> None:
        """Close the connections to all other paths."""
        for path in self._lines.keys() - paths:
            self._drop(path)

    def close(self) -> None:
        """Close all connections."""
        self.keep(set())

    def _connected(self, path: str) -> _Contact | None:
        try:
            made = socket.socket(socket.AF_UNIX)
        except OSError:  # there are too many open files: it is tried again
            return None
        made.setblocking(False)
        with suppress(OSError):  # nothing listens there: it has not begun, or has ended
            made.connect(path)
            if user_of(made) in (os.getuid(), 0):
                self._lines[path] = found = _Contact(made)
                return found
        made.close()
        return None

    def _read(self, path: str, line: _Contact) -> dict[str, Any] | None:
        try:
            data = line.connection.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        line.answer += data
        if not data or len(line.answer) > MOST_BYTES:
            self._drop(path)
        elif line.answer.endswith(b"\n"):
            text = bytes(line.answer)
            line.answer.clear()
            line.is_asked = False
            with suppress(ValueError, AttributeError):
                result = json.loads(text).get("result")
                return result if isinstance(result, dict) else None
        return None

    def _drop(self, path: str) -> None:
        self._lines.pop(path).connection.close()
