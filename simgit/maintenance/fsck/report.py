"""The report of a check: problems, and the commands that repair them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

INDEX: Final = "index"
COUNTERS: Final = "counters"
GRAFT_LIST: Final = "grafts"
CHILDREN: Final = "children"
NAMES: Final = "names"
LOGS: Final = "reflogs"
LINES: Final = "lines"
REFS: Final = "refs"
TIMES: Final = "times"
SUMMARIES: Final = "summaries"
IDENTITY: Final = "identity"
STATES: Final = "states"
OBJECT: Final = "object"
ARRAYS: Final = "arrays"
ALONE: Final = (INDEX, COUNTERS, CHILDREN, NAMES, LOGS, LINES, REFS, TIMES, SUMMARIES, IDENTITY)
"""The kinds of damage that a repository can repair by itself."""
COPIES: Final = (STATES, OBJECT, ARRAYS)
"""The kinds of damage that need good copies from another repository."""
REPAIR: Final = "simgit fsck --repair"
REPAIR_FROM: Final = "simgit fsck --repair --from REPOSITORY"


@dataclass(frozen=True)
class Problem:
    """A damaged or missing part of a store.

    Attributes:
        what: a description.
        runs: the runs whose history it touches, with the steps (first, last) that it costs;
            remote-tracking refs too, by their full names.
        kind: the kind of the damaged part, if it can be repaired.
        where: the part: a location, an object's oid, a group's key, or a ref's full name.
    """

    what: str
    runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    kind: str = ""
    where: tuple[int, int] | bytes | None = None

    def __str__(self) -> str:
        if not self.runs:
            return self.what
        cost = ", ".join(f"{name}@{a}..{b}" for name, (a, b) in self.runs.items())
        return f"{self.what} (costs {cost})"

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands that repair it, the best first; none if it cannot be repaired.

        Without a copy of damaged states, a repair moves their runs back to the last good state.
        """
        if self.kind in ALONE:
            return (REPAIR,)
        if self.kind == STATES and self.runs:
            return (REPAIR_FROM, REPAIR)
        return (REPAIR_FROM,) if self.kind in COPIES else ()


@dataclass
class FsckReport:
    """The result of a check.

    ``is_complete`` is False if the time was over before everything was checked.
    """

    states: int = 0
    arrays: int = 0
    objects: int = 0
    problems: list[Problem] = field(default_factory=list)
    is_complete: bool = True

    @property
    def is_clean(self) -> bool:
        """True if there are no problems."""
        return not self.problems


@dataclass(frozen=True)
class Sample:
    """A part of the states and objects: the ``number``-th of ``parts`` equal ones.

    Together the parts cover everything; refs, logs and links between lines belong to each.
    """

    number: int = 1
    parts: int = 1

    def has(self, where: int) -> bool:
        """Return True if the thing of this number belongs to the part."""
        return where % self.parts == self.number - 1
