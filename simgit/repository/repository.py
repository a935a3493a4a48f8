"""The class ``Repository``: what every operation does; the code is in the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, overload

from simgit.errors import InvalidInput, NotFound, shown, visible
from simgit.objects.arguments import checked_methods
from simgit.objects.coerce import check_number
from simgit.objects.columns import ABSENT
from simgit.objects.oid import SHORT, Oid
from simgit.process import now
from simgit.refs.names import HEAD
from simgit.refs.revision import file_of
from simgit.repository.history import History
from simgit.repository.maintenance import Maintenance
from simgit.repository.references import References
from simgit.repository.runs import RunEditor, RunsView
from simgit.repository.store import Store
from simgit.repository.worktree.checkout import Checkout
from simgit.storage.directory import find_repository

if TYPE_CHECKING:
    from types import TracebackType
    from typing import BinaryIO

    from simgit.datasets.dataset import Dataset
    from simgit.datasets.formats.exported import Exported
    from simgit.datasets.formats.loading import Loaded
    from simgit.datasets.formats.preview import ImportPreview
    from simgit.datasets.formats.selection import Progress as ExchangeProgress
    from simgit.datasets.series import Series
    from simgit.datasets.sql.relation import Relation
    from simgit.history.bisect import FirstDifference
    from simgit.history.buckets import Along, Buckets
    from simgit.history.diff.runs import RunDiff
    from simgit.history.diff.values import Change, StateDiff
    from simgit.history.log import EpisodeLine, LogLine
    from simgit.history.state import State
    from simgit.history.trajectory import Trajectory
    from simgit.maintenance.compaction import Progress
    from simgit.maintenance.fsck import FsckReport, Repaired
    from simgit.maintenance.fsck import Progress as FsckProgress
    from simgit.maintenance.gc.kept import KeptStates
    from simgit.maintenance.gc.run import GcReport
    from simgit.maintenance.gc.sweep import Removed
    from simgit.maintenance.gc.unreachable import UnreachableObject
    from simgit.maintenance.purge import Purged
    from simgit.maintenance.stats import Stats
    from simgit.objects.kinds import Decodable, Tag
    from simgit.recording.verdicts import Verification
    from simgit.refs.attachments import Attached
    from simgit.refs.oplog.log import KeyChange, Operation, OperationLog
    from simgit.refs.records import LogEntry
    from simgit.refs.remotes import RemoteSettings, Upstream
    from simgit.refs.runs import RunInfo
    from simgit.remotes import bundle
    from simgit.remotes.fetch import Progress as FetchProgress
    from simgit.remotes.remote import Remote
    from simgit.repository.attachments import Attachments
    from simgit.repository.comparisons import Comparisons
    from simgit.repository.datasets import Datasets
    from simgit.repository.derivations import Derivations, Derived
    from simgit.repository.exchange import Exchange
    from simgit.repository.operations import OperationHistory
    from simgit.repository.permission import Permission
    from simgit.repository.queries import Queries
    from simgit.repository.recording import Recording
    from simgit.repository.remotes import PullReport, Remotes
    from simgit.repository.simulators import Simulators
    from simgit.repository.states import States
    from simgit.repository.worktree.files import Status

MEMORY: Final = ":memory:"


@checked_methods
class Repository:
    """A store of simulation states with its runs, tags and HEAD.

    Use ``init`` or ``open``. It is a context manager, is safe with threads, and can be used after
    a fork and by many processes at once. A *revision* is text, for instance ``main@200``, or an
    ``Oid``; see ``simgit.refs.revision``.

    Attributes:
        directory: the ``.simgit``, None in memory.
        runs: the runs by name, a read-only mapping to what is known of each.
        odb: the object database; it, ``refs`` and ``oplog`` are internal to simgit.
        refs: the refs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.directory = store.directory
        self.odb = store.odb
        self.refs = store.refs
        self.runs = RunsView(store)
        self._maintenance = Maintenance(store)
        self._history = History(store)
        self._runs = RunEditor(store)
        self._checkout = Checkout(store)
        self._references = References(store)

    # what comes next is imported when it is first needed: other commands start faster without it

    @property
    def oplog(self) -> OperationLog:
        """The operation log."""
        return self._store.oplog

    @cached_property
    def _permission(self) -> Permission:
        from simgit.repository.permission import Permission

        return Permission(self._store)

    @cached_property
    def _remotes(self) -> Remotes:
        from simgit.repository.remotes import Remotes

        return Remotes(self._store)

    @cached_property
    def _states(self) -> States:
        from simgit.repository.states import States

        return States(self._store)

    @cached_property
    def _queries(self) -> Queries:
        from simgit.repository.queries import Queries

        return Queries(self._store, self._states)

    @cached_property
    def _comparisons(self) -> Comparisons:
        from simgit.repository.comparisons import Comparisons

        return Comparisons(self._store)

    @cached_property
    def _recording(self) -> Recording:
        from simgit.repository.recording import Recording

        return Recording(self._store)

    @cached_property
    def _simulators(self) -> Simulators:
        from simgit.repository.simulators import Simulators

        return Simulators(self._store)

    @cached_property
    def _attachments(self) -> Attachments:
        from simgit.repository.attachments import Attachments

        return Attachments(self._store)

    @cached_property
    def _derivations(self) -> Derivations:
        from simgit.repository.derivations import Derivations

        return Derivations(self._store)

    @cached_property
    def _datasets(self) -> Datasets:
        from simgit.repository.datasets import Datasets

        return Datasets(self._store, self._states)

    @cached_property
    def _operations(self) -> OperationHistory:
        from simgit.repository.operations import OperationHistory

        return OperationHistory(self._store, self._checkout)

    @cached_property
    def _exchange(self) -> Exchange:
        from simgit.repository.exchange import Exchange

        return Exchange(self._store)

    # --- opening and closing ---

    @classmethod
    def init(cls, path: str | Path = ".") -> Self:
        """Create ``path/.simgit`` and return the repository; ``":memory:"`` makes one in memory.

        A repository that is there already is opened as it is.

        Raises:
            StorageError: the directory cannot be written.
            FormatError, IntegrityError: see ``open``.
        """
        if str(path) == MEMORY:
            from simgit.storage.memory import MemoryStorage

            return cls(Store(MemoryStorage()))
        return cls(Store.create(Path(path)))

    @classmethod
    def open(cls, path: str | Path = ".", *, read_only: bool = False) -> Self:
        """Open the repository that ``path`` is, or has as its ``.simgit``.

        A directory that cannot be written is opened read-only. If even its ``lock.mdb`` cannot be
        written, it is read only while no process that may write has it open.

        Raises:
            NotFound: there is none.
            StorageError: such a process has it open.
            FormatError: it was written by a newer version of simgit.
            IntegrityError: its file is damaged.
        """
        return cls(Store.open(Path(path), read_only=read_only))

    @classmethod
    def discover(
        cls, start: str | Path = ".", *, read_only: bool = False, anyone: bool = False
    ) -> Self:
        """Open the repository of a directory or of the nearest one above it.

        With ``anyone`` it may belong to another user of this machine.

        Raises:
            NotFound: there is none.
            StorageError: it belongs to another user, and the data of it are not trusted.
        """
        found = find_repository(Path(start).resolve(), anyone=anyone)
        return cls.open(found, read_only=read_only)

    @classmethod
    def clone(
        cls,
        source: str | Path,
        target: str | Path,
        *,
        checkout: bool = True,
        runs: Sequence[str] | None = None,
        depth: int | None = None,
        attachments: bool = True,
        jobs: int = 1,
        progress: FetchProgress | None = None,
        **remote: Any,
    ) -> Self:
        """Make ``target/.simgit`` a copy of a repository, or of what a remote has; return it.

        A clone of a remote has it as its remote ``origin``, and all runs and tags of it, or some.

        It is a copy of one moment, even while other processes record into the source. The source
        may lie on read-only media. No run of the copy is marked as being written. The files of
        HEAD's state are written into ``target``, unless ``checkout`` is False; it warns if other
        files are in the way.

        Args:
            source: a directory with a repository; or a remote: its directory, or a URL.
            target: the directory for the copy.
            checkout: False to write no files.
            runs: of a remote, names of runs or patterns of them; None for all, with all tags.
            depth: of a remote, only so many of the newest states of each run, and no tags. What is
                before is not here, and ``Missing`` is raised where it is needed; see
                ``Remote.fetch``.
            attachments: with ``depth``: also what is attached to these states.
            jobs: of a remote, the number of processes that decode and hash states.
            progress: of a remote, called with the number of states that came, and of all.
            remote: ``endpoint``, ``region``, ``profile``, ``read_only``; see ``add_remote``.

        Raises:
            NotFound: there is no repository at the source, or the remote is empty.
            AlreadyExists: there is one at the target.
            TransportError: the storage of the remote cannot be reached, or refuses.
            StorageError: the target cannot be written; or the source's ``lock.mdb`` cannot, and the
                source is written too often to be copied without it.
        """
        from simgit.remotes.clone import clone, is_remote
        from simgit.storage.directory import DIRECTORY, check_format, repository_directory

        if is_remote(str(source)):
            given = {"runs": runs, "jobs": jobs, "progress": progress, **remote}
            given |= {"depth": depth, "attachments": attachments}
            made = cls._clone_remote(str(source), Path(target).resolve(), **given)
            if checkout:
                made._checkout.restore_files()
            return made
        if runs is not None or depth is not None or remote:
            raise InvalidInput(f"'{source}' is not a remote; a repository is cloned whole")
        found = repository_directory(Path(source).resolve())
        check_format(found)
        directory = Path(target).resolve() / DIRECTORY
        clone(found, directory)
        made = cls.open(directory)
        if checkout:
            made._checkout.restore_files()
        return made

    @classmethod
    def _clone_remote(
        cls,
        source: str,
        target: Path,
        *,
        runs: Sequence[str] | None,
        depth: int | None,
        attachments: bool,
        jobs: int,
        progress: FetchProgress | None,
        **remote: Any,
    ) -> Self:
        from simgit.refs.remotes import RemoteSettings
        from simgit.repository.remotes import new_clone

        with new_clone(target) as place:
            made = cls.init(place)
            try:
                made._remotes.begin(
                    RemoteSettings(source, **remote), runs, depth=depth,
                    attachments=attachments, jobs=jobs, progress=progress,
                )  # fmt: skip
            except BaseException:
                made.close()
                raise
        return made

    # --- trust ---

    def is_trusted(self, oid: Oid | None = None) -> bool:
        """Return True if this user trusts the repository to name code that is executed.

        That is one that was made here, or for which there was a ``simgit trust``. Of an object
        (a spec or a binding) it is also asked whether it came by an import or a clone since.
        """
        return self._permission.given(oid)

    def trust(self) -> bool:
        """Trust the repository, with all that is in it now; return True if it was not before.

        Raises:
            StorageError: the user's list cannot be written, or the repository.
        """
        return self._permission.give()

    def distrust(self) -> bool:
        """Stop trusting the repository; return True if it was trusted.

        Raises:
            StorageError: see ``trust``.
        """
        return self._permission.take_away()

    def again(self) -> Self:
        """Open the repository once more; what both write under a named command is one operation.

        The other handle stays open when this one is closed. In memory it is the same object.
        """
        return self if self.directory is None else type(self)(self._store.again())

    def close(self) -> None:
        """Close the repository and its recorders; closing it twice is fine.

        Raises:
            Conflict, StorageError: see ``Recorder.close``.
        """
        self.__exit__(None, None, None)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open the repository where it is unpickled, which works in any process of this machine.

        Raises:
            InvalidInput: it is in memory.
        """
        return type(self), (self._store,)

    def __copy__(self) -> Self:
        return self.again()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self.again()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as ends:  # all of them, also if Ctrl-C ends one
            ends.callback(self._store.storage.close)
            ends.callback(self._maintenance.close)
            for recorder in list(self._store.recorders):
                ends.callback(recorder.__exit__, kind, error, trace)

    @property
    def read_only(self) -> bool:
        """Return whether nothing can be written."""
        return self._store.storage.read_only

    @property
    def worktree(self) -> Path | None:
        """Return the working directory, whose ``.simgit`` this is; None in memory."""
        return self._checkout.directory

    def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        return self._store.storage.size()

    @property
    def abbreviation(self) -> int:
        """Return the number of hex digits of an oid that listings show.

        They are enough to tell apart as many states as there can be.
        """
        most = self.size() // 12  # no state takes less on disk
        return max(SHORT, most.bit_length() // 2 + 1)

    def __repr__(self) -> str:
        return visible(f"<Repository {self.directory or 'in memory'}>")

    def _repr_html_(self) -> str:
        from simgit.repository.display import repository_overview

        head = self.head
        where = f"detached at {head.short()}" if isinstance(head, Oid) else head
        title = f"{self.directory or 'repository in memory'}, {self.size():,} bytes, HEAD {where}"
        return repository_overview(title, self.runs.values())

    # --- recording ---

    def commit(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        time: Any = None,
        reset: Any = None,
        files: Oid | Mapping[str, Path | bytes] | None = None,
        message: str | None = None,
        run: str | None = None,
        parents: Sequence[str | Oid] = (),
        spec: Mapping[str, Any] | None = None,
    ) -> Oid:
        """Record one state on a run (HEAD's, if none is named), durably; return its oid.

        Args:
            files: names (with "/" for directories) to paths or bytes, or the oid of a stored tree.
            parents: further parents, after the run's newest state (a merge of checkpoints, say).
            spec: what a root state comes from; see ``simgit.objects.kinds.Spec``.

        The other arguments are those of ``Recorder.append``.

        Raises:
            InvalidInput: a value has no encoding, or the run is completed.
        """
        fields = {
            "observation": observation, "action": action, "reward": reward,
            "terminated": terminated, "truncated": truncated, "reset": reset, "message": message,
            "info": info, "time": time,
        }  # fmt: skip
        return self._recording.commit(fields, files, run, parents, spec)

    def recorder(
        self,
        run: str | Sequence[str] | None = None,
        *,
        flush_every: int | None = None,
        flush_seconds: float | None = 10.0,
        flush_bytes: int = 64 << 20,
        flush_episodes: bool = False,
        background: bool = False,
        config: Mapping[str, Any] | None = None,
        seed: Any = None,
        spec: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        on_conflict: str = "raise",
        rebuild: Callable[..., Any] | None = None,
        advance: Callable[..., Any] | None = None,
        observe: Callable[..., Any] | None = None,
        save: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        snapshots: str | int = "auto",
    ) -> Any:
        """Return a buffered writer of a run (HEAD's, if none is named), or of one run per lane.

        A run that does not exist is created; one that has states is resumed. With hooks of a
        simulator (``rebuild``, or ``save`` and ``load``) it is a ``SimulatorRecorder``, which puts
        the simulator back where the run stands.

        Args:
            run: a run's name, or a sequence of names for batches of parallel environments. In the
                name of a new run ``{auto}``, or ``%d`` or ``%03d``, stands for the next number.
            flush_every: flush when so many states are buffered, of all lanes together (default
                16384 for one run, 4096 for each lane).
            flush_seconds: flush after so many seconds, by a clock in a thread of its own; None for
                never.
            flush_bytes: flush when so many bytes of observations are buffered.
            flush_episodes: flush at each episode's end.
            background: flush in a thread, so that no append waits for the disk.
            config: the run's configuration (overrides on what it inherits); keys may be dotted.
            seed: the run's seed.
            spec: what a root state comes from; for lanes there may be one for each.
            on_conflict: what to do with a run that is being recorded, is completed, or has states
                of another configuration or seed: "raise", or "branch" to record to a new run
                ``RUN.2``, branched off it, with a warning.
            rebuild: returns a new simulator for the ``seed`` and ``options`` of a reset.
            advance: moves a simulator, given it and an action; may return what to record.
            observe: returns what to record of a simulator, as arguments of ``append`` in a dict.
            save: returns the whole state of a simulator as plain data.
            load: returns a simulator made from such data.
            snapshots: how often ``save`` is called: "auto" for as often as costs at most five
                percent of the time, or a number of steps.

        Raises:
            Conflict: another recorder writes a run, or it has states of other settings.
            InvalidInput: a run is completed; or its simulator cannot be put back.
            Divergence: a simulator does not repeat the recorded states.
        """
        from simgit.recording.flush import FlushPolicy

        if run is not None and not run:
            raise InvalidInput("a recorder needs one or more runs")
        if flush_every is None:
            flush_every = 16384 if run is None or isinstance(run, str) else 4096 * len(run)
        if on_conflict not in ("raise", "branch"):
            raise InvalidInput(f"on_conflict must be 'raise' or 'branch', got {shown(on_conflict)}")
        branch = on_conflict == "branch"
        policy = FlushPolicy(flush_every, flush_seconds, flush_bytes, flush_episodes)
        hooks = _hooks(rebuild, advance, observe, save, load)
        settings = (run, policy, background, config, seed, spec, branch)
        if hooks:
            return self._simulators.recorder(hooks, snapshots, *settings)
        return self._recording.recorder(*settings)

    def simulator(
        self,
        revision: str | Oid = HEAD,
        *,
        rebuild: Callable[..., Any] | None = None,
        advance: Callable[..., Any] | None = None,
        observe: Callable[..., Any] | None = None,
        save: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Any:
        """Return a simulator at a recorded state: from a snapshot or a reset, moved by ``advance``.

        Each state on the way is compared with the recorded one.

        Args:
            revision: the state.
            rebuild: the hooks, see ``recorder``; without any, those that the run notes are
                imported, if its user trusts the repository.
            advance: see ``rebuild``.
            observe: see ``rebuild``.
            save: see ``rebuild``.
            load: see ``rebuild``.
            progress: called with the number of states re-executed, and of all.

        Raises:
            NotFound: no such state, or a hook that the run notes is not there.
            InvalidInput: there is nothing to begin from, or a hook is missing.
            Untrusted: the hooks were named by someone else.
            Divergence: the simulator does not repeat the recorded states.
        """
        return self._simulators.restored(
            revision, _hooks(rebuild, advance, observe, save, load), progress
        )

    def verify_simulator(
        self,
        revision: str = HEAD,
        *,
        rebuild: Callable[..., Any] | None = None,
        advance: Callable[..., Any] | None = None,
        observe: Callable[..., Any] | None = None,
        save: Callable[..., Any] | None = None,
        load: Callable[..., Any] | None = None,
        snapshots: int = 12,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> Verification:
        """Re-execute the states of a simulator and compare each; try the snapshots of a run too.

        The verdict on a whole run is noted with it.

        Args:
            revision: a run, a range or an episode, as in ``trajectory``.
            rebuild: the hooks, see ``simulator``.
            advance: see ``rebuild``.
            observe: see ``rebuild``.
            save: see ``rebuild``.
            load: see ``rebuild``.
            snapshots: the greatest number of snapshots to continue from, evenly spread, each up to
                the next of them.
            progress: called with the number of states compared, and of all.

        Raises:
            NotFound, InvalidInput, Untrusted: see ``simulator``.
        """
        check_number(snapshots, "snapshots", whole=True)
        return self._simulators.verified(
            revision, _hooks(rebuild, advance, observe, save, load), snapshots, progress
        )

    @contextmanager
    def transaction(self, command: str = "transaction", *arguments: object) -> Iterator[None]:
        """Do what this thread does in the block in one transaction, and log it as one operation.

        If the block raises, nothing was done. Recorders cannot flush in it.
        """
        with self._store.write(command, *arguments):
            yield

    def name_command(self, command: str, *arguments: object) -> None:
        """Log whatever this object writes from now on as one operation, under this name."""
        self._store.name_command(command, *arguments)

    @property
    def named_operation(self) -> int | None:
        """Return the number of the operation that the named command wrote, None without one."""
        return self._store.named_operation

    # --- reading states ---

    def resolve(self, revision: str | Oid) -> Oid:
        """Return the oid of the state that a revision names.

        Raises:
            NotFound: there is none.
            InvalidInput: the text is no revision, or is ambiguous (``candidates`` lists what fits).
        """
        with self._store.read() as txn:
            return self._store.resolve(txn, revision).oid

    def __contains__(self, revision: object) -> bool:
        """Return whether a revision names a state, or a ``State`` is in here; else False."""
        revision = getattr(revision, "oid", revision)
        try:
            return isinstance(revision, (str, Oid)) and bool(self.resolve(revision))
        except (NotFound, InvalidInput):
            return False

    __iter__ = None  # else Python would try repo[0], repo[1], …

    def rev_parse(self, text: str) -> list[tuple[Oid, bool]]:
        """Return the states that a revision or a range names, each with whether it is excluded.

        Raises:
            NotFound: see ``resolve``.
            InvalidInput: see ``resolve``.
        """
        return self._history.rev_parse(text)

    def state(self, revision: str | Oid = HEAD) -> State:
        """Return a state.

        Raises:
            NotFound: see ``resolve``.
            IntegrityError: its bytes do not match its oid.
        """
        return self._states.state(revision)

    def parents(self, revision: str | Oid = HEAD) -> list[State]:
        """Return a state's parents, first to last."""
        return self._states.parents(revision)

    def children(self, revision: str | Oid = HEAD) -> list[State]:
        """Return the states that have a state among their parents."""
        return self._states.children(revision)

    def leaves(self) -> list[State]:
        """Return the states that have no children."""
        return self._states.leaves()

    def origin(self, revision: str | Oid = HEAD) -> dict[str, Any]:
        """Return what the history that leads to a state began with, {} if that was not recorded.

        What a Gymnasium environment was made of is under ``environment``, ``wrappers``,
        ``observation_space`` and ``action_space``.
        """
        return self._states.origin(revision)

    def trajectory(self, revision: str | Oid = HEAD) -> Trajectory:
        """Return states as columns: all that lead to a state, a range, or an episode.

        ``main`` is the whole history of a run's newest state; ``a..b`` what is in b's first-parent
        history after a; ``main@ep5`` the states of episode 5. That of a shallow history has all
        states too: reading one that is not here raises ``Missing``, and slices of the others work.

        Raises:
            NotFound: there is no such state.
            InvalidInput: the range is symmetric, or its start is no ancestor of its end.
        """
        return self._states.trajectory(revision)

    def __getitem__(self, revision: str) -> Trajectory:
        return self.trajectory(revision)

    def object(self, oid: Oid) -> Decodable:
        """Return any object, its oid recomputed.

        Raises:
            NotFound: there is no object with this oid.
            IntegrityError: its bytes do not match its oid.
        """
        return self._states.object(oid)

    def find_object(self, digits: str) -> tuple[str, Oid]:
        """Return kind and oid of the one object whose oid begins with ``digits``.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several.
        """
        return self._states.find_object(digits)

    def object_size(self, oid: Oid) -> int:
        """Return the number of bytes of an object's content.

        Raises:
            NotFound: there is no object with this oid.
        """
        return self._states.object_size(oid)

    def stream(self, oid: Oid) -> Iterator[bytes]:
        """Yield an object's content piece by piece; the last piece only if the oid matches.

        Raises:
            NotFound: there is no object with this oid.
            IntegrityError: its bytes do not match its oid.
        """
        return self._states.stream(oid)

    def read_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's bytes piece by piece."""
        return self.odb.stream_blob(oid)

    # --- history and differences ---

    def log(
        self,
        *revisions: str | Oid,
        every: bool = False,
        limit: int | None = None,
        reverse: bool = False,
        where: str | None = None,
        since: str | int | None = None,
        until: str | int | None = None,
        after: str | Oid | None = None,
    ) -> Iterator[LogLine]:
        """Yield what leads to states, newest first and children before parents, as plain lines.

        Args:
            revisions: states, ranges (``a..b``, ``a...b``) and ``^a`` for what to exclude; HEAD
                if there are none.
            every: begin at all runs, tags and HEAD.
            limit: so many lines at most, the newest.
            reverse: the oldest of them first.
            where: only the states that fulfil a condition, for instance
                ``reward > 0 and terminated``; see ``simgit.history.where``.
            since: only states recorded then or later: nanoseconds since 1970, or a text such as
                ``2026-11-28 12:00``, ``yesterday``, ``2 hours ago``; see ``simgit.refs.times``.
            until: only states recorded then or earlier.
            after: only what comes after this state, which is in the log: a page continues the one
                before.

        Raises:
            NotFound: see ``resolve``.
            InvalidInput: a revision, the condition or a time is malformed.

        Warns:
            SimgitWarning: with a time, of states of which it is not known when they were recorded.
        """
        if limit is not None:
            check_number(limit, "limit", whole=True)
        return self._history.log(revisions, every, limit, reverse, where, since, until, after)

    def time(self, revision: str | Oid = HEAD) -> int | None:
        """Return when a state was recorded, in nanoseconds since 1970, None if that is not known.

        It is not part of the oid. States recorded before simgit noted it, and those that came with
        a bundle, have none.
        """
        return self._history.time(revision)

    def outline(
        self, *revisions: str | Oid, every: bool = False, limit: int | None = None
    ) -> list[LogLine]:
        """Return the lines of ``log`` where something happens: tips, tags, forks and merges."""
        if limit is not None:
            check_number(limit, "limit", whole=True)
        return self._history.outline(revisions, every, limit)

    def episodes(
        self, revision: str | Oid = HEAD, *, limit: int | None = None, before: int | None = None
    ) -> list[EpisodeLine]:
        """Return the episodes of a state's history, the newest first.

        Args:
            revision: the state.
            limit: the most episodes, None for all; no more are read.
            before: only those before the episode of this number.

        Raises:
            NotFound: there is no such state, or no episode of that number.
        """
        if limit is not None:
            limit = check_number(limit, "limit", whole=True)
        if before is not None:
            before = check_number(before, "before", 1, whole=True)
        return self._history.episodes(revision, limit, before)

    def merge_base(self, a: str | Oid, b: str | Oid) -> Oid | None:
        """Return the best common ancestor of two states, None if they have none."""
        return next(iter(self.merge_bases(a, b)), None)

    def merge_bases(self, a: str | Oid, b: str | Oid) -> list[Oid]:
        """Return all best common ancestors of two states (several only after merges)."""
        return self._history.merge_bases(a, b)

    def is_ancestor(self, a: str | Oid, b: str | Oid) -> bool:
        """Return whether a state is another one, or lies in its history."""
        return self._history.is_ancestor(a, b)

    def diff(self, a: str | Oid, b: str | Oid = HEAD, *, whole: bool = True) -> StateDiff | RunDiff:
        """Compare two runs, or two states.

        Two names of runs are compared as runs: common ancestor, first difference, return and
        length on each side (and, if ``whole``, how many aligned states are equal after it).
        Everything else is compared as states, field by field.
        """
        return self._comparisons.diff(a, b, whole)

    def diff_states(self, a: str | Oid, b: str | Oid = HEAD) -> StateDiff:
        """Compare two states field by field."""
        return self._comparisons.states(a, b)

    def diff_runs(self, a: str | Oid, b: str | Oid = HEAD, *, whole: bool = True) -> RunDiff:
        """Compare the histories that lead to two states."""
        return self._comparisons.runs(a, b, whole)

    def diff_configs(self, a: str, b: str) -> tuple[Change, ...]:
        """Return the settings in which the resolved configurations of two runs differ."""
        return self._comparisons.configs(a, b)

    def bisect(self, a: str | Oid, b: str | Oid = HEAD) -> FirstDifference:
        """Return the first state in which two histories differ, and what made them differ.

        Only oids are compared, as many as the logarithm of the shorter history.
        """
        return self._comparisons.bisect(a, b)

    # --- queries ---

    def sql(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Relation:
        """Return the result of a query in SQL (DuckDB's), read only; see docs/sql.md.

        Tables are ``runs``, ``tags``, ``episodes``, ``states``, ``attachments``, ``series``,
        ``reflog`` and ``operations``, and any run or revision by its name in double quotes, as in
        ``from "main@100..main"``. Only the columns and steps that are needed are read.

        Args:
            query: one SELECT.
            params: the values for ``?`` in it as a list, or for ``$name`` as a mapping.

        Raises:
            InvalidInput: the query is not one SELECT, or DuckDB refuses it.
            NotFound: there is no such table, or DuckDB is not installed.
        """
        return self._queries.sql(query, params)

    def saved_queries(self) -> dict[str, str]:
        """Return the saved queries by name."""
        return self._queries.saved()

    def save_query(self, name: str, query: str) -> None:
        """Save a query under a name, in place of one that has it; ``simgit sql NAME`` runs it.

        Raises:
            InvalidInput: the name is not allowed, or the query is not one SELECT.
            NotFound: DuckDB is not installed.
        """
        self._queries.save(name, query)

    def delete_query(self, name: str) -> str:
        """Delete a saved query; return it.

        Raises:
            NotFound: there is none of this name.
        """
        return self._queries.delete(name)

    # --- runs and their configuration ---

    @property
    def head_run(self) -> RunInfo:
        """Return what is known of the run that HEAD points at.

        Raises:
            NotFound: HEAD is detached, or its run does not exist yet.
        """
        return self._runs.head()

    def run(self, name: str) -> RunInfo:
        """Return what is known of a run: the same as ``runs[name]``.

        Raises:
            NotFound: no such run.
        """
        return self.runs[name]

    def branch(
        self,
        name: str,
        start: str | Oid = HEAD,
        *,
        overrides: Mapping[str, Any] | None = None,
        seed: Any = None,
        metadata: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> Oid:
        """Create a run at a state; return the state's oid. Nothing is copied.

        The run inherits the configuration of the run that ``start`` was named through.

        Args:
            overrides: settings that differ from the parent's; keys may be dotted paths.
            force: move the run if it exists; see ``reset``.

        Raises:
            AlreadyExists: there is a run of this name (or one that differs only in case).
            NotFound: there is no such state.
            InvalidInput: the name is not allowed.
            Conflict: with ``force``, the run is checked out, or a process writes it.

        Warns:
            Unverified: the states are an environment's that was not found to be deterministic.
        """
        return self._runs.branch(name, start, overrides or {}, seed, metadata or {}, force)

    def create_run(
        self,
        name: str,
        start: str | Oid | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        seed: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Create a run without states of its own; return its name.

        Args:
            name: its name, in which ``{auto}``, or ``%d`` or ``%03d``, stands for the next number.
            start: the state that it begins at; or a run without states, whose settings it
                inherits; None for neither.
            config: settings; keys may be dotted.
            seed: its seed.
            metadata: facts about it.

        Raises:
            AlreadyExists: there is a run of this name (or one that differs only in case).
            NotFound: there is no such state.
            InvalidInput: the name or a setting is not allowed.
        """
        return self._runs.create(name, start, config or {}, seed, metadata or {})

    def reset(self, revision: str | Oid, *, run: str | None = None, hard: bool = False) -> Oid:
        """Move a run (HEAD's, if none is named; or a detached HEAD) to a state; return its oid.

        The run keeps its name, its configuration, its metadata and its status as one that goes on.
        Its reflog names the states that are no longer in its history, which so are kept, with
        their attachments.

        Args:
            revision: the state.
            run: the name of the run.
            hard: replace the files of the working directory by the state's, local changes too.

        Raises:
            NotFound: there is no such state or run.
            Conflict: a process writes the run.
            InvalidInput: the run is completed; or it is not checked out, with ``hard``.
        """
        return self._checkout.reset(revision, run, bool(hard))

    def rename_run(self, old: str, new: str) -> None:
        """Rename a run, its reflog with it."""
        self._runs.rename(old, new)

    def delete_run(self, name: str, *, force: bool = False) -> Oid | None:
        """Delete a run's ref; return what it pointed at. Its states and its reflog are kept.

        Raises:
            Conflict: HEAD points at it and there are others, or it is being written; and no
                ``force``.
        """
        return self._runs.delete(name, force)

    def set_status(self, name: str, status: str) -> None:
        """Set the status of a run: ``completed`` seals it, ``active`` reopens it."""
        self._runs.set_status(name, status)

    def config(self, run: str | None = None) -> dict[str, Any]:
        """Return the resolved configuration of a run (HEAD's, if none is named)."""
        return self._runs.config(run)

    def configure(
        self,
        run: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        unset: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a run's own settings and metadata; keys may be dotted paths."""
        self._runs.configure(run, overrides or {}, unset, metadata or {})

    def contains(self, revision: str | Oid) -> list[str]:
        """Return the names of the runs in whose history a state lies."""
        return self._runs.containing(revision)

    def lineage(self, run: str | None = None) -> list[RunInfo]:
        """Return a run (HEAD's, if none is named) and those it was branched off, nearest first."""
        return self._runs.lineage(run)

    # --- HEAD, files, tags ---

    @property
    def head(self) -> str | Oid:
        """Return the name of the run that HEAD points at, or the oid of a detached HEAD."""
        return self._checkout.head()

    def checkout(
        self, target: str | Oid = HEAD, *, detach: bool = False, force: bool = False
    ) -> Oid | None:
        """Point HEAD at a run, or detach it at a state; return the state's oid.

        The state's files replace those of the state before in the working directory.

        Raises:
            Conflict: files were changed there, and no ``force``; nothing was done.
        """
        return self._checkout.checkout(target, detach, force)

    def status(self) -> Status:
        """Compare the working directory with the files of HEAD's state."""
        return self._checkout.status()

    def files(self, revision: str | Oid = HEAD) -> dict[str, Oid]:
        """Return the paths of a state's files with the oids of their blobs."""
        return self._checkout.files(revision)

    def file(self, revision: str | Oid, path: str | None = None) -> tuple[str, Oid]:
        """Return kind (``blob`` or ``tree``) and oid of a file or directory of a state.

        Args:
            revision: the state, or ``main@200:dir/a.txt`` without a ``path``.
            path: the path of the file, with ``/`` between directories; '' for all files.

        Raises:
            NotFound: the state has no such file.
            InvalidInput: there is no path.
        """
        if path is None:
            named = file_of(revision) if isinstance(revision, str) else None
            if named is None:
                raise InvalidInput(f"'{revision}' names no file; write it as 'main@200:a.txt'")
            revision, path = named
        return self._checkout.file(revision, path)

    def restore_files(self, paths: Sequence[str], revision: str | Oid = HEAD) -> tuple[str, ...]:
        """Write files of a state into the working directory, over local changes; return them.

        Args:
            paths: files or directories of the state; ``.`` for all.
            revision: the state; HEAD stays where it is.

        Raises:
            NotFound: the state has no such file; nothing was written.
            Conflict: untracked files lie in a directory that would have to go.
        """
        return self._checkout.restore(paths, revision)

    def tag(
        self,
        name: str,
        revision: str | Oid = HEAD,
        *,
        message: str | None = None,
        tagger: str = "",
        force: bool = False,
    ) -> Oid:
        """Tag a state, with an annotation if there is a message; return the state's oid.

        Raises:
            AlreadyExists: there is a tag of this name, and no ``force``.
        """
        return self._references.tag(name, revision, message, tagger, force)

    def tags(self) -> dict[str, tuple[Oid, Tag | None]]:
        """Return all tags: name to the state's oid, and the annotation if there is one."""
        return self._references.tags()

    def delete_tag(self, name: str) -> Oid:
        """Delete a tag; return the state's oid."""
        return self._references.delete_tag(name)

    def remote_runs(self, remote: str | None = None) -> dict[str, RunInfo]:
        """Return the runs of remotes by names such as ``origin/main``, as they were last seen.

        They are no runs of this repository, but revisions name their states.

        Args:
            remote: only those of this remote; None for all.
        """
        return self._references.remote_runs(remote)

    def delete_remote_run(self, name: str) -> Oid | None:
        """Forget a run of a remote, such as ``origin/main``; return its newest state.

        Nothing is changed at the remote. The reflog is kept.

        Raises:
            NotFound: there is not a remote-tracking ref of this name.
        """
        return self._references.delete_remote_run(name)

    def upstreams(self, *runs: str) -> dict[str, Upstream]:
        """Return for runs, or for all, how many states they are ahead and behind what they track.

        A run tracks the run of its own name at the remote ``origin``, or at the only remote. Runs
        of which nothing was seen there yet are left out.
        """
        return self._references.upstreams(runs)

    def reflog(self, ref: str = HEAD) -> list[LogEntry]:
        """Return the changes of a ref, the newest first.

        Raises:
            NotFound: there never was such a ref.
            IntegrityError: an entry is damaged or missing.
        """
        return self._references.reflog(ref)

    def decorations(self) -> dict[Oid, list[str]]:
        """Return which refs point at which states: ``HEAD``, full names of runs, tags and others.

        The run that HEAD points at comes first, as ``HEAD -> runs/main``.
        """
        return self._references.decorations()

    # --- attachments ---

    def attach(
        self,
        revision: str | Oid,
        name: str,
        data: Any = ABSENT,
        *,
        path: str | PathLike[str] | None = None,
    ) -> Oid:
        """Bind data or a file to a state without changing its oid; return the data's oid.

        Args:
            data: bytes or a ``Path`` (a blob, streamed), an array, nested dicts, lists and tuples
                of arrays and plain values (a checkpoint: stored as its difference to the last one
                of this name), or any plain value. A text that names a file is refused.
            path: the file whose content is attached, instead of ``data``.

        Raises:
            NotFound: there is no such state or file.
            InvalidInput: the name is not allowed, or some part of the data has no encoding.
        """
        return self._attachments.attach(revision, name, data, path)

    def attachments(self, revision: str | Oid = HEAD) -> dict[str, tuple[str, Oid]]:
        """Return a state's attachments: name to kind and oid."""
        return self._attachments.all_of(revision)

    def history_attachments(
        self, revision: str | Oid = HEAD, name: str | None = None
    ) -> list[Attached]:
        """Return the attachments of a state and its first-parent history, the newest first.

        Args:
            revision: the state; for all attachments of a run its name.
            name: only attachments of this name.
        """
        return self._attachments.history(revision, name)

    def attachment(
        self,
        revision: str | Oid,
        name: str,
        *,
        newest: bool = False,
        writable: bool = False,
        tensors: bool = False,
    ) -> Any:
        """Return the data of an attachment; its arrays are read-only unless asked for otherwise.

        Args:
            revision: the state.
            name: the name of the attachment.
            newest: take that of the newest state up to this one that has one of this name.
            writable: give arrays that may be changed (copies).
            tensors: give torch's tensors instead of arrays, such as for ``load_state_dict``.

        Raises:
            NotFound: the state has none of this name, or torch is not installed.
        """
        return self._attachments.load(revision, name, writable, tensors, newest)

    def detach(self, revision: str | Oid, name: str) -> Oid:
        """Remove an attachment; return the oid of its data."""
        return self._attachments.detach(revision, name)

    def reattach(self, binding: Oid) -> Oid:
        """Bind again what was detached or thinned out; return the state's oid.

        Args:
            binding: the oid of the binding, as ``unreachable`` lists it.

        Raises:
            NotFound: there is no such object, or no longer.
            InvalidInput: it is not a binding.
        """
        return self._attachments.reattach(binding)

    @overload
    def series(self, revision: str | Oid, tag: str) -> Series: ...
    @overload
    def series(self, revision: str | Oid = HEAD, tag: None = None) -> dict[str, Series]: ...
    def series(
        self, revision: str | Oid = HEAD, tag: str | None = None
    ) -> Series | dict[str, Series]:
        """Return the points of a tag that were logged on the way to a state, or those of all tags.

        A branch begins with the points of its parent. A ``Series`` has the arrays ``step``,
        ``time`` (seconds since 1970) and ``value``.

        Raises:
            NotFound: there is no such state or tag.
            IntegrityError: an attachment of the name ``series`` is something else.
        """
        found = self._attachments.series(revision)
        if tag is None:
            return found
        if tag not in found:
            from simgit.datasets.series import no_such_tag

            raise no_such_tag(str(revision), tag, list(found))
        return found[tag]

    def buckets(
        self,
        revision: str | Oid = HEAD,
        fields: Sequence[str] = ("reward",),
        *,
        x: Along = "step",
        start: int = 0,
        stop: int | None = None,
        points: int = 1000,
        width: int | None = None,
        smooth: int = 1,
    ) -> Buckets:
        """Return fields of a history as curves: n, min, max, mean and last in buckets of steps.

        Buckets have 2^k steps, are aligned to step 0 and whole: the same request gives the same
        bytes, and when a run grows only its last bucket changes. So a curve is continued from the
        ``step`` of the last bucket that was seen, with its ``width``. A branch has the history of
        its parent before it; its own curve begins at its branch point.

        Args:
            revision: a run or another revision.
            fields: fields that are numbers (``reward``, ``info.loss``), elements of arrays
                (``observation[2]``), ``return`` and ``length`` of the episodes that have ended.
            x: what ``Buckets.x`` is: ``step``, ``episode``, or ``time``.
            start: the first step; the bucket that has it is whole.
            stop: the step after the last, None for the newest state's.
            points: the most buckets, from which the width follows.
            width: the steps of a bucket instead, a power of two.
            smooth: over how many buckets ``Bucketed.smooth`` is the mean of the states.

        Raises:
            NotFound: there is no such revision, or its states have no such field.
            InvalidInput: a field is not a number, or an argument is out of range.
            IntegrityError: stored bytes are damaged.
        """
        start = check_number(start, "start", whole=True)
        points = check_number(points, "points", 1, most=1 << 20, whole=True)
        smooth = check_number(smooth, "smooth", 1, most=1 << 12, whole=True)
        if stop is not None:
            stop = check_number(stop, "stop", whole=True)
        if width is not None:
            width = int(check_number(width, "width", 1, most=1 << 62, whole=True))
            if width & (width - 1):
                raise InvalidInput(f"width must be a power of two, got {width}")
        if not isinstance(x, str) or x not in ("step", "episode", "time"):
            raise InvalidInput(f"x must be 'step', 'episode' or 'time', got {shown(x)}")
        return self._history.buckets(revision, fields, x, start, stop, points, width, smooth)

    def add_series(self, revision: str | Oid, points: Mapping[str, Any]) -> Oid:
        """Add points to the series of a state (the newest one of a run); return their oid.

        They are kept as the attachment ``series``, see ``simgit.datasets.series``.

        Args:
            points: tag, such as ``train/loss``, to (steps, values), or to (steps, values, times)
                with seconds since 1970; a number or as many as there are points. Without times it
                is now. Values of float32 stay so, others become float64.

        Raises:
            NotFound: there is no such state.
            InvalidInput: the points are malformed.
        """
        return self._attachments.add_series(revision, points)

    def derived(
        self,
        revision: str | Oid,
        name: str,
        compute: Callable[[Trajectory], Any] | None = None,
        *,
        uses: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> Derived:
        """Return an artefact that is computed from states; only what is not there is computed.

        It is attached to the newest of the states, together with what it was made from: the oids
        of its sources, the name of the function and the settings. With the same ones it is loaded.

        Args:
            revision: the states, for instance a run.
            name: the name of the attachment.
            compute: called with the states, returns the data (see ``attach``); None to find the
                newest artefact in the history. Its ``stale`` says which of its sources are others
                now, by their oids.
            uses: further sources by label: revisions, oids, or what ``derived`` returned.
            settings: plain values on which the data depends.
            force: compute it anew in any case.

        Raises:
            NotFound: there is no such state or artefact.
            InvalidInput: a name is not allowed, or some part has no encoding.
        """
        return self._derivations.derived(
            revision, name, compute, uses or {}, settings or {}, bool(force)
        )

    def sources(self, what: str | Oid) -> dict[str, Oid]:
        """Return what was directly used to make a run or an artefact, by label.

        Args:
            what: a revision, whose run says what it was recorded with; or the oid of an artefact.

        Raises:
            NotFound: there is no such state, or the sources of the artefact are not known.
            InvalidInput: what it says of its sources is malformed.
        """
        return self._derivations.sources(what)

    # --- datasets ---

    def dataset(
        self,
        revisions: str | Oid | Sequence[str | Oid] = HEAD,
        *,
        where: str | None = None,
        episode_where: str | None = None,
        fields: Sequence[str] | None = None,
        memory: int = 256 << 20,
    ) -> Dataset:
        """Return the states of some runs as data to learn from; nothing is copied or read yet.

        A recorded state holds the action that led *to* it; in the dataset's transitions and
        sequences an action stands beside the observation that it was chosen *from*.

        Args:
            revisions: runs, patterns of runs (``lr-*``), and what ``trajectory`` takes; a history
                that they share is there once, as that of the run that recorded it.
            where: a condition on states, such as ``reward > 0``; on the state that an action led
                to, for transitions.
            episode_where: a condition on episodes: on ``return``, ``length``, ``start`` (its first
                step), ``episode`` (its number), ``terminated``, ``truncated``, ``run`` and
                ``config`` (of the run), such as ``return > 100 and config.lr < 0.1``.
            fields: the fields of batches and tables, such as ``info.lives``; without it batches
                have observation, action, reward and flags, and tables all fields.
            memory: bytes of columns that are kept; datasets of one repository share them.

        Raises:
            NotFound: there is no such run or state.
            InvalidInput: a condition or field is malformed, or a range is not of one history.
        """
        from simgit.datasets.batches import field_names
        from simgit.datasets.definition import Definition, sources_of

        names = None if fields is None else field_names(fields)
        definition = Definition(sources_of(revisions), where, episode_where, names)
        return self._datasets.open(definition, memory)

    def save_dataset(self, name: str, data: Dataset, *, force: bool = False) -> Oid:
        """Save the definition of a dataset under a name; return its oid.

        It becomes the tag ``datasets/NAME`` and the attachment ``dataset.NAME``, with the numbers
        of transforms; no state is copied. What it is pinned to (``Dataset.freeze``) is kept by gc.

        Raises:
            AlreadyExists: there is one of this name, and no ``force``.
            InvalidInput: the name is not allowed, or the dataset has no states.
        """
        return self._datasets.save(name, data, force)

    def load_dataset(self, name: str, *, memory: int = 256 << 20) -> Dataset:
        """Return a dataset that was saved under a name.

        Raises:
            NotFound: there is none, or its runs are gone.
            IntegrityError: its definition is malformed.
        """
        return self._datasets.load(name, memory)

    def datasets(self) -> list[str]:
        """Return the names of the saved datasets."""
        return self._datasets.all()

    # --- operations ---

    def operations(self, limit: int | None = None) -> list[Operation]:
        """Return the operations, the newest first."""
        if limit is not None:
            check_number(limit, "limit", whole=True)
        return self._operations.operations(limit)

    def operation(self, name: str | int = "@") -> Operation:
        """Return an operation by its number, or ``@`` (the newest), ``@~2`` (two before it).

        Raises:
            NotFound: there is no such operation, or it has expired.
            InvalidInput: the text is malformed.
        """
        return self._operations.operation(name)

    def changes(self, operation: str | int = "@") -> list[KeyChange]:
        """Return what an operation changed: refs and bindings before and after.

        Raises:
            NotFound: see ``operation``.
        """
        return self._operations.changes(operation)

    def undo(self, operation: str | int | None = None) -> Operation:
        """Undo an operation; return it.

        Without a number it is the newest that is not undone yet, was given as a command or made by
        this process, and is not being written. What others did since is kept: if something that
        the operation changed was changed again, nothing is done.

        Raises:
            Conflict: what it changed was changed since (``refs`` lists what), a process writes a
                run that would change, or files of the working directory have local changes.
            NotFound: there is nothing to undo; the operation is not kept any more; or what it
                replaced was removed by gc, after its grace period.
        """
        return self._operations.undo(operation)

    def redo(self) -> Operation:
        """Redo what was undone last; return it. A command given since ends redoing.

        Raises:
            Conflict: see ``undo``.
            NotFound: there is nothing to redo; see ``undo``.
        """
        return self._operations.redo()

    def restore_operation(self, operation: str | int) -> None:
        """Make refs, HEAD and bindings what they were after an operation (0: before all).

        This is a new operation, which can be undone.

        Raises:
            Conflict: a process writes a run that would change, or files have local changes.
            NotFound: see ``undo``.
        """
        self._operations.restore(operation)

    def at_operation(self, operation: str | int) -> Self:
        """Return the repository as it was after an operation (0: before all), to be read only.

        Runs, tags, HEAD and attachments are those of then; reflogs are shown as they are now.

        Raises:
            NotFound: see ``operation``.
        """
        return type(self)(self._operations.store_at(operation))

    def settings(self) -> dict[str, Any]:
        """Return the settings of the repository; docs/reliability.md says what they mean."""
        return self._operations.settings()

    def set_setting(self, name: str, value: float | str | None) -> None:
        """Change a setting of the repository; None restores its default.

        Raises:
            InvalidInput: there is no such setting, or it cannot have this value.
        """
        self._operations.set_setting(name, value)

    # --- remotes ---

    def remotes(self) -> dict[str, RemoteSettings]:
        """Return the settings of the remotes by name."""
        return self._remotes.all()

    def add_remote(
        self,
        name: str,
        url: str,
        *,
        endpoint: str = "",
        region: str = "",
        profile: str = "",
        read_only: bool = False,
        single_writer: bool = False,
    ) -> bool:
        """Add a remote; return False if nothing was pushed to it yet. Nothing is written there.

        Args:
            name: its name here, such as ``origin``.
            url: a path, ``file:///path`` or ``s3://bucket/prefix``.
            endpoint: the address of a service that speaks S3; empty for Amazon's.
            region: its region; empty for the environment's.
            profile: whose credentials of ``~/.aws`` to use; empty for those of the environment.
            read_only: True to refuse to push to it from here.
            single_writer: True to accept storage that ignores conditional writes.

        Raises:
            AlreadyExists: there is a remote of this name, or a run below it.
            InvalidInput: the name or URL is none, or something else lies there.
            TransportError: the storage cannot be reached, or refuses.
        """
        from simgit.refs.remotes import RemoteSettings

        settings = RemoteSettings(url, endpoint, region, profile, read_only, single_writer)
        return self._remotes.add(name, settings)

    def remove_remote(self, name: str) -> None:
        """Remove a remote with its tracking refs; what lies there is kept.

        Raises:
            NotFound: there is no remote of this name.
        """
        self._remotes.remove(name)

    def remote(self, name: str | None = None) -> Remote:
        """Open a remote; it is a context manager.

        Args:
            name: its name; None for origin, or for the only one.

        Raises:
            NotFound: there is no remote of this name.
            InvalidInput: something else lies there.
            TransportError: the storage cannot be reached, or refuses.
        """
        return self._remotes.open(name)

    def pull(
        self,
        remote: str | None = None,
        runs: Sequence[str] | None = None,
        *,
        jobs: int = 1,
        progress: FetchProgress | None = None,
    ) -> PullReport:
        """Fetch runs of a remote, and move those here forward.

        A run that is not here is created; one that has other states than the remote's stays, and
        the remote's is kept as ``NAME.conflict-1``.

        Args:
            remote: its name; None for origin, or for the only one.
            runs: names of runs there, or patterns of them; None for HEAD's.
            jobs: the number of processes that decode and hash states.
            progress: called with the number of states that came, and of all.

        Raises:
            NotFound: there is no such remote, or it has no such run.
            IntegrityError: what came does not have its name; no ref is changed.
            TransportError: the storage cannot be reached, or refuses.
        """
        return self._remotes.pull(remote, runs, jobs=jobs, progress=progress)

    # --- bundles ---

    def create_bundle(
        self,
        file: str | Path | BinaryIO,
        refs: Sequence[str],
        *,
        exclude: Sequence[str | Oid] = (),
        attachments: Sequence[str] | None = None,
    ) -> bundle.BundleInfo:
        """Write runs and tags, with all that leads to them, into a file or a binary stream.

        A file is there whole and synced, or not at all.

        Args:
            file: a path, or what has ``write``.
            refs: names of runs and tags.
            exclude: revisions that the receiver has, with all that leads to them.
            attachments: names of the attachments to include; None for all, () for none.

        Raises:
            NotFound: a ref or revision is not found.
            StorageError: the file cannot be written.
        """
        from simgit.remotes import bundle
        from simgit.remotes.bundle.files import writing

        with writing(file) as write:
            return bundle.create(self.odb, self.refs, write, refs, exclude, attachments)

    def import_bundle(
        self,
        file: str | Path | BinaryIO,
        *,
        prefix: str = "",
        rename: str | None = None,
        max_object: int | None = None,
        jobs: int = 1,
        progress: bundle.Progress | None = None,
    ) -> bundle.Imported:
        """Import a bundle from a file or a binary stream; everything in it is verified.

        Call it again to resume an interrupted import. A run or tag that differs from the one that
        is there is imported as ``NAME.conflict-1``.

        Args:
            file: a path, or what has ``read``.
            prefix: put before the names of runs and tags.
            rename: the name for the bundle's only run.
            max_object: the largest object in bytes that is accepted (default 2 GiB).
            jobs: the number of processes: this one writes, the others decode and hash states. They
                are started (by ``multiprocessing``, method ``spawn``: a script needs ``if __name__
                == "__main__":``) for about 2 MiB or 100 000 states; fewer take less time.
            progress: called with the number of states that were read.

        Raises:
            IntegrityError: the bundle is damaged, truncated or forged; refs are as they were.
            NotFound: the file, or the states that the bundle continues, are not there.
            InvalidInput: a run or tag cannot have the name with this prefix.
            StorageError: the file cannot be read, or one of the processes was killed.
        """
        from simgit.remotes import bundle
        from simgit.remotes.bundle.files import reading

        jobs = check_number(jobs, "jobs", 1, most=256, whole=True)

        limit = bundle.MAX_OBJECT if max_object is None else max_object
        odb = self._store.journaled("import", file if isinstance(file, (str, Path)) else "-")
        with reading(file) as read:
            return bundle.load(
                odb, self.refs, read, prefix=prefix, rename=rename, max_object=limit,
                jobs=jobs, progress=progress,
            )  # fmt: skip

    def export(
        self,
        format: str,
        target: str | Path,
        *revisions: str | Oid,
        fields: Sequence[str] | None = None,
        where: str | None = None,
        options: Mapping[str, str] | None = None,
        replace: bool = False,
        progress: ExchangeProgress | None = None,
    ) -> Exported:
        """Write states to a file or directory of another format; see docs/formats.md.

        A state is one row. Its observation, reward and flags are what the environment returned for
        the action in the same row; that action was chosen from the observation in the row before.
        A reset has no action. A state that several runs share is written once.

        Args:
            format: ``parquet``, ``arrow``, ``jsonl``, ``csv``, ``numpy``, ``minari``, ``lerobot``
                or another one that ``simgit export --help`` lists.
            target: the path; it has nothing or all of the export, whatever happens.
            revisions: runs, patterns of their names, other revisions, or ranges ``a..b``; HEAD
                without any. A revision stands for its whole history.
            fields: only these fields, such as ``info.lives``.
            where: only the states that meet this condition. With it or ``fields`` the file says
                that it is not the run, and is never imported as the same.
            options: of the format, by name.
            replace: replace an existing file.
            progress: called with the numbers of states written and to write.

        Raises:
            NotFound: the format, a revision, a field or a needed package is not found.
            InvalidInput: there are no states, or the format or condition cannot express them.
            AlreadyExists: there is something at ``target``.
            StorageError: it cannot be written.
        """
        return self._exchange.export(
            format, target, revisions, fields, where, options, replace, progress
        )

    def import_data(
        self,
        source: str | Path,
        *,
        format: str | None = None,
        prefix: str = "",
        rename: str | None = None,
        as_new: bool = False,
        options: Mapping[str, str] | None = None,
        progress: ExchangeProgress | None = None,
    ) -> Loaded:
        """Import the runs of a file or directory that ``export`` or another program wrote.

        Of a file that ``export`` wrote, every oid is recomputed: a value that was edited, a row
        that was removed or moved, and a file that was cut off are errors, and no ref changes. A
        run that exists here moves forward, or is imported as ``NAME.conflict-1``, as in
        ``import_bundle``.

        Args:
            source: the path, or the URL of a database.
            format: as in ``export``; probed without it.
            prefix: put before the names of runs and tags.
            rename: the name for the source's only run.
            as_new: give all states new oids, so that an edited or lossy file can be imported; the
                metadata of its runs say where they came from.
            options: of the format, by name.
            progress: called with the number of states that were read, and their total if known.

        Raises:
            IntegrityError: the source is damaged, truncated or edited; refs are as they were.
            NotFound: the source, the states that it continues, or a needed package is not there.
            InvalidInput: the format is unknown, or the source is lossy and not imported as new.
        """
        return self._exchange.load(source, format, prefix, rename, as_new, options, progress)

    def preview_import(
        self,
        source: str | Path,
        *,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        progress: ExchangeProgress | None = None,
    ) -> ImportPreview:
        """Return what ``import_data`` would import: counts, first states, and what is left out.

        Raises:
            IntegrityError: the source is damaged; hashes are not compared.
            NotFound, InvalidInput: see ``import_data``.
        """
        return self._exchange.preview(source, format, options, progress)

    # --- maintenance ---

    def gc(
        self,
        progress: Progress | None = None,
        *,
        grace: float | None = None,
        expire: float | None = None,
        keep: str | None = None,
        aggressive: bool = False,
        clock: Callable[[], int] = now,
    ) -> GcReport:
        """Remove what has expired, join small pieces, give back space; no oid changes.

        Args:
            progress: called with the number of lines that are joined, and of all lines.
            grace: days for which unreachable objects are kept (default 14).
            expire: days for which entries of reflogs and of the operation log are kept
                (default 90).
            keep: retention rules by which attachments are thinned out, for instance
                ``agent: last 5, every 100, best 3 by return`` (default: those of the settings).
            aggressive: join large pieces too, which compresses them some percent better; without
                it only some millions of states, which takes not long.
            clock: returns the time in nanoseconds since 1970.

        Raises:
            NotFound: something that is needed is missing; nothing more was removed.
            IntegrityError: something that is needed is damaged; nothing more was removed.
        """
        return self._maintenance.gc(progress, grace, expire, keep, clock, aggressive=aggressive)

    def gc_preview(
        self,
        *,
        grace: float | None = None,
        expire: float | None = None,
        keep: str | None = None,
        clock: Callable[[], int] = now,
    ) -> Removed:
        """Return exactly what ``gc`` would remove now; see there."""
        return self._maintenance.gc_preview(grace, expire, keep, clock)

    def purge(self, *runs: str, clock: Callable[[], int] = now) -> Purged:
        """Remove runs with their reflogs, and at once the states that nothing else keeps.

        This is final: the operation log forgets what came before, so that nothing that was done
        until now can be undone. A gc follows.

        Args:
            runs: names or patterns of runs, and of deleted ones that still have a reflog.
            clock: returns the time in nanoseconds since 1970.

        Raises:
            NotFound: there is no such run; nothing was done.
            Conflict: one is checked out, or a process writes it; nothing was done.
        """
        return self._maintenance.purge(runs, clock)

    def kept(self) -> KeptStates:
        """Return how many states no run, tag or HEAD leads to, and what keeps them."""
        return self._maintenance.kept()

    def unreachable(
        self, *, every: bool = False, grace: float | None = None, clock: Callable[[], int] = now
    ) -> list[UnreachableObject]:
        """Return the unreachable objects, and until when each can be brought back.

        A state comes back by ``branch(name, oid)``, an attachment by ``reattach(oid)``.

        Args:
            every: also objects that only unreachable objects refer to.
            grace: as ``gc``'s.
            clock: as ``gc``'s.
        """
        return self._maintenance.unreachable(every, grace, clock)

    def stats(self) -> Stats:
        """Return where the bytes of the repository are, and how its size went."""
        return self._maintenance.stats()

    def fsck(
        self,
        progress: FsckProgress | None = None,
        *,
        sample: tuple[int, int] = (1, 1),
        seconds: float | None = None,
    ) -> FsckReport:
        """Derive every oid again from the bytes, and follow every link.

        Args:
            progress: called with the number of states that were checked.
            sample: (k, n) checks the k-th of n parts of the states and objects; what is short
                (refs, logs, links) is checked in any case.
            seconds: stop after so many; ``is_complete`` of the report is False then.

        Raises:
            InvalidInput: there is no such part.
        """
        return self._maintenance.fsck(progress, sample, seconds)

    def repair(self, source: Repository | None = None) -> Repaired:
        """Repair what can be repaired; nothing is deleted.

        The index, counters, oids and records of lines are derived again. Refs that are damaged are
        restored from the operation log or their reflogs. Damaged objects are fetched from
        ``source``, if that has them. Runs whose states cannot be restored continue from the last
        good one; what they pointed at is kept in their reflog.

        Args:
            source: a repository with good copies: a clone, or where bundles came from.

        Raises:
            StorageError: the repository cannot be written.
        """
        return self._maintenance.repair(source._store if source else None)


def _hooks(rebuild: Any, advance: Any, observe: Any, save: Any, load: Any) -> dict[str, Any]:
    """Return the hooks of a simulator that were given, by name."""
    found = {
        "rebuild": rebuild, "advance": advance, "observe": observe, "save": save, "load": load,
    }  # fmt: skip
    return {name: hook for name, hook in found.items() if hook is not None}
