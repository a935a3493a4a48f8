"""The contents of a bundle: the given refs, and the states in their history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from simgit.errors import InvalidInput, NotFound
from simgit.objects.codec import decode_name
from simgit.objects.kinds import Binding
from simgit.objects.oid import OID_SIZE, Oid
from simgit.odb import ancestry, trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.lines import read_line
from simgit.refs import run_config
from simgit.refs.names import HEAD, RUNS, TAGS
from simgit.refs.own_names import base_name
from simgit.refs.records import RunRef, TagRef
from simgit.refs.refs import Refs
from simgit.refs.revision import Revisions
from simgit.storage.base import ReadTxn


@dataclass(frozen=True)
class BundleSelection:
    """The contents of a bundle.

    Attributes:
        runs, tags: by name.
        bases: the states that the receiver has, with all their ancestors.
        pieces: the states that it lacks, parents before children.
        known: for each line the newest step that the receiver has.
        sent: for each line the newest step in the bundle.
        boundary: the states that the receiver must have because they are not here: those before a
            shallow history.
    """

    runs: dict[str, RunRef]
    tags: dict[str, TagRef]
    bases: tuple[Oid, ...]
    pieces: list[ancestry.LineRange]
    known: dict[int, int]
    sent: dict[int, int]
    boundary: tuple[Oid, ...] = ()

    def receiver_has(self, place: Location) -> bool:
        """Return True if the receiver has a state without this bundle."""
        return self.known.get(place.line, -1) >= place.step

    def has(self, place: Location) -> bool:
        """Return True if the receiver has a state once it has the bundle."""
        return self.receiver_has(place) or self.sent.get(place.line, -1) >= place.step


def select(
    odb: ObjectDatabase,
    refs: Refs,
    txn: ReadTxn,
    names: Sequence[str],
    exclude: Sequence[str | Oid],
    attachments: Sequence[str] | None,
) -> BundleSelection:
    """Return the contents of a bundle of some runs and tags, without the history of ``exclude``.

    The states that included attachments refer to are included with their history.

    Raises:
        NotFound: a name or revision is not found.
        InvalidInput: a name stands for a state, and not for a run or tag.
    """
    runs, tags = _refs_named(refs, txn, names)
    revisions = Revisions(odb, refs)
    bases = [
        revisions.resolve(txn, each.hex() if isinstance(each, Oid) else each).place
        for each in exclude
    ]
    return select_states(odb, txn, runs, tags, bases, None, attachments)


def select_states(
    odb: ObjectDatabase,
    txn: ReadTxn,
    runs: dict[str, RunRef],
    tags: dict[str, TagRef],
    bases: Sequence[Location],
    has_binding: Callable[[Oid], bool] | None = None,
    attachments: Sequence[str] | None = None,
) -> BundleSelection:
    """Return what leads to runs and tags, without the history of some states.

    Args:
        odb: the database to read.
        txn: a transaction of it.
        runs, tags: by name.
        bases: the states that the receiver has, with all their ancestors.
        has_binding: returns True for an attachment that the receiver has.
        attachments: the names of the attachments to include, None for all.
    """
    known = ancestry.reach(odb, txn, bases)
    tips = list(_tips(odb, txn, runs, tags))
    sent = ancestry.reach(odb, txn, tips)
    while more := list(_referred(odb, txn, attachments, has_binding, sent, known)):
        tips += more
        sent = ancestry.reach(odb, txn, tips)
    pieces = [piece for line in sorted(sent) for piece in _piece(txn, line, sent[line], known)]
    unique = tuple(dict.fromkeys(odb.states.row(txn, base)[0] for base in bases))
    boundary = dict.fromkeys(
        Oid(oid)
        for piece in pieces
        for line in [read_line(txn, piece.line)]
        if line.grafted and line.step == piece.start
        for oid in line.parents
    )
    return BundleSelection(runs, tags, unique, pieces, known, sent, tuple(boundary))


def _piece(
    txn: ReadTxn, line: int, last: int, known: dict[int, int]
) -> Iterator[ancestry.LineRange]:
    """Yield the states of a line up to a step that the receiver lacks.

    A line gets its number when it is begun, after its parents: ascending numbers are in order.
    """
    start = max(read_line(txn, line).step, known.get(line, -1) + 1)
    if start <= last:
        yield ancestry.LineRange(line, start, last + 1)


def _tips(
    odb: ObjectDatabase, txn: ReadTxn, runs: dict[str, RunRef], tags: dict[str, TagRef]
) -> Iterator[Location]:
    """Yield the locations of all states that refs and the records of runs name."""
    for tag in tags.values():
        yield odb.locate(txn, tag.oid)
    for run in runs.values():
        if run.oid is not None:
            yield run.place
        for record in run_config.ancestors(odb, txn, run.record):
            if record.branch_point is not None:
                yield odb.locate(txn, record.branch_point)


def _referred(
    odb: ObjectDatabase,
    txn: ReadTxn,
    names: Sequence[str] | None,
    has_binding: Callable[[Oid], bool] | None,
    sent: dict[int, int],
    known: dict[int, int],
) -> Iterator[Location]:
    """Yield the states that attachments to send refer to, and that are not sent yet."""
    for key, oid in txn.scan("attachments"):
        if names is not None and base_name(decode_name(key[OID_SIZE:])) not in names:
            continue
        if has_binding is not None and has_binding(Oid(oid)):
            continue
        place = odb.states.locate(txn, key[:OID_SIZE])
        first = -1 if place is None or has_binding is not None else known.get(place.line, -1)
        if place is None or not first < place.step <= sent.get(place.line, -1):
            continue
        binding = odb.object(txn, Oid(oid))
        if isinstance(binding, Binding):
            for state in trees.states_named(odb, txn, binding.target_kind, binding.target):
                found = odb.locate(txn, state)
                if max(known.get(found.line, -1), sent.get(found.line, -1)) < found.step:
                    yield found


def _refs_named(
    refs: Refs, txn: ReadTxn, names: Sequence[str]
) -> tuple[dict[str, RunRef], dict[str, TagRef]]:
    runs: dict[str, RunRef] = {}
    tags: dict[str, TagRef] = {}
    for name in names:
        run, tag = _ref_named(refs, txn, name)
        if run is not None:
            runs[run] = refs.run(txn, run)
        if tag is not None:
            tags[tag] = refs.tag(txn, tag)
    return runs, tags


def _ref_named(refs: Refs, txn: ReadTxn, name: str) -> tuple[str | None, str | None]:
    """Return the run or the tag that a name stands for."""
    if name in (HEAD, "@"):
        head = refs.head(txn)
        if isinstance(head, Oid):
            raise InvalidInput("HEAD is detached; name the runs and tags for the bundle")
        name = RUNS + head
    short = name.removeprefix(RUNS)
    if not name.startswith(TAGS) and refs.has_run(txn, short):
        return short, None
    short = name.removeprefix(TAGS)
    if not name.startswith(RUNS) and refs.has_tag(txn, short):
        return None, short
    raise NotFound(f"'{name}' must be a run or a tag to go into a bundle", name=name)
