"""The steps at which random generators were reseeded: at the start of each what-if rollout.

A state does not hold this, since rollouts with other seeds may lead to the same states; the
metadata of the recorded run does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from simgit.errors import NotFound
from simgit.objects.oid import Oid
from simgit.refs.own_names import KEY
from simgit.refs.runs import RunInfo
from simgit.repository import Repository

WHAT_IF: Final = "what-if"
"""The key of a rollout's metadata: ``from`` (a state), ``seed`` (None for the recorded numbers)."""
Seeds = dict[int, int]
"""The seeds of generators that were reseeded, by the steps where that happened."""

RESEEDED: Final = "reseeded"
"""The key in a stored snapshot, or in noted generators, of the steps and seeds on its path.

It is left out where there are none.
"""


def mark(stored: Any, seeds: Seeds, session: str | None = None) -> Any:
    """Return attached data with their session and the reseedings before their state, if any."""
    marks: dict[str, Any] = {} if session is None else {KEY: session}
    if seeds:
        marks[RESEEDED] = [[step, seed] for step, seed in sorted(seeds.items())]
    return {**stored, **marks} if marks else stored


def unmarked(stored: Any) -> Any:
    """Return attached data without their marks: an unpacked snapshot as its driver made it."""
    if not isinstance(stored, Mapping):
        return stored
    return {key: each for key, each in stored.items() if key not in (KEY, RESEEDED)}


def marked(stored: Any) -> Seeds | None:
    """Return the reseedings that attached data are marked with, None without a mark."""
    found = stored.get(RESEEDED) if isinstance(stored, Mapping) else None
    try:
        return None if found is None else {int(step): int(seed) for step, seed in found}
    except (TypeError, ValueError, OverflowError):
        return {}  # someone else made it


def reseeds(
    repo: Repository, state: Oid, run: str | None = None, names: Sequence[str] | None = None
) -> Seeds:
    """Return the reseedings on the way to a state.

    Args:
        repo: the repository.
        state: the state.
        run: the run whose path is meant, if the state is in its history. Otherwise any run is
            taken, preferably one without reseeding.
        names: the runs that contain the state, if they are known already.
    """
    names = repo.contains(state) if names is None else names
    if run is not None and run in names:
        names = names if _of_run(repo, run, state) is None else [run]
    found: Seeds | None = None
    for name in names:
        seeds = _of_run(repo, name, state)
        if seeds is not None and (found is None or len(seeds) < len(found)):
            found = seeds
        if found == {}:
            break
    return found or {}


def reseeds_before_next(repo: Repository, run: str) -> Seeds:
    """Return the reseedings on the way to the state that a run records next."""
    info = repo.runs[run]
    if info.oid is None:
        return {}
    found = reseeds(repo, info.oid, run)
    seed = _seed(info)
    if info.oid != info.branch_point or seed is None:
        return found
    return {**found, repo.state(info.oid).step: seed}


def _of_run(repo: Repository, name: str, state: Oid) -> Seeds | None:
    """Return the reseedings of a run up to a state; None if another run recorded the state."""
    found: Seeds = {}
    first, passed, above = state, {name}, name
    while (point := (run := repo.runs[above]).branch_point) is not None:
        start, step = _step(repo, point), _step(repo, state)
        if start is None or step is None:
            break
        parent = run.parent if run.parent in repo.runs else None
        if step <= start:  # a run further up recorded the state; forged ones may go in a circle
            if parent is None or parent in passed:
                return None if state == first else {**reseeds(repo, state), **found}
            passed.add(parent)
            above = parent
            continue
        seed = _seed(run)
        if seed is not None:
            found[start] = seed
        if parent is None or parent not in repo.contains(point):
            return {**reseeds(repo, point), **found}
        state, passed, above = point, {parent}, parent
    return found


def _seed(run: RunInfo) -> int | None:
    """Return the seed with which a run begins, if it is a rollout with one."""
    rollout = run.metadata.get(WHAT_IF)
    seed = rollout.get("seed") if isinstance(rollout, dict) else None
    return seed if type(seed) is int else None


def _step(repo: Repository, state: Oid) -> int | None:
    try:
        return repo.state(state).step
    except NotFound:
        return None  # the run was set back to before it, and gc has removed it
