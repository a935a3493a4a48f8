"""``simgit worker``: run a program as a worker."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Final

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.errors import NotFound, StorageError, reason

INDEXES: Final = ("JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID")
"""The environment variables in which Kubernetes and Slurm tell a worker its index."""
_INDEX: Final = "{index}"
_IGNORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Python ignores these, and so would a program that it becomes."""


@click.group("worker", cls=CommandGroup)
def worker() -> None:
    """Run programs as workers: each records for itself, and pushes to one remote."""


def storage_options(function: Any) -> Any:
    """Add the options that say how to reach a remote."""
    for name, metavar, text in (
        ("--profile", "NAME", "Profile of ~/.aws to take keys from."),
        ("--region", "REGION", "Region of the bucket."),
        ("--endpoint", "URL", "Address of a service that speaks S3."),
    ):
        function = click.option(name, metavar=metavar, help=text)(function)
    return function


@command("run", example="""\
simgit worker run --remote s3://bucket/exp --name worker/7 -- python train.py
simgit worker run --remote /mnt/exp --name 'worker/{index}' -- python train.py""",
    at_op=False)  # fmt: skip
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD…")
@click.option("--remote", required=True, metavar="URL", help="Remote to push to.")
@click.option("--name", required=True, help="Name of the worker; {index} stands for its index.")
@click.option(
    "--index", type=click.IntRange(0),
    help="Index of the worker (default: of the array job that it belongs to).",
)  # fmt: skip
@click.option("--directory", metavar="DIR", help="Directory of the local repository.")
@click.option("--push-bytes", metavar="SIZE", help="Growth between two pushes (default 16MiB).")
@click.option("--push-seconds", metavar="S", help="Seconds between two pushes (default 300).")
@click.option("--grace", metavar="S", help="Seconds for the last push after SIGTERM (default 25).")
@click.option(
    "--max-unpushed", metavar="SIZE",
    help="Bytes not pushed with which recording waits (default 1GiB).",
)  # fmt: skip
@click.option("--keep", metavar="all", help="Keep the local repository after a clean end.")
@storage_options
def run(
    app: App,
    program: tuple[str, ...],
    remote: str,
    name: str,
    index: int | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Run a program whose simgit.worker.open() needs no arguments.

    Everything is passed on in environment variables, SIMGIT_WORKER_REMOTE and so on; the program
    takes the place of this process, so that signals and the exit code are its own. The index is
    that of --index, of JOB_COMPLETION_INDEX (Kubernetes) or of SLURM_ARRAY_TASK_ID.
    """
    from simgit.worker.settings import PREFIX, WorkerSettings

    if _INDEX in name:
        name = name.replace(_INDEX, str(_index(index)))
    if "://" not in remote:
        remote = str(app.path(remote).resolve())
    WorkerSettings.of({"url": remote, "name": name, **given})  # what is wrong is said here
    told = {"remote": remote, "name": name, **given}
    environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    environment |= {PREFIX + key.upper(): str(value) for key, value in told.items() if value}
    sys.stdout.flush()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _IGNORED}
    try:
        os.execvpe(program[0], program, environment)
    except FileNotFoundError:
        raise NotFound(f"cannot run '{program[0]}': there is no such program") from None
    except OSError as error:
        raise StorageError(f"cannot run '{program[0]}': {reason(error)}") from None
    finally:  # this program goes on: a pipe that nobody reads would end it
        for number, handler in before.items():
            signal.signal(number, handler)


def _index(given: int | None) -> int:
    if given is not None:
        return given
    for variable in INDEXES:
        text = os.environ.get(variable, "")
        if text.isdecimal():
            return int(text)
    raise click.UsageError(
        f"the name has {_INDEX}, but there is no index: give --index, or run it in an array job "
        f"({' or '.join(INDEXES)})"
    )


worker.add_command(run)
