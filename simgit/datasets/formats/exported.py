"""Writing an export to its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simgit.datasets.formats.base import Format
from simgit.datasets.formats.manifest import by_family
from simgit.datasets.formats.selection import Export
from simgit.datasets.formats.target import new_place, size_of
from simgit.errors import InvalidInput


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        states: the number of states that were written.
        runs: the names of the runs.
        bytes: the size of the file, or of all files in the directory.
        lossy: why the file is not what was recorded, None if an import gives the same oids.
        notes: what was left out, a line each.
    """

    states: int
    runs: tuple[str, ...]
    bytes: int
    lossy: str | None
    notes: tuple[str, ...]


def write_export(format: Format, export: Export, target: Path, replace: bool) -> Exported:
    """Write an export to a new file or directory; return the result.

    A format with ``in_place`` set writes at the final path, and may add to what is there; one with
    ``lossy`` says why its files never give the same oids.

    Raises:
        InvalidInput: there are no states, or the format cannot express them.
        AlreadyExists, StorageError: see ``new_place``.
    """
    preset = export.options.get("names")
    if preset is not None:
        raise InvalidInput(
            f"columns cannot be named as in '{preset}', whose rows are transitions, while rows are "
            "states here; minari, lerobot and numpy with -o layout=d4rl have transitions"
        )
    if not export.count:
        raise InvalidInput("there are no states to export")
    if getattr(format, "in_place", False):
        format.write(export, target)
    else:
        with new_place(target, replace) as place:
            format.write(export, place)
    names = tuple(run.name for run in export.runs)
    lossy = export.lossy or getattr(format, "lossy", None)
    notes = [*export.notes]
    if export.attachments and not getattr(format, "in_place", False):
        counts = ", ".join(
            f"{count} '{name}'" for name, count in by_family(export.attachments).items()
        )
        notes.append(f"attachments left out, which only bundles carry: {counts}")
    return Exported(export.written, names, size_of(target), lossy, tuple(notes))
