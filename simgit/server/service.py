"""The parts that routes share: handles of the repository, access, and the watch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from simgit.live.tracker import Tracker
from simgit.repository import Repository
from simgit.server.gate import Access
from simgit.server.jobs import Jobs
from simgit.server.replays import Replays
from simgit.server.run_rows import RunRows
from simgit.server.watch import Watch


@dataclass
class Service:
    """One open repository that is served.

    Attributes:
        repo: the handle from which those that write are made.
        reader: a handle that cannot write, for all reading.
        access: who may do what.
        tracker: who starts simulations; None where nobody may.
        replays: the answers to requests with an Idempotency-Key.
    """

    repo: Repository
    access: Access = field(default_factory=Access)
    tracker: Tracker | None = None
    replays: Replays = field(default_factory=Replays)

    def __post_init__(self) -> None:
        """Open the handle that reads."""
        directory = self.repo.directory
        self.reader = self.repo if directory is None else Repository.open(directory, read_only=True)
        self.rows = RunRows(self.reader.runs.kept())
        self._alone = threading.Lock()
        self.jobs = Jobs(directory)
        self.watch = Watch(self.reader, self.jobs)

    def end(self) -> None:
        """End all streams: the server ends."""
        self.watch.end()

    def close(self) -> None:
        """Close the handle that reads; the other one belongs to the caller."""
        self.end()
        if self.reader is not self.repo:
            self.reader.close()

    @contextmanager
    def writing(self, request: Request) -> Iterator[Repository]:
        """Yield a handle whose writes are one operation, under the request's method and path."""
        named = ("http", request.method, request.url.path.removeprefix("/v1/"))
        if self.repo.directory is None:  # there is one handle, which names one command at a time
            with self._alone:
                self.repo.name_command(*named)
                yield self.repo
            return
        repo = self.repo.again()
        try:
            repo.name_command(*named)
            yield repo
        finally:
            repo.close()


async def service_of(request: Request) -> Service:
    """Return the service of the application that a request came to."""
    found: Service = request.app.state.service
    return found


async def reader_of(request: Request) -> Repository:
    """Return the handle that reads."""
    return (await service_of(request)).reader


Served = Annotated[Service, Depends(service_of)]
Reader = Annotated[Repository, Depends(reader_of)]
