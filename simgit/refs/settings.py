"""Settings of a repository: of its maintenance, and by name types of simulations and remotes.

meta: "setting" ‖ 00 ‖ name -> value ‖ check
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from simgit.errors import AlreadyExists, IntegrityError, InvalidInput, near_or_known
from simgit.objects.codec import decode_name, pack_record, unpack_value
from simgit.objects.compression import CHECKSUM_SIZE, checksum
from simgit.refs.names import RUNS, TAGS, is_remote_name
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
REMOTE: Final = "remote."
"""What the names of settings of remotes begin with."""
URL: Final = ".url"
"""What follows the name of a remote in the setting that makes it one."""
DEFAULTS: Final[dict[str, Any]] = {
    OPLOG_KEEP: 10_000, OPLOG_DAYS: 90, GC_GRACE: 14.0, GC_REFLOG: 90.0, GC_KEEP: "",
    GC_AUTO: 256, GC_REWRITE: 0, LIVE_DAYS: 30.0,
}  # fmt: skip
"""Name to default. A value always has its default's type; no number may be negative."""
MAX_TEXT: Final = 1000
_PREFIX: Final = b"setting\0"
_TYPE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


class _Family(NamedTuple):
    """Settings that there are for each name that a user gives: ``remote.NAME.url``.

    Attributes:
        begins: what their names begin with.
        takes: whether a text may be the NAME.
        defaults: what follows the NAME, to the default.
        check: raises InvalidInput if a setting cannot have a value that has the default's type.
    """

    begins: str
    takes: Callable[[str], bool]
    defaults: Mapping[str, Any]
    check: Callable[[ReadTxn, str, Any], None]

    def key(self, name: str) -> str | None:
        """Return which of ``defaults`` a setting is; None for a setting of another family."""
        for key in self.defaults:
            if name.startswith(self.begins) and name.endswith(key):
                middle = name[len(self.begins) : len(name) - len(key)]
                return key if self.takes(middle) else None
        return None


def _check_type(txn: ReadTxn, name: str, value: Any) -> None:
    if not all(value.rpartition(":")[::2]):
        raise InvalidInput(
            f"setting '{name}' must be an import path such as module:function, got '{value}'",
            name=name,
        )


def _check_remote(txn: ReadTxn, name: str, value: Any) -> None:
    if type(value) is bool:
        return
    if not value or not value.isprintable():
        what = "must be a printable text that is not empty"
        raise InvalidInput(f"setting '{name}' {what}; --unset removes it", name=name)
    if re.search(_WITH_USER, value):
        raise InvalidInput(
            f"setting '{name}' must have no user or password in it, which whoever has the "
            "repository would see; give them by the environment or a profile",
            name=name,
        )
    if name.endswith(URL):
        check_no_refs_below(txn, name.removeprefix(REMOTE).removesuffix(URL))


def check_no_refs_below(txn: ReadTxn, remote: str) -> None:
    """Check that no run or tag is called ``REMOTE/…``, as the runs of a remote are.

    Raises:
        AlreadyExists: one is.
    """
    for space, what in ((RUNS, "run"), (TAGS, "tag")):
        start = f"{space}{remote}/".encode()
        for key, _ in txn.scan("refs", start, start[:-1] + b"0"):
            other = decode_name(key[len(space) :])
            raise AlreadyExists(
                f"a remote cannot be called '{remote}': there is a {what} '{other}', and names "
                "that begin so would be ambiguous; give it another name",
                name=remote,
            )


_WITH_USER: Final = r"://[^/]*@"
_FAMILIES: Final = (
    _Family(TYPES, lambda text: bool(_TYPE_NAME.fullmatch(text)), {"": ""}, _check_type),
    _Family(
        REMOTE,
        is_remote_name,
        {URL: "", ".endpoint": "", ".region": "", ".profile": "", ".read-only": False,
         ".single-writer": False},
        _check_remote,
    ),
)  # fmt: skip


def _family(name: str) -> tuple[_Family, str] | None:
    """Return the family of a setting, and which one of it that is."""
    for family in _FAMILIES:
        if (key := family.key(name)) is not None:
            return family, key
    return None


def setting_names(txn: ReadTxn) -> list[str]:
    """Return the names of all settings: those of the table, and those of families that are set."""
    found = list(DEFAULTS)
    for begins in (family.begins for family in _FAMILIES):
        start, stop = _PREFIX + begins.encode(), _PREFIX + begins[:-1].encode() + b"/"
        keys = (key for key, _ in txn.scan("meta", start, stop))
        names = (key[len(_PREFIX) :].decode(errors="replace") for key in keys)
        found += (name for name in names if _family(name) is not None)
    return found


def default_setting(name: str) -> Any:
    """Return the default of a setting; those of families have an empty text, or False.

    Raises:
        InvalidInput: there is no such setting.
    """
    if (found := _family(name)) is not None:
        return found[0].defaults[found[1]]
    if name not in DEFAULTS:
        known = [f"{each.begins}NAME{key}" for each in _FAMILIES for key in each.defaults]
        near = near_or_known(name, [*DEFAULTS, *known])
        raise InvalidInput(f"unknown setting '{name}'{near}", name=name)
    return DEFAULTS[name]


def is_set(txn: ReadTxn, name: str) -> bool:
    """Return True if a setting does not have its default, damaged or not."""
    return txn.get("meta", _PREFIX + name.encode(errors="replace")) is not None


def forget_families(txn: WriteTxn) -> None:
    """Remove the settings that only the user may make, from the copy of a stranger's repository.

    They name code that is executed, or places to which runs are sent.
    """
    for name in setting_names(txn):
        if _family(name) is not None:
            txn.delete("meta", _PREFIX + name.encode())


def is_of_user(name: str) -> bool:
    """Return True if only the user may make a setting: it names code, or where runs are sent."""
    return name.startswith(tuple(family.begins for family in _FAMILIES))


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
    if type(found) not in ((kind,) if kind in (str, bool) else (int, float)):
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
    if (found := _family(name)) is not None:
        found[0].check(txn, name, value)
    body = pack_record({"value": value})
    txn.put("meta", _PREFIX + name.encode(), body + checksum(body))


def _check_value(name: str, value: Any, kind: type) -> None:
    if kind is str:
        if type(value) is not str or len(value) > MAX_TEXT:
            raise InvalidInput(f"setting '{name}' must be a text, got {value}", name=name)
        return
    if kind is bool:
        if type(value) is not bool:
            raise InvalidInput(f"setting '{name}' must be true or false, got {value}", name=name)
        return
    if type(value) not in (int, float) or not 0 <= value < 1e15:
        raise InvalidInput(f"setting '{name}' must be a number ≥ 0, got {value}", name=name)
    if kind is int and value != int(value):
        raise InvalidInput(f"setting '{name}' must be a whole number, got {value}", name=name)
