"""``simgit tag``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import Output, first_line
from simgit.cli.params import REVISION, matches
from simgit.refs.names import expanded

if TYPE_CHECKING:
    from simgit.repository import Repository


@command("tag", example="""\
simgit tag v1 main@200 -m 'before the change of reward'
simgit tag -d v1""")  # fmt: skip
@click.argument("names", nargs=-1, type=REVISION, metavar="[NAME [REVISION]]")
@click.option("-m", "--message", help="Message of an annotated tag.")
@click.option("-f", "--force", is_flag=True, help="Move an existing tag.")
@click.option("-d", "--delete", is_flag=True, help="Delete tags, or those that patterns match.")
@click.option("-l", "--list", "listing", is_flag=True, help="List the tags that match patterns.")
def tag(
    app: App,
    names: tuple[str, ...],
    message: str | None,
    force: bool,
    delete: bool,
    listing: bool,
    as_json: bool,
) -> None:
    """List the tags, or create the tag NAME at REVISION (default: HEAD)."""
    one_of(delete=delete, message=message, list=listing)
    one_of(delete=delete, force=force)
    for option, given in (("--message", message is not None), ("--force", force)):
        if given and (listing or not names):
            raise click.UsageError(f"{option} needs the NAME of a tag to create")
    with app.repository() as repo, app.output() as out:
        if delete:
            _delete(repo, out, names, as_json)
        elif names and not listing:
            if len(names) > 2:
                raise click.UsageError(f"expected [NAME [REVISION]], got {len(names)} arguments")
            tagger = os.environ.get("SIMGIT_AUTHOR", "")
            oid = repo.tag(*names, message=message, tagger=tagger, force=force)
            if as_json:
                out.json({"name": names[0], "oid": oid})
        else:
            _list(repo, out, names, as_json)


def _delete(repo: Repository, out: Output, names: tuple[str, ...], as_json: bool) -> None:
    if not names:
        raise click.UsageError("-d needs the name of a tag")
    names = tuple(expanded(names, repo.tags(), "tag"))
    with repo.transaction("delete-tag", *names):
        deleted = {name: repo.delete_tag(name) for name in names}
    for name, oid in deleted.items():
        if as_json:
            out.json({"deleted": name, "oid": oid})
        else:
            out.line(f"deleted tag {name} (was {oid.short(repo.abbreviation)})")


def _list(repo: Repository, out: Output, patterns: tuple[str, ...], as_json: bool) -> None:
    digits = repo.abbreviation
    rows = []
    for name, (oid, note) in repo.tags().items():
        if not matches(name, patterns):
            continue
        if as_json:
            from simgit.repository.jsonable import tag_record

            out.json(tag_record(name, oid, note))
        remark = first_line(note.message) if note else ""
        rows.append([(name, "tag"), (oid.short(digits), "oid"), remark])
    if not as_json:
        out.table(rows)
