"""A look at a source before it is imported: its runs, first states, and what will be lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from simgit.datasets.formats.base import Contents, PackedStates
from simgit.datasets.formats.packing import unpacked
from simgit.datasets.formats.selection import Progress
from simgit.objects.columns import ABSENT, Columns, check_columns


@dataclass
class RunPreview:
    """A run of a source: its name, its own states, the first of them, and where it begins."""

    name: str
    parent: tuple[str, int] | None
    status: str
    states: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class ImportPreview:
    """The contents of a source: what an import would bring, with the same notes."""

    runs: list[RunPreview] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def states(self) -> int:
        """The number of states."""
        return sum(run.states for run in self.runs)


def preview(contents: Contents, count: int = 3, progress: Progress | None = None) -> ImportPreview:
    """Read a source to its end and store nothing; return what is in it.

    Args:
        contents: what a format read.
        count: how many of the first states of each run are kept.
        progress: called with the number of states so far, and of how many if that is known.

    Raises:
        SimgitError: what an import of it would raise.
    """
    found = ImportPreview(notes=contents.notes)
    done = 0
    for run in contents.runs:
        here = RunPreview(run.name, run.parent, run.status)
        found.runs.append(here)
        for block in run.blocks:
            columns = unpacked(block) if isinstance(block, PackedStates) else block
            here.first += _first(columns, count - len(here.first))
            here.states += check_columns(columns)
            done = done + check_columns(columns)
            if progress is not None:
                progress(done, contents.total)
        for _ in run.attachments:  # some are refused only when they are read
            pass
    return found


def _first(columns: Columns, count: int) -> list[dict[str, Any]]:
    rows = islice(range(check_columns(columns)), max(0, count))
    return [
        {name: column[i] for name, column in columns.items() if column[i] is not ABSENT}
        for i in rows
    ]
