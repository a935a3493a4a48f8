"""``simgit config``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command
from simgit.cli.describe import write_settings
from simgit.cli.values import RUN, settings
from simgit.oid import Oid
from simgit.repository import Repository


@command("config", example="""\
simgit config
simgit config try-1 agent.lr=0.001 agent.name=dqn
simgit config try-1 --unset agent.lr""")  # fmt: skip
@click.argument("words", nargs=-1, type=RUN, metavar="[RUN] [KEY=VALUE]…")
@click.option("--unset", multiple=True, metavar="KEY", help="Remove an override of the run.")
@click.option("--own", is_flag=True, help="Only the run's own overrides, not what it inherits.")
def config(
    app: App, words: tuple[str, ...], unset: tuple[str, ...], own: bool, as_json: bool
) -> None:
    """Show the configuration of a run (HEAD's by default) with what it inherits, or change it.

    Values are JSON, or plain strings; keys may be dotted. A star marks the run's own settings.
    """
    run = words[0] if words and "=" not in words[0] else None
    pairs = words if run is None else words[1:]
    with app.repository() as repo, app.output() as out:
        run = run if run is not None else _head(repo)
        if pairs or unset:
            repo.configure(run, settings(pairs), unset=unset)
            if not as_json:
                return
        info = repo.run(run)
        shown = dict(info.overrides if own else info.config)
        if as_json:
            out.json(shown)
        else:
            write_settings(out, shown, {} if own else dict(info.overrides))


def _head(repo: Repository) -> str:
    head = repo.head
    if isinstance(head, Oid):
        raise click.UsageError("HEAD is detached: name a run")
    return head
