"""``simgit config``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.params import RUN, qualified, settings
from simgit.cli.render import run_info, write_settings
from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from simgit.repository import Repository


@command("config", example="""\
simgit config
simgit config try-1 agent.lr=0.001 agent.name=dqn
simgit config try-1 --unset agent.lr
simgit config --repository oplog.days=30
simgit config --repository live.types.swing=pendulum.py:swing""")  # fmt: skip
@click.argument("words", nargs=-1, type=RUN, metavar="[RUN] [KEY=VALUE]…")
@click.option("--unset", multiple=True, metavar="KEY", help="Override to remove.")
@click.option("--own", is_flag=True, help="Only the run's own overrides, not inherited settings.")
@click.option("--repository", is_flag=True, help="Settings of the repository, not of a run.")
def config(
    app: App,
    words: tuple[str, ...],
    unset: tuple[str, ...],
    own: bool,
    repository: bool,
    as_json: bool,
) -> None:
    """Show or change the configuration of a run (default: HEAD's).

    Inherited settings are included. A VALUE is JSON or a plain string, a KEY may be dotted. A star
    marks the run's own overrides.

    With --repository the settings are those of maintenance, such as gc.grace; live.types.NAME, the
    import path of a type of simulations; and remote.NAME.url, with endpoint, region, profile,
    read-only and single-writer. A star marks those that differ from the default.
    """
    one_of(own=own, repository=repository)
    if repository:
        _repository(app, words, unset, as_json)
        return
    run = words[0] if words and "=" not in words[0] else None
    pairs = words if run is None else words[1:]
    with app.repository() as repo, app.output() as out:
        run = run if run is not None else _head(repo)
        info = run_info(repo, run)
        if pairs or unset:
            if info.name not in repo.runs:
                raise InvalidInput(
                    f"'{run}' is a run of a remote, which is only looked at; 'simgit branch NAME "
                    f"{run}' begins one of yours"
                )
            given = qualified(settings(pairs), repo.config(run)) if pairs else {}
            repo.configure(run, given, unset=unset)
            if not as_json:
                return
            info = repo.runs[run]
        shown = dict(info.overrides if own else info.config)
        if as_json:
            from simgit.objects.json_form import value_to_json

            out.json(value_to_json(shown))
        else:
            write_settings(out, shown, {} if own else dict(info.overrides))


def _repository(app: App, words: tuple[str, ...], unset: tuple[str, ...], as_json: bool) -> None:
    from simgit.refs.settings import default_setting

    with app.repository() as repo, app.output() as out:
        with repo.transaction("config"):
            for name, value in settings(words).items():
                repo.set_setting(name, value)
            for name in unset:
                repo.set_setting(name, None)
        if (words or unset) and not as_json:
            return
        found = repo.settings()
        changed = {name: value for name, value in found.items() if value != default_setting(name)}
        out.json(found) if as_json else write_settings(out, found, changed)


def _head(repo: Repository) -> str:
    from simgit.objects.oid import Oid

    if isinstance(repo.head, Oid):
        raise click.UsageError("HEAD is detached: name a run")
    return repo.head_run.name
