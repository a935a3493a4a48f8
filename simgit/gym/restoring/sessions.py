"""The sessions on the way to a state: where an environment was made anew, and with which numbers.

Two runs that begin with the same observation share their first states, which hold neither the seed
of an unseeded reset nor the global generators; the metadata of each run name its own sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from simgit.errors import InvalidInput, NotFound
from simgit.gym.restoring.reseeding import reseeds
from simgit.objects.codec import encode_value
from simgit.objects.coerce import coerce
from simgit.objects.kinds import Run
from simgit.objects.oid import Oid
from simgit.refs import attachments, run_config
from simgit.refs.names import REMOTES
from simgit.refs.own_names import (
    KEY,
    OWN,
    base_name,
    session_of,
    stored_session,
)
from simgit.refs.runs import RunInfo
from simgit.refs.sessions import Sessions, at, note_of, noted_in, of_records
from simgit.repository import Repository

SESSION: Final = "session"
"""The attachment that marks the first state of a new environment.

It has the seed in use, and the other generators as they were before the first reset.
"""


def named(facts: Mapping[str, Any], snapshot: Any = None) -> dict[str, Any]:
    """Return the facts about a session's start with its name.

    Sessions with the same facts, and with the same snapshot of their first state, have the same.
    """
    digest = blake2b(encode_value(coerce(dict(facts), SESSION)), digest_size=8)
    with suppress(InvalidInput):  # no more snapshots are taken then
        digest.update(encode_value(coerce(snapshot, SESSION)))
    return {**facts, KEY: digest.hexdigest()}


def sessions(
    repo: Repository,
    state: Oid,
    run: str | None = None,
    names: Sequence[str] | None = None,
    of: Callable[[str], Sessions | None] | None = None,
) -> Sessions:
    """Return the sessions on the way to a state, by the steps where they begin.

    Args:
        repo: the repository.
        state: the state.
        run: the run whose path is meant, if the state is in its history; ``remotes/origin/main``
            for one of a remote. Otherwise any run is taken, preferably the one that was recorded
            first.
        names: the runs that contain the state, if they are known already.
        of: returns the sessions of a run up to the state, see ``of_run``, where it keeps them.
    """
    of = of or partial(of_run, repo, state=state)
    names = repo.contains(state) if names is None else names
    if run is not None:
        own = of(run) if run in names else _of_remote(repo, run, state)
        if own is not None:
            return own
    if not names:
        return _attached(repo, state)
    found: list[tuple[str, Sessions]] = []
    for name in names:
        each = of(name)
        if each is not None and all(each != other for _, other in found):
            found.append((name, each))
    if len(found) < 2:
        return found[0][1] if found else {}
    plain = {
        step: _plain(repo, state, step) for step in {step for _, each in found for step in each}
    }
    found.sort(key=lambda one: any(one[1].get(step) != each for step, each in plain.items()))
    usual = reseeds(repo, state, names=names)  # nor is a run meant that was reseeded otherwise
    likely = (each for name, each in found if reseeds(repo, state, name, names) == usual)
    return next(likely, found[0][1])


def of_run(repo: Repository, name: str, state: Oid) -> Sessions | None:
    """Return the sessions of a run up to a state; None if others recorded the state."""
    found: Sessions = {}
    upto, passed, first = _step(repo, state), {name}, name
    while upto is not None:
        run = repo.runs[name]
        noted, point = noted_in(run), run.branch_point
        start = -1 if point is None else _step(repo, point)
        if start is None:  # it was set back to before it, and gc has removed it
            start, point = -1, None
        found |= {step: each for step, each in noted.items() if start < step <= upto}
        if point is None:
            break
        is_first, upto = name == first and upto <= start, min(upto, start)
        parent = run.parent if run.parent in repo.runs else None
        if parent is None or parent in passed or not _has(repo, parent, start, point):
            before = {step: each for step, each in noted.items() if step <= upto}
            before = before or of_records(_above(repo, run), partial(_step, repo), upto)
            if not before and is_first:
                return None
            return {**(before or sessions(repo, point)), **found}
        passed.add(parent)
        name = parent
    return found


def _of_remote(repo: Repository, name: str, state: Oid) -> Sessions | None:
    """Return the sessions of a run of a remote up to a state; None if the name is of none."""
    run = repo.remote_runs().get(name.removeprefix(REMOTES)) if name.startswith(REMOTES) else None
    step = _step(repo, state)
    if run is None or step is None or not _has(repo, name, step, state):
        return None
    return of_records([run, *_above(repo, run)], partial(_step, repo), step)


def _above(repo: Repository, run: RunInfo) -> list[Run]:
    """Return the records of the runs above a run, as they were when it was branched off.

    They are here although the runs were deleted since, or are those of a remote.
    """
    with repo.odb.read() as txn:
        return run_config.ancestors(repo.odb, txn, run.inherited)


def _attached(repo: Repository, state: Oid) -> Sessions:
    """Return the sessions on the way to a state of no run, by what is attached there.

    Where several begin at one state, the one is taken of which something was attached last.
    """
    begun: dict[int, list[str]] = {}
    newest: dict[str, int] = {}
    with repo.odb.read() as txn:
        for each in attachments.in_history(repo.odb, txn, repo.odb.locate(txn, state)):
            base = base_name(each.name)
            if base not in OWN:
                continue
            session = stored_session(repo.odb, txn, (each.kind, each.oid))
            if session is not None:
                newest.setdefault(session, each.step)
                if base == SESSION:
                    begun.setdefault(each.step, []).append(session)
    return {step: max(names, key=lambda name: newest[name]) for step, names in begun.items()}


def _plain(repo: Repository, state: Oid, step: int) -> str | None:
    """Return the session whose attachment has the plain name at a step before a state."""
    try:
        return session_of(repo.attachment(f"{state.hex()}@{step}", SESSION))
    except NotFound:
        return None


def _has(repo: Repository, run: str, step: int, state: Oid) -> bool:
    try:
        return repo.resolve(f"{run}@{step}") == state
    except NotFound:
        return False


def _step(repo: Repository, state: Oid) -> int | None:
    try:
        with repo.odb.read() as txn:
            return repo.odb.locate(txn, state).step
    except NotFound:
        return None


__all__ = [
    "SESSION", "Sessions", "at", "named", "note_of", "noted_in", "of_run", "sessions",
]  # fmt: skip
