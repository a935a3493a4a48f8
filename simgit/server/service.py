"""The parts that routes share: handles of the repository, access, and the watch."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from simgit.errors import SimgitError, StorageError
from simgit.live.tracker import Tracker
from simgit.live.views import KeptTypes
from simgit.repository import Repository
from simgit.server.films import Films
from simgit.server.gate import Access
from simgit.server.jobs import Jobs
from simgit.server.problems import Refused
from simgit.server.replays import Replays
from simgit.server.restorers import Restorers
from simgit.server.run_rows import MEMBERS, RunRows
from simgit.server.static import files
from simgit.server.watch import Watch
from simgit.storage.limits import TimeIsUp, TimeLimit, limited

WARMED: Final = 2_000_000
"""The most states of a run whose curve is read before anybody asks for it."""
PAST: Final = 8
"""The most moments of the past whose handles are kept, those that were asked for last."""


class Handle:
    """A handle that reads: of the present, or of the repository as it was after an operation.

    Attributes:
        repo: the repository.
        runs: its runs, kept from one request to the next.
        rows: the list of them, as it is sent.
        as_of: the operation; None for the present.
    """

    def __init__(self, repo: Repository, as_of: int | None = None) -> None:
        """Keep nothing yet."""
        self.repo = repo
        self.runs = repo.runs.kept()
        self.as_of = as_of
        self.rows = RunRows(self.runs)


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
        self.present = Handle(self.reader)
        self._past: OrderedDict[int, Handle] = OrderedDict()
        self._alone = threading.Lock()
        self.jobs = Jobs(directory)
        self.watch = Watch(self.reader, self.jobs)
        self.restorers = Restorers(directory)
        self.films = Films()
        self.types = KeptTypes()
        self._warming: threading.Thread | None = None
        self._warmth = TimeLimit(math.inf)

    def warm(self) -> None:
        """Read in a thread what every viewer asks for first: the first need not wait for it."""
        self._warming = threading.Thread(target=self._warm, name="warm", daemon=True)
        self._warming.start()

    def _warm(self) -> None:
        files()
        # who asks for it is told
        with suppress(SimgitError, TimeIsUp), limited(self._warmth):
            rows = self.present.rows
            infos = rows.infos()
            rows.since(infos, None)
            rows.packed(infos, MEMBERS)
            first = min(
                (each for each in infos if each.oid is not None),
                key=lambda each: (each.parent is not None, each.created),
                default=None,
            )
            if first is not None and (first.step or 0) < WARMED:
                self.reader.buckets(first.name, ["return"])  # which are read from the states

    def at(self, operation: int) -> Handle:
        """Return a handle of the repository as it was after an operation.

        It shares the store with ``reader``, so that one that is kept no longer needs no end.

        Raises:
            NotFound: there is no such operation, or it is not kept any more.
        """
        with self._alone:
            found = self._past.pop(operation, None)
        if found is None:
            found = Handle(self.reader.at_operation(operation), operation)
        with self._alone:
            self._past[operation] = found
            while len(self._past) > PAST:
                self._past.popitem(last=False)
        return found

    def end(self) -> None:
        """End all streams, and what restores states: the server ends."""
        self._warmth.is_ended = True
        self.watch.end()
        self.restorers.close()

    def close(self) -> None:
        """Close the handle that reads; the other one belongs to the caller."""
        self.end()
        self.films.close()
        if self._warming is not None:
            self._warming.join()
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
    """Return the service of the application that a request came to.

    Raises:
        StorageError: its repository was deleted; there may be another one in its place.
    """
    found: Service = request.app.state.service
    if found.repo.odb.storage.is_deleted:
        raise StorageError(
            f"repository '{found.repo.directory}' was deleted while it was served: start the "
            "server again for one that is there now"
        )
    return found


AsOf = Annotated[
    int | None,
    Query(ge=0, lt=10**18, description="Look at what there was after an operation; 0: before all."),
]


async def handle_of(request: Request, as_of: AsOf = None) -> Handle:
    """Return the handle that reads, of the moment that is asked for."""
    service = await service_of(request)
    return service.present if as_of is None else await run_in_threadpool(service.at, as_of)


async def reader_of(handle: Annotated[Handle, Depends(handle_of)]) -> Repository:
    """Return the repository that is read, of the moment that is asked for."""
    return handle.repo


async def present_of(request: Request) -> Repository:
    """Return the repository that is read, as it is now.

    Raises:
        Refused: the past is asked for, which what is asked for does not have.
    """
    if "as_of" in request.query_params:
        raise Refused(422, "this is only known of the present: leave out as_of")
    return (await service_of(request)).reader


Served = Annotated[Service, Depends(service_of)]
Reading = Annotated[Handle, Depends(handle_of)]
Reader = Annotated[Repository, Depends(reader_of)]
Present = Annotated[Repository, Depends(present_of)]
ONLY_PRESENT: Final = (Depends(present_of),)
"""The dependencies of routers all of whose routes are about the present."""
