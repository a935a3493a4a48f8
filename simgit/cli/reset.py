"""``simgit reset``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command
from simgit.cli.params import REVISION, RUN


@command(
    "reset",
    example="""\
simgit reset main@500
simgit reset --hard main@{1}
simgit reset --run try-1 try-1@ep3""",
)
@click.argument("revision", default="HEAD", type=REVISION)
@click.option("--run", "name", type=RUN, help="Run to move (default: HEAD's).")
@click.option("--hard", is_flag=True, help="Restore the state's files, over local changes too.")
def reset(app: App, revision: str, name: str | None, hard: bool, as_json: bool) -> None:
    """Move a run to a state, and continue from there under the same name.

    Nothing is deleted: the reflog names the state that the run was at, 'simgit reset RUN@{1}' or
    'simgit undo' returns to it. Configuration, tags, other runs and attachments stay. The files of
    the working directory stay too, without --hard.
    """
    from simgit.objects.oid import Oid

    with app.repository() as repo, app.output() as out:
        head = repo.head
        subject = name if name is not None or isinstance(head, Oid) else head
        before = repo.runs[subject].oid if subject is not None and subject in repo.runs else head
        oid = repo.reset(revision, run=name, hard=hard)
        if as_json:
            out.json({"run": subject, "oid": oid, "before": before})
            return
        digits = repo.abbreviation
        what = "HEAD" if subject is None else f"run {subject}"
        was = f" (was {before.short(digits)})" if isinstance(before, Oid) else ""
        step = repo.state(oid).step
        out.line(f"{what} is now at {out.paint(oid.short(digits), 'oid')}, step {step}{was}")
