"""Records for answers: they have names of files of the server's machine, never their folders.

Who reads a repository over HTTP needs no more. What is stored in it (settings of runs, metadata,
attachments) is data, and sent as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from simgit.errors import without_folders, word_without_folders
from simgit.refs.oplog.log import Operation
from simgit.repository.jsonable import operation_record

_SENTENCES: Final = ("detail", "message", "reason", "lines", "why", "warning")
"""Members that have sentences with paths in them; others may be paths, with spaces too."""


def shortened(record: Any, each: Callable[[str], str] = word_without_folders) -> Any:
    """Return a record with the paths in its texts shortened."""
    if isinstance(record, str):
        return each(record)
    if isinstance(record, Mapping):
        return {
            key: shortened(value, without_folders if key in _SENTENCES else each)
            for key, value in record.items()
        }
    if isinstance(record, (list, tuple)):
        return [shortened(item, each) for item in record]
    return record


def explained(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose reason, if it has one, is shortened; the rest is data."""
    return {
        key: shortened(value, without_folders) if key in ("why", "reason") else value
        for key, value in record.items()
    }


def operation_told(found: Operation) -> dict[str, Any]:
    """Return an operation as it is told."""
    return operation_record(found) | {"arguments": shortened(found.arguments)}
