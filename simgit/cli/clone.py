"""``simgit clone``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import click

from simgit.cli.app import App, command
from simgit.cli.fetch import DEPTH, JOBS, NO_ATTACHMENTS, jobs_of
from simgit.cli.output import progress
from simgit.errors import AlreadyExists, plural

_SSH: Final = re.compile(r"[\w.-]+@[\w.-]+:")


@command("clone", example="""\
simgit clone my-experiment backup
simgit clone s3://bucket/swing
simgit clone /mnt/shared/swing --run 'worker/*'""", at_op=False)  # fmt: skip
@click.argument("source", type=click.Path())
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("-n", "--no-checkout", is_flag=True, help="Write no files of HEAD's state.")
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Of a remote, only these runs.")
@DEPTH
@NO_ATTACHMENTS
@click.option("--endpoint", metavar="URL", default="", help="Address of a service that speaks S3.")
@click.option("--region", metavar="REGION", default="", help="Region of the bucket.")
@click.option("--profile", metavar="NAME", default="", help="Profile of ~/.aws to take keys from.")
@JOBS
def clone(
    app: App,
    source: str,
    directory: Path | None,
    no_checkout: bool,
    runs: tuple[str, ...],
    depth: int | None,
    no_attachments: bool,
    endpoint: str,
    region: str,
    profile: str,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Copy a repository, compacted, even while others write to it, or a remote.

    SOURCE is a directory, or the URL of a remote: s3://BUCKET/PREFIX or file:///PATH. A clone of a
    remote has it as origin, and all its runs and tags, or those named with --run. With --depth it
    is shallow: it has the newest states of runs, and no tags.
    The default DIRECTORY is SOURCE's name in the current directory.
    """
    from simgit.remotes.clone import is_remote
    from simgit.repository import Repository
    from simgit.storage.directory import DIRECTORY

    if no_attachments and depth is None:
        raise click.UsageError("--no-attachments needs --depth")
    is_url = "://" in source
    if _SSH.match(source):
        raise click.UsageError(
            f"cannot clone from '{source}'; give a directory, or the URL of a remote"
        )
    place = source if is_url else str(app.path(source))
    resolved = Path(source.partition("://")[2]) if is_url else Path(place).resolve()
    name = resolved.name.removesuffix(".simgit")
    target = app.path(directory or name or resolved.parent.name)
    if target.is_dir() and any(each.name != DIRECTORY for each in target.iterdir()):
        raise AlreadyExists(f"destination '{target}' already exists and is not empty", path=target)
    options: dict[str, Any] = {}
    with progress("clone", not as_json) as tell:
        if is_remote(place):
            given = {"endpoint": endpoint, "region": region, "profile": profile}
            options = {"jobs": jobs_of(jobs), "progress": tell, **given}
            options |= {"depth": depth, "attachments": not no_attachments}
        elif endpoint or region or profile or jobs or depth:
            raise click.UsageError(
                "--endpoint, --region, --profile, --jobs and --depth are for remotes"
            )
        copied = Repository.clone(
            place, target, checkout=not no_checkout, runs=runs or None, **options
        )
    with copied as repo, app.output() as out:
        if as_json:
            out.json({"directory": str(repo.directory), "runs": list(repo.runs)})
        else:
            out.line(f"cloned {plural(len(repo.runs), 'run')} into {repo.directory}")
