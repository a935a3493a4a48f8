"""The place where a simulation begins, and what reached it before: answers and changed settings.

Each input is attached to the run's newest state, as ``input-ID``, with the place from which on it
applies; those from before a run's first own state are in the run's metadata. A simulation that is
continued, or forked at a later state, is given them again at the same place, so that it stays
exact. States are shared by all runs that came to them: the id says of which run an input is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simgit.errors import NotFound
from simgit.refs.run_config import flat, is_within, merge, nested
from simgit.refs.runs import SIMULATION

if TYPE_CHECKING:
    from simgit.refs.attachments import Attached
    from simgit.refs.runs import RunInfo
    from simgit.repository import Repository

INPUT: Final = "input"
"""The attachment, and the key of a run's metadata, of what reached a simulation."""
CHECKPOINT: Final = "checkpoint"
"""The attachment of what a type keeps; the key of a run's metadata that says that it does so."""
SNAPSHOT: Final = "snapshot"
SCRIPT: Final = "script"
"""The type of simulations that a script of the user's executes."""
ANSWER, SET, CONFIG = "answer", "set", "config"


@dataclass
class Input:
    """An input: it applies from the first look on with at least ``position`` states."""

    position: int
    kind: str
    data: dict[str, Any]

    @property
    def is_early(self) -> bool:
        """True for an answer from before the simulation had a recorder: each execution needs it."""
        return self.kind == ANSWER and bool(self.data.get("early"))


