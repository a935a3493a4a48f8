"""``simgit play``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import number, progress
from simgit.cli.params import REVISION, free_name, settings
from simgit.cli.permission import Asker
from simgit.cli.restore_estimate import announce
from simgit.errors import plural

if TYPE_CHECKING:
    pass


@command(
    "play",
    example="""\
simgit play main@200
simgit play main@ep5 --keys a=0 --keys d=2 --noop 1 --run by-hand""",
)
@click.argument("revision", default="HEAD", type=REVISION)
@click.option("--run", metavar="RUN", help="Run to record on (default 'play/<run>-<number>').")
@click.option("--keys", multiple=True, metavar="KEY=ACTION", help="Action of a key, as JSON.")
@click.option("--noop", metavar="ACTION", help="Action while no key is pressed, as JSON.")
@click.option(
    "--fps", type=click.IntRange(1), help="Steps per second (default: the environment's)."
)
@click.option("--zoom", type=click.FloatRange(0, min_open=True), help="Scale of the window.")
def play(
    app: App,
    revision: str,
    run: str | None,
    keys: tuple[str, ...],
    noop: str | None,
    fps: int | None,
    zoom: float | None,
    as_json: bool,
) -> None:
    """Take over with the keyboard at a recorded state; Escape ends it.

    Your actions are recorded on a new run that is branched off there. Without --keys the
    environment's own keys apply, or else the digits, and a and d if there are two or three
    actions. If no action is known to do nothing, the game waits for a key.
    """
    from simgit.gym.tools.play import play as take_over

    with app.repository() as repo:
        name = run or free_name(repo, f"play/{repo.state(revision).run or 'state'}")
        repo.branch(name, revision)
        begun, trust = repo.resolve(name), Asker(repo)
        if not as_json:
            announce(repo, name, trust=trust)
        try:
            with progress("restore", not as_json) as tell:
                take_over(
                    repo, name, keys=settings(keys), noop=None if noop is None else _json(noop),
                    fps=fps, zoom=zoom, trust=trust, progress=tell,
                )  # fmt: skip
        finally:
            steps = repo.state(name).step - repo.state(begun).step  # whatever ended the game
            if not steps:
                repo.delete_run(name, force=True)
        with app.output() as out:
            if as_json:
                out.json({"run": name if steps else None, "steps": steps})
            elif steps:
                gained = number(float(repo.trajectory(name).rewards[-steps:].sum()))
                out.line(f"[{name}] {plural(steps, 'state')}, return {gained}")
            else:
                out.line("no action was taken, nothing is recorded")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise click.UsageError(f"'{text}' is not JSON") from None
