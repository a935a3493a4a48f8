"""``simgit remote``: the remotes of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, CommandGroup, command
from simgit.cli.output import clean
from simgit.cli.params import REMOTE
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.objects.oid import Oid

NAME = click.argument("name", type=REMOTE, metavar="NAME")


@click.group("remote", cls=CommandGroup, invoke_without_command=True)
@click.option("-v", "--verbose", is_flag=True, help="With the URLs.")
@click.pass_context
def remote(ctx: click.Context, verbose: bool) -> None:
    """List, add and remove remotes: directories and buckets to push to and fetch from."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, verbose=verbose, as_json=False)


@command("list", example="""\
simgit remote list
simgit remote list -v""")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="With the URLs.")
def list_(app: App, verbose: bool, as_json: bool) -> None:
    """List the remotes."""
    with app.repository() as repo, app.output() as out:
        rows = []
        for name, settings in repo.remotes().items():
            if as_json:
                out.json({"name": name, **settings._asdict()})
            notes = [word for word, is_so in (("read-only", settings.read_only),
                     ("single writer", settings.single_writer)) if is_so]  # fmt: skip
            rows.append([name, clean(settings.url), ", ".join(notes)] if verbose else [name])
        if not as_json:
            out.table(rows)


@command("add", example="""\
simgit remote add origin /mnt/shared/swing
simgit remote add origin s3://bucket/swing
simgit remote add lab s3://bucket/swing --endpoint http://ceph:8080""")  # fmt: skip
@NAME
@click.argument("url")
@click.option("--endpoint", metavar="URL", default="", help="Address of a service that speaks S3.")
@click.option("--region", metavar="REGION", default="", help="Region of the bucket.")
@click.option("--profile", metavar="NAME", default="", help="Profile of ~/.aws to take keys from.")
@click.option("--read-only", is_flag=True, help="Refuse to push to it from here.")
@click.option(
    "--single-writer", is_flag=True,
    help="Accept storage that ignores conditional writes: nobody else may push.",
)  # fmt: skip
def add(
    app: App,
    name: str,
    url: str,
    endpoint: str,
    region: str,
    profile: str,
    read_only: bool,
    single_writer: bool,
    as_json: bool,
) -> None:
    """Add a remote: a directory, or s3://BUCKET/PREFIX.

    It is looked at, and nothing is written to it: the first push makes it. Keys come from the
    environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or from ~/.aws, and are never stored.
    """
    given = url if "://" in url else str(app.path(url))
    with app.repository() as repo, app.output() as out:
        exists = repo.add_remote(
            name, given, endpoint=endpoint, region=region, profile=profile, read_only=read_only,
            single_writer=single_writer,
        )  # fmt: skip
        if as_json:
            out.json({"name": name, "exists": exists})
        elif not exists:
            out.line(f"nothing is there yet: 'simgit push {name}' makes it")


@command("rm", example="simgit remote rm lab")
@NAME
def rm(app: App, name: str, as_json: bool) -> None:
    """Remove a remote and its tracking refs; what lies there is kept."""
    with app.repository() as repo, app.output() as out:
        repo.remove_remote(name)
        if as_json:
            out.json({"removed": name})


@command("show", example="simgit remote show origin")
@NAME
def show(app: App, name: str, as_json: bool) -> None:
    """Show the runs and tags of a remote, and how those here stand to them."""
    with app.repository() as repo, app.output() as out, repo.remote(name) as found:
        refs = found.refs()
        here: dict[str, Oid | None] = {f"runs/{n}": i.oid for n, i in repo.runs.items()}
        here |= {f"tags/{n}": oid for n, (oid, _) in repo.tags().items()}
        if as_json:
            out.json({"name": name, "url": found.url, "refs": refs})
            return
        out.line(f"{name}  {clean(found.url)}")
        rows = [[ref, (oid.short(12) if oid else "no states", "oid"), _standing(here, refs, ref)]
                for ref, oid in refs.items()]  # fmt: skip
        out.table(rows)
        out.line(f"{plural(len(refs), 'ref')}")


def _standing(here: dict[str, Oid | None], refs: dict[str, Oid | None], ref: str) -> str:
    if ref not in here:
        return "not here"
    return "as here" if here[ref] == refs[ref] else "other states here"


@command("prune", example="simgit remote prune origin")
@NAME
def prune(app: App, name: str, as_json: bool) -> None:
    """Remove tracking refs of runs that the remote has no more."""
    with app.repository() as repo, app.output() as out, repo.remote(name) as found:
        pruned = found.prune()
        if as_json:
            out.json({"pruned": pruned})
        else:
            out.lines(f"pruned {name}/{each}" for each in pruned)


for each in (list_, add, rm, show, prune):
    remote.add_command(each)
