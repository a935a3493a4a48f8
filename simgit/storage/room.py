"""Making room where there is none left: with the space that is kept back for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from simgit.errors import StorageFullError
from simgit.storage.base import Storage

Result = TypeVar("Result")


def make_room(storage: Storage, work: Callable[[], Result]) -> Result:
    """Do what makes room; if there is no space for it, do it again with what is kept back.

    Raises:
        StorageFullError: that did not suffice; nothing of the last transaction was done.
    """
    try:
        return work()
    except StorageFullError:
        if not storage.give_up_reserve():
            raise
    return work()
