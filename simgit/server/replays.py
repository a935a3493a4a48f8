"""Requests that are sent twice: with an Idempotency-Key the second one gets the first's answer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final, NamedTuple

from starlette.responses import Response

from simgit.server.problems import Refused

KEPT: Final = 1000
"""The number of answers that are kept, the newest; they end with the process."""
_LONGEST: Final = 200
_LARGEST: Final = 1 << 20


class _Replay(NamedTuple):
    request: bytes
    response: Response | None = None
    body: bytes = b""


class Replays:
    """The answers to the newest requests by their key."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._found: OrderedDict[tuple[str, str], _Replay] = OrderedDict()

    def begin(self, level: str, key: str, request: bytes) -> Response | None:
        """Return the answer to a request that was sent before, None to a new one.

        Args:
            level: the level of its token.
            key: its key.
            request: what identifies it.

        Raises:
            Refused: the key belongs to another request, or to one that is being answered.
        """
        if not 0 < len(key) <= _LONGEST:
            raise Refused(422, f"Idempotency-Key must have 1 to {_LONGEST} characters")
        with self._lock:
            if (found := self._found.get((level, key))) is None:
                self._found[level, key] = _Replay(request)
                while len(self._found) > KEPT:
                    self._found.popitem(last=False)
                return None
        if found.request != request:
            raise _another()
        if found.response is None:
            raise Refused(409, "a request with this Idempotency-Key is being answered")
        return found.response

    def check_body(self, level: str, key: str, body: bytes) -> None:
        """Compare the hash of a long body with that of the request that was answered.

        Raises:
            Refused: it is another one.
        """
        with self._lock:
            found = self._found.get((level, key))
        if found is None or found.body != body:
            raise _another()

    def end(self, level: str, key: str, response: Response | None, body: bytes = b"") -> None:
        """Keep an answer; None, or one to be tried again, is forgotten.

        Args:
            level: the level of the token.
            key: the key.
            response: the answer.
            body: the hash of a long body, which is known only when it was read.
        """
        with self._lock:
            if response is None or response.status_code >= 500 or len(response.body) > _LARGEST:
                self._found.pop((level, key), None)
            elif (found := self._found.get((level, key))) is not None:
                self._found[level, key] = _Replay(found.request, response, body)


def _another() -> Refused:
    return Refused(422, "Idempotency-Key was used for another request; take a new one")