class SettingsInForce:
    """The settings in force: defaults < those of the run < those that were changed since.

    Attributes:
        config: all of them; always the same dict.
        version: a number that changes with them.
    """

    def __init__(self, defaults: Mapping[str, Any]) -> None:
        self._defaults = defaults
        self._of_run: Mapping[str, Any] = {}
        self._changed: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.version = 0
        self._put_together()

    def apply(self, entry: Input) -> None:
        """Apply changed settings, or those of a run that was branched off here.

        A run keeps what was changed before its branch point, but where it has a setting of its own.
        """
        own = flat(entry.data["overrides"])
        self._changed = {
            path: value
            for path, value in self._changed.items()
            if not any(is_within(path, each) or is_within(each, path) for each in own)
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
        self.version += 1


@dataclass
class Begin:
    """The place where a simulation begins.

    Attributes:
        position: the number of states before the first that it executes.
        until: the number of states that the run has: up to there it executes what was recorded.
        branched: the number of states before the run's first own one.
        steps: the number of actions among the states before ``position``.
        before: the settings up to there, in order.
        due: what reached it later, and early answers, in order.
        checkpoint: what the type kept there.
        has_checkpoints: whether it keeps checkpoints at all.
    """

    position: int = 0
    until: int = 0
    branched: int = 0
    steps: int = 0
    before: Sequence[Input] = ()
    due: Sequence[Input] = ()
    checkpoint: Any = None
    has_checkpoints: bool = False


def begin_of(repo: Repository, run: str, kind: str) -> Begin:
    """Return where a simulation of a type begins: at the newest state from which it is exact.

    That has a snapshot of the environment and, if the type keeps them, a checkpoint. Without such
    a state all is executed anew from the first one on. A type that is not the one that recorded
    the states begins after those.
    """
    line = list(reversed(repo.lineage(run)))
    until = 0 if line[-1].step is None else line[-1].step + 1
    starts = _starts(repo, line, until)
    found = Begin(until=until, branched=starts[-1])
    mine = list(takewhile(lambda each: type_of(each) == kind, reversed(line[:-1])))
    found.has_checkpoints = any(each.metadata.get(CHECKPOINT) for each in [line[-1], *mine])
    if until:
        # another type, or none, recorded what is before
        first = max(starts[-1 - len(mine)], _first_own(line[-1]))
        found.position, found.checkpoint = _place(repo, line, starts, kind, first, found)
        past = repo.trajectory(run)[: found.position]
        acted = past.present("action")
        found.steps = int(acted.sum() if acted.any() else (~past.present("reset")).sum())
    switches = [
        Input(at, CONFIG, {"config": each.config, "overrides": each.overrides})
        for each, at in zip(line, starts, strict=True)
    ]
    # a run's settings hold from its branch point on; what reached it there comes after them
    every = [*switches, *_inputs(repo, line, starts)]
    every.sort(key=lambda each: each.position)
    found.before = [
        each for each in every if each.position <= found.position and each.kind != ANSWER
    ]
    found.due = [
        each
        for each in every
        if each.position > found.position
        or (each.kind == ANSWER and each.position == found.position)
        or each.is_early
    ]
    return found


def type_of(info: RunInfo) -> str | None:
    """Return the type of a run's simulation, None if none was started."""
    found = info.metadata.get(SIMULATION)
    return str(found["type"]) if isinstance(found, Mapping) and "type" in found else None


def type_metadata(kind: str, first: int = 0) -> dict[str, Any]:
    """Return the metadata of a run for a type, which recorded none of its first states."""
    before = {"first": first} if first else {}
    return {SIMULATION: {"type": kind, "id": secrets.token_hex(8), **before}}


def inputs_of(
    repo: Repository, run: str, step: int | None = None
) -> tuple[list[Input], dict[str, Any]]:
    """Return what people did to a simulation, in order, and the settings in force after it.

    Args:
        repo: the repository.
        run: its run; what reached those that it was branched off counts up to the branch points.
        step: leave out what applies after this state only, as a fork of it does.

    Returns:
        Answers and changed settings; and the settings without the type's defaults.
    """
    line = list(reversed(repo.lineage(run)))
    starts = _starts(repo, line, 0 if line[-1].step is None else line[-1].step + 1)
    switches = [
        Input(at, CONFIG, {"config": each.config, "overrides": each.overrides})
        for each, at in zip(line, starts, strict=True)
    ]
    every = [*switches, *_inputs(repo, line, starts)]
    every.sort(key=lambda each: each.position)
    settings, found = SettingsInForce({}), []
    for each in every:
        if step is not None and each.position > step and each.kind != CONFIG:
            continue
        if each.kind != ANSWER:
            settings.apply(each)
        if each.kind != CONFIG:
            found.append(each)
    return found, settings.config


def _first_own(info: RunInfo) -> int:
    found = info.metadata.get(SIMULATION)
    first = found.get("first", 0) if isinstance(found, Mapping) else 0
    return first if type(first) is int else 0


def attachment_of(info: RunInfo, what: str) -> str:
    """Return the name of the attachments of a run's simulation: ``INPUT`` or ``CHECKPOINT``.

    States are shared: it has the simulation's id, or of a run without one the time of its creation.
    """
    found = info.metadata.get(SIMULATION)
    return f"{what}-{found['id'] if isinstance(found, Mapping) and 'id' in found else info.created}"


def keep_input(repo: Repository, run: str, entry: Input) -> None:
    """Store an input durably."""
    info = repo.runs[run]
    data = {"kind": entry.kind, "position": entry.position, **entry.data}
    if info.oid is None or info.oid == info.branch_point:
        kept = info.metadata.get(INPUT)
        repo.configure(run, metadata={INPUT: [*(kept if isinstance(kept, list) else ()), data]})
        return
    name = attachment_of(info, INPUT)
    try:
        known = repo.attachment(info.oid, name)
    except NotFound:
        known = []
    repo.attach(info.oid, name, [*known, data])


def _starts(repo: Repository, line: Sequence[RunInfo], until: int) -> list[int]:
    """Return for each run of a line the number of states before the first that may be its own.

    One that was branched off its parent before that was branched off its own has nothing of it.
    """
    found = []
    for info in reversed(line):
        until = min(until, _branched(repo, info))
        found.append(until)
    return found[::-1]


def _branched(repo: Repository, info: RunInfo) -> int:
    if info.branch_point is None:
        return 0
    try:
        return int(repo.state(info.branch_point).step) + 1
    except NotFound:  # purged
        return 0


def _place(
    repo: Repository,
    line: Sequence[RunInfo],
    starts: Sequence[int],
    kind: str,
    first: int,
    found: Begin,
) -> tuple[int, Any]:
    """Return the position to begin at, ``first`` at least, and the checkpoint there."""
    snapshots = [
        each.step
        for each in repo.history_attachments(line[-1].name, SNAPSHOT)
        if each.step >= first and not _ends(repo, each)
    ]
    if not found.has_checkpoints:
        return (snapshots[0] + 1 if snapshots else first), None
    for each in reversed(list(_own(repo, line, starts, CHECKPOINT))):
        if each.step < first or _ends(repo, each) or (snapshots and each.step not in snapshots):
            continue
        data = repo.attachment(each.state, each.name)
        if isinstance(data, Mapping) and data.get("type") == kind:
            return each.step + 1, data.get("data")
    return first, None


def _ends(repo: Repository, attached: Attached) -> bool:
    """Return True for an episode's end: the reset after it is the simulation's own."""
    return is_end(repo.state(attached.state))


def is_end(state: Any) -> bool:
    """Return True if a state is the last of an episode."""
    return bool(np.any(state.terminated) or np.any(state.truncated))


def _own(
    repo: Repository, line: Sequence[RunInfo], starts: Sequence[int], what: str
) -> Iterator[Attached]:
    """Yield what the simulations of a line attached to their own states, oldest first."""
    run = line[-1].name
    for info, start, end in zip(line, starts, [*starts[1:], None], strict=True):
        names = [attachment_of(info, what)]
        if names[0] == f"{what}-{info.created}":
            names.insert(0, f"{what}-0")  # of earlier versions, where it had no id
        for name in names:
            for each in reversed(repo.history_attachments(run, name)):
                if start <= each.step and (end is None or each.step < end):
                    yield each


def _inputs(repo: Repository, line: Sequence[RunInfo], starts: Sequence[int]) -> Iterator[Input]:
    """Yield what reached a simulation on its way: of each run up to where the next branched off."""
    stored = [(info, info.metadata.get(INPUT)) for info in line]
    if line[-1].oid is not None:
        for each in _own(repo, line, starts, INPUT):
            at = max(i for i, start in enumerate(starts) if start <= each.step)
            stored.append((line[at], repo.attachment(each.state, each.name)))
    for info, data in stored:
        i = next(i for i, each in enumerate(line) if each is info)
        end = starts[i + 1] if i + 1 < len(line) else None
        for each in data if isinstance(data, (list, tuple)) else ():
            if isinstance(each, Mapping) and each.get("kind") in (ANSWER, SET):
                fields = {k: v for k, v in each.items() if k not in ("kind", "position")}
                made = Input(int(each["position"]), each["kind"], fields)
                if end is None or made.position < end:
                    yield made
