"""``simgit rev-parse``, ``cat-file``, ``ls-tree``."""

from __future__ import annotations

import string
import sys
from typing import Any

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.show import outline, write_state
from simgit.cli.values import REVISION
from simgit.errors import InvalidInput, NotFound
from simgit.objects.kinds import Array, Blob, Tree
from simgit.objects.oid import Oid
from simgit.objects.schema import Schema
from simgit.repository import Repository


@command("rev-parse", example="simgit rev-parse --short main~3")
@click.argument("revisions", nargs=-1, required=True, type=REVISION)
@click.option("--short", is_flag=True, help="Print abbreviated oids.")
@click.option("--verify", is_flag=True, help="Exactly one revision.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing if there is none; exit with 1.")
def rev_parse(
    app: App, revisions: tuple[str, ...], short: bool, verify: bool, quiet: bool, as_json: bool
) -> None:
    """Print the oids of the states that revisions name; ranges as oid and ^oid."""
    if verify and len(revisions) != 1:
        raise click.UsageError("--verify takes exactly one revision")
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


def _find(repo: Repository, text: str) -> tuple[str, Oid]:
    """Return kind and oid of an object given by a revision or the beginning of its oid."""
    try:
        return "state", repo.resolve(text)
    except NotFound:
        if not set(text.lower()) <= set(string.hexdigits):
            raise
        return repo.find_object(text.lower())


@command("cat-file", example="""\
simgit cat-file -t 3f9a2c41
simgit cat-file 3f9a2c41 > model.bin""")  # fmt: skip
@click.argument("name", metavar="OBJECT", type=REVISION)
@click.option("-t", "kind_only", is_flag=True, help="Print the object's kind.")
@click.option("-s", "size_only", is_flag=True, help="Print the number of bytes of its content.")
@click.option("-p", "pretty", is_flag=True, help="Print it readably.")
def cat_file(
    app: App, name: str, kind_only: bool, size_only: bool, pretty: bool, as_json: bool
) -> None:
    """Write an object's content to standard output: a blob's bytes, else the bytes it is named by.

    OBJECT is a revision, or the beginning of an oid.
    """
    one_of(t=kind_only, s=size_only, p=pretty)
    with app.repository() as repo, app.output() as out:
        kind, oid = _find(repo, name)
        if as_json:
            out.json({"oid": oid, "kind": kind, "size": repo.object_size(oid)})
        elif kind_only:
            out.line(kind)
        elif size_only:
            out.line(str(repo.object_size(oid)))
        elif pretty:
            _pretty(app, repo, kind, oid)
        else:
            for piece in repo.stream(oid):
                sys.stdout.buffer.write(piece)


def _pretty(app: App, repo: Repository, kind: str, oid: Oid) -> None:
    with app.output(page=kind != "blob") as out:
        if kind == "state":
            write_state(out, repo, repo.state(oid))
            return
        if kind == "blob":
            for piece in repo.stream(oid):
                sys.stdout.buffer.write(piece)
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


@command("ls-tree", example="simgit ls-tree -r main")
@click.argument("name", metavar="TREE", type=REVISION)
@click.option("-r", "recursive", is_flag=True, help="Go into trees.")
def ls_tree(app: App, name: str, recursive: bool, as_json: bool) -> None:
    """List the entries of a tree, or of the tree of a state's files."""
    with app.repository() as repo, app.output(page=True) as out:
        for path, kind, oid in _entries(repo, _tree(repo, name), recursive, ""):
            if as_json:
                out.json({"path": path, "kind": kind, "oid": oid})
            else:
                out.line(f"{kind:5} {out.paint(oid.hex(), 'oid')}  {path}")


def _tree(repo: Repository, name: str) -> Oid:
    kind, oid = _find(repo, name)
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
    tree = repo.object(oid)
    assert isinstance(tree, Tree)
    found = []
    for entry in tree.entries:
        if entry.kind == "tree" and recursive:
            found += _entries(repo, entry.oid, True, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.kind, entry.oid))
    return found
