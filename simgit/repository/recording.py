"""Writing states: single commits, and recorders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simgit.errors import InvalidInput
from simgit.objects.columns import Column
from simgit.objects.oid import Oid
from simgit.odb.segments.batch import Tip
from simgit.recording.states import coerce_fields, prepare, store
from simgit.refs.names import HEAD
from simgit.refs.records import RunRef, moved
from simgit.repository.base import RepositoryBase
from simgit.storage.base import ReadTxn

if TYPE_CHECKING:
    from simgit.recording.flush import RunWriter


class RecordingOperations(RepositoryBase):
    """Writing states: single commits, and recorders."""

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
            spec: what a root state comes from; see ``simgit.objects.kinds.Spec``.

        The other arguments are those of ``Recorder.append``.

        Raises:
            InvalidInput: a value has no encoding, or the run is completed.
        """
        if files is not None and not isinstance(files, Oid):
            from simgit.repository.worktree import files as worktree

            files = worktree.store_files(self.odb, files)
        value = coerce_fields(
            observation=observation, action=action, reward=reward, terminated=terminated,
            truncated=truncated, info=info, reset=reset, files=files, message=message,
        )  # fmt: skip
        columns: dict[str, Column] = {name: [item] for name, item in value.items()}
        shown = f"commit: {message}" if message else "commit"
        with self._write("commit", *([message] if message else [])) as txn:
            if files is not None and self.odb.kind(txn, files) != "tree":
                raise InvalidInput(f"files: object '{files}' is not a tree", path="files")
            name, ref = self._commit_target(txn, run)
            above = self._commit_parents(txn, ref, parents)
            origin = b"" if above else self.runs_.origin(txn, spec)
            tip = store(self.odb, txn, prepare(columns, above, origin), above)
            if name is None:
                self.refs.move_head(txn, tip.oid, shown)
            elif ref is not None:
                self.refs.update_run(txn, name, ref, moved(ref, tip), shown)
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
        spec: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
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
            spec: what a root state comes from; for lanes there may be one for each.

        Raises:
            InvalidInput: a run is completed.
        """
        from simgit.recording.flush import FlushPolicy
        from simgit.recording.recorder import RunRecorder
        from simgit.recording.vector_recorder import LaneRecorder

        if run is not None and not run:
            raise InvalidInput("a recorder needs one or more runs")
        if flush_every is None:
            flush_every = 16384 if run is None or isinstance(run, str) else 4096 * len(run)
        if flush_every < 1:
            raise InvalidInput(f"flush_every has to be at least 1, not {flush_every}")
        policy = FlushPolicy(flush_every, flush_seconds, flush_bytes, flush_episodes)
        names = self._runs_to_record(run)
        odb = self._journaled("recorder", *names, session=True)
        with odb.write() as txn:
            specs = [spec] * len(names) if spec is None or isinstance(spec, Mapping) else spec
            lanes = [
                self._lane(txn, name, config, seed, self.runs_.origin(txn, each))
                for name, each in zip(names, specs, strict=True)
            ]
        if isinstance(run, str) or run is None:
            return RunRecorder(odb, lanes[0], policy, background)
        return LaneRecorder(odb, lanes, policy, background)

    def _runs_to_record(self, run: str | Sequence[str] | None) -> list[str]:
        if run is None:
            with self._read() as txn:
                head = self.refs.head(txn)
            if isinstance(head, Oid):
                raise InvalidInput("HEAD is detached: name the run to record, or branch first")
            return [head]
        names = [run] if isinstance(run, str) else list(run)
        if len(set(names)) != len(names):
            raise InvalidInput("a recorder needs one or more runs, each once")
        return names

    def _lane(
        self, txn: Any, name: str, config: Mapping[str, Any] | None, seed: Any, origin: Oid
    ) -> RunWriter:
        from simgit.recording.flush import RunWriter

        ref = self.runs_.ensure(txn, name, config, seed)
        lane = RunWriter(self.odb, self.refs, name, ref, self.runs_.tip(txn, ref), origin)
        lane.claim(txn)
        return lane
