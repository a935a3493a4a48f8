"""Attachments of which each recording session has its own, at states that it shares with others.

Equal histories are the same states: two runs whose first reset had no seed begin with the same
state if they saw the same, and have other random numbers. So what holds these says to which session
it belongs, and is bound beside that of another session, under a name that ends with its own's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from simgit.errors import IntegrityError, NotFound
from simgit.odb import trees
from simgit.odb.database import ObjectDatabase
from simgit.odb.trees import Target
from simgit.storage.base import ReadTxn

OWN: Final = ("session", "snapshot", "generators")
"""The names of such attachments."""
KEY: Final = "session"
"""The key in their data for the session's name, 16 hexadecimal digits."""
SESSIONS: Final = "sessions"
"""The key of a run's metadata for the names of its sessions, by the steps where they begin."""
_WHOLE: Final = "data"
"""The key beside it for data that are no mapping, or have such keys themselves."""
_NAME: Final = re.compile(r"[0-9a-f]{16}")


def is_session(name: object) -> bool:
    """Return True if something may be the name of a session."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def session_of(data: Any) -> str | None:
    """Return the name of the session that attached data belong to, None where they do not say."""
    name = data.get(KEY) if isinstance(data, Mapping) else None
    return name if is_session(name) else None


def marked(data: Any, session: str) -> Any:
    """Return attached data, of any kind, that say to which session they belong."""
    if isinstance(data, Mapping) and KEY not in data and data.keys() != {_WHOLE}:
        return {**data, KEY: session}
    return {_WHOLE: data, KEY: session}


def unmarked(data: Any) -> Any:
    """Return the data that ``marked`` was given; others are returned as they are."""
    if session_of(data) is None:
        return data
    if data.keys() == {_WHOLE, KEY}:
        return data[_WHOLE]
    return {key: each for key, each in data.items() if key != KEY}


def own_name(name: str, session: str) -> str:
    """Return the name under which a session's attachment is bound beside that of another."""
    return f"{name}-{session}"


def base_name(name: str) -> str:
    """Return the plain name of an attachment that may be bound beside another."""
    base, _, session = name.rpartition("-")
    return base if base in OWN and is_session(session) else name


def name_to_bind(
    odb: ObjectDatabase, txn: ReadTxn, name: str, target: Target, bound: Target | None
) -> str:
    """Return the name under which data are bound at a state.

    Args:
        odb: the database.
        txn: the transaction.
        name: the plain name.
        target: the data.
        bound: what the state has under the plain name.
    """
    if bound is None or bound == target or name not in OWN:
        return name
    session = stored_session(odb, txn, target)
    if session is None or session == stored_session(odb, txn, bound):
        return name
    return own_name(name, session)


def stored_session(odb: ObjectDatabase, txn: ReadTxn, target: Target) -> str | None:
    """Return the name of the session that stored data belong to; they need not be read whole."""
    kind, oid = target
    try:
        if kind == "value":
            return session_of(trees.load_data(odb, txn, kind, oid))
        entries = trees.load_tree(odb, txn, oid).entries if kind == "tree" else ()
        found = {each.name: (each.kind, each.oid) for each in entries}.get(KEY)
        return None if found is None else session_of({KEY: trees.load_data(odb, txn, *found)})
    except (IntegrityError, NotFound):
        return None  # it is damaged, which is said where it is read
