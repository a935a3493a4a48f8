"""Remotes of a repository: settings, and the runs that pull and clone make of fetched ones."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simgit.errors import (
    AlreadyExists,
    InvalidInput,
    NotFound,
    StorageError,
    did_you_mean,
    reason,
)
from simgit.objects.oid import Oid
from simgit.refs.names import RUNS, check_remote_name
from simgit.refs.remotes import (
    RemoteSettings,
    remote_run,
    remote_runs,
    remotes,
    remove_remote,
    set_remote,
)
from simgit.remotes.remote import Local, Remote
from simgit.remotes.transport import Transport, open_transport
from simgit.storage.directory import DIRECTORY, is_repository

if TYPE_CHECKING:
    from simgit.odb.database import ObjectDatabase
    from simgit.refs.refs import Refs
    from simgit.remotes.bundle.import_refs import ImportedRef
    from simgit.remotes.fetch import FetchReport
    from simgit.repository.store import Store

ORIGIN = "origin"


@dataclass
class PullReport:
    """The outcome of a pull.

    Attributes:
        fetched: what came.
        runs: the outcome for each run, by its name at the remote.
    """

    fetched: FetchReport
    runs: dict[str, ImportedRef] = field(default_factory=dict)


class Remotes:
    """The remotes of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> dict[str, RemoteSettings]:
        """Return the settings of all remotes by name."""
        with self._store.read() as txn:
            return remotes(txn)

    def add(self, name: str, settings: RemoteSettings) -> bool:
        """Add a remote; return whether anything was pushed to it yet.

        Raises:
            AlreadyExists: there is one of this name.
            InvalidInput: the name or the URL cannot be, or something else lies there.
            TransportError: the storage cannot be reached, or refuses.
        """
        check_remote_name(name)
        if name in self.all():
            raise AlreadyExists(
                f"remote '{name}' already exists; see 'simgit remote list'", name=name
            )
        settings = settings._replace(url=self._stored_url(settings.url))
        with self._open(name, settings) as remote:
            exists = remote.exists
        with self._store.journaled("remote", "add", name).write() as txn:
            set_remote(txn, name, settings)
        return exists

    def _stored_url(self, url: str) -> str:
        """Return a URL as settings keep it: paths are absolute, whatever directory one is in."""
        if "\0" in url:
            raise InvalidInput("the URL of a remote cannot contain a NUL byte")
        return url if "://" in url else str(Path(url).expanduser().resolve())

    def remove(self, name: str) -> None:
        """Remove a remote with its tracking refs.

        Raises:
            NotFound: there is no remote of this name.
        """
        self.settings(name)
        with self._store.journaled("remote", "rm", name).write() as txn:
            remove_remote(txn, name, "remote: removed")

    def settings(self, name: str) -> RemoteSettings:
        """Return the settings of a remote.

        Raises:
            NotFound: there is no remote of this name.
        """
        known = self.all()
        if name in known:
            return known[name]
        hint = did_you_mean(name, known) or "; add it with 'simgit remote add NAME URL'"
        raise NotFound(f"remote '{name}' not found{hint}", name=name)

    def default(self) -> str:
        """Return the remote that is meant where none is named: origin, or the only one.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several, and none is called origin.
        """
        known = self.all()
        if ORIGIN in known:
            return ORIGIN
        if not known:
            raise NotFound("no remote is set up; add one with 'simgit remote add origin URL'")
        if len(known) > 1:
            raise InvalidInput(f"which remote? There are {', '.join(known)}")
        return next(iter(known))

    def open(self, name: str | None = None, transport: Transport | None = None) -> Remote:
        """Open a remote by its name.

        Args:
            name: the name; None for origin, or the only one.
            transport: one to use in place of the URL's.
        """
        name = self.default() if name is None else name
        return self._open(name, self.settings(name), transport)

    def _open(
        self, name: str, settings: RemoteSettings, transport: Transport | None = None
    ) -> Remote:
        if transport is None:
            transport = open_transport(
                settings.url, endpoint=settings.endpoint or None,
                region=settings.region or None, profile=settings.profile or None,
            )  # fmt: skip
        store = self._store
        return Remote.of(
            transport, Local(store.odb, store.refs, store.journaled, name, _problems),
            read_only=settings.read_only, single_writer=settings.single_writer, shown=name,
        )  # fmt: skip

    # --- pull ---

    def pull(self, name: str | None, runs: Sequence[str] | None, **options: Any) -> PullReport:
        """Fetch runs, and set those of this repository by the rules of an import."""
        with self.open(name) as remote:
            assert remote.name is not None
            if runs is None:
                runs = [self._head()]
            report = PullReport(remote.fetch(runs, **options))
            self.set_runs(remote.name, self._fetched_runs(remote.name, report), report, "pull")
        return report

    def _fetched_runs(self, remote: str, report: PullReport) -> list[str]:
        """Return the names of the runs that a fetch found at the remote, parents first."""
        found = report.fetched.refs.items()
        names = [n[len(RUNS) :] for n, e in found if n.startswith(RUNS) and e.what != "pruned"]
        return _parents_first(self._store, remote, names)

    def _head(self) -> str:
        with self._store.read() as txn:
            head = self._store.refs.head(txn)
        if isinstance(head, Oid):
            raise InvalidInput("HEAD is detached; name the runs to pull")
        return head

    def set_runs(self, remote: str, names: Sequence[str], report: PullReport, why: str) -> None:
        """Set runs of this repository to what was fetched."""
        from simgit.remotes.bundle.import_refs import set_run
        from simgit.remotes.bundle.manifest import RunEntry

        odb = self._store.journaled(why, remote, *names[:8])
        with odb.write() as txn:
            for name in names:
                ref = remote_run(txn, remote, name)
                entry = RunEntry(
                    ref.oid, ref.record, ref.status, ref.created, ref.ended, ref.parent
                )
                found = set_run(odb, self._store.refs, txn, name, entry, why)
                report.runs[name] = found

    # --- clone ---

    def begin(
        self,
        settings: RemoteSettings,
        runs: Sequence[str] | None,
        **fetch: Any,
    ) -> PullReport:
        """Make this new repository a clone of a remote, or of some of its runs."""
        self.add(ORIGIN, settings)
        with self.open(ORIGIN) as remote:
            report = PullReport(remote.fetch(runs, **fetch))
        names = self._fetched_runs(ORIGIN, report)
        self.set_runs(ORIGIN, names, report, "clone")
        if names:
            head = "main" if "main" in names else names[0]
            with self._store.journaled("clone").write() as txn:
                self._store.refs.set_head(txn, head, f"clone: from {settings.url}")
        return report


