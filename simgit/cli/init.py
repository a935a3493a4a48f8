"""``simgit init``."""

from __future__ import annotations

from pathlib import Path

import click

from simgit.cli.app import App, command


@command("init", example="simgit init my-experiment", at_op=False)
@click.argument("directory", required=False, default=".", type=click.Path(path_type=Path))
def init(app: App, directory: Path, as_json: bool) -> None:
    """Create an empty repository in DIRECTORY (default: the current one)."""
    from simgit.repository import Repository

    with Repository.init(app.path(directory)) as repo, app.output() as out:
        if as_json:
            out.json({"directory": str(repo.directory)})
        else:
            out.line(f"initialized empty simgit repository in {repo.directory}")
