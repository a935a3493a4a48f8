"""A process that decodes states for an import. It imports little, for that is most of its start."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import lru_cache
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from simgit.objects.schema import Schema
from simgit.remotes.bundle.states import decode_states
from simgit.remotes.bundle.states_head import decode_head


def serve(connection: Connection, max_object: int) -> None:
    """Decode the records that come, until the import ends."""
    tasks: SimpleQueue[tuple[bytes, bytes]] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, tasks), daemon=True).start()
    with suppress(OSError):  # the import has ended
        connection.send(None)  # it is ready
        while True:
            payload, body = tasks.get()
            connection.send(decoded(_schema(payload), body, max_object))


def _receive(connection: Connection, tasks: SimpleQueue[tuple[bytes, bytes]]) -> None:
    """Take what is sent at once, so that the import never waits; end this process with it."""
    with suppress(EOFError, OSError):
        while True:
            tasks.put(connection.recv())
    os._exit(0)


def decoded(schema: Schema, body: bytes, max_object: int) -> Any:
    """Return the decoded states without their schema, or the error that was raised."""
    try:
        rows, oids, block = decode_states(body, decode_head(body), schema, max_object)
    except Exception as error:
        return error
    return rows.fixed, rows.variable, rows.arrays, oids, block


@lru_cache(16)
def _schema(payload: bytes) -> Schema:
    return Schema.decode(payload)
