"""``simgit init``."""

from __future__ import annotations

from pathlib import Path

import click

from simgit.cli.app import App, command


@command("init", example="simgit init my-experiment", at_op=False)
@click.argument("directory", required=False, default=".", type=click.Path(path_type=Path))
def init(app: App, directory: Path, as_json: bool) -> None:
    """Create an empty repository in DIRECTORY (default: the current one).

    A repository that is there already stays as it is.
    """
    from simgit.repository import Repository
    from simgit.storage.directory import DIRECTORY, is_repository

    is_new = not is_repository(app.path(directory).resolve() / DIRECTORY)
    with Repository.init(app.path(directory)) as repo, app.output() as out:
        if as_json:
            out.json({"directory": str(repo.directory)})
        else:
            what = "initialized empty" if is_new else "reinitialized existing"
            out.line(f"{what} simgit repository in {repo.directory}")
