"""``simgit cat-file``."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import raw_bytes
from simgit.cli.params import REVISION
from simgit.cli.render import write_bytes
from simgit.cli.show import outline, write_state
from simgit.errors import NotFound

if TYPE_CHECKING:
    from simgit.objects.oid import Oid
    from simgit.repository import Repository


def find_object(repo: Repository, text: str) -> tuple[str, Oid]:
    """Return kind and oid of an object: a revision, an abbreviated oid, or ``REVISION:PATH``."""
    from simgit.refs.revision import file_of

    if file_of(text) is not None:
        return repo.file(text)
    try:
        return "state", repo.resolve(text)
    except NotFound:
        if not set(text.lower()) <= set(string.hexdigits):
            raise
        return repo.find_object(text.lower())


@command("cat-file", example="""\
simgit cat-file -t 3f9a2c41
simgit cat-file 3f9a2c41 > model.bin
simgit cat-file main@200:model.bin > model.bin""")  # fmt: skip
@click.argument("name", metavar="OBJECT", type=REVISION)
@click.option("-t", "kind_only", is_flag=True, help="Print the object's kind.")
@click.option("-s", "size_only", is_flag=True, help="Print the object's size in bytes.")
@click.option("-p", "pretty", is_flag=True, help="Print the object readably.")
def cat_file(
    app: App, name: str, kind_only: bool, size_only: bool, pretty: bool, as_json: bool
) -> None:
    """Write the content of an object to standard output.

    That is a blob's bytes, or else the bytes that were hashed. OBJECT is a revision, an
    abbreviated oid, or a file of a state as REVISION:PATH.
    """
    one_of(t=kind_only, s=size_only, p=pretty)
    with app.repository() as repo, app.output() as out:
        kind, oid = find_object(repo, name)
        if as_json:
            out.json({"oid": oid, "kind": kind, "size": repo.object_size(oid)})
        elif kind_only:
            out.line(kind)
        elif size_only:
            out.line(str(repo.object_size(oid)))
        elif pretty:
            _pretty(app, repo, kind, oid)
        else:
            write_bytes(repo, oid)


def _pretty(app: App, repo: Repository, kind: str, oid: Oid) -> None:
    from simgit.objects.kinds import Array, Blob, Tree
    from simgit.objects.schema import Schema

    with app.output(page=kind != "blob") as out:
        if kind == "state":
            write_state(out, repo, repo.state(oid))
            return
        if kind == "blob":
            raw_bytes(repo.stream(oid))
            return
        found = repo.object(oid)
        value: Any = found
        if isinstance(found, Array):
            value = found.data
        elif isinstance(found, Tree):
            value = {entry.name: f"{entry.kind} {entry.oid}" for entry in found.entries}
        elif isinstance(found, Schema):
            value = {".".join(path): str(field) for path, field in found.fields}
        elif not isinstance(found, Blob):
            value = getattr(found, "value", None) or dict(vars(found))
        for line in outline(value):
            out.line(line)
