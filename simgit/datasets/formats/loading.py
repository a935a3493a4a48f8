"""Importing what a format reads: every oid is made or verified here, refs move last.

States are stored in transactions of some thousand. Refs are set in a last one, after all was read
and verified: an import that is interrupted, or finds a state that was edited, leaves them as they
were, and gc removes what was stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final

import numpy as np

from simgit.datasets.formats.base import Attachment, Contents, PackedStates, SourceRun
from simgit.datasets.formats.packing import check_packed, unpacked
from simgit.datasets.formats.selection import Progress, episodes_of
from simgit.datasets.series import cut, discarded
from simgit.errors import IntegrityError, InvalidInput, NotFound, shown
from simgit.objects.columns import Columns, check_columns
from simgit.objects.kinds import NO_ORIGIN, Binding, Run, Spec, decode_object
from simgit.objects.oid import OID_SIZE, Oid, hash_object
from simgit.odb import foreign, trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.batch import Tip, new_batch
from simgit.odb.unreachable import note_states_in_flight
from simgit.process import now
from simgit.recording.flush import coerce_data
from simgit.recording.states import prepare, store
from simgit.refs import run_config
from simgit.refs.names import check_ref_name, usable_name
from simgit.refs.refs import Refs
from simgit.remotes.bundle.import_refs import ImportedRef, set_refs
from simgit.remotes.bundle.limits import check_object
from simgit.remotes.bundle.manifest import Manifest, RunEntry, TagEntry
from simgit.remotes.bundle.objects import bind, check_links
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

SOURCE_KEY: Final = "imported_from"
"""The entry of a run's metadata that names the file that it came from."""


@dataclass
class Loaded:
    """The result of an import.

    Attributes:
        states: the number of states in the source.
        refs: the outcome for each ref, by its full name in the source.
        notes: what was guessed, left out or kept aside, a line each.
    """

    states: int = 0
    refs: dict[str, ImportedRef] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def load(
    odb: ObjectDatabase,
    refs: Refs,
    contents: Contents,
    source: str,
    *,
    prefix: str = "",
    rename: str | None = None,
    as_new: bool = False,
    progress: Progress | None = None,
) -> Loaded:
    """Import the contents of a source; return the result.

    Args:
        odb: the database to import into.
        refs: its refs.
        contents: what a format read.
        source: the name of the source, for the metadata of runs that get new oids.
        prefix: a prefix for the names of runs and tags.
        rename: the name for the source's only run.
        as_new: give all states new oids, instead of verifying those that the source names.
        progress: called with the number of states done, and of how many if that is known.

    Raises:
        IntegrityError: a state has another hash than its source says, or it is malformed; refs are
            as they were.
        NotFound: the source continues states that the repository does not have.
        InvalidInput: the source is lossy, and not imported ``as_new``; a value cannot be recorded;
            or ``rename`` was given for several runs.
    """
    if contents.lossy is not None and not as_new:
        raise InvalidInput(
            f"'{source}' is not the run that it came from: {contents.lossy}; import it as a new "
            "run (--as-new, or as_new=True)",
            path=source,
        )
    loading = _Loading(odb, contents, source, as_new, progress)
    done = loading.run(refs, prefix, rename)
    if contents.later is not None:
        with suppress(KeyboardInterrupt), closing(contents.later):
            for loading.contents in contents.later:
                loading.run(refs, prefix, rename)
    return done


