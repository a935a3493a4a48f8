"""Saved queries: texts in SQL with a name, kept in the repository.

meta: "query" ‖ 00 ‖ name -> text ‖ check
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from simgit.errors import IntegrityError, InvalidInput, NotFound, near_or_known, shown
from simgit.objects.codec import decode_name, pack_record, unpack_value
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.storage.base import ReadTxn, WriteTxn

LONGEST: Final = 1 << 16
"""The most characters of a query."""
_NAME: Final = re.compile(r"[\w.-]{1,100}")
_PREFIX: Final = b"query\0"
_STOP: Final = b"query\1"


def saved_queries(txn: ReadTxn) -> dict[str, str]:
    """Return the saved queries by name, ordered by name.

    Raises:
        IntegrityError: one is damaged.
    """
    return {
        decode_name(key[len(_PREFIX) :]): _decoded(key, value)
        for key, value in txn.scan("meta", _PREFIX, _STOP)
    }


def save_query(txn: WriteTxn, name: str, text: str) -> None:
    """Save a query, in place of one of the same name.

    Raises:
        InvalidInput: the name has other characters than letters, digits, "_", "-" and ".", or the
            text is too long.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"'{name}' is not a valid name for a query: use up to 100 letters, digits, '-', '_' "
            "and '.'",
            name=name,
        )
    if len(text) > LONGEST:
        raise InvalidInput(f"a query must have at most {LONGEST} characters, got {len(text)}")
    body = pack_record({"text": text})
    txn.put("meta", _PREFIX + name.encode(), body + checksum(body))


def delete_query(txn: WriteTxn, name: str) -> str:
    """Delete a saved query; return its text, "" if it was damaged.

    Raises:
        NotFound: there is none.
    """
    key = _PREFIX + name.encode(errors="replace")
    value = txn.get("meta", key)
    if value is None:
        raise unknown(name, saved_queries(txn))
    txn.delete("meta", key)
    try:
        return _decoded(key, value)
    except IntegrityError:
        return ""


def unknown(name: str, known: Collection[str]) -> NotFound:
    """Return the error for a saved query that does not exist."""
    near = near_or_known(name, known) if known else "; there are none"
    return NotFound(f"saved query '{name}' not found{near}", name=name)


def _decoded(key: bytes, value: bytes) -> str:
    body = value[:-CHECKSUM_SIZE]
    record = unpack_value(body) if checksum(body) == value[-CHECKSUM_SIZE:] else None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        name = shown(key[len(_PREFIX) :].decode(errors="replace"))
        raise IntegrityError(f"saved query {name} is damaged; delete it with 'simgit sql --delete'")
    return text
