"""Columns of a log: what is known of each line, and the fields of its state."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.output import Output, clean, when
from simgit.errors import InvalidInput, SimgitWarning, did_you_mean, near_or_known

if TYPE_CHECKING:
    from simgit.history.log import LogLine
    from simgit.repository import Repository

ALL: Final = "all"
_BATCH: Final = 1000
"""Lines of a table whose columns are aligned with each other."""


def write_fields(
    repo: Repository, out: Output, lines: Iterable[LogLine], text: str, as_json: bool
) -> None:
    """Print the fields of states that a list such as ``time,step,info.lives`` names.

    Raises:
        UsageError: all fields are asked for, but not as JSON.
        InvalidInput: there is no such field.
    """
    names = [name.strip() for name in text.split(",")]
    is_all = names == [ALL]
    if is_all and not as_json:
        raise click.UsageError("--fields all needs --json: observations do not fit into a table")
    known = _check(names) if not is_all else ()
    seen: set[str] = set()
    near: set[str] = set()
    records = (_record(repo, line, names, known, seen, near) for line in lines)
    if as_json:
        for record in records:
            out.json({name: _json(name, value) for name, value in record.items()})
    else:
        header = [(name, "bold") for name in names]
        while batch := list(islice(records, _BATCH)):
            rows: list[Any] = [[_cell(n, record[n], repo) for n in names] for record in batch]
            out.table([header, *rows])
            header = [("", "") for _ in names]
    for name in names if not is_all else ():
        if name not in seen and near:
            hint = did_you_mean(name, near)
            warnings.warn(f"no state has '{name}'{hint}", SimgitWarning, stacklevel=2)


def _check(names: list[str]) -> tuple[str, ...]:
    """Return the fields that a log's line has by itself; refuse unknown ones."""
    from simgit.history.log import LogLine
    from simgit.objects.columns import FIELDS

    known = tuple(name for name in LogLine._fields if name != "skipped")
    for name in names:
        every = dict.fromkeys((*known, *FIELDS, ALL))
        if name.partition(".")[0] not in every or name == ALL:
            raise InvalidInput(f"unknown field '{name}'{near_or_known(name, every)}", name=name)
    return known


def _record(
    repo: Repository,
    line: LogLine,
    names: list[str],
    known: tuple[str, ...],
    seen: set[str],
    near: set[str],
) -> dict[str, Any]:
    """Return the wanted fields of a line; ``near`` gets what else there is below them."""
    found = line._asdict()
    if not line.skipped:
        del found["skipped"]
    if names == [ALL]:
        if line.clock is None:
            del found["clock"]
        return found | dict(repo.state(line.oid).value)
    value = repo.state(line.oid).value if not set(names) <= set(known) else {}
    record = {}
    for name in names:
        record[name] = found.get(name) if name in known else _follow(value, name, near)
        if name in known or record[name] is not None:
            seen.add(name)
    return record


def _follow(value: Any, path: str, near: set[str]) -> Any:
    """Return what a dotted path leads to, None if nothing."""
    from simgit.history.paths import as_path, follow
    from simgit.objects.columns import ABSENT

    above = ""
    for part in as_path(path):
        near |= {f"{above}{key}" for key in value} if isinstance(value, dict) else set()
        value = follow(value, (part,))
        if value is ABSENT:
            return None
        above += f"{part!s}."
    return value


def _json(name: str, value: Any) -> Any:
    """Return a field as JSON has it: recorded values in their form, the rest as it is."""
    from simgit.objects.json_form import value_to_json
    from simgit.repository.jsonable import stamp

    if name == "time":
        return stamp(value)
    return list(value) if name == "parents" else value_to_json(value)


def _cell(name: str, value: Any, repo: Repository) -> str:
    from simgit.history.state import shown
    from simgit.objects.oid import Oid

    if value is None:
        return "-"
    if name == "time":
        return when(value)
    if isinstance(value, Oid):
        return value.short(repo.abbreviation)
    if name == "parents":
        return " ".join(parent.short(repo.abbreviation) for parent in value)
    return f"{value:.6g}" if type(value) is float else clean(shown(value))
