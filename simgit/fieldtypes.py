"""The types of a record's fields: what was stored is believed only where it is of its type."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any, Final

from simgit.errors import Integrity

Types = Mapping[str, tuple[type, ...]]
INT: Final = (int,)
TEXT: Final = (str,)
FLAG: Final = (bool,)
BYTES: Final = (bytes,)
MAYBE_INT: Final = (int, NoneType)
MAYBE_TEXT: Final = (str, NoneType)
MAYBE_BYTES: Final = (bytes, NoneType)


def check_fields(record: Any, types: Types, what: str, every: bool = True) -> None:
    """Check that a record is a map of the fields that it may have, each of its type.

    Args:
        record: what was decoded.
        types: name to types; bool is no int.
        what: what an error calls the record.
        every: whether no field may be missing.

    Raises:
        Integrity: it is anything else.
    """
    if type(record) is not dict or (every and len(record) != len(types)):
        raise Integrity(f"{what} is damaged")
    for name, value in record.items():
        if type(value) not in types.get(name, ()):
            raise Integrity(f"{what} is damaged: its {name} is none")
