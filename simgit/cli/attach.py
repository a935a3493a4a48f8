"""``simgit attach`` and ``attachments``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import raw_bytes
from simgit.cli.params import REVISION, load
from simgit.cli.show import outline
from simgit.errors import NotFound


@command(
    "attach",
    example="""\
simgit attach main@200 video episode.mp4
simgit attach HEAD weights @weights.npz""",
)
@click.argument("revision", type=REVISION)
@click.argument("name")
@click.argument("file", metavar="FILE|@FILE")
def attach(app: App, revision: str, name: str, file: str, as_json: bool) -> None:
    """Attach a file to a state that was recorded before.

    This is for what is computed later: a video, weights, a plot. The state's oid does not change.
    FILE is stored as its bytes; @FILE.npy, @FILE.npz and @FILE.json as the arrays and values in it.
    """
    data: Any = load(app.path(file[1:])) if file.startswith("@") else app.path(file)
    if isinstance(data, Path) and not data.is_file():
        why = "is a directory" if data.is_dir() else "no such file"
        raise NotFound(f"cannot read '{data}': {why}")
    with app.repository() as repo, app.output() as out:
        oid = repo.attach(revision, name, data)
        if as_json:
            out.json({"state": repo.resolve(revision), "name": name, "oid": oid})


@command("attachments", example="simgit attachments main@200")
@click.argument("revision", default="HEAD", type=REVISION)
@click.argument("name", required=False)
@click.option("-p", "pretty", is_flag=True, help="Print attachment NAME readably.")
@click.option("-d", "--delete", is_flag=True, help="Remove attachment NAME.")
def attachments(
    app: App, revision: str, name: str | None, pretty: bool, delete: bool, as_json: bool
) -> None:
    """List the attachments of a state, or write the bytes of attachment NAME."""
    one_of(p=pretty, delete=delete)
    if name is None and (pretty or delete):
        raise click.UsageError("-p and -d need the NAME of an attachment")
    with app.repository() as repo, app.output() as out:
        if name is None:
            for each, (kind, oid) in repo.attachments(revision).items():
                if as_json:
                    out.json({"name": each, "kind": kind, "oid": oid})
                else:
                    short = out.paint(oid.short(repo.abbreviation), "oid")
                    out.line(f"{kind:5} {short}  {each}")
            return
        if delete:
            oid = repo.detach(revision, name)
            if as_json:
                out.json({"deleted": name, "oid": oid})
            return
        found = repo.attachments(revision)
        if name in found and found[name][0] == "blob" and not as_json:
            raw_bytes(repo.read_blob(found[name][1]))
            return
        data = repo.attachment(revision, name)
        if as_json:
            from simgit.objects.json_form import value_to_json

            out.json({"name": name, "data": value_to_json(data)})
        else:
            for line in outline(data):
                out.line(line)
