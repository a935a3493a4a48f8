"""``simgit undo`` and ``redo``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command
from simgit.cli.op import tell


@command("undo", example="""\
simgit undo
simgit undo 12""")  # fmt: skip
@click.argument("operation", required=False, metavar="[OP]")
def undo(app: App, operation: str | None, as_json: bool) -> None:
    """Undo the newest operation that is not undone yet, or OP.

    Refuses if a later operation changed the same refs, and names it. Skips what a process is
    recording at the moment; an operation of another program has to be given as OP. 'simgit op log'
    lists the operations, 'simgit redo' redoes what was undone.
    """
    with app.repository() as repo, app.output() as out:
        tell(out, repo, "undone", repo.undo(operation), as_json)


@command("redo", example="simgit redo")
def redo(app: App, as_json: bool) -> None:
    """Redo the operation that was undone last.

    A command that changes the repository after an undo ends the redoing.
    """
    with app.repository() as repo, app.output() as out:
        tell(out, repo, "redone", repo.redo(), as_json)
