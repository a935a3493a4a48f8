"""A remote as users have it: push to it, fetch from it, look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from simgit.errors import InvalidInput, NotFound
from simgit.objects.oid import Oid
from simgit.refs.names import HEAD, RUNS, TAGS, expanded, is_pattern, matches
from simgit.remotes.connection import Connection
from simgit.remotes.transport import Transport, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from simgit.odb.database import ObjectDatabase
    from simgit.refs.refs import Refs
    from simgit.remotes.checking import Deep, RemoteCheck
    from simgit.remotes.checking import Progress as CheckProgress
    from simgit.remotes.collection import Progress as CollectProgress
    from simgit.remotes.collection import RemoteCollection
    from simgit.remotes.fetch import FetchReport
    from simgit.remotes.fetch import Progress as FetchProgress
    from simgit.remotes.push import PushReport
    from simgit.remotes.sending import Progress as PushProgress
    from simgit.remotes.stretch import AskedSteps
    from simgit.storage.base import ReadTxn


class Local:
    """The store that a remote is used from."""

    def __init__(
        self,
        odb: ObjectDatabase,
        refs: Refs,
        journaled: Callable[..., ObjectDatabase],
        name: str,
        deep: Deep | None = None,
    ) -> None:
        """Take the store.

        Args:
            odb: its object database.
            refs: its refs.
            journaled: returns the database for the writes of a command.
            name: the name that the remote has in it.
            deep: checks a repository that all of the remote was fetched into.
        """
        self.odb = odb
        self.refs = refs
        self.journaled = journaled
        self.name = name
        self.deep = deep


class Remote(AbstractContextManager["Remote"]):
    """A remote: a directory or a bucket that repositories push to and fetch from.

    ``Repository.remote`` opens one by its name, or by its URL; ``Remote.open`` opens one without a
    repository. It is a context manager.

    Attributes:
        url: where it lies, without credentials.
        name: its name in the repository; None without one.
    """

    def __init__(self, connection: Connection, local: Local | None = None) -> None:
        self._connection = connection
        self._local = local
        self.url = connection.transport.url
        self.name = local.name if local else None

    @classmethod
    def open(
        cls,
        url: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        read_only: bool = False,
        single_writer: bool = False,
    ) -> Self:
        """Open the remote at a URL.

        Args:
            url: a path, ``file:///path`` or ``s3://bucket/prefix``.
            endpoint: the address of a service that speaks S3; None for Amazon's.
            region: its region; None for the environment's.
            profile: whose credentials of ``~/.aws/credentials`` to use; None for those of the
                environment.
            read_only: True to refuse to write to it.
            single_writer: True to accept storage that ignores conditional writes: nobody else may
                write to it.

        Raises:
            InvalidInput: the URL is none, or something else lies there.
            FormatError: a newer version made the remote.
            TransportError: the storage cannot be reached, or refuses.
        """
        transport = open_transport(url, endpoint=endpoint, region=region, profile=profile)
        options = {"read_only": read_only, "single_writer": single_writer}
        return cls(_opened(transport, options))

    @classmethod
    def of(cls, transport: Transport, local: Local, **options: Any) -> Self:
        """Open a remote for a store; see ``open`` for the options."""
        return cls(_opened(transport, options), local)

    def close(self) -> None:
        """Close the connection; closing it twice is fine."""
        self._connection.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def exists(self) -> bool:
        """True if something was pushed to it."""
        return self._connection.exists

    def refs(self, *names: str) -> dict[str, Oid | None]:
        """Return the states of runs and tags of the remote, by full name.

        Args:
            names: names of runs there, or patterns of them; tags by full name. Only what they can
                mean is listed at the remote. All runs and tags without any; what is not there is
                left out.

        Raises:
            IntegrityError: a ref is damaged.
            TransportError: the storage cannot be reached, or refuses.
        """
        if not self.exists:
            return {}
        from simgit.remotes.fetch import readable

        full = [self._full(each) for each in names]
        found = self._connection.read_refs(map(readable, full) if names else None, self._known())
        return {
            name: each.ref.oid
            for name, each in found.items()
            if not each.ref.deleted and (not names or matches(name, full))
        }

    def _known(self) -> Callable[[str], tuple[str, bytes] | None]:
        if self._local is None:
            return lambda key: None
        from simgit.refs.remote_cache import RemoteCache

        cache = RemoteCache(self._connection.info.id)
        odb = self._local.odb

        def known(key: str) -> tuple[str, bytes] | None:
            with odb.read() as txn:
                return cache.ref(txn, key)

        return known

    # --- push ---

    def push(
        self,
        refs: Sequence[str] | None = None,
        *,
        all: bool = False,
        tags: bool = False,
        delete: Sequence[str] = (),
        force: bool = False,
        expect: Mapping[str, Oid | None] | None = None,
        aside: bool = False,
        dry_run: bool = False,
        progress: PushProgress | None = None,
    ) -> PushReport:
        """Send runs and tags, with all that leads to them; return what was done.

        Packs go first and refs last, so that a push that ends in between changes nothing; the next
        one goes on from there. A ref that does not lead to the state that it has at the remote is
        refused, and then nothing is pushed.

        Args:
            refs: names of runs and tags, or patterns of them; HEAD's run, if none is named.
            all: all runs.
            tags: all tags.
            delete: names of runs and tags to delete at the remote.
            force: replace refs there that have other states, if they are as they were last seen.
            expect: by name of a pushed ref the state that it must have there, None if it must not
                be there; such refs are replaced if they have it, and refused otherwise.
            aside: push a run that has other states there as ``NAME.conflict-1``.
            dry_run: find out what would be sent, and write nothing.
            progress: called with the number of states that were sent, and of all.

        Raises:
            NotFound: there is no such run or tag, here or (to delete it) there.
            Conflict: a ref has other states at the remote, or moved meanwhile.
            InvalidInput: the remote is read-only here, or its storage ignores conditions.
            TransportError: the storage cannot be reached, or refuses.
        """
        from simgit.remotes.push import Push

        local = self._here()
        with local.odb.read() as txn:
            names = self._named(local, txn, refs, all=all, tags=tags, nothing=bool(delete))
            leases = {
                full: oid
                for name, oid in (expect or {}).items()
                for full in _resolved(local, txn, name)
            }
        if others := [full for full in leases if full not in names]:
            raise InvalidInput(f"'{others[0]}' is expected to have a state there, but not pushed")
        gone = [self._full(each) for each in delete]
        odb = local.journaled("push", local.name, *names[:8])
        push = Push(
            local.odb, odb, local.refs, self._connection, local.name, force=force,
            leases=leases, aside=aside, dry_run=dry_run, progress=progress,
        )  # fmt: skip
        return push.run(names, gone)

    @staticmethod
    def _full(name: str) -> str:
        return name if name.startswith((RUNS, TAGS)) else RUNS + name

    @staticmethod
    def _named(
        local: Local,
        txn: ReadTxn,
        refs: Sequence[str] | None,
        *,
        all: bool,
        tags: bool,
        nothing: bool,
    ) -> list[str]:
        """Return the full names of the runs and tags to push."""
        found: list[str] = []
        if all:
            found += [RUNS + name for name, _ in local.refs.runs(txn)]
        if tags:
            found += [TAGS + name for name, _ in local.refs.tags(txn)]
        if not refs and not all and not tags:
            if nothing:
                return []
            refs = [HEAD]
        for name in refs or ():
            found += _resolved(local, txn, name)
        return found

    def _here(self) -> Local:
        if self._local is None:
            raise InvalidInput("this remote was opened without a repository; see Repository.remote")
        return self._local

    # --- fetch ---

    def fetch(
        self,
        refs: Sequence[str] | None = None,
        *,
        prune: bool = False,
        states: tuple[int, int | None] | None = None,
        depth: int | None = None,
        attachments: bool = True,
        jobs: int = 1,
        progress: FetchProgress | None = None,
    ) -> FetchReport:
        """Get runs and tags, with all that leads to them; return what was done.

        Runs become remote-tracking refs such as ``origin/main``: no run of this repository is
        changed. New tags are created. A fetch that was interrupted goes on where it ended.

        Args:
            refs: names of runs there, or patterns of them; tags by full name (``tags/v1``). None
                for all runs and tags.
            prune: remove tracking refs of runs that the remote has no more.
            states: only the states of runs from a step to another, both included; None as the
                second is the newest. Their history is *shallow* then: what is before is not here,
                and ``Missing`` is raised where it is needed. Whole records of up to 2048 states are
                read, with ranges of the packs that have them. A fetch without it brings the rest.
            depth: so many of the newest states of each run, in the same way.
            attachments: with ``states`` or ``depth``: also what is attached to the states and was
                sent with them.
            jobs: the number of processes that decode and hash states.
            progress: called with the number of states that were imported, and of all.

        Raises:
            NotFound: the remote is empty, or has no such run or states.
            InvalidInput: the states would not adjoin those that are here, or cannot be read alone.
            IntegrityError: what came does not have its name; no ref is changed.
            TransportError: the storage cannot be reached, or refuses.
        """
        from simgit.remotes.fetch import Fetch

        local = self._here()
        self._check_exists()
        steps = _steps(states, depth)
        if steps is None and not attachments:
            raise InvalidInput(
                "fetches of whole runs bring their attachments; give states or depth"
            )
        if steps is not None and prune:
            raise InvalidInput("prune is for all runs, not for some states")
        odb = local.journaled("fetch", local.name, *(refs or ())[:8])
        fetch = Fetch(odb, local.refs, self._connection, local.name, jobs=jobs, progress=progress)
        return fetch.run(
            None if refs is None else [self._full(each) for each in refs], prune=prune,
            steps=steps, attachments=attachments,
        )  # fmt: skip

    # --- upkeep ---

    def fsck(
        self,
        *,
        quick: bool = False,
        sample: tuple[int, int] | None = None,
        deep: bool = False,
        progress: CheckProgress | None = None,
    ) -> RemoteCheck:
        """Check the remote: everything but packs is read, and packs unless it is quick.

        Args:
            quick: list packs, and read none.
            sample: (k, n) reads only the k-th of n parts of the packs.
            deep: fetch every ref into a temporary repository too, in the directory of temporary
                files, and check that; only for the remote of a repository.
            progress: called with what is done, how many are done, and how many there are.

        Raises:
            NotFound: the remote is empty.
            InvalidInput: there is no such part, or this remote was opened without a repository.
            TransportError: the storage cannot be reached, or refuses.
        """
        from simgit.remotes.checking import check

        fetched = self._here().deep if deep else None
        self._check_exists()
        return check(self._connection, quick=quick, sample=sample, deep=fetched, progress=progress)

    def gc(
        self,
        grace: float = 14.0,
        *,
        dry_run: bool = False,
        join: bool = True,
        progress: CollectProgress | None = None,
    ) -> RemoteCollection:
        """Delete unreachable packs and shards, join small packs; return the outcome.

        A gc marks, and one that runs after the grace period deletes.

        Args:
            grace: the grace period in days; at least an hour.
            dry_run: find out what would be done, and write nothing.
            join: join small packs of refs that have many.
            progress: called with what is done, how many are done, and how many there are.

        Raises:
            NotFound: the remote is empty.
            InvalidInput: the grace period is too short, or the remote is read-only here.
            Conflict: another gc runs.
            IntegrityError: a ref or shard is damaged or missing; nothing was deleted.
            TransportError: the storage cannot be reached, or refuses.
        """
        from simgit.remotes.collection import collect

        self._check_exists()
        return collect(
            self._connection, grace_days=grace, dry_run=dry_run, join=join, progress=progress
        )

    def _check_exists(self) -> None:
        if not self.exists:
            raise NotFound(f"'{self._connection.shown}' is empty: nothing was pushed to it yet")

    def prune(self) -> list[str]:
        """Remove tracking refs of runs that the remote has no more; return the names of these.

        Raises:
            TransportError: the storage cannot be reached, or refuses.
        """
        from simgit.refs.remotes import delete_remote_run, remote_runs

        local = self._here()
        there = self.refs()
        with local.journaled("remote", "prune", local.name).write() as txn:
            known = [name for _, name, _ in remote_runs(txn, local.name)]
            pruned = [name for name in known if RUNS + name not in there]
            for name in pruned:
                delete_remote_run(txn, local.name, name, "remote: pruned")
        return pruned


def _steps(states: tuple[int, int | None] | None, depth: int | None) -> AskedSteps | None:
    """Return the steps that are asked for, None for all."""
    from simgit.remotes.stretch import AskedSteps

    if states is not None and depth is not None:
        raise InvalidInput("states and depth cannot be given together")
    if depth is not None:
        if depth < 1:
            raise InvalidInput(f"depth must be at least 1, got {depth}")
        return AskedSteps(-depth)
    if states is None:
        return None
    first, last = states
    if first < 0 or (last is not None and last < first):
        raise InvalidInput(f"states must be a first and a last step, got {first}..{last}")
    return AskedSteps(first, last)


def _resolved(local: Local, txn: ReadTxn, name: str) -> list[str]:
    """Return the full names that a name of a run or tag, or a pattern, stands for."""
    if name in (HEAD, "@"):
        head = local.refs.head(txn)
        if isinstance(head, Oid):
            raise InvalidInput("HEAD is detached; name the runs to push")
        name = head
    if is_pattern(name):
        if name.startswith(TAGS):
            known = [TAGS + each for each, _ in local.refs.tags(txn)]
            return expanded([name], known, "tag")
        known = [each for each, _ in local.refs.runs(txn)]
        return [RUNS + each for each in expanded([name.removeprefix(RUNS)], known)]
    if name.startswith(TAGS):
        local.refs.tag(txn, name[len(TAGS) :])
        return [name]
    short = name.removeprefix(RUNS)
    if not name.startswith(RUNS) and not local.refs.has_run(txn, short):
        if local.refs.has_tag(txn, short):
            return [TAGS + short]
        near = local.refs.near(txn, short, RUNS, TAGS)
        raise NotFound(f"there is no run or tag '{short}' to push{near}", name=short)
    local.refs.run(txn, short)
    return [RUNS + short]


def _opened(transport: Transport, options: dict[str, Any]) -> Connection:
    try:
        return Connection.open(transport, **options)
    except BaseException:
        transport.close()
        raise
