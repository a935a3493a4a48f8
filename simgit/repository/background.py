"""When maintenance that runs by itself has its turn."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from simgit.errors import SimgitError
from simgit.maintenance.size_log import collection_due, upkeep_due
from simgit.odb.database import ObjectDatabase
from simgit.refs.refs import Refs
from simgit.refs.settings import GC_AUTO, get_setting
from simgit.storage.process import now

if TYPE_CHECKING:
    from simgit.maintenance.compaction_background import AutoMaintenance
    from simgit.maintenance.gc.background import AutoCollection

EVERY: Final = 8
"""After so many transactions there is a slice, if maintenance is due."""
AT_CLOSE: Final = 0.5
"""Seconds that a collection has to come to its end when the repository is closed."""


class Upkeep:
    """Gives maintenance a slice now and then.

    Attributes:
        resting: held while maintenance is at work, and by whoever does it anyway.
    """

    def __init__(self, odb: ObjectDatabase, refs: Refs) -> None:
        self._odb = odb
        self._refs = refs
        self._work: AutoMaintenance | AutoCollection | None = None
        self._writes = 0
        self.resting = threading.Lock()

    def after_write(self) -> None:
        """Do a slice, if it is time for one and something is to be done."""
        self._writes += 1
        if self._writes % EVERY != 1 or not self.resting.acquire(blocking=False):
            return
        try:
            with suppress(SimgitError):  # what was written is safe, and fsck says what is wrong
                self._slice()
        finally:
            self.resting.release()

    def close(self) -> None:
        """Let a collection that has begun come to its end, if that is soon.

        A process of one command each would else begin one day after day.
        """
        if not self.resting.acquire(blocking=False):
            return
        until = time.monotonic() + AT_CLOSE
        try:
            with suppress(SimgitError):
                while self._is_collecting() and time.monotonic() < until:
                    self._slice()
        finally:
            self._work = None
            self.resting.release()

    def _is_collecting(self) -> bool:
        return self._work is not None and self._work.ends_with_process

    def _slice(self) -> None:
        if self._work is None:
            self._work = self._due()
        elif not self._is_on():
            self._work = None
        if self._work is not None and not self._work.slice():
            self._work = None

    def _is_on(self) -> bool:
        """Return whether nobody has turned maintenance off meanwhile."""
        with self._odb.read() as txn:
            return bool(get_setting(txn, GC_AUTO))

    def _due(self) -> AutoMaintenance | AutoCollection | None:
        with self._odb.read() as txn:
            collects, joins = collection_due(txn, now()), upkeep_due(txn)
        if collects:
            from simgit.maintenance.gc.background import AutoCollection

            return AutoCollection(self._odb, self._refs)
        if joins:
            from simgit.maintenance.compaction_background import AutoMaintenance

            return AutoMaintenance(self._odb)
        return None
