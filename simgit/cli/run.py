"""``simgit run``: list, show, and how runs stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.cli.branch import write_runs
from simgit.cli.params import RUN, settings
from simgit.cli.render import run_record, write_run

if TYPE_CHECKING:
    from simgit.refs.records import STATUSES


@click.group("run", cls=CommandGroup)
def run() -> None:
    """Show runs, and set how they stand: active, paused, completed, failed."""


@command("list", example="simgit run list --status failed")
@click.option("--status", type=click.Choice(STATUSES), help="Only those that stand so.")
def run_list(app: App, status: str | None, as_json: bool) -> None:
    """List the runs with their returns and settings."""
    with app.repository() as repo, app.output(page=True) as out:
        infos = [info for info in repo.runs() if status in (None, info.status)]
        if as_json:
            for info in infos:
                out.json(run_record(info))
        else:
            write_runs(out, repo, infos, verbose=True)


@command("show", example="simgit run show try-1")
@click.argument("name", required=False, type=RUN)
def run_show(app: App, name: str | None, as_json: bool) -> None:
    """Show the record of a run (HEAD's by default)."""
    with app.repository() as repo, app.output() as out:
        info = repo.run(name)
        out.json(run_record(info)) if as_json else write_run(out, repo, info)


@command("set", example="simgit run set try-1 operator=ada note='second machine'")
@click.argument("name", type=RUN)
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE…")
def run_set(app: App, name: str, pairs: tuple[str, ...], as_json: bool) -> None:
    """Set metadata of a run: free remarks that are no configuration."""
    with app.repository() as repo, app.output() as out:
        repo.configure(name, metadata=settings(pairs))
        if as_json:
            out.json(run_record(repo.run(name)))


run.add_command(run_list)
run.add_command(run_show)
run.add_command(run_set)


def _standing(verb: str, status: str, text: str) -> None:
    @command(verb, example=f"simgit run {verb} try-1")
    @click.argument("names", nargs=-1, type=RUN, metavar="[RUN]…")
    def change(app: App, names: tuple[str, ...], as_json: bool) -> None:
        with app.repository() as repo, app.output() as out:
            runs = names or (repo.run().name,)
            with repo.transaction(f"run {verb}", *runs):
                for name in runs:
                    repo.set_status(name, status)
            for name in runs:
                record: dict[str, Any] = {"name": name, "status": status}
                out.json(record) if as_json else out.line(f"run {name} is {status}")

    change.help = text
    run.add_command(change)


_standing("complete", "completed", "Seal runs (HEAD's by default): nothing more can be recorded.")
_standing("reopen", "active", "Make runs active again (HEAD's by default), completed ones too.")
_standing("pause", "paused", "Mark runs as paused (HEAD's by default).")
_standing("fail", "failed", "Mark runs as failed (HEAD's by default).")
