"""``simgit reflog``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command
from simgit.cli.output import first_line, when
from simgit.cli.params import REVISION
from simgit.errors import NotFound


@command("reflog", example="simgit reflog main")
@click.argument("ref", default="HEAD", type=REVISION)
@click.option(
    "-n", "--max-count", "limit", type=click.IntRange(0), help="Number of entries at most."
)
def reflog(app: App, ref: str, limit: int | None, as_json: bool) -> None:
    """Show the earlier values of a run, a tag or HEAD, newest first."""
    from simgit.refs.names import HEAD

    with app.repository() as repo, app.output(page=True) as out:
        digits = repo.abbreviation
        try:
            entries = repo.reflog(ref)[:limit]
        except NotFound:
            if ref == HEAD:
                repo.resolve(HEAD)  # without states this says so
            raise
        for i, entry in enumerate(entries):
            if as_json:
                from simgit.repository.jsonable import entry_record

                out.json(entry_record(i, entry))
                continue
            oid = out.paint(entry.new.short(digits), "oid") if entry.new else "-" * digits
            out.line(f"{oid} {ref}@{{{i}}} {when(entry.time)}: {first_line(entry.message)}")
