"""``simgit ls-tree``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.cat_file import find_object
from simgit.cli.params import REVISION
from simgit.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from simgit.objects.oid import Oid
    from simgit.repository import Repository


@command("ls-tree", example="simgit ls-tree -r main")
@click.argument("name", metavar="TREE", type=REVISION)
@click.option("-r", "recursive", is_flag=True, help="List the entries of subtrees too.")
def ls_tree(app: App, name: str, recursive: bool, as_json: bool) -> None:
    """List the entries of a tree, or of the tree of a state's files."""
    with app.repository() as repo, app.output(page=True) as out:
        for path, kind, oid in _entries(repo, _tree(repo, name), recursive, ""):
            if as_json:
                out.json({"path": path, "kind": kind, "oid": oid})
            else:
                out.line(f"{kind:5} {out.paint(oid.hex(), 'oid')}  {path}")


def _tree(repo: Repository, name: str) -> Oid:
    kind, oid = find_object(repo, name)
    if kind == "state":
        files = repo.state(oid).files
        if files is None:
            raise NotFound(f"the state '{name}' has no files")
        return files
    if kind != "tree":
        raise InvalidInput(f"'{name}' is a {kind}, not a tree")
    return oid


def _entries(
    repo: Repository, oid: Oid, recursive: bool, prefix: str
) -> list[tuple[str, str, Oid]]:
    from simgit.objects.kinds import Tree

    tree = repo.object(oid)
    assert isinstance(tree, Tree)
    found = []
    for entry in tree.entries:
        if entry.kind == "tree" and recursive:
            found += _entries(repo, entry.oid, True, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.kind, entry.oid))
    return found
