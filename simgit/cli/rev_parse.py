"""``simgit rev-parse``."""

from __future__ import annotations

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.params import REVISION
from simgit.errors import NotFound


@command("rev-parse", example="simgit rev-parse --short main~3")
@click.argument("revisions", nargs=-1, required=True, type=REVISION)
@click.option("--short", is_flag=True, help="Print abbreviated oids.")
@click.option("--verify", is_flag=True, help="Require exactly one revision.")
@click.option(
    "-q", "--quiet", is_flag=True, help="Print no error for an unknown revision; exit with 1."
)
def rev_parse(
    app: App, revisions: tuple[str, ...], short: bool, verify: bool, quiet: bool, as_json: bool
) -> None:
    """Print the oids of the states that revisions name; a range as oid and ^oid."""
    if verify and len(revisions) != 1:
        raise click.UsageError(f"--verify takes one revision, got {len(revisions)}")
    with app.repository() as repo, app.output() as out:
        try:
            found = [pair for text in revisions for pair in repo.rev_parse(text)]
        except NotFound:
            if not quiet:
                raise
            answer_no()
        for oid, excluded in found:
            name = oid.short(repo.abbreviation) if short else oid.hex()
            out.json({"oid": oid, "excluded": excluded}) if as_json else out.line(
                "^" * excluded + name
            )
