"""Finding the runs of a worker that its remote does not have as they are here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from simgit.objects.oid import Oid
from simgit.odb import ancestry
from simgit.refs.names import RUNS
from simgit.refs.records import RunRef, decode_one_of_many
from simgit.refs.remote_cache import RemoteCache
from simgit.refs.remotes import has_tracking, remote_run

if TYPE_CHECKING:
    from simgit.repository import Repository
    from simgit.storage.base import ReadTxn


class RunStanding(NamedTuple):
    """All that a push says of a run, but for the attachments of its states."""

    oid: Oid | None
    record: Oid
    status: str
    ended: int | None
    parent: str | None


def standing(ref: RunRef) -> RunStanding:
    """Return what a push would say of a run now."""
    return RunStanding(ref.oid, ref.record, ref.shown_status, ref.ended, ref.parent)


def runs_below(txn: ReadTxn, prefix: str) -> Iterator[tuple[str, RunRef]]:
    """Yield the run that is called ``prefix``, and those below it, with their refs."""
    own = (RUNS + prefix).encode()
    if (value := txn.get("refs", own)) is not None:
        yield prefix, decode_one_of_many(value)
    start = own + b"/"
    for key, value in txn.scan("refs", start, own + b"0"):
        yield key[len(RUNS) :].decode(), decode_one_of_many(value)


def changed_runs(
    repository: Repository,
    prefix: str,
    remote: str,
    remote_id: bytes | None,
    sent: Mapping[str, RunStanding],
) -> dict[str, RunStanding]:
    """Return the runs that the remote has otherwise, or whose attachments it lacks.

    Args:
        repository: the repository.
        prefix: the runs' common name.
        remote: the name of the remote.
        remote_id: its id, None while it is not made.
        sent: how the runs were when they were pushed last.
    """
    with repository.odb.read() as txn:
        now = {name: (ref, standing(ref)) for name, ref in runs_below(txn, prefix)}
        lacking = None if remote_id is None else _unsent(repository, txn, remote_id)
        found = {}
        for name, (ref, state) in now.items():
            same = _is_known(txn, remote, name, state, sent) and lacking is not None
            if not same or (lacking and _leads_to(repository, txn, ref, lacking)):
                found[name] = state
    return found


def _is_known(
    txn: ReadTxn, remote: str, name: str, state: RunStanding, sent: Mapping[str, RunStanding]
) -> bool:
    if name in sent:
        return sent[name] == state
    short = f"{remote}/{name}"
    return has_tracking(txn, short) and standing(remote_run(txn, remote, name)) == state


def _unsent(repository: Repository, txn: ReadTxn, remote_id: bytes) -> dict[int, int]:
    """Return the lines that have attachments that were not pushed, with the first such step."""
    cache = RemoteCache(remote_id)
    found: dict[int, int] = {}
    for key, oid in txn.scan("attachments"):
        if not cache.packs_of(txn, oid):
            place = repository.odb.states.locate(txn, key[:32])
            if place is not None:
                found[place.line] = min(place.step, found.get(place.line, place.step))
    return found


def _leads_to(
    repository: Repository, txn: ReadTxn, ref: RunRef, lacking: Mapping[int, int]
) -> bool:
    if ref.oid is None:
        return False
    reach = ancestry.reach(repository.odb, txn, [ref.place])
    return any(reach.get(line, -1) >= step for line, step in lacking.items())
