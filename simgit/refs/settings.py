"""Settings of a repository: numbers and texts that control its maintenance, and types by name.

meta: "setting" ‖ 00 ‖ name -> value ‖ check
"""

from __future__ import annotations

import re
from typing import Any, Final

from simgit.errors import IntegrityError, InvalidInput, near_or_known
from simgit.objects.codec import pack_record, unpack_value
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.storage.base import ReadTxn, WriteTxn

OPLOG_KEEP: Final = "oplog.keep"
OPLOG_DAYS: Final = "oplog.days"
GC_GRACE: Final = "gc.grace"
GC_REFLOG: Final = "gc.reflog"
GC_KEEP: Final = "gc.keep"
GC_AUTO: Final = "gc.auto"
GC_REWRITE: Final = "gc.rewrite"
LIVE_DAYS: Final = "live.days"
TYPES: Final = "live.types."
"""What the names of settings begin with that register types of simulations."""
DEFAULTS: Final[dict[str, Any]] = {
    OPLOG_KEEP: 10_000, OPLOG_DAYS: 90, GC_GRACE: 14.0, GC_REFLOG: 90.0, GC_KEEP: "",
    GC_AUTO: 256, GC_REWRITE: 0, LIVE_DAYS: 30.0,
}  # fmt: skip
"""Name to default. A value always has its default's type; no number may be negative."""
MAX_TEXT: Final = 1000
_PREFIX: Final = b"setting\0"
_TYPE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


def setting_names(txn: ReadTxn) -> list[str]:
    """Return the names of all settings: those of the table, and the types that are registered."""
    start, stop = _PREFIX + TYPES.encode(), _PREFIX + TYPES[:-1].encode() + b"/"
    found = [
        key[len(_PREFIX) :].decode(errors="replace") for key, _ in txn.scan("meta", start, stop)
    ]
    return [*DEFAULTS, *filter(_is_type, found)]


def default_setting(name: str) -> Any:
    """Return the default of a setting; a registered type has an empty text.

    Raises:
        InvalidInput: there is no such setting.
    """
    if _is_type(name):
        return ""
    if name not in DEFAULTS:
        near = near_or_known(name, [*DEFAULTS, f"{TYPES}NAME"])
        raise InvalidInput(f"unknown setting '{name}'{near}", name=name)
    return DEFAULTS[name]


def _is_type(name: str) -> bool:
    return name.startswith(TYPES) and _TYPE_NAME.fullmatch(name, len(TYPES)) is not None


def forget_types(txn: WriteTxn) -> None:
    """Remove the settings that register types: they name code of whoever made the repository."""
    for name in setting_names(txn):
        if name.startswith(TYPES):
            txn.delete("meta", _PREFIX + name.encode())


def get_setting(txn: ReadTxn, name: str) -> Any:
    """Return a setting, or its default.

    Raises:
        InvalidInput: there is no such setting.
        IntegrityError: it is damaged.
    """
    otherwise = default_setting(name)
    value = txn.get("meta", _PREFIX + name.encode())
    if value is None:
        return otherwise
    if checksum(value[:-CHECKSUM_SIZE]) != value[-CHECKSUM_SIZE:]:
        raise IntegrityError(f"setting '{name}' is damaged; set it again with 'simgit config'")
    found = unpack_value(value[:-CHECKSUM_SIZE]).get("value")
    kind = type(otherwise)
    if type(found) not in ((str,) if kind is str else (int, float)):
        raise IntegrityError(f"setting '{name}' is damaged; set it again with 'simgit config'")
    return kind(found)


def put_setting(txn: WriteTxn, name: str, value: float | str | None) -> None:
    """Change a setting; None restores its default.

    Raises:
        InvalidInput: there is no such setting, or the value is not allowed.
    """
    kind = type(default_setting(name))
    if value is None:
        txn.delete("meta", _PREFIX + name.encode())
        return
    _check_value(name, value, kind)
    body = pack_record({"value": value})
    txn.put("meta", _PREFIX + name.encode(), body + checksum(body))


def _check_value(name: str, value: Any, kind: type) -> None:
    if kind is str:
        if type(value) is not str or len(value) > MAX_TEXT:
            raise InvalidInput(f"setting '{name}' must be a text, got {value}", name=name)
        if name.startswith(TYPES) and not all(value.rpartition(":")[::2]):
            raise InvalidInput(
                f"setting '{name}' must be an import path such as module:function, got '{value}'",
                name=name,
            )
        return
    if type(value) not in (int, float) or not 0 <= value < 1e15:
        raise InvalidInput(f"setting '{name}' must be a number ≥ 0, got {value}", name=name)
    if kind is int and value != int(value):
        raise InvalidInput(f"setting '{name}' must be a whole number, got {value}", name=name)
