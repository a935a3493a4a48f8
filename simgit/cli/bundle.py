"""``simgit bundle``: runs and tags in a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from simgit.cli.app import App, CommandGroup, answer_no, command, one_of
from simgit.cli.output import Output, progress, size
from simgit.cli.params import REVISION
from simgit.errors import NotFound, plural
from simgit.refs.names import expanded, is_pattern

if TYPE_CHECKING:
    from simgit.remotes.bundle import Manifest

STREAM = "-"
FILE = click.argument("file", metavar="FILE")


@click.group("bundle", cls=CommandGroup)
def bundle() -> None:
    """Write runs and tags into a file for another repository, and inspect it."""


@command(
    "create",
    example="""\
simgit bundle create try.bundle try-1 try-2
simgit bundle create new.bundle main --not main~1000 --attachments agent
simgit bundle create - --all | ssh host simgit -C runs import -""",
)
@FILE
@click.argument("refs", nargs=-1, metavar="[RUN|TAG]…")
@click.option("--all", "everything", is_flag=True, help="All runs and tags.")
@click.option(
    "--not", "--since", "exclude", multiple=True, metavar="REVISION", type=REVISION,
    help="Leave out this state and its history, which the receiver must have.",
)  # fmt: skip
@click.option(
    "--attachments", "names", multiple=True, metavar="NAME", help="Only attachments of this name."
)
@click.option("--no-attachments", is_flag=True, help="Leave out all attachments.")
def create(
    app: App,
    file: str,
    refs: tuple[str, ...],
    everything: bool,
    exclude: tuple[str, ...],
    names: tuple[str, ...],
    no_attachments: bool,
    as_json: bool,
) -> None:
    """Write runs and tags with their history into FILE; - is standard output.

    RUN and TAG may be patterns such as 'sweep/*'.
    """
    one_of(attachments=names, no_attachments=no_attachments)
    if bool(refs) == everything:
        raise click.UsageError("name the runs and tags, or use --all")
    wanted = () if no_attachments else names or None
    with app.repository() as repo:
        if everything:
            refs = (*(f"runs/{n}" for n in repo.runs), *(f"tags/{n}" for n in repo.tags()))
        elif any(map(is_pattern, refs)):
            refs = tuple(expanded(refs, [*repo.runs, *repo.tags()], "run or tag"))
        target: Path | BinaryIO = sys.stdout.buffer if file == STREAM else app.path(file)
        info = repo.create_bundle(target, refs, exclude=exclude, attachments=wanted)
    if file == STREAM:
        sys.stdout.buffer.flush()
        return
    with app.output() as out:
        if as_json:
            out.json(
                {"states": info.states, "objects": info.objects, "bytes": info.bytes}
                | {"refs": info.refs, "prerequisites": list(info.prerequisites)}
            )
        else:
            out.line(f"{plural(info.states, 'state')}, {plural(info.objects, 'object')}, "
                     f"{plural(len(info.refs), 'ref')}: {size(info.bytes)} in {file}")  # fmt: skip


@command("list", example="simgit bundle list try.bundle")
@FILE
def list_(app: App, file: str, as_json: bool) -> None:
    """List the runs and tags of FILE, and the states that an import needs."""
    from simgit.remotes.bundle import read_manifest
    from simgit.remotes.bundle.files import reading

    with reading(source(app, file)) as read:
        manifest = read_manifest(read)
    with app.output() as out:
        _write_manifest(out, manifest, as_json)


@command("verify", example="simgit bundle verify try.bundle")
@FILE
def verify(app: App, file: str, as_json: bool) -> None:
    """Check the hashes of all of FILE, and that it can be imported here.

    Outside a repository only the file is checked. Exits with 1 if this repository lacks states
    that the bundle continues.
    """
    from simgit.remotes import bundle as bundles
    from simgit.remotes.bundle.files import reading

    with reading(source(app, file)) as read, progress("verify", not as_json) as tell:
        found = bundles.verify(read, progress=lambda done: tell(done, None))
    missing = _missing(app, found.manifest)
    with app.output() as out:
        if as_json:
            out.json(
                {"states": found.states, "objects": found.objects, "bytes": found.bytes}
                | {"refs": found.manifest.refs, "missing": missing}
            )
        else:
            out.line(f"{file} is intact: {plural(found.states, 'state')}, "
                     f"{plural(found.objects, 'object')}, {size(found.bytes)}")  # fmt: skip
            for oid in missing or ():
                out.line(f"this repository lacks state {oid}, which the bundle continues")
    if missing:
        answer_no()


def source(app: App, file: str) -> Path | BinaryIO:
    """Return where a bundle is read from: a file, or standard input for ``-``."""
    return sys.stdin.buffer if file == STREAM else app.path(file)


def _write_manifest(out: Output, manifest: Manifest, as_json: bool) -> None:
    if as_json:
        out.json({"refs": manifest.refs, "prerequisites": list(manifest.prerequisites),
                  "attachments": manifest.attachments and list(manifest.attachments)})  # fmt: skip
        return
    for name, oid in manifest.refs.items():
        out.line(f"{oid or 'no states yet'!s:64}  {name}")
    for oid in manifest.prerequisites:
        out.line(f"{oid}  required")


def _missing(app: App, manifest: Manifest) -> list[str] | None:
    """Return the prerequisites that the repository lacks; None where there is no repository."""
    try:
        repo = app.repository()
    except NotFound:
        return None
    with repo, repo.odb.read() as txn:
        return [str(o) for o in manifest.prerequisites if repo.odb.states.locate(txn, o) is None]


bundle.add_command(create)
bundle.add_command(list_)
bundle.add_command(verify)
