"""The payloads used last, kept by name: a base of a difference need not be decoded each time."""

from __future__ import annotations

import threading
from typing import Final

LIMIT: Final = 64 << 20
"""Bytes that each thread keeps at most."""


class Recent(threading.local):
    """Payloads by oid, the oldest dropped first; every thread has its own."""

    def __init__(self) -> None:
        self._kept: dict[bytes, bytes] = {}
        self._bytes = 0

    def get(self, oid: bytes) -> bytes | None:
        """Return a payload, or None if it is not kept."""
        return self._kept.get(oid)

    def keep(self, oid: bytes, payload: bytes) -> None:
        """Keep a payload, in place of the oldest ones."""
        if oid in self._kept or len(payload) > LIMIT:
            return
        self._kept[bytes(oid)] = payload
        self._bytes += len(payload)
        while self._bytes > LIMIT:
            self._bytes -= len(self._kept.pop(next(iter(self._kept))))
