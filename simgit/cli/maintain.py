"""``simgit gc`` and ``fsck``."""

from __future__ import annotations

from dataclasses import asdict

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import plural, progress


@command("gc", example="simgit gc")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def gc(app: App, quiet: bool, as_json: bool) -> None:
    """Join what was written in small pieces and give back the space; no oid changes."""
    with app.repository() as repo:
        with progress("gc", not quiet) as tell:
            report = repo.gc(tell)
        with app.output() as out:
            if as_json:
                out.json(asdict(report))
            elif not quiet:
                before, after = size(report.size_before), size(report.size_after)
                out.line(f"{report.segments_before} → {report.segments_after} segments")
                out.line(f"{before} → {after} on disk")
                if not report.compacted:
                    out.line("the space is given back when nobody else has the repository open")


@command("fsck", example="simgit fsck")
def fsck(app: App, as_json: bool) -> None:
    """Derive every name again from the bytes and follow every link; exit with 1 at damage."""
    with app.repository() as repo:
        with progress("fsck", not as_json) as tell:
            report = repo.fsck(lambda states: tell(states, None))
        with app.output() as out:
            if as_json:
                out.json(asdict(report) | {"clean": report.is_clean})
            else:
                for problem in report.problems:
                    out.line(f"{out.paint('damaged', 'bad')}: {problem}")
                out.line(
                    f"checked {plural(report.states, 'state')}, {plural(report.arrays, 'array')}, "
                    f"{plural(report.objects, 'object')}: "
                    + (plural(len(report.problems), "problem") if report.problems else "all good")
                )
    if not report.is_clean:
        answer_no()


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
