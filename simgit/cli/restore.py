"""``simgit restore``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.params import REVISION
from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from simgit.repository import Repository


@command(
    "restore",
    example="""\
simgit restore model.bin
simgit restore --source main@200 configs""",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@click.option(
    "--source",
    "revision",
    default="HEAD",
    type=REVISION,
    help="State of the files (default: HEAD).",
)
def restore(app: App, paths: tuple[str, ...], revision: str, as_json: bool) -> None:
    """Restore files of a state in the working directory, over local changes.

    PATH is a file, a directory, or '.' for all of them. HEAD does not move.
    """
    with app.repository() as repo:
        restore_paths(app, repo, revision, paths, as_json)


def restore_paths(
    app: App, repo: Repository, revision: str, paths: tuple[str, ...], as_json: bool
) -> None:
    """Restore files, given relative to where the command was started, and print their number."""
    written = repo.restore_files([_inside(app, repo, path) for path in paths], revision)
    with app.output() as out:
        if as_json:
            out.json({"source": repo.resolve(revision), "files": list(written)})
        else:
            out.line(f"restored {len(written)} file{'s' * (len(written) != 1)} from {revision}")


def _inside(app: App, repo: Repository, path: str) -> str:
    """Return a path relative to the working directory of the repository."""
    root = repo.worktree
    assert root is not None
    target = Path.cwd() / app.path(path)  # only what leads there is resolved, not a link itself
    found = os.path.relpath(os.path.normpath(target.parent.resolve() / target.name), root)
    if found == ".." or found.startswith("../"):
        raise InvalidInput(f"'{path}' is outside of the working directory '{root}'", name=path)
    return found
