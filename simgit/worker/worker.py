"""A worker: a repository of its own, whose runs are pushed to a remote in the background."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from simgit.errors import SimgitError, StorageError
from simgit.objects.arguments import checked_methods
from simgit.objects.oid import Oid
from simgit.refs.names import RUNS, check_ref_name
from simgit.repository import Repository
from simgit.worker.changes import runs_below
from simgit.worker.place import WorkerPlace
from simgit.worker.pusher import ORIGIN, Pusher, WorkResult
from simgit.worker.settings import WorkerSettings
from simgit.worker.watcher import TermHandler, Watcher

if TYPE_CHECKING:
    from simgit.recording.flush import RecorderBase
    from simgit.remotes.remote import Remote

LOG: Final = logging.getLogger("simgit.worker")


class ResumedRun(NamedTuple):
    """A run that an earlier process of the worker recorded: its newest state, and that's step."""

    oid: Oid
    step: int


def open_worker(
    url: str | Path | None = None,
    name: str | None = None,
    *,
    directory: str | Path | None = None,
    push_bytes: int | str | None = None,
    push_seconds: float | None = None,
    grace: float | None = None,
    max_unpushed: int | str | None = None,
    max_wait: float | None = None,
    keep: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> Worker:
    """Open a worker: what it records is kept on this machine, and pushed in the background.

    It fetches the runs of its name that the remote has, and continues from there. What is None
    comes from ``simgit worker run`` if that started the program, or has its default.

    Args:
        url: the remote: a path, ``file:///path`` or ``s3://bucket/prefix``.
        name: the worker, for instance ``worker/3``; its runs are called so, or below that. No
            other worker may have it, nor one below it.
        directory: where its repository is kept (default: ``simgit-…`` in the directory for
            temporary files, by URL and name).
        push_bytes: push when the local store has grown by so many bytes since the last push
            (default ``"16MiB"``).
        push_seconds: push after so many seconds, if there is something new (default 300).
        grace: how many seconds the last push may take after SIGTERM, and for how many a failed
            push is tried again at the end (default 25).
        max_unpushed: let recording wait while more bytes than that are not pushed (default
            ``"1GiB"``).
        max_wait: raise StorageError when recording waited so many seconds (default: never).
        keep: "all" to keep the repository after a clean end; otherwise it is removed if everything
            was pushed.
        endpoint: the address of a service that speaks S3; None for Amazon's.
        region: its region.
        profile: whose credentials of ``~/.aws/credentials`` to use.

    Raises:
        InvalidInput: a setting cannot be, or something else lies at the URL.
        TransportError: the remote cannot be reached, or refuses.
        StorageError: the directory cannot be written.
    """
    given = {
        "url": url, "name": name, "directory": directory, "push_bytes": push_bytes,
        "push_seconds": push_seconds, "grace": grace, "max_unpushed": max_unpushed,
        "max_wait": max_wait, "keep": keep, "endpoint": endpoint, "region": region,
        "profile": profile,
    }  # fmt: skip
    return Worker(WorkerSettings.of(given))


@checked_methods
class Worker:
    """A process that records into a repository of its own and pushes to a remote.

    ``simgit.worker.open`` returns one. It is a context manager: at a clean end its runs are
    completed, everything is pushed, and the local repository is removed.

    Attributes:
        name: its name, which its runs have or begin with.
        url: the remote.
        directory: where its repository is.
        repository: its repository.
        resumed: the runs that an earlier process of its name recorded, by name.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        """Open it; see ``simgit.worker.open``."""
        self.name, self.url = settings.name, settings.url
        self._settings = settings
        self._place = WorkerPlace.take(settings.url, settings.name, settings.directory)
        self.directory = self._place.directory
        self._is_closed = False
        self._process = os.getpid()
        try:
            self.repository = Repository.init(self.directory)
            try:
                self._remote = self._connect()
                try:
                    self._fetch()
                except BaseException:
                    self._remote.close()
                    raise
            except BaseException:
                self.repository.close()
                raise
        except BaseException:
            self._place.release(remove=False)
            raise
        self.resumed: Mapping[str, ResumedRun] = self._found()
        self._pusher = Pusher(self.repository, self._remote, settings, self._recorders)
        self._watcher = Watcher(self._recorders, self._pusher, settings)
        self._pusher.start()
        self._watcher.start()
        if self._pusher.changed():  # an earlier process was killed before it pushed this
            self._pusher.ask()
        self._preemption = TermHandler(self._watcher, settings.grace, self._preempt)
        self._preemption.install()

    # --- beginning ---

    def _connect(self) -> Remote:
        settings = self._settings
        if ORIGIN not in self.repository.remotes():
            self.repository.add_remote(
                ORIGIN, settings.url, endpoint=settings.endpoint, region=settings.region,
                profile=settings.profile,
            )  # fmt: skip
        return self.repository.remote(ORIGIN)

    def _fetch(self) -> None:
        """Get the runs of this name, and move those here forward; no other run is looked at."""
        if not self._remote.exists:
            return
        names = [
            each.removeprefix(RUNS)
            for each, oid in self._remote.refs(self.name, f"{self.name}/*").items()
            if oid is not None
        ]
        if not names:
            return
        self._remote.fetch(names)
        here = [each for each in names if each in self.repository.runs]
        ahead = {n for n, each in self.repository.upstreams(*here).items() if each.ahead}
        if behind := [each for each in names if each not in ahead]:
            self.repository.pull(ORIGIN, behind)

    def _found(self) -> dict[str, ResumedRun]:
        with self.repository.odb.read() as txn:
            return {
                name: ResumedRun(ref.oid, ref.step)
                for name, ref in runs_below(txn, self.name)
                if ref.oid is not None
            }

    def _recorders(self) -> list[RecorderBase]:
        """Return the recorders that are open; those of ``simgit.gym`` have handles of their own."""
        while True:
            try:
                found = list(self.repository._store.all_recorders)
                return [each for each in found if not each.is_closed]
            except RuntimeError:  # another thread opened one meanwhile
                continue

    # --- recording ---

    def run(self, run: str | None = None) -> str:
        """Return the whole name of a run of this worker; one that was completed is reopened.

        Args:
            run: its name below that of the worker; None for the run that has the worker's name.

        Raises:
            InvalidInput: no run can have the name.
        """
        name = self.name if run is None else run
        if name != self.name and not name.startswith(f"{self.name}/"):
            name = check_ref_name(f"{self.name}/{name}")
        runs = self.repository.runs
        if name in runs and runs[name].status == "completed":
            self.repository.set_status(name, "active")
        return name

    def recorder(self, run: str | Sequence[str] | None = None, **options: Any) -> Any:
        """Return a recorder of a run of this worker; see ``Repository.recorder``.

        Args:
            run: as in ``run``; a sequence of names for a batch of parallel environments.
            options: those of ``Repository.recorder``.

        Raises:
            Conflict, InvalidInput, Divergence: see ``Repository.recorder``.
        """
        if run is None or isinstance(run, str):
            return self.repository.recorder(self.run(run), **options)
        return self.repository.recorder([self.run(each) for each in run], **options)

    def checkpoint(self, recorder: Any, name: str, data: Any) -> None:
        """Attach data to the newest state of a run, and ask for a push.

        Args:
            recorder: a recorder of one run, of this worker's or of ``simgit.gym``; or the name of
                a run, as in ``run``.
            name: the name of the attachment.
            data: what ``Repository.attach`` takes.

        Raises:
            NotFound: there is no such run.
            InvalidInput: the name is not allowed, the data cannot be stored, or there is no state.
        """
        if isinstance(recorder, str):
            full = self.run(recorder)
            open_now = [each for each in self._recorders() if getattr(each, "run", None) == full]
            recorder = open_now[0] if open_now else None
            if recorder is None:
                self.repository.attach(full, name, data)
        if recorder is not None:
            recorder.attach(name, data)
            recorder.flush()
        self._pusher.ask()

    # --- pushing ---

    @property
    def result(self) -> WorkResult:
        """The sum of what was pushed since the worker was opened."""
        return self._pusher.result

    @property
    def unpushed(self) -> int:
        """The bytes by which the local store has grown since the last push began."""
        return self._pusher.unpushed

    def push(self, timeout: float = 60.0) -> WorkResult:
        """Push what was recorded, wait until that is done, and return all that was pushed.

        A failed push is tried again in any case.

        Args:
            timeout: how many seconds a failing push is waited for.

        Raises:
            TransportError, StorageError: it failed until then.
        """
        if not self._pusher.wait(self._pusher.ask(), time.monotonic() + timeout):
            raise self._failure()
        return self.result

    def _failure(self) -> Exception:
        return self._pusher.error or StorageError(f"'{self.name}' was not pushed in time")

    def _preempt(self, deadline: float, dies: bool) -> bool:
        """Store and push everything; return False if a signal came too early for that."""
        recorders = self._recorders()
        early = self.repository.odb.storage.is_writing or any(each.is_busy for each in recorders)
        if early and time.monotonic() < deadline:
            return False
        self._pusher.is_ending = True
        for each in recorders:
            try:
                if dies:
                    each.close("paused")
                else:
                    each.flush()
            except SimgitError as error:
                LOG.error("states of '%s' could not be stored: %s", self.name, error)
        done = self._pusher.wait(self._pusher.ask(), deadline, beyond=False)
        self._pusher.is_ending = False
        if done:
            LOG.warning("SIGTERM: everything of '%s' is pushed", self.name)
        else:
            LOG.error("SIGTERM: not all of '%s' could be pushed (%s); the rest is in '%s' of %s",
                      self.name, self._pusher.error or "there was no time", self.directory,
                      socket.gethostname())  # fmt: skip
        return True

    # --- end ---

    def close(self) -> None:
        """Close the recorders, complete the runs, push everything; closing twice is fine.

        Raises:
            StorageError: not everything could be pushed; it is kept in the local repository.
            Conflict: see ``Recorder.close``; everything is pushed.
        """
        self.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_closed or os.getpid() != self._process:  # a forked child has no part in it
            return
        self._is_closed = True
        self._pusher.is_ending = True
        failed: SimgitError | None = None
        own = set(self.repository._store.recorders)
        left = [each for each in self._recorders() if each not in own]
        for each in self._recorders():
            try:
                each.__exit__(kind, error, trace)
            except SimgitError as found:
                failed = failed or found
        pushed = False
        try:
            if error is None and failed is None:
                self._complete()
            pushed = self._pusher.wait(self._pusher.ask(), time.monotonic() + self._settings.grace)
        finally:
            why = self._failure()
            self._watcher.stop()
            self._pusher.stop()
            self._preemption.remove()
            self._remote.close()
            self.repository.close()
            clean = pushed and error is None and failed is None
            if left and clean and self._settings.keep is None:
                LOG.warning(
                    "an environment that '%s' recorded was not closed before its end; all is "
                    "pushed, but its repository is kept: '%s'",
                    self.name, self.directory,
                )  # fmt: skip
            self._place.release(remove=clean and not left and self._settings.keep is None)
        if not pushed:
            said = f"not all of '{self.name}' could be pushed: {why}; it is in '{self.directory}'"
            if error is not None:
                error.add_note(f"simgit: {said}")
            else:
                raise StorageError(said, path=self.directory) from why
        if failed is not None:
            raise failed

    def _complete(self) -> None:
        """Note that the runs have come to their end, which tells others that the work is done."""
        with self.repository.odb.read() as txn:
            left = [
                name
                for name, ref in runs_below(txn, self.name)
                if ref.status == "active" and not ref.is_claimed
            ]
        if left:
            with self.repository.transaction("worker", "complete", self.name):
                for name in left:
                    self.repository.set_status(name, "completed")
