"""Remote-tracking refs: the runs of a remote as they were when they were last fetched or pushed.

refs: "remotes/" ‖ name of the remote ‖ "/" ‖ name of the run -> the fields of a run

They are no runs: nothing records to them. What they lead to is reachable, as from a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from simgit.errors import NotFound, did_you_mean
from simgit.objects.codec import decode_name
from simgit.refs.names import REMOTES, RUNS, check_name, check_remote_name
from simgit.refs.records import RunRef, decode_one_of_many, decode_run, pack_ref
from simgit.refs.refs import Refs
from simgit.refs.settings import REMOTE, URL, get_setting, put_setting, setting_names
from simgit.storage.base import ReadTxn, WriteTxn
from simgit.storage.failpoints import fail_point

ORIGIN: Final = "origin"
"""The remote whose runs are tracked by those that have the same names here."""


def has_tracking(txn: ReadTxn, short: str) -> bool:
    """Return True if there is a remote-tracking ref of a name such as ``origin/main``."""
    return txn.get("refs", (REMOTES + short).encode(errors="replace")) is not None


def tracking(txn: ReadTxn, short: str) -> RunRef:
    """Return the remote-tracking ref of a name such as ``origin/main``.

    Raises:
        NotFound: there is none.
    """
    value = txn.get("refs", (REMOTES + short).encode(errors="replace"))
    if value is None:
        near = Refs().near(txn, short, REMOTES)
        raise NotFound(f"remote-tracking ref '{short}' not found{near}", name=short)
    return decode_run(value)


def remote_run(txn: ReadTxn, remote: str, name: str) -> RunRef:
    """Return a run of a remote, as it was last seen there.

    Raises:
        NotFound: the remote is not known to have such a run.
    """
    return tracking(txn, f"{remote}/{name}")


def remote_runs(txn: ReadTxn, remote: str | None = None) -> Iterator[tuple[str, str, RunRef]]:
    """Yield remote, run and ref of all remote-tracking refs, ordered by name.

    Args:
        txn: the transaction.
        remote: only those of this remote; None for all.
    """
    start = (REMOTES if remote is None else f"{REMOTES}{remote}/").encode(errors="replace")
    for key, value in txn.scan("refs", start, start[:-1] + b"0"):
        where, _, name = decode_name(key[len(REMOTES) :]).partition("/")
        yield where, name, decode_one_of_many(value)


def run_refs(txn: ReadTxn) -> Iterator[tuple[str, RunRef]]:
    """Yield full name and ref of all runs, and of all remote-tracking refs."""
    for name, ref in Refs().runs(txn):
        yield RUNS + name, ref
    for remote, name, ref in remote_runs(txn):
        yield f"{REMOTES}{remote}/{name}", ref


def set_remote_run(txn: WriteTxn, remote: str, name: str, ref: RunRef, message: str) -> None:
    """Note how a run of a remote is there now; the reflog notes it, unless nothing has changed.

    Args:
        txn: the transaction, in which the states and the record of the run are stored already.
        remote: the name of the remote.
        name: the name that the run has there.
        ref: the run; its writer is left out.
        message: what the reflog says.

    Raises:
        InvalidInput: the remote or the run cannot have such a name.
    """
    check_remote_name(remote)
    check_name(name, "a run of a remote")
    full = f"{REMOTES}{remote}/{name}"
    before = tracking(txn, f"{remote}/{name}") if has_tracking(txn, f"{remote}/{name}") else None
    new = ref._replace(writer=None)
    if new == before:
        return
    txn.put("refs", full.encode(), pack_ref(new._asdict()))
    fail_point("refs.put")
    Refs().log_entry(txn, full, before.oid if before else None, new.oid, message)


def delete_remote_run(txn: WriteTxn, remote: str, name: str, message: str) -> RunRef:
    """Remove a remote-tracking ref; its reflog is kept.

    Raises:
        NotFound: there is none.
    """
    ref = remote_run(txn, remote, name)
    full = f"{REMOTES}{remote}/{name}"
    txn.delete("refs", full.encode())
    Refs().log_entry(txn, full, ref.oid, None, message)
    return ref


# --- remotes ------------------------------------------------------------------------------------


class RemoteSettings(NamedTuple):
    """The settings of a remote: ``remote.NAME.url`` and so on.

    Attributes:
        url: where it lies, without a user or a password.
        endpoint: the address of the object store, "" for its usual one.
        region: the region of the object store, "" for the usual one.
        profile: the profile of credentials to use, "" for the usual one.
        read_only: whether nothing may be pushed to it.
        single_writer: whether nobody else ever pushes to it, so that its store need not compare.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    read_only: bool = False
    single_writer: bool = False


def remotes(txn: ReadTxn) -> dict[str, RemoteSettings]:
    """Return the remotes by name, in order.

    Raises:
        IntegrityError: a setting is damaged.
    """
    return {name: _settings_of(txn, name) for name in _remote_names(txn)}


def _remote_names(txn: ReadTxn) -> list[str]:
    names = (name for name in setting_names(txn) if name.startswith(REMOTE))
    return sorted(name.removeprefix(REMOTE)[: -len(URL)] for name in names if name.endswith(URL))


def _settings_of(txn: ReadTxn, remote: str) -> RemoteSettings:
    return RemoteSettings(*(get_setting(txn, _setting(remote, f)) for f in RemoteSettings._fields))


def _setting(remote: str, field: str) -> str:
    return f"{REMOTE}{remote}.{field.replace('_', '-')}"


def set_remote(txn: WriteTxn, remote: str, settings: RemoteSettings) -> None:
    """Add a remote, or change all of its settings.

    Raises:
        InvalidInput: it cannot have such a name, or such a setting.
        AlreadyExists: a run or a tag is called ``REMOTE/…``, as its runs would be.
    """
    check_remote_name(remote)
    for field, value in settings._asdict().items():
        default = RemoteSettings._field_defaults.get(field)
        put_setting(txn, _setting(remote, field), None if value == default else value)


def remove_remote(txn: WriteTxn, remote: str, message: str) -> int:
    """Remove a remote with its settings and its remote-tracking refs; return how many these were.

    Raises:
        NotFound: there is no such remote.
    """
    known = _remote_names(txn)
    if remote not in known:
        raise NotFound(f"remote '{remote}' not found{did_you_mean(remote, known)}", name=remote)
    for field in RemoteSettings._fields:
        put_setting(txn, _setting(remote, field), None)
    names = [name for _, name, _ in remote_runs(txn, remote)]
    for name in names:
        delete_remote_run(txn, remote, name, message)
    return len(names)


class Upstream(NamedTuple):
    """The difference between a run and the remote-tracking ref of the run that it tracks.

    Attributes:
        name: the ref, such as ``origin/main``.
        ahead: how many states only the run has in its history.
        behind: how many only the other has.
    """

    name: str
    ahead: int
    behind: int


def tracked_remote(txn: ReadTxn) -> str | None:
    """Return the remote whose runs are tracked: ``origin``, or the only one; else None."""
    known = _remote_names(txn)
    return ORIGIN if ORIGIN in known else known[0] if len(known) == 1 else None


def upstream(txn: ReadTxn, run: str) -> tuple[str, str] | None:
    """Return the remote, and the run there, that a run tracks; it need not have been seen yet.

    It is the run of the same name at the remote that is tracked.
    """
    remote = tracked_remote(txn)
    return None if remote is None else (remote, run)
