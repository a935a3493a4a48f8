"""``simgit job``: jobs of many workers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.cli.output import Output, raw_bytes
from simgit.cli.params import Choice
from simgit.cli.worker import storage_options

if TYPE_CHECKING:
    from simgit.worker.status import WorkerStatus

_LOOK: Final = 5.0
"""The seconds between two looks of ``--watch``."""
_STYLES: Final = {"done": "good", "running": "", "stuck": "warn", "paused": "warn", "failed": "bad"}
REMOTE = click.option("--remote", required=True, metavar="URL", help="Remote of the workers.")
PREFIX = click.option(
    "--prefix", default="worker/", help="What the names of the workers begin with (worker/)."
)


@click.group("job", cls=CommandGroup)
def job() -> None:
    """Describe jobs of many workers, and see how they get on."""


@command("render", example="""\
simgit job render --kind slurm --completions 9 --remote /exp -- python t.py
simgit job render --kind indexed --completions 9 --image i --remote s3://b x""",
    at_op=False)  # fmt: skip
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@click.option(
    "--kind", type=Choice(["indexed", "slurm"]), required=True,
    help="An Indexed Job of Kubernetes, or an array job of Slurm.",
)  # fmt: skip
@click.option("--completions", type=click.IntRange(1), required=True, help="Number of workers.")
@click.option("--parallelism", type=click.IntRange(1), help="Workers at once (default: all).")
@REMOTE
@click.option("--image", help="Image of the container; for Slurm one that Apptainer runs.")
@click.option("--job", "name", metavar="NAME", default="simgit", help="Name of the job (simgit).")
@PREFIX
@click.option("--namespace", metavar="NAME", help="Namespace of Kubernetes.")
@click.option(
    "--secret", metavar="NAME",
    help="Secret whose keys become environment variables, such as AWS_ACCESS_KEY_ID.",
)  # fmt: skip
@click.option("--volume", metavar="NAME", help="Volume claim to mount at the remote's directory.")
@click.option("--scratch", metavar="SIZE", default="8Gi", help="Most local bytes of a pod (8Gi).")
@storage_options
def render(
    app: App,
    program: tuple[str, ...],
    kind: str,
    completions: int,
    parallelism: int | None,
    remote: str,
    image: str | None,
    name: str,
    prefix: str,
    namespace: str | None,
    secret: str | None,
    volume: str | None,
    scratch: str,
    as_json: bool,
    **storage: str | None,
) -> None:
    """Print a job as a manifest for kubectl, or as a script for sbatch.

    Each worker runs CMD as 'simgit worker run' does, under its index. Nothing is submitted. Keys
    are never part of it: they come from a secret, or from the environment.
    """
    from simgit.worker.render import JobTemplate, indexed_job, slurm_array

    options = [word for key, value in storage.items() if value for word in (f"--{key}", value)]
    remote = remote if "://" in remote else str(app.path(remote).resolve())
    made = JobTemplate(
        program, completions, parallelism or completions, remote, image, name,
        prefix if prefix.endswith("/") else f"{prefix}/", namespace, secret, volume, scratch,
        options,
    )  # fmt: skip
    text = indexed_job(made) if kind == "indexed" else slurm_array(made)
    if not as_json:
        raw_bytes([text.encode()])  # as it is, whatever is in the command
        return
    with app.output() as out:
        out.json({"kind": kind, "text": text})


@command("status", example="""\
simgit job status --remote s3://bucket/exp
simgit job status --remote /mnt/exp --prefix sweep/ --interval 60 --watch""",
    at_op=False)  # fmt: skip
@REMOTE
@PREFIX
@click.option(
    "--interval", type=click.FloatRange(0), default=300.0, metavar="S",
    help="Seconds between two pushes of a worker (300).",
)  # fmt: skip
@click.option("-w", "--watch", is_flag=True, help="Show what changes, until no worker is running.")
@storage_options
def status(
    app: App,
    remote: str,
    prefix: str,
    interval: float,
    watch: bool,
    as_json: bool,
    **storage: str | None,
) -> None:
    """Show which workers are done, running, stuck, paused and failed.

    A worker is stuck if it is not done and has not pushed for three intervals, by the clock of the
    storage. Only refs are read: one listing, and those that changed.
    """
    from simgit.worker.status import JobStatus

    with app.output() as out, JobStatus(_url(app, remote), prefix, **storage) as found:
        rows = _show(out, found.look(interval), {}, as_json)
        while watch and any(row.state in ("running", "stuck") for row in rows.values()):
            time.sleep(_LOOK)
            rows = _show(out, found.look(interval), rows, as_json)


def _show(
    out: Output, rows: list[WorkerStatus], before: dict[str, WorkerStatus], as_json: bool
) -> dict[str, WorkerStatus]:
    """Show the workers whose state is not what it was, and count all of them."""
    new = [row for row in rows if row.name not in before or before[row.name].state != row.state]
    if as_json:
        for row in new:
            out.json(row.__dict__)
    elif new:
        out.table([
            [(row.name, "run"), (row.state, _STYLES[row.state]), f"pushed {_age(row.age)} ago"]
            for row in new
        ])  # fmt: skip
    if not as_json and (new or not before):
        out.line(_summary(rows))
    return {row.name: row for row in rows}


def _summary(rows: list[WorkerStatus]) -> str:
    from simgit.worker.status import STATES

    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return said or "no worker has pushed yet"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@command("missing", example="""\
simgit job missing --remote s3://bucket/exp --completions 1000
sbatch --array=$(simgit job missing --remote /exp --completions 99) job.sh""",
    at_op=False)  # fmt: skip
@REMOTE
@PREFIX
@click.option("--completions", type=click.IntRange(1), required=True, help="Number of workers.")
@storage_options
def missing(
    app: App, remote: str, prefix: str, completions: int, as_json: bool, **storage: str | None
) -> None:
    """Print the indexes of workers that are not done, as sbatch --array takes them."""
    from simgit.worker.status import JobStatus, ranges
    from simgit.worker.status import missing as find_missing

    with app.output() as out, JobStatus(_url(app, remote), prefix, **storage) as found:
        indexes = find_missing(found.look(), completions)
        if as_json:
            out.json({"missing": indexes})
        elif indexes:
            out.line(ranges(indexes))


def _url(app: App, remote: str) -> str:
    return remote if "://" in remote else str(app.path(remote))


for each in (render, status, missing):
    job.add_command(each)
