"""The repository: one object through which everything that is stored is reached."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from simgit import configuration, history
from simgit.errors import AlreadyExists, InvalidInput, NotFound, Storage
from simgit.freeze import freeze
from simgit.layout import (
    DIRECTORY,
    check_format,
    find_repository,
    repository_directory,
    write_format,
)
from simgit.objects import Decodable, Tag
from simgit.odb import ObjectDatabase
from simgit.oid import SHORT, Oid
from simgit.refs import HEAD, RUNS, TAGS, LogEntry, Refs, RunRef, TagRef, moved, now
from simgit.revision import Found, Range, Resolved, Revisions, whole_episode
from simgit.runs import RunInfo, Runs
from simgit.segment.header import Location
from simgit.segment.rows import ABSENT
from simgit.segment.states import Tip
from simgit.state import State, load_state
from simgit.storage.base import ReadTxn
from simgit.storage.base import Storage as Store
from simgit.storage.memory import MemoryStorage
from simgit.writing import freeze_flag, freeze_message, freeze_reset, freeze_reward, prepare, store

if TYPE_CHECKING:
    from simgit import fsck, maintenance
    from simgit import log as logs
    from simgit import worktree as files_on_disk
    from simgit.diff import Change, StateDiff
    from simgit.recorder import Lane
    from simgit.rundiff import RunDiff
    from simgit.trajectory import Trajectory

# Modules that only some operations need are imported there: a command that reads one state should
# not wait for all the others.

MEMORY: Final = ":memory:"


class Repository:
    """A store of simulation states with its runs, tags and HEAD.

    Use ``init`` or ``open``. A context manager; safe with threads; it can be used after a fork,
    and by many processes at once.
    """

    def __init__(self, storage: Store, directory: Path | None) -> None:
        self._storage = storage
        self.directory = directory
        self.odb = ObjectDatabase(storage)
        self.refs = Refs()
        self.runs_ = Runs(self.odb, self.refs)
        self.revisions = Revisions(self.odb, self.refs)

    # --- opening and closing ---

    @classmethod
    def init(cls, path: str | Path = ".") -> Repository:
        """Create ``path/.simgit`` and return the repository; ``":memory:"`` makes one in memory.

        Raises:
            AlreadyExists: there is one already.
            Storage: the directory cannot be written.
        """
        if str(path) == MEMORY:
            return cls(MemoryStorage(), None)
        from simgit.storage.lmdb import LmdbStorage

        directory = Path(path).resolve() / DIRECTORY
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            raise AlreadyExists(f"repository '{directory}' already exists") from None
        except OSError as error:
            raise Storage(f"cannot create '{directory}': {error.strerror}") from None
        try:
            storage = LmdbStorage.create(directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        write_format(directory)
        return cls(storage, directory)

    @classmethod
    def open(cls, path: str | Path = ".", *, read_only: bool = False) -> Repository:
        """Open the repository that ``path`` is, or has as its ``.simgit``.

        A directory that cannot be written is opened read-only.

        Raises:
            NotFound: there is none.
            Format: it was written by a newer version of simgit.
            Integrity: its file is damaged.
        """
        from simgit.storage.lmdb import LmdbStorage

        directory = repository_directory(Path(path).resolve())
        check_format(directory)
        return cls(LmdbStorage.open(directory, read_only=read_only), directory)

    @classmethod
    def discover(cls, start: str | Path = ".", *, read_only: bool = False) -> Repository:
        """Open the repository of a directory or of the nearest one above it.

        Raises:
            NotFound: there is none.
        """
        return cls.open(find_repository(Path(start).resolve()), read_only=read_only)

    def close(self) -> None:
        """Close the repository; closing it twice is fine."""
        self._storage.close()

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return self._storage.read_only

    @property
    def worktree(self) -> Path | None:
        """The directory whose ``.simgit`` this is, None in memory."""
        return self.directory.parent if self.directory else None

    def size(self) -> int:
        """Return the bytes that the store takes on disk."""
        return self._storage.size()

    def _read(self) -> AbstractContextManager[ReadTxn]:
        return self.odb.read()

    # --- states ---

    def resolve(self, revision: str | Oid) -> Oid:
        """Return the oid of the state that a revision names; see simgit/revision.py.

        Raises:
            NotFound: there is none.
            InvalidInput: the text is no revision, or is ambiguous (``candidates`` lists what fits).
        """
        with self._read() as txn:
            return self._resolve(txn, revision).oid

    def _resolve(self, txn: ReadTxn, revision: str | Oid) -> Resolved:
        if isinstance(revision, Oid):
            return Resolved(revision, self.odb.locate(txn, revision))
        return self.revisions.resolve(txn, revision)

    def state(self, revision: str | Oid = HEAD) -> State:
        """Return a state.

        Raises:
            NotFound: see ``resolve``.
            Integrity: its bytes do not have its name.
        """
        with self._read() as txn:
            if isinstance(revision, Oid):
                place = self.odb.locate(txn, revision)
                return load_state(self.odb, txn, place, None, revision)
            found = self.revisions.find(txn, revision)
            return load_state(self.odb, txn, found.place, found.run, found.oid)

    def parents(self, revision: str | Oid = HEAD) -> list[State]:
        """Return a state's parents, first to last."""
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            places = history.parents_at(self.odb, txn, place)
            return [load_state(self.odb, txn, each) for each in places]

    def children(self, revision: str | Oid = HEAD) -> list[State]:
        """Return the states that have a state among their parents."""
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            return [load_state(self.odb, txn, p) for p in self.odb.states.children(txn, place)]

    def leaves(self) -> list[State]:
        """Return the states that have no children."""
        with self._read() as txn:
            return [load_state(self.odb, txn, place) for place in history.leaves(self.odb, txn)]

    def object(self, oid: Oid) -> Decodable:
        """Return any object, its name recomputed.

        Raises:
            NotFound: there is none of this name.
            Integrity: its bytes do not have this name.
        """
        with self._read() as txn:
            return self.odb.object(txn, oid)

    def find_object(self, digits: str) -> tuple[str, Oid]:
        """Return kind and oid of the one object whose name begins with ``digits``.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several.
        """
        with self._read() as txn:
            if len(digits) < 4 or set(digits) - set("0123456789abcdef"):
                raise NotFound(f"object '{digits}' not found")
            found = self.odb.with_prefix(txn, digits)
        if not found:
            raise NotFound(f"object '{digits}' not found")
        if len(found) > 1:
            shown = ", ".join(f"{kind} {oid.short(12)}" for kind, oid in found)
            raise InvalidInput(f"'{digits}' is ambiguous: {shown}", candidates=found)
        return found[0]

    def object_size(self, oid: Oid) -> int:
        """Return the number of bytes of an object's content.

        Raises:
            NotFound: there is none of this name.
        """
        with self._read() as txn:
            if self.odb.kind(txn, oid) == "blob":
                return self.odb.blob_size(txn, oid)
            return len(self.odb.get(txn, oid)[1])

    def stream(self, oid: Oid) -> Iterator[bytes]:
        """Yield an object's content piece by piece; the last piece only if the name matches.

        Raises:
            NotFound: there is none of this name.
            Integrity: its bytes do not have this name.
        """
        with self._read() as txn:
            kind = self.odb.kind(txn, oid)
            if kind != "blob":
                yield self.odb.get(txn, oid)[1]
                return
        yield from self.odb.stream_blob(oid)

    # --- committing ---

    def commit(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
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
            spec: what a root state comes from; see ``simgit.objects.Spec``.

        The other arguments are those of ``Recorder.append``.

        Raises:
            InvalidInput: a value has no encoding, or the run is completed.
        """
        from simgit import worktree as files_on_disk

        if files is not None and not isinstance(files, Oid):
            files = files_on_disk.store_files(self.odb, files)
        value = {
            "observation": None if observation is None else freeze(observation, "observation"),
            "action": None if action is None else freeze(action, "action"),
            "reward": None if reward is None else freeze_reward(reward),
            "terminated": None if terminated is None else freeze_flag(terminated, "terminated"),
            "truncated": None if truncated is None else freeze_flag(truncated, "truncated"),
            "info": None if info is None else freeze(info, "info"),
            "reset": freeze_reset(reset),
            "files": files,
            "message": None if message is None else freeze_message(message),
        }
        columns = {
            name: [bytes(item) if name == "files" else item]
            for name, item in value.items()
            if item is not None and item is not ABSENT
        }
        if not columns:
            raise InvalidInput("a state without any field cannot be recorded")
        shown = f"commit: {message}" if message else "commit"
        with self.odb.write() as txn:
            name, ref = self._commit_target(txn, run)
            above = self._commit_parents(txn, ref, parents)
            origin = b"" if above else self.runs_.origin(txn, spec)
            tip = store(self.odb, txn, prepare(columns, above, origin), above)
            if name is None:
                self.refs.move_head(txn, tip.oid, shown)
            elif ref is not None:
                self.refs.update_run(txn, name, ref, moved(ref, tip.oid, tip.place), shown)
        return tip.oid

    def _commit_target(self, txn: Any, run: str | None) -> tuple[str | None, RunRef | None]:
        """Return name and ref of the run to commit to; None for a detached HEAD."""
        name = run if run is not None else self.refs.head(txn)
        if isinstance(name, Oid):
            return None, None
        return name, self.runs_.ensure(txn, name, None, None)

    def _commit_parents(
        self, txn: ReadTxn, ref: RunRef | None, more: Sequence[str | Oid]
    ) -> tuple[Tip, ...]:
        places = []
        if ref is None:
            places.append(self._resolve(txn, HEAD).place)
        elif ref.oid is not None:
            places.append(ref.place)
        places += [self._resolve(txn, revision).place for revision in more]
        if len(set(places)) != len(places):
            raise InvalidInput("a state cannot have the same parent twice")
        if len(places) > 255:
            raise InvalidInput(f"a state cannot have {len(places)} parents")
        return tuple(self.odb.states.tip(txn, place) for place in places)

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
        spec: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return a buffered writer of a run (HEAD's, if none is named), or of one run a lane.

        A run that does not exist is created; one that has states is gone on with.

        Args:
            run: a run's name, or a sequence of names for batches of parallel environments.
            flush_every: flush when so many states are buffered, of all lanes together; 16384 if not
                given, and for lanes 4096 for each.
            flush_seconds: flush at the first append after so many seconds; None for never.
            flush_bytes: flush when so many bytes of observations are buffered.
            flush_episodes: flush at each episode's end.
            background: flush in a thread, so that no append waits for the disk.
            config: the run's configuration (overrides on what it inherits); keys may be dotted.
            seed: the run's seed, if it is created.
            spec: what a root state comes from.

        Raises:
            InvalidInput: a run is completed.
        """
        from simgit.recorder import FlushPolicy, LaneRecorder, Recorder

        if run is not None and not run:
            raise InvalidInput("a recorder needs one or more runs")
        if flush_every is None:
            flush_every = 16384 if run is None or isinstance(run, str) else 4096 * len(run)
        if flush_every < 1:
            raise InvalidInput(f"flush_every has to be at least 1, not {flush_every}")
        policy = FlushPolicy(flush_every, flush_seconds, flush_bytes, flush_episodes)
        with self.odb.write() as txn:
            names = [run] if isinstance(run, str) else run
            if names is None:
                head = self.refs.head(txn)
                if isinstance(head, Oid):
                    raise InvalidInput("HEAD is detached: name the run to record, or branch first")
                names = [head]
            if len(set(names)) != len(names):
                raise InvalidInput("a recorder needs one or more runs, each once")
            origin = self.runs_.origin(txn, spec)
            lanes = [self._lane(txn, name, config, seed, origin) for name in names]
        if isinstance(run, str) or run is None:
            return Recorder(self.odb, lanes[0], policy, background)
        return LaneRecorder(self.odb, lanes, policy, background)

    def _lane(
        self, txn: Any, name: str, config: Mapping[str, Any] | None, seed: Any, origin: Oid
    ) -> Lane:
        from simgit.recorder import Lane

        ref = self.runs_.ensure(txn, name, config, seed)
        lane = Lane(self.odb, self.refs, name, ref, self.runs_.tip(txn, ref), origin)
        lane.claim(txn)
        return lane

    # --- runs ---

    def runs(self) -> list[RunInfo]:
        """Return what is known of all runs, ordered by name."""
        with self._read() as txn:
            return [self.runs_.info(txn, name) for name, _ in self.refs.runs(txn)]

    def run_names(self) -> list[str]:
        """Return the names of all runs."""
        with self._read() as txn:
            return [name for name, _ in self.refs.runs(txn)]

    def run(self, name: str | None = None) -> RunInfo:
        """Return what is known of a run (HEAD's, if none is named).

        Raises:
            NotFound: there is no such run.
        """
        with self._read() as txn:
            return self.runs_.info(txn, name if name is not None else self._head_run(txn))

    def _head_run(self, txn: ReadTxn) -> str:
        head = self.refs.head(txn)
        if isinstance(head, Oid):
            raise NotFound("HEAD is detached: name a run")
        return head

    def branch(
        self,
        name: str,
        start: str | Oid = HEAD,
        *,
        overrides: Mapping[str, Any] | None = None,
        seed: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Oid:
        """Create a run at a state; return the state's oid. Nothing is copied.

        The run inherits the configuration of the run that ``start`` was named through.

        Args:
            overrides: settings that differ from the parent's; keys may be dotted paths.

        Raises:
            AlreadyExists: there is a run of this name (or one that differs only in case).
            NotFound: there is no such state.
            InvalidInput: the name is not allowed.
        """
        with self.odb.write() as txn:
            found = self._resolve(txn, start)
            self.runs_.create(
                txn, name, found, overrides or {}, seed, metadata or {},
                f"branch: created from {start if isinstance(start, str) else start.short()}",
            )  # fmt: skip
        return found.oid

    def rename_run(self, old: str, new: str) -> None:
        """Rename a run, its reflog with it."""
        with self.odb.write() as txn:
            self.refs.rename_run(txn, old, new)

    def delete_run(self, name: str, *, force: bool = False) -> Oid | None:
        """Delete a run's ref; return what it pointed at. Its states stay until gc.

        Raises:
            Conflict: HEAD points at it, or it is being written.
        """
        with self.odb.write() as txn:
            return self.runs_.delete(txn, name, force).oid

    def set_status(self, name: str, status: str) -> None:
        """Set how a run stands: ``completed`` seals it, ``active`` reopens it."""
        with self.odb.write() as txn:
            self.runs_.set_status(txn, name, status)

    def config(self, run: str | None = None) -> dict[str, Any]:
        """Return a run's resolved configuration."""
        with self._read() as txn:
            name = run if run is not None else self._head_run(txn)
            return configuration.resolve(self.odb, txn, self.refs.run(txn, name).record)

    def configure(
        self,
        run: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        unset: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change a run's own settings and metadata; keys may be dotted paths."""
        with self.odb.write() as txn:
            self.runs_.configure(txn, run, overrides or {}, tuple(unset), metadata or {})

    def contains(self, revision: str | Oid) -> list[str]:
        """Return the names of the runs in whose history a state lies."""
        with self._read() as txn:
            place = self._resolve(txn, revision).place
            return [
                name
                for name, ref in self.refs.runs(txn)
                if ref.oid is not None and history.is_ancestor(self.odb, txn, place, ref.place)
            ]

    def lineage(self, run: str | None = None) -> list[RunInfo]:
        """Return a run and the runs that it was branched off, nearest first."""
        with self._read() as txn:
            name: str | None = run if run is not None else self._head_run(txn)
            found: list[RunInfo] = []
            while name is not None and self.refs.has_run(txn, name):
                found.append(self.runs_.info(txn, name))
                name = found[-1].parent
            return found

    # --- HEAD and tags ---

    @property
    def head(self) -> str | Oid:
        """The name of the run that HEAD points at, or the oid of a detached HEAD."""
        with self._read() as txn:
            return self.refs.head(txn)

    def checkout(
        self, target: str | Oid = HEAD, *, detach: bool = False, force: bool = False
    ) -> Oid | None:
        """Point HEAD at a run, or detach it at a state; return the state's oid.

        The state's files replace those of the state before in the working directory.

        Raises:
            Conflict: files were changed there, and no ``force``; nothing was done.
        """
        from simgit import worktree as files_on_disk

        run = self._run_named(target) if not detach else None
        with self._read() as txn:
            old = self.refs.head_oid(txn)
            if run is not None:
                new = self.refs.run(txn, run).oid if self.refs.has_run(txn, run) else None
            else:
                new = self._resolve(txn, target).oid
        if self.worktree is not None:
            trees = [self.state(oid).files if oid else None for oid in (old, new)]
            if trees != [None, None]:
                files_on_disk.checkout(self.odb, self.worktree, trees[0], trees[1], force)
        with self.odb.write() as txn:
            where: str | Oid | None = run if run is not None else new
            assert where is not None
            self.refs.set_head(txn, where, f"checkout: moving to {target}")
        return new

    def _run_named(self, target: str | Oid) -> str | None:
        """Return the run that a target of a checkout names, None if it is another revision."""
        if isinstance(target, Oid):
            return None
        with self._read() as txn:
            if target == HEAD:
                head = self.refs.head(txn)
                return head if isinstance(head, str) else None
            name = target[len(RUNS) :] if target.startswith(RUNS) else target
            return name if self.refs.has_run(txn, name) else None

    def status(self) -> files_on_disk.Status:
        """Compare the working directory with the files of HEAD's state."""
        from simgit import worktree as files_on_disk

        if self.worktree is None:
            return files_on_disk.Status((), (), ())
        with self._read() as txn:
            oid = self.refs.head_oid(txn)
        tree = self.state(oid).files if oid else None
        return files_on_disk.status(self.odb, self.worktree, tree)

    def files(self, revision: str | Oid = HEAD) -> dict[str, Oid]:
        """Return the paths of a state's files with the oids of their blobs."""
        from simgit import worktree as files_on_disk

        tree = self.state(revision).files
        if tree is None:
            return {}
        with self._read() as txn:
            return dict(files_on_disk.read_files(self.odb, txn, tree))

    def read_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's bytes piece by piece."""
        return self.odb.stream_blob(oid)

    # --- attachments ---

    def attach(self, revision: str | Oid, name: str, data: Any) -> Oid:
        """Bind data to a state without changing its name; return the data's oid.

        Args:
            data: bytes or a path (a blob, streamed), an array, nested dicts, lists and tuples of
                arrays and plain values (a checkpoint: stored as its difference to the last one of
                this name), or any plain value.

        Raises:
            NotFound: there is no such state.
            InvalidInput: the name is not allowed, or some part of the data has no encoding.
        """
        from simgit import attachments, trees

        state = self.resolve(revision)
        blob = None
        if isinstance(data, Path):
            with data.open("rb") as file:
                blob = self.odb.put_blob(file.read, data.stat().st_size)
        with self.odb.write() as txn:
            if blob is not None:
                kind, oid = "blob", blob
            else:
                base = attachments.latest(txn, name)
                kind, oid = trees.store_data(self.odb, txn, data, base)
            attachments.attach(self.odb, txn, state, name, kind, oid)
        return oid

    def attachments(self, revision: str | Oid = HEAD) -> dict[str, tuple[str, Oid]]:
        """Return a state's attachments: name to kind and oid."""
        from simgit import attachments

        with self._read() as txn:
            state = self._resolve(txn, revision).oid
            return attachments.attachments(self.odb, txn, state)

    def attachment(self, revision: str | Oid, name: str) -> Any:
        """Return the data of an attachment; arrays are read-only.

        Raises:
            NotFound: the state has none of this name.
        """
        from simgit import attachments, trees

        with self._read() as txn:
            state = self._resolve(txn, revision).oid
            return trees.load_data(self.odb, txn, *attachments.find(self.odb, txn, state, name))

    def detach(self, revision: str | Oid, name: str) -> Oid:
        """Remove an attachment; return the oid of what it was."""
        from simgit import attachments

        with self.odb.write() as txn:
            state = self._resolve(txn, revision).oid
            return attachments.detach(self.odb, txn, state, name)[1]

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
        with self.odb.write() as txn:
            found = self._resolve(txn, revision)
            note = None
            if message is not None:
                note = self.odb.put(txn, Tag(found.oid, name, message, tagger, now()))
            self.refs.create_tag(txn, name, TagRef(found.oid, note), force)
        return found.oid

    def tags(self) -> dict[str, tuple[Oid, Tag | None]]:
        """Return all tags: name to the state's oid, and the annotation if there is one."""
        with self._read() as txn:
            found = {}
            for name, ref in self.refs.tags(txn):
                note = self.odb.object(txn, ref.tag) if ref.tag else None
                found[name] = (ref.oid, note if isinstance(note, Tag) else None)
            return found

    def delete_tag(self, name: str) -> Oid:
        """Delete a tag; return the state's oid."""
        with self.odb.write() as txn:
            return self.refs.delete_tag(txn, name).oid

    def reflog(self, ref: str = HEAD) -> list[LogEntry]:
        """Return what a ref was, the newest change first.

        Raises:
            NotFound: there never was such a ref.
        """
        with self._read() as txn:
            for full in (ref, RUNS + ref, "tags/" + ref):
                entries = list(self.refs.log(txn, full))
                if entries:
                    return entries
        raise NotFound(f"reflog of '{ref}' not found")

    # --- history ---

    def merge_base(self, a: str | Oid, b: str | Oid) -> Oid | None:
        """Return the best common ancestor of two states, None if they have none."""
        found = self.merge_bases(a, b)
        return found[0] if found else None

    def merge_bases(self, a: str | Oid, b: str | Oid) -> list[Oid]:
        """Return all best common ancestors of two states (several only after merges)."""
        with self._read() as txn:
            places = history.merge_bases(
                self.odb, txn, self._resolve(txn, a).place, self._resolve(txn, b).place
            )
            return [self.odb.states.state(txn, place)[0] for place in places]

    def log(
        self,
        *revisions: str | Oid,
        every: bool = False,
        limit: int | None = None,
        reverse: bool = False,
        where: str | None = None,
    ) -> Iterator[logs.LogLine]:
        """Yield what leads to states, newest first and children before parents, as plain lines.

        Args:
            revisions: states, ranges (``a..b``, ``a...b``) and ``^a`` for what to leave out; HEAD
                if there are none.
            every: begin at all runs, tags and HEAD.
            limit: so many lines at most, the newest.
            reverse: the oldest of them first.
            where: only the states that fulfil a condition, for instance
                ``reward > 0 and terminated``; see simgit/predicate.py.

        Raises:
            NotFound: see ``resolve``.
            InvalidInput: a revision or the condition cannot be read.
        """
        from simgit import log as logs

        with self._read() as txn:
            wanted = self._selection(txn, revisions, every)
            most = limit if where is None else None
            parts = logs.blocks(self.odb, txn, logs.ordered(self.odb, txn, wanted), most)
        if where is not None:
            matching = islice(logs.matching(self.odb, parts, where), limit)
            yield from reversed(list(matching)) if reverse else matching
            return
        for part in reversed(parts) if reverse else parts:
            with self._read() as txn:  # short transactions: a slow consumer must not pin pages
                lines = logs.lines(self.odb, txn, part)
            yield from reversed(lines) if reverse else lines

    def outline(
        self, *revisions: str | Oid, every: bool = False, limit: int | None = None
    ) -> list[logs.LogLine]:
        """Return the lines of ``log`` where something happens: tips, tags, forks and merges."""
        from simgit import log as logs

        with self._read() as txn:
            wanted = self._selection(txn, revisions, every)
            cuts = tuple(self.odb.locate(txn, ref.oid) for _, ref in self.refs.tags(txn))
            cuts += tuple(self._tips(txn))
            wanted = logs.Selection(wanted.tips, wanted.exclude, cuts)
            return logs.outline(self.odb, txn, wanted, limit)

    def episodes(self, revision: str | Oid = HEAD) -> list[logs.EpisodeLine]:
        """Return the episodes of a state's history, the newest first."""
        from simgit import log as logs

        with self._read() as txn:
            tip = self._resolve(txn, revision).place
            return list(logs.episodes(self.odb, txn, tip))

    def rev_parse(self, text: str) -> list[tuple[Oid, bool]]:
        """Return the states that a revision or a range names, each with whether it is left out.

        Raises:
            NotFound: see ``resolve``.
            InvalidInput: see ``resolve``.
        """
        with self._read() as txn:
            ends = self.revisions.resolve_range(txn, text)
            if ends is None:
                excluded = text.startswith("^") and len(text) > 1
                return [(self._resolve(txn, text[excluded:]).oid, excluded)]
            a, b = ends.start, ends.end
            if not ends.symmetric:
                return [(b.oid, False), (a.oid, True)]
            bases = history.merge_bases(self.odb, txn, a.place, b.place)
            names = [self.odb.states.state(txn, place)[0] for place in bases]
            return [(a.oid, False), (b.oid, False), *((oid, True) for oid in names)]

    def _selection(
        self, txn: ReadTxn, revisions: Sequence[str | Oid], every: bool
    ) -> logs.Selection:
        from simgit import log as logs

        tips, exclude = [], []
        for revision in revisions or (() if every else (HEAD,)):
            text = revision if isinstance(revision, str) else ""
            if text.startswith("^"):
                exclude.append(self._resolve(txn, text[1:]).place)
            elif (ends := self.revisions.resolve_range(txn, text)) is None:
                tips.append(self._resolve(txn, revision).place)
            elif ends.symmetric:
                tips += [ends.start.place, ends.end.place]
                exclude += history.merge_bases(self.odb, txn, ends.start.place, ends.end.place)
            else:
                tips.append(ends.end.place)
                exclude.append(ends.start.place)
        tips += self._tips(txn) if every else []
        return logs.Selection(tuple(dict.fromkeys(tips)), tuple(exclude))

    def decorations(self) -> dict[Oid, list[str]]:
        """Return which refs point at which states: ``HEAD``, full names of runs and tags.

        The run that HEAD points at comes first, as ``HEAD -> runs/main``.
        """
        with self._read() as txn:
            head = self.refs.head(txn)
            found: dict[Oid, list[str]] = {head: [HEAD]} if isinstance(head, Oid) else {}
            for name, ref in self.refs.runs(txn):
                if ref.oid is not None and name == head:
                    found.setdefault(ref.oid, []).insert(0, f"{HEAD} -> {RUNS}{name}")
                elif ref.oid is not None:
                    found.setdefault(ref.oid, []).append(RUNS + name)
            for name, tag in self.refs.tags(txn):
                found.setdefault(tag.oid, []).append(TAGS + name)
            return found

    @property
    def abbreviation(self) -> int:
        """How many hex digits of an oid listings show: enough for the states that can be there."""
        most = self._storage.size() // 12  # no state takes less on disk
        return max(SHORT, most.bit_length() // 2 + 1)

    def _tips(self, txn: ReadTxn) -> list[Location]:
        """Return the places that refs point at: HEAD's first, then by step, the newest first."""
        tips = [ref.place for _, ref in self.refs.runs(txn) if ref.oid is not None]
        tips += [self.odb.locate(txn, ref.oid) for _, ref in self.refs.tags(txn)]
        tips.sort(key=lambda place: -place.step)
        head = self.refs.head_oid(txn)
        return ([self.odb.locate(txn, head)] if head is not None else []) + tips

    # --- data ---

    def trajectory(self, revision: str | Oid = HEAD) -> Trajectory:
        """Return states as columns: all that lead to a state, a range, or an episode.

        ``main`` is the whole history of a run's newest state; ``a..b`` what is in b's first-parent
        history after a; ``main@ep5`` the states of episode 5.

        Raises:
            NotFound: there is no such state.
            InvalidInput: the range is symmetric, or its start is no ancestor of its end.
        """
        with self._read() as txn:
            if isinstance(revision, Oid):
                return self._trajectory(self.odb.locate(txn, revision), 0, None, None)
            ends = self.revisions.resolve_range(txn, revision)
            if ends is not None:
                return self._trajectory_between(txn, revision, ends)
            found = self.revisions.find(txn, revision)
            start, stop = 0, None
            if (episode := whole_episode(revision)) is not None:
                tip = self.revisions.find(txn, episode.base).place
                start = found.place.step
                stop = history.episode_end(self.odb, txn, tip, episode.number) + 1
                found = Found(history.ancestor(txn, tip, stop - 1), found.run)
            return self._trajectory(found.place, start, stop, found.run)

    def __getitem__(self, revision: str) -> Trajectory:
        return self.trajectory(revision)

    def _trajectory_between(self, txn: ReadTxn, text: str, ends: Range) -> Trajectory:
        fork = history.merge_bases(self.odb, txn, ends.start.place, ends.end.place)
        if ends.symmetric or fork != [ends.start.place]:
            raise InvalidInput(f"'{text}' is not a stretch of one history: use 'ancestor..state'")
        start = ends.start.place.step + 1
        return self._trajectory(ends.end.place, start, None, ends.end.run)

    def _trajectory(
        self, place: Location, start: int, stop: int | None, run: str | None
    ) -> Trajectory:
        from simgit.trajectory import Trajectory

        def make(where: Location, values: dict[str, Any] | None) -> State:
            with self._read() as txn:
                return load_state(self.odb, txn, where, run)

        end = place.step + 1 if stop is None else stop
        return Trajectory(self.odb, place, start, end, run or "", make)

    def diff(self, a: str | Oid, b: str | Oid = HEAD, *, whole: bool = True) -> StateDiff | RunDiff:
        """Compare two runs, or two states.

        Two names of runs are compared as runs: common ancestor, first difference, return and
        length on each side (and, if ``whole``, how many aligned states are equal after it).
        Everything else is compared as states, field by field.
        """
        from simgit.diff import diff_states
        from simgit.rundiff import diff_runs

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
            runs = all(isinstance(x, str) and self._names_run(txn, x) for x in (a, b))
        if runs:
            return diff_runs(self.odb, one.place, two.place, whole=whole)
        return diff_states(self.odb, one.place, two.place)

    def diff_states(self, a: str | Oid, b: str | Oid = HEAD) -> StateDiff:
        """Compare two states field by field."""
        from simgit.diff import diff_states

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
        return diff_states(self.odb, one.place, two.place)

    def diff_runs(self, a: str | Oid, b: str | Oid = HEAD, *, whole: bool = True) -> RunDiff:
        """Compare the histories that lead to two states."""
        from simgit.rundiff import diff_runs

        with self._read() as txn:
            one, two = self._resolve(txn, a), self._resolve(txn, b)
        return diff_runs(self.odb, one.place, two.place, whole=whole)

    def diff_configs(self, a: str, b: str) -> tuple[Change, ...]:
        """Return the settings in which the resolved configurations of two runs differ."""
        from simgit.diff import diff_configs

        return diff_configs(self.config(a), self.config(b))

    def _names_run(self, txn: ReadTxn, text: str) -> bool:
        name = text[len(RUNS) :] if text.startswith(RUNS) else text
        return self.refs.has_run(txn, name)

    # --- maintenance ---

    def gc(self, progress: maintenance.Progress | None = None) -> maintenance.GcReport:
        """Join small segments and index runs, and give back the space; no oid changes."""
        from simgit import maintenance

        return maintenance.gc(self.odb, progress)

    def fsck(self, progress: fsck.Progress | None = None) -> fsck.FsckReport:
        """Derive every name again from the bytes, and follow every link; see simgit/fsck.py."""
        from simgit import fsck

        return fsck.Fsck(self.odb, self.refs, progress).run()
