"""Writing states: single commits, and recorders."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simgit.errors import Conflict, InvalidInput, warn
from simgit.objects.oid import Oid
from simgit.process import this_writer
from simgit.recording.finalize import settle
from simgit.recording.flush import FlushPolicy, RunWriter
from simgit.recording.recorder import RunRecorder
from simgit.recording.simulators.hooks import as_fields
from simgit.recording.states import coerce_fields, prepare, store
from simgit.recording.vector_recorder import LaneRecorder
from simgit.refs.names import HEAD
from simgit.refs.records import RunRef, moved
from simgit.repository.worktree.files import store_files

if TYPE_CHECKING:
    from pathlib import Path

    from simgit.objects.columns import Column
    from simgit.odb.database import ObjectDatabase
    from simgit.odb.segments.batch import Tip
    from simgit.refs.runs import Opened
    from simgit.repository.store import Store
    from simgit.storage.base import ReadTxn, WriteTxn


class Recording:
    """Commits single states, and makes recorders."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._odb = store.odb
        self._refs = store.refs

    def commit(
        self,
        fields: Mapping[str, Any],
        files: Oid | Mapping[str, Path | bytes] | None,
        run: str | None,
        parents: Sequence[str | Oid],
        spec: Mapping[str, Any] | None,
    ) -> Oid:
        if files is not None and not isinstance(files, Oid):
            files = store_files(self._odb, files)
        value = coerce_fields(**as_fields(fields), files=files)
        columns: dict[str, Column] = {name: [item] for name, item in value.items()}
        message = fields["message"]
        shown = f"commit: {message}" if message else "commit"
        with self._store.write("commit", *([message] if message else [])) as txn:
            if files is not None and self._odb.kind(txn, files) != "tree":
                raise InvalidInput(f"files: object '{files}' is not a tree", path="files")
            name = run if run is not None else self._refs.head(txn)
            # a detached HEAD has no ref; it moves by itself
            ref = None if isinstance(name, Oid) else self._store.runs.ensure(txn, name)
            above = self._parents(txn, ref, parents)
            origin = b"" if above else self._store.runs.origin(txn, spec)
            tip = store(self._odb, txn, prepare(columns, above, origin), above)
            if isinstance(name, Oid):
                self._refs.set_head(txn, tip.oid, shown)
            elif ref is not None:
                self._refs.update_run(txn, name, ref, moved(ref, tip), shown)
                self._refs.follow(txn, name)
        return tip.oid

    def _parents(
        self, txn: ReadTxn, ref: RunRef | None, more: Sequence[str | Oid]
    ) -> tuple[Tip, ...]:
        places = []
        if ref is None:
            places.append(self._store.resolve(txn, HEAD).place)
        elif ref.oid is not None:
            places.append(ref.place)
        places += [self._store.resolve(txn, revision).place for revision in more]
        if len(set(places)) != len(places):
            raise InvalidInput("a state cannot have the same parent twice")
        if len(places) > 255:
            raise InvalidInput(f"a state can have at most 255 parents, got {len(places)}")
        return tuple(self._odb.states.tip(txn, place) for place in places)

    def recorder(
        self,
        run: str | Sequence[str] | None,
        policy: FlushPolicy,
        background: bool,
        config: Mapping[str, Any] | None,
        seed: Any,
        spec: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        branch: bool,
        make: Callable[..., RunRecorder] = RunRecorder,
    ) -> RunRecorder | LaneRecorder:
        settle()
        names = self._names(run)
        odb = self._store.journaled("recorder", *names, session=True)
        arguments = (odb, names, config, seed, spec, branch)
        try:
            lanes = self._open(*arguments)
        except Conflict as error:
            if not self._is_free_now(odb, vars(error).get("writer")):
                raise
            lanes = self._open(*arguments)
        recorder: RunRecorder | LaneRecorder
        if isinstance(run, str) or run is None:
            recorder = make(odb, lanes[0], policy, background)
        else:
            recorder = LaneRecorder(odb, lanes, policy, background)
        recorder.start()
        self._store.recorders.add(recorder)
        self._store.all_recorders.add(recorder)
        return recorder

    def _is_free_now(self, odb: ObjectDatabase, writer: Mapping[str, Any] | None) -> bool:
        """Return True if a run could be free by now whose writer was taken to be alive."""
        if writer is None:
            return False
        if writer == this_writer():  # by a recorder that was dropped and not yet collected
            found = gc.collect() > 0
            settle()
            return found
        # of another machine nothing is known, say of a container that was there before; but whoever
        # writes has the store open
        if writer["machine"] == this_writer()["machine"] or not self._store.storage.is_alone():
            return False
        with odb.write() as txn:
            self._store.runs.take_over(txn, writer)
        return True

    def _open(
        self,
        odb: ObjectDatabase,
        names: Sequence[str],
        config: Mapping[str, Any] | None,
        seed: Any,
        spec: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
        branch: bool,
    ) -> list[RunWriter]:
        """Open and claim runs, all of them or none, in one transaction."""
        runs = self._store.runs
        with odb.write() as txn:
            specs = [spec] * len(names) if spec is None or isinstance(spec, Mapping) else spec
            if len(specs) != len(names):
                raise InvalidInput(
                    f"spec must have one for each of {len(names)} runs, or be a dict"
                )
            opened = [
                runs.open(txn, each, config, seed, branch) for each in runs.numbered(txn, names)
            ]
            lanes = [
                self._claim(txn, each, runs.origin(txn, spec))
                for each, spec in zip(opened, specs, strict=True)
            ]
        for each in opened:
            if each.warning is not None:
                warn(each.warning)
        return lanes

    def _names(self, run: str | Sequence[str] | None) -> list[str]:
        if run is None:
            with self._store.read() as txn:
                head = self._refs.head(txn)
            if isinstance(head, Oid):
                raise InvalidInput("HEAD is detached: name the run to record, or branch first")
            return [head]
        names = [run] if isinstance(run, str) else list(run)
        if len(set(names)) != len(names):
            raise InvalidInput("a recorder needs one or more runs, each once")
        return names

    def _claim(self, txn: WriteTxn, opened: Opened, origin: Oid) -> RunWriter:
        """Mark a run as being written by this process, and return its writer."""
        tip = self._store.runs.tip(txn, opened.ref)
        writer = RunWriter(self._odb, self._refs, opened.name, opened.ref, tip, origin)
        writer.claim(txn)
        return writer
