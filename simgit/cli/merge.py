"""``simgit merge``: average several agents, in a state with several parents."""

from __future__ import annotations

import click

from simgit.cli.app import App, command
from simgit.cli.params import REVISION, RUN


@command(
    "merge",
    example="""\
simgit merge --average train/a train/b train/c --run train/mean
simgit merge --average --rule median train/a train/b train/c --run train/m
simgit train --resume --run train/mean --episodes 120""",
)
@click.argument("revisions", nargs=-1, required=True, type=REVISION, metavar="RUN RUN…")
@click.option("--average", is_flag=True, help="Average their agents.")
@click.option("--run", "name", type=RUN, help="Run to create.")
@click.option(
    "--rule",
    default="mean",
    metavar="RULE",
    help="mean (default), median, or trimmed(0.1): without a share of extremes.",
)
@click.option(
    "--moments",
    type=click.Choice(["mean", "first", "reset"]),
    default="mean",
    help="Optimiser's moments (default mean).",
)
@click.option(
    "--replay",
    type=click.Choice(["first", "none"]),
    default="first",
    help="Replay buffer (default: the first one's).",
)
def merge(
    app: App, revisions: tuple[str, ...], average: bool, name: str | None, rule: str,
    moments: str, replay: str, as_json: bool,
) -> None:  # fmt: skip
    """Create a run whose agent is the average of other runs' agents.

    The newest checkpoints are averaged, as in FedAvg. The run's first own state has the others as
    parents. Networks and tables are averaged; the counters and the configuration are those of the
    first.
    """
    if not average:
        raise click.UsageError(
            "histories cannot be merged; --average averages the agents of trainings, whose "
            "checkpoints are attached to the runs' states"
        )
    if name is None:
        raise click.UsageError("--run must name the run to create")
    from simgit.training.average import Averaging
    from simgit.training.average import merge as work

    averaging = Averaging(rule, moments, replay)
    with app.repository() as repo, app.output() as out:
        oid = work(repo, name, revisions, averaging)
        if as_json:
            out.json({"run": name, "oid": oid, "parents": list(revisions)})
        else:
            short = out.paint(oid.short(repo.abbreviation), "oid")
            out.line(f"[{name} {short}] {rule} of {', '.join(revisions)}")
