"""Settings of a repository: numbers and texts that control its maintenance.

meta: "setting" ‖ 00 ‖ name -> value ‖ check
"""

from __future__ import annotations

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
DEFAULTS: Final[dict[str, Any]] = {
    OPLOG_KEEP: 10_000, OPLOG_DAYS: 90, GC_GRACE: 14.0, GC_REFLOG: 90.0, GC_KEEP: "",
    GC_AUTO: 256, GC_REWRITE: 0,
}  # fmt: skip
"""Name to default. A value always has its default's type; no number may be negative."""
MAX_TEXT: Final = 1000
_PREFIX: Final = b"setting\0"


def get_setting(txn: ReadTxn, name: str) -> Any:
    """Return a setting, or its default.

    Raises:
        InvalidInput: there is no such setting.
        IntegrityError: it is damaged.
    """
    _check_name(name)
    value = txn.get("meta", _PREFIX + name.encode())
    if value is None:
        return DEFAULTS[name]
    if checksum(value[:-CHECKSUM_SIZE]) != value[-CHECKSUM_SIZE:]:
        raise IntegrityError(f"setting '{name}' is damaged; set it again with 'simgit config'")
    found = unpack_value(value[:-CHECKSUM_SIZE]).get("value")
    kind = type(DEFAULTS[name])
    if type(found) not in ((str,) if kind is str else (int, float)):
        raise IntegrityError(f"setting '{name}' is damaged; set it again with 'simgit config'")
    return kind(found)


def put_setting(txn: WriteTxn, name: str, value: float | str | None) -> None:
    """Change a setting; None restores its default.

    Raises:
        InvalidInput: there is no such setting, or the value is not allowed.
    """
    _check_name(name)
    if value is None:
        txn.delete("meta", _PREFIX + name.encode())
        return
    _check_value(name, value)
    body = pack_record({"value": value})
    txn.put("meta", _PREFIX + name.encode(), body + checksum(body))


def _check_value(name: str, value: Any) -> None:
    if type(DEFAULTS[name]) is str:
        if type(value) is not str or len(value) > MAX_TEXT:
            raise InvalidInput(f"setting '{name}' must be a text, got {value}", name=name)
        return
    if type(value) not in (int, float) or not 0 <= value < 1e15:
        raise InvalidInput(f"setting '{name}' must be a number ≥ 0, got {value}", name=name)
    if type(DEFAULTS[name]) is int and value != int(value):
        raise InvalidInput(f"setting '{name}' must be a whole number, got {value}", name=name)


def _check_name(name: str) -> None:
    if name not in DEFAULTS:
        near = near_or_known(name, DEFAULTS)
        raise InvalidInput(f"unknown setting '{name}'{near}", name=name)
