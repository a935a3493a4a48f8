"""Where a simulation begins, and what reached it there before: answers and changed settings.

Each input is attached, as ``input``, to the state from which on it applies; those before a run's
first own state are in the run's metadata. A simulation that is continued, or forked at an earlier
state, is given them again at the same place, so that it stays exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from simgit.errors import NotFound
from simgit.refs.run_config import flat, merge, nested

if TYPE_CHECKING:
    from simgit.refs.runs import RunInfo
    from simgit.repository import Repository

INPUT: Final = "input"
"""The attachment, and the key of a run's metadata, of what reached a simulation."""
CHECKPOINT: Final = "checkpoint"
"""The attachment of what a type keeps; the key of a run's metadata that says that it does so."""
SNAPSHOT: Final = "snapshot"
ANSWER, SET, CONFIG = "answer", "set", "config"


@dataclass
class Input:
    """An input: ``position`` is the number of states before the first that it can have changed."""

    position: int
    kind: str
    data: dict[str, Any]
    is_new: bool = False


class Settings:
    """The settings in force: defaults < those of the run < those that were changed since.

    Attributes:
        config: all of them; always the same dict.
    """

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = defaults
        self._of_run: Mapping[str, Any] = {}
        self._changed: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self._put_together()

    def apply(self, entry: Input) -> None:
        """Apply changed settings, or those of a run that was branched off here.

        A run keeps what was changed before its branch point, but where it has a setting of its own.
        """
        own = flat(entry.data["overrides"])
        self._changed = {
            path: value
            for path, value in self._changed.items()
            if not any(_is_within(path, each) or _is_within(each, path) for each in own)
        }
        if entry.kind == SET:
            self._changed |= own
        else:
            self._of_run = entry.data["config"]
        self._put_together()

    def _put_together(self) -> None:
        made = deepcopy(dict(self._defaults))
        merge(made, deepcopy(dict(self._of_run)))
        merge(made, nested(deepcopy(self._changed)))
        self.config.clear()
        self.config.update(made)


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}.")


@dataclass
class Begin:
    """Where a simulation begins.

    Attributes:
        position: the number of states before the first that it executes.
        until: the number of states that the run has: up to there it executes what was recorded.
        branched: the number of states before the run's first own one.
        steps: the number of actions among the states before ``position``.
        before: the settings up to there, in order.
        due: what reached it later, up to ``until``, in order.
        known: the recorded inputs by position.
        checkpoint: what the type kept there.
        has_checkpoints: whether it keeps checkpoints at all.
    """

    position: int = 0
    until: int = 0
    branched: int = 0
    steps: int = 0
    before: Sequence[Input] = ()
    due: Sequence[Input] = ()
    known: Mapping[int, Sequence[Input]] = field(default_factory=dict)
    checkpoint: Any = None
    has_checkpoints: bool = False


def begin_of(repo: Repository, run: str, kind: str) -> Begin:
    """Return where a simulation of a type begins: at the newest state from which it is exact.

    That has a snapshot of the environment and, if the type keeps them, a checkpoint. Without such
    a state all is executed anew from the first one on. A type that is not the one that recorded
    the states begins at the newest.
    """
    line = list(reversed(repo.lineage(run)))
    info = line[-1]
    until = 0 if info.step is None else info.step + 1
    found = Begin(until=until, branched=_branched(repo, info))
    mine = [each for each in line if type_of(each) == kind]
    found.has_checkpoints = any(each.metadata.get(CHECKPOINT) for each in mine)
    if until:
        found.position, found.checkpoint = _place(repo, run, kind, bool(mine[:-1]), found)
        past = repo.trajectory(run)[: found.position]
        found.steps = found.position - int(past.episode_starts.sum())
    entries = list(_entries(repo, line, run if until else None))
    switches = [
        Input(at, CONFIG, {"config": each.config, "overrides": each.overrides})
        for each in line
        if (at := _branched(repo, each)) <= until
    ]
    # a run's settings hold from its branch point on; what reached it there comes after them
    every = sorted([*switches, *entries], key=lambda each: each.position)
    found.before = [
        each for each in every if each.position <= found.position and each.kind != ANSWER
    ]
    found.due = [each for each in every if each not in found.before]
    found.due = [each for each in found.due if each.position >= found.position]
    known: dict[int, list[Input]] = {}
    for each in entries:
        known.setdefault(each.position, []).append(each)
    found.known = known
    return found


def type_of(info: RunInfo) -> str | None:
    """Return the type of a run's simulation, None if none was started."""
    found = info.metadata.get("simulation")
    return str(found["type"]) if isinstance(found, Mapping) and "type" in found else None


def _branched(repo: Repository, info: RunInfo) -> int:
    if info.branch_point is None:
        return 0
    try:
        return int(repo.state(info.branch_point).step) + 1
    except NotFound:  # purged
        return 0


def _place(repo: Repository, run: str, kind: str, is_same: bool, found: Begin) -> tuple[int, Any]:
    """Return the position to begin at, and the checkpoint there."""
    if found.until == found.branched and not is_same:
        return found.until, None  # another type, or none, recorded what is there
    if not found.has_checkpoints:
        newest = next(iter(repo.history_attachments(run, SNAPSHOT)), None)
        return (0 if newest is None else newest.step + 1), None
    snapshots = {each.step for each in repo.history_attachments(run, SNAPSHOT)}
    for each in repo.history_attachments(run, CHECKPOINT):
        if snapshots and each.step not in snapshots:
            continue
        data = repo.attachment(each.state, CHECKPOINT)
        if isinstance(data, Mapping) and data.get("type") == kind:
            return each.step + 1, data.get("data")
    return 0, None


def _entries(repo: Repository, line: Sequence[RunInfo], run: str | None) -> Iterator[Input]:
    """Yield what reached the simulation on its way, in no order between places."""
    own = _branched(repo, line[-1])
    for info in line:
        noted = info.metadata.get(INPUT)
        at = _branched(repo, info)
        if isinstance(noted, Mapping) and (info is line[-1] or at < own):
            yield from _decoded(at, noted.get(str(at)))
    if run is not None:
        for each in repo.history_attachments(run, INPUT):
            yield from _decoded(each.step + 1, repo.attachment(each.state, INPUT))


def _decoded(position: int, data: Any) -> Iterator[Input]:
    for each in data if isinstance(data, (list, tuple)) else ():
        if isinstance(each, Mapping) and each.get("kind") in (ANSWER, SET):
            yield Input(position, each["kind"], {k: v for k, v in each.items() if k != "kind"})
