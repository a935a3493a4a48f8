"""The refs of an imported bundle: created, fast-forwarded, or kept aside."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

from simgit.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound
from simgit.objects.codec import decode_name
from simgit.objects.kinds import Tag
from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.odb.database import ObjectDatabase
from simgit.refs import run_config
from simgit.refs.names import RUNS, TAGS, check_ref_name, conflict_names, own_ancestor
from simgit.refs.records import RunRef, TagRef, moved
from simgit.refs.refs import Refs
from simgit.remotes.bundle.manifest import Manifest, RunEntry, TagEntry
from simgit.storage.base import WriteTxn

T = TypeVar("T")


@dataclass(frozen=True)
class ImportedRef:
    """The outcome for a ref of a bundle.

    Attributes:
        name: its name in this repository.
        what: ``new``, ``forward`` (fast-forwarded), ``unchanged`` or ``aside`` (kept beside an
            existing ref).
    """

    name: str
    what: str


def set_refs(
    odb: ObjectDatabase,
    refs: Refs,
    txn: WriteTxn,
    manifest: Manifest,
    prefix: str,
    rename: str | None,
) -> dict[str, ImportedRef]:
    """Set the refs of a bundle whose objects are stored; return the outcome for each.

    Raises:
        IntegrityError: an object that a ref names is missing.
        InvalidInput: a name with its prefix is not allowed for a ref.
    """
    names = {name: _new_name(rename or prefix + name, "a run") for name in manifest.runs}
    tags = {name: _new_name(prefix + name, "a tag") for name in manifest.tags}
    for called in (names, tags):
        called.update({each: refs.unambiguous(txn, name) for each, name in called.items()})
    setting = _Setting(odb, refs, txn)
    found = {}
    for name, run in manifest.runs.items():
        parent = names.get(run.parent or "")
        found[RUNS + name] = setting.run(names[name], run, parent)
    if any(run.parent for run in manifest.runs.values()):
        parents = {name: run.parent for name, run in refs.runs(txn)}
        if circular := own_ancestor(parents):  # a run of the bundle closes a circle here
            raise IntegrityError(f"malformed bundle: run '{circular}' would be its own ancestor")
    for name, tag in manifest.tags.items():
        found[TAGS + name] = setting.tag(tags[name], tag)
    for name, run in manifest.runs.items():
        if run.oid is not None:
            refs.follow(txn, found[RUNS + name].name.removeprefix(RUNS))
    return found


def set_run(
    odb: ObjectDatabase,
    refs: Refs,
    txn: WriteTxn,
    name: str,
    entry: RunEntry,
    why: str,
) -> ImportedRef:
    """Set a run whose states are stored: created, fast-forwarded or kept aside.

    Its parent is the run of this name here, if there is one.

    Raises:
        IntegrityError: an object that it names is missing.
    """
    parent = entry.parent if entry.parent and refs.has_run(txn, entry.parent) else None
    found = _Setting(odb, refs, txn, why).run(name, entry, parent)
    if own_ancestor({each: run.parent for each, run in refs.runs(txn)}):
        short = found.name.removeprefix(RUNS)
        run = refs.run(txn, short)
        refs.update_run(txn, short, run, run._replace(parent=None), None)
    if entry.oid is not None:
        refs.follow(txn, found.name.removeprefix(RUNS))
    return found


def _new_name(name: str, what: str) -> str:
    try:
        return check_ref_name(name, what)
    except InvalidInput as error:
        raise InvalidInput(f"{error}; import it with a prefix (--prefix)", name=name) from None


class _Setting:
    """Sets refs in one transaction."""

    def __init__(self, odb: ObjectDatabase, refs: Refs, txn: WriteTxn, why: str = "import") -> None:
        self.odb = odb
        self.refs = refs
        self.txn = txn
        self.why = why

    def run(self, name: str, entry: RunEntry, parent: str | None) -> ImportedRef:
        """Set a run."""
        new = self._run_ref(entry, parent)
        if not self.refs.has_run(self.txn, name):
            return self._new_run(name, new)
        if (what := self._joined(name, new)) is not None:
            return ImportedRef(RUNS + name, what)
        for each in self._aside(name):
            if self._joined(each, new) is not None:  # an earlier one brought it, or a part of it
                return ImportedRef(RUNS + each, "aside")
        return self._new_run(name, new)

    def _joined(self, name: str, new: RunRef) -> str | None:
        """Move a run forward to another one, if it may be; None if they differ."""
        old = self.refs.run(self.txn, name)
        if self._contains(old, new):
            return "unchanged"
        idle = old.writer is None or old.shown_status == "crashed"
        if old.status == "completed" or not idle or not self._contains(new, old):
            return None
        forward = moved(old, self.odb.states.tip(self.txn, new.place))
        self.refs.update_run(self.txn, name, old, forward, f"{self.why}: fast-forward")
        return "forward"

    def _aside(self, name: str) -> list[str]:
        """Return the runs that keep what differed from a run before, in their order."""
        begins = RUNS + next(conflict_names(name))[:-1]  # without its number
        start = begins.encode()
        keys = (key for key, _ in self.txn.scan("refs", start, start[:-1] + b"."))
        numbers = (decode_name(key)[len(begins) :] for key in keys)
        # '01' and digits of other scripts are a user's own names
        found = sorted(int(each) for each in numbers if re.fullmatch("[1-9][0-9]*", each))
        return [f"{begins[len(RUNS) :]}{number}" for number in found]

    def _new_run(self, name: str, ref: RunRef) -> ImportedRef:
        found = self._first_free(name, lambda n: self._create_run(n, ref), ref.oid)
        return replace(found, name=RUNS + found.name)

    def _run_ref(self, entry: RunEntry, parent: str | None) -> RunRef:
        self._checked(lambda: run_config.ancestors(self.odb, self.txn, entry.record))
        ref = RunRef(
            None, 0, 0, entry.record, entry.status, entry.created, entry.ended, parent=parent
        )
        if entry.oid is None:
            return ref
        oid = entry.oid
        return self._checked(
            lambda: moved(ref, self.odb.states.tip(self.txn, self.odb.locate(self.txn, oid)))
        )

    def _checked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except NotFound as error:
            raise IntegrityError(f"the bundle lacks an object of its refs: {error}") from None

    def _contains(self, new: RunRef, old: RunRef) -> bool:
        """Return True if a run's history contains the newest state of another."""
        if old.oid is None or new.oid is None:
            return old.oid is None
        return ancestry.is_ancestor(self.odb, self.txn, old.place, new.place)

    def _create_run(self, name: str, ref: RunRef) -> Oid | None:
        """Create a run; return the state of an existing one of this name."""
        if self.refs.has_run(self.txn, name):
            return self.refs.run(self.txn, name).oid
        self.refs.create_run(self.txn, name, ref._replace(writer=None), f"{self.why}: created")
        return ref.oid

    def _first_free(self, name: str, create: Callable[[str], T], wanted: T) -> ImportedRef:
        """Create a ref under its name, or the first variant that is free or is the same."""
        for each in chain((name,), conflict_names(name)):  # endless
            try:
                if create(each) == wanted:
                    return ImportedRef(each, "new" if each == name else "aside")
            except AlreadyExists:  # by a name that differs in case only
                continue
        raise AssertionError

    def tag(self, name: str, entry: TagEntry) -> ImportedRef:
        """Set a tag."""
        self._check_tag(name, entry)
        new = TagRef(entry.oid, entry.tag)
        if self.refs.has_tag(self.txn, name) and self.refs.tag(self.txn, name) == new:
            return ImportedRef(TAGS + name, "unchanged")
        found = self._first_free(name, lambda n: self._create_tag(n, new), new)
        return replace(found, name=TAGS + found.name)

    def _check_tag(self, name: str, entry: TagEntry) -> None:
        self._checked(lambda: self.odb.locate(self.txn, entry.oid))
        if entry.tag is not None:
            tag = entry.tag
            thing = self._checked(lambda: self.odb.object(self.txn, tag))
            if not isinstance(thing, Tag) or thing.target != entry.oid:
                raise IntegrityError(
                    f"malformed bundle: tag '{name}' and its annotation name different states"
                )

    def _create_tag(self, name: str, new: TagRef) -> TagRef:
        """Create a tag; return it, or an existing one of this name."""
        if self.refs.has_tag(self.txn, name):
            return self.refs.tag(self.txn, name)
        self.refs.create_tag(self.txn, name, new)
        return new
