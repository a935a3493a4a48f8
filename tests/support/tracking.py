"""Remote-tracking refs as a fetch leaves them, made from runs that are here."""

from __future__ import annotations

from simgit import Oid, Repository
from simgit.refs.records import moved
from simgit.refs.remotes import delete_remote_run, remote_runs, set_remote_run


def track(
    repo: Repository, short: str, run: str, at: str | None = None, message: str = "fetch"
) -> Oid:
    """Let ``origin/main`` be as a run that is here, or as it was at a revision; return its state.

    It is one operation, as a fetch is.
    """
    remote, _, name = short.partition("/")
    with repo._store.write("fetch", remote) as txn:
        ref = repo.refs.run(txn, run)
        if at is not None:
            place = repo._store.resolve(txn, at).place
            ref = moved(ref, repo.odb.states.tip(txn, place))
        set_remote_run(txn, remote, name, ref, message)
        assert ref.oid is not None
        return ref.oid


def forget(repo: Repository, short: str) -> None:
    """Delete a remote-tracking ref."""
    remote, _, name = short.partition("/")
    with repo._store.write("branch", "-d", "-r", short) as txn:
        delete_remote_run(txn, remote, name, f"branch: deleted {short}")


def tracked(repo: Repository) -> dict[str, Oid | None]:
    """Return the remote-tracking refs by their short names, with their states."""
    with repo._store.read() as txn:
        return {f"{remote}/{name}": ref.oid for remote, name, ref in remote_runs(txn)}
