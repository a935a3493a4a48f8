"""The clock of a remote's storage, by which ages of its objects are told."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from simgit.errors import SimgitError
from simgit.remotes.layout import PROBE

if TYPE_CHECKING:
    from simgit.remotes.transport import Transport

_VALID: Final = 600.0
"""The seconds after which the clock is looked at again: two clocks do not run alike."""


class StoreClock:
    """The time of a storage, found out by writing an object, and reckoned from then on."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._looked = self._time = 0.0

    def now(self) -> float:
        """Return the time there, in seconds since 1970: never later than it is.

        Raises:
            TransportError: the storage cannot be reached, or refuses to be written.
        """
        since = time.monotonic() - self._looked
        if not self._time or since > _VALID:
            key = f"{PROBE}clock-{os.urandom(8).hex()}"
            self._transport.put(key, b"clock")
            self._looked = time.monotonic()  # it was written before this
            self._time = self._transport.head(key).modified
            with suppress(SimgitError):
                self._transport.delete([key])
            since = time.monotonic() - self._looked
        return self._time + since
