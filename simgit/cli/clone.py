"""``simgit clone``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from simgit.cli.app import App, command
from simgit.errors import AlreadyExists, plural

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://|[\w.-]+@[\w.-]+:")


@command("clone", example="simgit clone my-experiment backup", at_op=False)
@click.argument("source", type=click.Path())
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("-n", "--no-checkout", is_flag=True, help="Write no files of HEAD's state.")
def clone(app: App, source: str, directory: Path | None, no_checkout: bool, as_json: bool) -> None:
    """Copy a repository, compacted, even while others write to it.

    The default DIRECTORY is SOURCE's name in the current directory.
    """
    from simgit.repository import Repository
    from simgit.storage.directory import DIRECTORY

    if _URL.match(source):
        raise click.UsageError(
            f"cannot clone from URL '{source}'; give the directory of a repository"
        )
    name = app.path(source).resolve().name.removesuffix(".simgit")
    target = app.path(directory or name or app.path(source).resolve().parent.name)
    if target.is_dir() and any(each.name != DIRECTORY for each in target.iterdir()):
        raise AlreadyExists(f"destination '{target}' already exists and is not empty", path=target)
    copied = Repository.clone(app.path(source), target, checkout=not no_checkout)
    with copied as repo, app.output() as out:
        if as_json:
            out.json({"directory": str(repo.directory), "runs": list(repo.runs)})
        else:
            out.line(f"cloned {plural(len(repo.runs), 'run')} into {repo.directory}")