def _problems(odb: ObjectDatabase, refs: Refs) -> Iterator[str]:
    """Yield what is wrong with a repository."""
    from simgit.maintenance.fsck import Fsck

    return (str(each) for each in Fsck(odb, refs, None).run().problems)


@contextmanager
def new_clone(target: Path) -> Iterator[Path]:
    """Yield where a clone of a remote is made; where that fails what was made is removed.

    The ``.simgit`` is made here, so whatever is removed is no one else's.

    Raises:
        AlreadyExists: there is a ``.simgit``, a repository or not.
        StorageError: the directory cannot be made.
    """
    directory = target / DIRECTORY
    made = [each for each in (target, *target.parents) if not os.path.lexists(each)]
    try:
        target.mkdir(parents=True, exist_ok=True)
        directory.mkdir()
    except FileExistsError as error:
        what = "repository" if is_repository(directory) else "file or directory"
        there = directory if os.path.lexists(directory) else error.filename
        raise AlreadyExists(f"{what} '{there}' already exists", path=directory) from None
    except OSError as error:
        raise StorageError(f"cannot create '{directory}': {reason(error)}") from None
    try:
        yield target
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):  # others have put something there meanwhile
            for each in made:
                each.rmdir()
        raise


def _parents_first(store: Store, remote: str, names: Sequence[str]) -> list[str]:
    """Return names of fetched runs, each after the run that it was branched off."""
    with store.read() as txn:
        parents = {name: ref.parent for _, name, ref in remote_runs(txn, remote)}
    found: dict[str, None] = {}
    for name in names:
        path: list[str] = []
        each: str | None = name
        while each is not None and each not in found and each not in path:
            path.append(each)
            each = parents.get(each)
        found.update(dict.fromkeys(reversed(path)))
    wanted = set(names)
    return [name for name in found if name in wanted]