class _Loading:
    """One import in progress."""

    def __init__(
        self,
        odb: ObjectDatabase,
        contents: Contents,
        source: str,
        as_new: bool,
        progress: Progress | None,
    ) -> None:
        self.odb = odb
        self.contents = contents
        self.source = source
        self.as_new = as_new
        self.progress = progress
        self.done = Loaded(notes=contents.notes)
        self.is_followed = contents.later is not None
        self._oids: list[bytes] | None = None
        self._tips: dict[str, Tip | None]
        self._runs: dict[str, RunEntry]
        self._tags: dict[str, TagEntry]

    def run(self, refs: Refs, prefix: str, rename: str | None) -> Loaded:
        """Import everything."""
        self._tips, self._runs, self._tags = {}, {}, {}
        self._check_expected()
        for run in self.contents.runs:
            if rename is not None and self._runs:
                raise InvalidInput("cannot rename the run: the source has several runs")
            self._load_run(run)
        if not self._runs and not self.is_followed:
            raise InvalidInput(f"'{self.source}' has no runs", path=self.source)
        runs = {
            name: run if run.parent in self._runs else replace(run, parent=None)
            for name, run in self._runs.items()
        }
        manifest = Manifest((), runs, self._tags, None)
        if not self._runs:
            return self.done
        with self.odb.write() as txn:
            found = set_refs(self.odb, refs, txn, manifest, prefix, rename)
            fail_point("import.refs")
        new = {name: ref for name, ref in self.done.refs.items() if ref.what == "new"}
        self.done.refs |= found | new
        return self.done

    def _check_expected(self) -> None:
        if self.as_new:
            return
        with self.odb.read() as txn:
            missing = [
                oid for oid in self.contents.expected if self.odb.states.locate(txn, oid) is None
            ]
        if missing:
            oid = Oid(missing[0])
            raise NotFound(
                f"'{self.source}' continues state '{oid.short(12)}', which is not in this "
                "repository; import the run that has it first, or use --as-new (as_new)",
                oids=missing,
            )

    # --- runs ---

    def _load_run(self, run: SourceRun) -> None:
        if run.name in self._runs:
            raise IntegrityError(f"malformed source: run '{run.name}' stands twice in it")
        check_ref_name(run.name)
        above, tip = self._start(run)
        if not self.as_new:
            self._store_specs(run.specs)
        self._oids = None if run.of_oids is None else []
        is_open = False
        for block in run.blocks:
            is_open = isinstance(block, PackedStates) and block.last is None
            if isinstance(block, PackedStates) and not self.as_new:
                tip = self._store_packed(block, tip)
            else:
                columns = unpacked(block) if isinstance(block, PackedStates) else block
                tip = self._store_values(columns, tip, run.spec)
            if self.progress is not None:
                self.progress(self.done.states, self.contents.total)
        if is_open and not self.as_new:
            raise IntegrityError(f"malformed source: run '{run.name}' ends without a last oid")
        if run.tip is not None and not self.as_new:
            with self.odb.read() as txn:
                tip = self._tip_of(txn, run.tip, tip)
        self._tips[run.name] = tip
        if run.is_merged:
            return
        with self.odb.write() as txn:
            self._attach(txn, run, tip)
            record = self._record(txn, run, above)
            oid = None if tip is None else tip.oid
            created = now() if run.created is None else run.created
            name = run.branched_off if run.records else run.parent[0] if run.parent else None
            self._runs[run.name] = RunEntry(oid, record, run.status, created, run.ended, name)

    def _start(self, run: SourceRun) -> tuple[RunEntry | None, Tip | None]:
        """Return the run that a run was branched off, and the state at which it begins."""
        if run.after is not None:
            with self.odb.read() as txn:
                return None, self._tip_of(txn, run.after, None)
        if run.parent is None:
            return None, None
        name, step = run.parent
        above, tip = self._runs.get(name), self._tips.get(name)
        if above is None or tip is None:
            if self.as_new or not run.records:
                self.done.notes.append(f"run '{run.name}' begins anew: '{name}' has no states here")
            return above, None
        with self.odb.read() as txn:
            if not 0 <= step <= tip.place.step:
                self.done.notes.append(f"run '{run.name}' begins at the end of '{name}'")
                return above, tip
            place = self.odb.states.ancestor(txn, tip.place, step)
            return above, self.odb.states.tip(txn, place)

    def _record(self, txn: WriteTxn, run: SourceRun, above: RunEntry | None) -> Oid:
        """Store a run's record; return its oid."""
        if run.records and not self.as_new and (found := self._exact_record(txn, run)):
            return found
        config: dict[str, Any] = {}
        metadata: Mapping[str, Any] = run.metadata
        seed = run.seed
        for payload in run.records:
            record = _decoded(payload, Run)
            run_config.merge(config, record.overrides)
            metadata, seed = record.metadata, record.seed
        config = config or run_config.nested(run.config)
        if self.as_new or not run.records:
            metadata = {**metadata, SOURCE_KEY: self.source}
        point = None
        if above is not None and run.parent is not None and not run.records:
            point = self._state_at(txn, run.parent[0], run.parent[1])
        made = Run(config, above.record if point and above else None, point, seed, dict(metadata))
        return self._put_foreign(txn, "run", made.payload)

    def _exact_record(self, txn: WriteTxn, run: SourceRun) -> Oid | None:
        """Store a record as it was, unless a state that it names is missing."""
        oid = None
        for payload in run.records:
            record = _decoded(payload, Run)
            point = record.branch_point
            if point is not None and self.odb.states.locate(txn, point) is None:
                self.done.notes.append(
                    f"run '{run.name}' has a new record: the state at which it or an ancestor was "
                    "created is not in the file"
                )
                return None
            check_links(self.odb, txn, hash_object("run", payload), record)
            oid = self._put_foreign(txn, "run", payload)
        return oid

    def _put_foreign(self, txn: WriteTxn, kind: str, payload: bytes) -> Oid:
        """Store an object that may name code; it is not trusted if it is new."""
        oid = hash_object(kind, payload)
        if not self.odb.exists(txn, oid):
            check_object(kind, payload)
            self.odb.put_payload(txn, kind, payload)
            foreign.mark(txn, oid)
        self.odb.expect(txn, oid)
        return oid

    def _store_specs(self, payloads: Iterable[bytes]) -> None:
        with self.odb.write() as txn:
            for payload in payloads:
                _decoded(payload, Spec)
                self._put_foreign(txn, "spec", payload)

    # --- states ---

    def _store_packed(self, block: PackedStates, tip: Tip | None) -> Tip:
        """Verify and store states that have oids."""
        rows, last = block.rows, block.last
        check_packed(rows)
        with self.odb.write() as txn:
            if block.parents is None and tip is None:
                raise IntegrityError("malformed source: its first state has no parents")
            parents: tuple[Tip, ...] = (tip,) if tip else ()
            if block.parents is not None:
                parents = tuple(self._tip_of(txn, oid, tip) for oid in block.parents)
            if not parents and not self.odb.exists(txn, Oid(block.origin)):
                raise IntegrityError(f"'{self.source}' lacks the origin of its first state")
            self.odb.put(txn, rows.schema)
            batch = new_batch(rows, parents, block.origin)
            if last is not None and batch.oids[-1] != last:
                raise IntegrityError(
                    f"hash mismatch: states of '{self.source}' up to '{last.hex()[:12]}' were "
                    "changed, removed or reordered; --as-new imports them as a new run"
                )
            tip = self.odb.states.append(txn, batch)
            note_states_in_flight(txn, *tip.place)
            if block.places:
                self._check_places(txn, block, tip, batch.oids)
        self.done.states += rows.count
        return tip

    def _check_places(
        self, txn: ReadTxn, block: PackedStates, tip: Tip, oids: Sequence[bytes]
    ) -> None:
        """Check what a file says of the places of states that were stored just now."""
        first = tip.place.step - block.rows.count + 1
        place = self.odb.states.ancestor(txn, tip.place, first)
        numbers, begun = episodes_of(self.odb, txn, place, block.rows)
        steps = np.arange(first, first + block.rows.count)
        true = {"step": steps.tolist(), "episode": numbers.tolist(), "oid": [*map(bytes, oids)],
                "episode_step": (steps - begun).tolist()}  # fmt: skip
        for name, said in block.places.items():
            for at, (found, wanted) in enumerate(zip(said, true[name], strict=True)):
                if found != wanted and not (found is None and name == "oid"):
                    raise IntegrityError(
                        f"'{self.source}' says of step {steps[at]} that its {name} is "
                        f"{shown(found)}: it was edited; --as-new imports it as a new run"
                    )

    def _tip_of(self, txn: ReadTxn, oid: bytes, tip: Tip | None) -> Tip:
        if tip is not None and tip.oid == oid:
            return tip
        place = self.odb.states.locate(txn, oid)
        if place is None:
            raise IntegrityError(f"'{self.source}' lacks the parent '{oid.hex()}' of a state")
        return self.odb.states.tip(txn, place)

    def _store_values(self, columns: Columns, tip: Tip | None, spec: Mapping[str, Any]) -> Tip:
        """Store states that get their oids here."""
        parents = (tip,) if tip else ()
        origin = Spec(dict(spec)) if spec else NO_ORIGIN
        batches = prepare(columns, parents, origin.oid)
        with self.odb.write() as txn:
            if tip is None:
                self._put_foreign(txn, "spec", origin.payload)
            found = store(self.odb, txn, batches, parents)
            if self._oids is not None:
                self._oids += [b"".join(batch.oids) for batch in batches]
            note_states_in_flight(txn, *found.place)
        self.done.states += check_columns(columns)
        return found

    def _state_at(self, txn: ReadTxn, name: str, step: int) -> Oid | None:
        """Return the state with a step in the history of a run that was read."""
        tip = self._tips.get(name)
        if tip is None or not 0 <= step <= tip.place.step:
            return None
        place: Location = self.odb.states.ancestor(txn, tip.place, step)
        return self.odb.states.row(txn, place)[0]

    # --- what is attached ---

    def _attach(self, txn: WriteTxn, run: SourceRun, tip: Tip | None) -> None:
        """Bind attachments and note tags, once the states are stored."""
        made: Iterable[Attachment] = ()
        if run.of_oids is not None and self._oids:
            oids = np.frombuffer(b"".join(self._oids), np.uint8).reshape(-1, OID_SIZE)
            made = run.of_oids(oids)
        if run.after is not None and run.restart is not None:
            before = self._tip_of(txn, run.after, None).place
            if count := cut(self.odb, txn, before, run.restart):
                self.done.notes.append(discarded(count, run.restart))
        for step, name, data in chain(run.attachments, made):
            state = self._state_at(txn, run.name, step)
            if state is None:
                self.done.notes.append(f"attachment '{name}' left out: no step {step}")
                continue
            plan = coerce_data(name, data)
            binding = Binding(state, *trees.store(self.odb, txn, plan, None), name)
            is_new = not self.odb.exists(txn, binding.oid)
            aside = bind(self.odb, txn, binding, is_new).aside
            if aside is not None:
                self.done.notes.append(f"attachment kept as '{aside}'")
        for name, step in run.tags.items():
            state = self._state_at(txn, run.name, step)
            if state is not None:
                self._tags[usable_name(name)] = TagEntry(state, None)


def _decoded(payload: bytes, kind: type[Any]) -> Any:
    found = decode_object(kind.kind, payload)
    if not isinstance(found, kind):
        raise IntegrityError(f"malformed object: it must be a {kind.kind}")
    return found
