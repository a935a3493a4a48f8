"""Views of simulations: the same in a terminal, as JSON and over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import SimgitError
from simgit.live.registry import load, types
from simgit.repository.jsonable import stamp

if TYPE_CHECKING:
    from simgit.live.tracker import Simulation
    from simgit.repository import Repository

AGAIN: Final = 10.0
"""Seconds after which a type that could not be imported is tried again."""
LOOK_SECONDS: Final = 0.5
"""Seconds that a viewer waits for a simulation to say how far it is."""


def view(repo: Repository, one: Simulation) -> dict[str, Any]:
    """Return all that is known of a simulation; times are nanoseconds since 1970."""
    found = one.record
    status: dict[str, Any] = {}
    is_frozen = not found.is_over and one.is_frozen
    if found.socket is not None and not found.is_over and not is_frozen:
        with suppress(SimgitError):  # it ends, or its machine is busy
            status = one.look(LOOK_SECONDS)
    found = one.record  # which may have changed; all that follows is of one moment
    if found.is_gone:
        found = one.record  # its end may have been noted before its process was gone
    is_gone = found.is_gone
    is_frozen = is_frozen and found.phase != "ended"
    phase = "ended" if is_gone else "frozen" if is_frozen else found.phase
    step = status.get("step")
    if step is None and one.run in repo.runs:
        step = repo.runs[one.run].step
    step = None if step == -1 else step  # nothing is recorded yet
    lost = "its process ended before it began; a tracker starts it again"
    return {
        "run": one.run, "type": found.type, "phase": phase,
        "outcome": "crashed" if is_gone else found.outcome,
        "reason": found.reason or (lost if found.is_orphan else None),
        "step": step,
        "progress": status.get("progress"), "questions": status.get("questions", []),
        "looked": status.get("looked"), "queries": status.get("queries", []),
        "usage": status.get("usage"), "priority": found.priority, "number": found.number,
        "begin": found.begin, "folder": found.folder,
        "process": found.process["pid"] if found.process is not None else None,
        "created": found.created, "began": found.began, "ended": found.ended,
    }  # fmt: skip


def record(row: dict[str, Any]) -> dict[str, Any]:
    """Return a view as a JSON record."""
    return row | {name: stamp(row[name]) for name in ("created", "began", "ended")}


def type_records(repo: Repository, *, loads: bool = True) -> list[dict[str, Any]]:
    """Return the registered types, each with its import path, first line of help and form.

    Help and form are in its module; with ``loads=False`` none is imported.
    """
    return _type_records(repo, types(repo), loads)


class KeptTypes:
    """The records of types, for as long as what they are read from is as it was.

    That is which types there are, and the files that they are in. One that could not be imported
    is tried again after a while: it may lack anything.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = Lock()
        self._found: dict[bool, tuple[Any, float, list[dict[str, Any]]]] = {}

    def records(self, repo: Repository, *, loads: bool) -> list[dict[str, Any]]:
        """Return what ``type_records`` returns; it is not to be changed."""
        registered = types(repo)
        with self._lock:  # who comes meanwhile waits for the same
            key = [(*each, _stamp(each[1])) for each in registered.items()] if loads else registered
            there = self._found.get(loads)
            if there is None or there[0] != key or monotonic() >= there[1]:
                found = _type_records(repo, registered, loads)
                has_failed = any(each["error"] is not None for each in found)
                until = monotonic() + AGAIN if has_failed else inf
                if loads:  # a module has a file once it is imported
                    key = [(*each, _stamp(each[1])) for each in registered.items()]
                there = self._found[loads] = (key, until, found)
            return there[2]


def _stamp(path: str) -> tuple[str, int, int] | None:
    """Return the file that a type's path leads to, its time and size; None if it is not known."""
    where = path.rpartition(":")[0]
    file = where if where.endswith(".py") else getattr(sys.modules.get(where), "__file__", None)
    try:
        found = Path(file or "").stat()
    except (OSError, ValueError):
        return None
    return str(file), found.st_mtime_ns, found.st_size


def _type_records(
    repo: Repository, registered: Mapping[str, str], loads: bool
) -> list[dict[str, Any]]:
    found = []
    for name, path in registered.items():
        each: dict[str, Any] = {"name": name, "path": path, "help": "", "form": None}
        each["queries"], each["error"] = [], None
        found.append(each)
        if not loads:
            continue
        try:
            kind = load(repo, name)
            each |= {"help": kind.help, "form": kind.form, "queries": list(kind.queries)}
        except (Exception, SystemExit) as error:  # whatever its module raises
            each["error"] = str(error)
    return found
