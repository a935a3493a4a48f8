"""``simgit run``: list and show runs, and set their status."""

from __future__ import annotations

from typing import Any

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.cli.branch import write_runs
from simgit.cli.params import RUN, Choice, settings
from simgit.cli.render import run_record, write_run

STATUSES = ("active", "paused", "completed", "failed", "crashed")


@click.group("run", cls=CommandGroup)
def run() -> None:
    """List and show runs, and set their status: active, paused, completed or failed."""


@command("list", example="simgit run list --status failed")
@click.option("--status", type=Choice(STATUSES), help="Only runs of this status.")
def run_list(app: App, status: str | None, as_json: bool) -> None:
    """List the runs with their returns and settings."""
    with app.repository() as repo, app.output(page=True) as out:
        infos = [info for info in repo.runs.values() if status in (None, info.status)]
        if as_json:
            for info in infos:
                out.json(run_record(info))
        else:
            write_runs(out, repo, infos, verbose=True)


@command("show", example="simgit run show try-1")
@click.argument("name", required=False, type=RUN)
def run_show(app: App, name: str | None, as_json: bool) -> None:
    """Show the record of a run (default: HEAD's)."""
    with app.repository() as repo, app.output() as out:
        info = repo.head_run if name is None else repo.runs[name]
        out.json(run_record(info)) if as_json else write_run(out, repo, info)


@command("set", example="simgit run set try-1 operator=ada note='second machine'")
@click.argument("name", type=RUN)
@click.argument("pairs", nargs=-1, required=True, metavar="KEY=VALUE…")
def run_set(app: App, name: str, pairs: tuple[str, ...], as_json: bool) -> None:
    """Set metadata of a run: notes that are not part of its configuration."""
    with app.repository() as repo, app.output() as out:
        repo.configure(name, metadata=settings(pairs))
        if as_json:
            out.json(run_record(repo.runs[name]))


run.add_command(run_list)
run.add_command(run_show)
run.add_command(run_set)


def _status_command(verb: str, status: str, text: str) -> None:
    @command(verb, example=f"simgit run {verb} try-1")
    @click.argument("names", nargs=-1, type=RUN, metavar="[RUN]…")
    def change(app: App, names: tuple[str, ...], as_json: bool) -> None:
        with app.repository() as repo, app.output() as out:
            runs = repo.runs.matching(*names) if names else [repo.head_run.name]
            with repo.transaction(f"run {verb}", *runs):
                for name in runs:
                    repo.set_status(name, status)
            for name in runs:
                record: dict[str, Any] = {"name": name, "status": status}
                out.json(record) if as_json else out.line(f"run {name} is {status}")

    change.help = text
    run.add_command(change)


_status_command(
    "complete",
    "completed",
    "Mark runs (default: HEAD's) as completed, which ends recording.",
)
_status_command("reopen", "active", "Make runs (default: HEAD's) active again, completed ones too.")
_status_command("pause", "paused", "Mark runs (default: HEAD's) as paused.")
_status_command("fail", "failed", "Mark runs (default: HEAD's) as failed.")
