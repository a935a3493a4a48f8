"""The first difference of two runs, and the lines that show it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from simgit.errors import Divergence, plural, shown, visible
from simgit.history.diff.arrays import compare_arrays
from simgit.history.diff.bits import ignoring
from simgit.history.diff.values import MISSING
from simgit.history.trajectory import Trajectory
from simgit.repository import Repository


class Place(NamedTuple):
    """The first difference of two runs."""

    step: int
    field: str
    recorded: Any
    found: Any

    @classmethod
    def of(cls, error: Divergence) -> Place:
        """Return the place of a divergence."""
        return cls(*(getattr(error, name) for name in cls._fields))


def first_change(
    repo: Repository, recorded: str, found: str, ignore: Sequence[str]
) -> Place | None:
    """Return the first difference of two histories, None if their states are equal."""
    diff = repo.diff_runs(recorded, found, whole=False)
    ignored = ignoring(ignore) if ignore else lambda path: False
    lengths = len(repo.trajectory(recorded)), len(repo.trajectory(found))
    if diff.first_step is not None:
        for step in range(diff.first_step, min(lengths)):
            changes = repo.diff_states(f"{recorded}@{step}", f"{found}@{step}").changes
            for change in changes:
                if not ignored(change.name):
                    return Place(step, change.name, change.before, change.after)
    if lengths[0] != lengths[1]:
        return Place(min(lengths), "number of states", *lengths)
    return None


def golden_divergence(
    title: str, what: str, states: Trajectory, place: Place, versions: Sequence[str]
) -> Divergence:
    """Return the error for the first difference, with the lines that show it."""
    step, field, recorded, found = place
    if recorded is None and step < len(states):  # or absent, which is not told apart by then
        at = states[step : step + 1]
        if not (at.has(field) and at.present(field).all()):
            recorded = MISSING
        elif found is None:
            found = MISSING
    detail = None
    if isinstance(recorded, np.ndarray) and isinstance(found, (np.ndarray, np.generic)):
        field, recorded, found, detail = _first_element(field, recorded, np.asarray(found))
    before, after = ("absent" if each is MISSING else shown(each) for each in (recorded, found))
    lines = [
        f"golden run '{title}' {what}",
        f"  step      {step}{_where(states, step)}",
        f"  field     {field}{'' if detail is None else f' ({detail})'}",
        f"  before    {before}",
        f"  after     {after}",
    ]
    lines += [f"  versions  {', '.join(versions)}"] if versions else []
    return Divergence(
        f"golden run '{title}' {what} at step {step}: '{field}' was {before}, is {after}",
        step=step, field=field, recorded=recorded, found=found, report=tuple(map(visible, lines)),
    )  # fmt: skip


def _first_element(field: str, recorded: Any, found: Any) -> tuple[str, Any, Any, str | None]:
    """Return the first element that differs, and how many do; arrays of other shapes as they are.

    An environment may return another dtype than that of its space.
    """
    if found.shape == recorded.shape and found.dtype != recorded.dtype:
        with np.errstate(all="ignore"):
            found = found.astype(recorded.dtype)
    change = compare_arrays(recorded, found)
    if change is None or not change.first:
        return field, recorded, found, None
    at = change.first[0]
    detail = f"{change.different} of {plural(recorded.size, 'element')} differ"
    detail += "" if change.max_abs is None else f", by {change.max_abs:.6g} at most"
    name = f"{field}[{', '.join(map(str, at))}]" if at else field
    return name, recorded[at], found[at], detail


def _where(states: Trajectory, step: int) -> str:
    """Return the episode that a step is in, its seed, and the action that led to the step."""
    if step >= len(states):
        return ""
    starts = np.flatnonzero(states[: step + 1].episode_starts).tolist()
    told = []
    if starts:
        told += [f"episode {len(starts)}", f"step {step - starts[-1]} of it"]
        marks = (states[at].reset or {} for at in reversed(starts))
        seed = next((mark["seed"] for mark in marks if mark.get("seed") is not None), None)
        told += [] if seed is None else [f"seed {seed}"]
    action = states[step].action
    told += [] if action is None else [f"action {shown(action)}"]
    return f" ({', '.join(told)})" if told else ""


# --- versions -----------------------------------------------------------------------------------


def calling_module() -> Any:
    """Return the module that called this package: the test's."""
    frame = sys._getframe()
    own = ("simgit", "contextlib")
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] in own:
        frame = frame.f_back
    return sys.modules.get(str(frame.f_globals.get("__name__")))


def versions_of(module: Any) -> dict[str, str]:
    """Return the versions of Python, NumPy and the packages that a module imports.

    (Not of all that are loaded: that depends on which other tests ran before.)
    """
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    values = [] if module is None else [module, *vars(module).values()]
    names = (getattr(each, "__name__", None) for each in values if type(each) is type(sys))
    owners = (getattr(each, "__module__", None) for each in values)
    tops = {str(name).partition(".")[0] for name in (*names, *owners) if isinstance(name, str)}
    for top in sorted(({"numpy"} | tops) - {*sys.stdlib_module_names, "simgit", "pytest"}):
        try:
            found[top] = metadata.version(top)
        except metadata.PackageNotFoundError:
            continue
    return found


def changed_versions(noted: Any, now: Mapping[str, str]) -> list[str]:
    """Return the versions that are others now than those that a file notes, whatever it has."""
    was = noted if isinstance(noted, Mapping) else {}
    was = {name[:40]: each[:40] for name, each in was.items() if _are_texts(name, each)}
    return [
        f"{name} {was.get(name, 'none')} → {now.get(name, 'none')}"
        for name in sorted({*was, *now} if was else ())
        if was.get(name) != now.get(name)
    ]


def _are_texts(*values: Any) -> bool:
    return all(isinstance(each, str) for each in values)
