"""Views of simulations: the same in a terminal, as JSON and over HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import SimgitError
from simgit.live.registry import load, types
from simgit.repository.jsonable import stamp

if TYPE_CHECKING:
    from simgit.live.tracker import Simulation
    from simgit.repository import Repository

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
    step = status.get("step")
    if step is None and one.run in repo.runs:
        step = repo.runs[one.run].step
    step = None if step == -1 else step  # nothing is recorded yet
    lost = "its process ended before it began; a tracker starts it again"
    return {
        "run": one.run, "type": found.type, "phase": "frozen" if is_frozen else one.phase,
        "outcome": one.outcome, "reason": found.reason or (lost if found.is_orphan else None),
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
    found = []
    for name, path in types(repo).items():
        each: dict[str, Any] = {"name": name, "path": path, "help": "", "form": None}
        each["queries"], each["error"] = [], None
        found.append(each)
        if not loads:
            continue
        try:
            kind = load(repo, name)
            each |= {"help": kind.help, "form": kind.form, "queries": list(kind.queries)}
        except Exception as error:  # whatever its module raises
            each["error"] = str(error)
    return found
