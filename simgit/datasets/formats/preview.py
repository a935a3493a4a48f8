"""The contents of a source, without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from simgit.datasets.formats.base import Contents, PackedStates
from simgit.datasets.formats.packing import row_values
from simgit.datasets.formats.selection import Progress
from simgit.objects.columns import check_columns, row_value

FIRST: Final = 3
"""The number of states of each run that are shown."""


@dataclass(frozen=True)
class PreviewedRun:
    """A run of a source: its name, number of states, configuration, and first states."""

    name: str
    states: int
    parent: tuple[str, int] | None
    config: Mapping[str, Any]
    first: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ImportPreview:
    """The contents of a source.

    Attributes:
        runs: its runs.
        lossy: why it is imported as a new run only, None if that is not so.
        notes: what would be guessed or left out, a line each.
    """

    runs: tuple[PreviewedRun, ...]
    lossy: str | None
    notes: tuple[str, ...]


def preview(contents: Contents, progress: Progress | None = None) -> ImportPreview:
    """Read a source to its end, and return what it has; no hash is compared."""
    runs = []
    done = 0
    for run in contents.runs:
        count = 0
        first: list[Mapping[str, Any]] = []
        for block in run.blocks:
            if isinstance(block, PackedStates):
                size = block.rows.count
                if len(first) < FIRST:
                    first += islice(row_values(block.rows.slice(0, FIRST)), FIRST - len(first))
            else:
                size = check_columns(block)
                first += [row_value(block, i) for i in range(min(size, FIRST - len(first)))]
            count, done = count + size, done + size
            if progress is not None:
                progress(done, contents.total)
        for _ in run.attachments:  # a reader may note what it leaves out
            pass
        runs.append(PreviewedRun(run.name, count, run.parent, run.config, tuple(first)))
    return ImportPreview(tuple(runs), contents.lossy, tuple(contents.notes))
