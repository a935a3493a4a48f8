"""What a check finds, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

INDEX: Final = "index"
COUNTERS: Final = "counters"
CHILDREN: Final = "children"
NAMES: Final = "names"
LOGS: Final = "reflogs"
LINES: Final = "lines"
REFS: Final = "refs"
STATES: Final = "states"
OBJECT: Final = "object"
ARRAYS: Final = "arrays"
ALONE: Final = (INDEX, COUNTERS, CHILDREN, NAMES, LOGS, LINES, REFS)
"""What a repository can repair from what else it has."""
COPIES: Final = (STATES, OBJECT, ARRAYS)
"""What needs good copies from another repository."""
REPAIR: Final = "simgit fsck --repair"
REPAIR_FROM: Final = "simgit fsck --repair --from REPOSITORY"


@dataclass(frozen=True)
class Problem:
    """Something that is damaged or missing.

    Attributes:
        what: in words.
        runs: maps the runs whose history it touches to the steps (first, last) that it costs.
        kind: what kind of thing is damaged, if it can be repaired.
        where: which: a place, the oid of an object, the key of a group, a ref's full name.
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
        """The commands that repair it, the best first; none if nothing does.

        States that cannot be had back cost their runs: without a copy, repairing moves the runs
        back to their last good state.
        """
        if self.kind in ALONE:
            return (REPAIR,)
        if self.kind == STATES and self.runs:
            return (REPAIR_FROM, REPAIR)
        return (REPAIR_FROM,) if self.kind in COPIES else ()


@dataclass
class FsckReport:
    """What was checked, and what was found.

    ``is_complete`` is False if time was over before everything had been looked at.
    """

    states: int = 0
    arrays: int = 0
    objects: int = 0
    problems: list[Problem] = field(default_factory=list)
    is_complete: bool = True

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class Sample:
    """A part of the states and objects: the ``number``-th of ``parts`` that are alike.

    All parts together are everything; refs, logs and links between lines belong to each.
    """

    number: int = 1
    parts: int = 1

    def has(self, where: int) -> bool:
        """Return whether what is numbered so belongs to the part."""
        return where % self.parts == self.number - 1
