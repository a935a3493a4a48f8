"""``simgit stats``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command
from simgit.cli.output import Output, columns, shortened, size, when

if TYPE_CHECKING:
    from simgit.maintenance.stats import Stats, StoredPart

_HEAD: Final = ("", "count", "logical", "unique", "on disk", "ratio")
_MOST: Final = 20
_NUMBERS: Final = 56
"""The columns of the terminal that the numbers of a table take."""


@command("stats", example="simgit stats\nsimgit stats --json")
@click.option(
    "--all", "every", is_flag=True, help="List all runs and columns, not only the largest 20."
)
def stats(app: App, every: bool, as_json: bool) -> None:
    """Show what takes the space, and the size after each gc.

    The logical size counts every value, the unique size each value once, and the size on disk is
    that of the unique values, compressed.
    """
    with app.repository() as repo:
        found = repo.stats()
    with app.output(page=True) as out:
        if as_json:
            out.json(found)
        else:
            _print(out, found, None if every else _MOST)


def _print(out: Output, found: Stats, most: int | None) -> None:
    out.line(f"{size(found.size)} on disk, {size(found.spare)} of them unused")
    _parts(out, "kind", {**found.kinds, "total": found.total}, None)
    _parts(out, "column", found.columns, most)
    _parts(out, "attachment", found.attachments, most)
    if found.runs:
        rows: list[Any] = [("run", "states", "own", "bytes", "own bytes")]
        runs = sorted(found.runs.items(), key=lambda item: -item[1].stored)
        rows += (
            ((name, "run"), f"{run.states:,}", f"{run.own:,}", size(run.stored),
             size(run.own_stored))
            for name, run in runs[:most]
        )  # fmt: skip
        _table(out, rows, len(runs), most, right=(1, 2, 3, 4))
    if found.history:
        rows = [("after gc", "bytes", "states", "objects")]
        rows += (
            (when(each.time)[:16], size(each.bytes), f"{each.states:,}", f"{each.objects:,}")
            for each in found.history[-10:]
        )
        _table(out, rows, 0, None, right=(1, 2, 3))


def _parts(out: Output, title: str, parts: Mapping[str, StoredPart], most: int | None) -> None:
    if not parts:
        return
    rows: list[Any] = [(title, *_HEAD[1:])]
    room = max(16, columns() - _NUMBERS)
    ordered = sorted(parts.items(), key=lambda item: (item[0] == "total", -item[1].stored))
    for name, part in ordered[:most]:
        ratio = part.deduplication * part.compression
        rows.append((shortened(name, room), f"{part.count:,}", size(part.logical), size(part.raw),
                     size(part.stored), f"{ratio:.1f}"))  # fmt: skip
    _table(out, rows, len(parts), most, right=(1, 2, 3, 4, 5))


def _table(
    out: Output, rows: Iterable[Any], count: int, most: int | None, right: tuple[int, ...]
) -> None:
    out.line()
    head, *rest = rows
    out.table([[(cell, "dim") for cell in head], *rest], right)
    if most is not None and count > most:
        out.line(f"… and {count - most} more (--all)")
