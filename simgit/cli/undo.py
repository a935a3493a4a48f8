"""``simgit undo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.op import tell

if TYPE_CHECKING:
    pass


@command("undo", example="""\
simgit undo
simgit undo 12""")  # fmt: skip
@click.argument("operation", required=False, metavar="[OP]")
def undo(app: App, operation: str | None, as_json: bool) -> None:
    """Take back the newest operation that is not taken back yet, or OP.

    What was changed again since is named, and nothing is done. What a process records at this
    moment is passed over, and what another program has recorded has to be named. 'simgit op log'
    lists the operations; 'simgit redo' does again what was undone.
    """
    with app.repository() as repo, app.output() as out:
        tell(out, repo, "undone", repo.undo(operation), as_json)


@command("redo", example="simgit redo")
def redo(app: App, as_json: bool) -> None:
    """Do again what was undone last; a command given since ends this."""
    with app.repository() as repo, app.output() as out:
        tell(out, repo, "done again", repo.redo(), as_json)
