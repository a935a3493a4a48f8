"""``simgit import``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.bundle import STREAM, source
from simgit.cli.export import OPTIONS, format_options
from simgit.cli.output import Output, progress
from simgit.cli.params import RUN
from simgit.errors import plural
from simgit.process import cores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simgit.remotes.bundle import ImportedRef
    from simgit.repository import Repository

_BUNDLE = "bundle"
_MAGIC = b"simgit bundle "
_MOST_JOBS = 4
"""The most processes without ``--jobs``: the one that writes keeps no more of them busy."""


@command(
    "import",
    example="""\
simgit import try.bundle --prefix from-ada/
simgit import runs.parquet
simgit import runs.jsonl --as-new --run edited
simgit import runs.csv --dry-run
simgit import steps.csv --map columns.toml
simgit import sim-arena/runs/step.jsonl -o keep-lines
simgit import logs --prefix tb/ -o follow""",
    at_op=False,
)
@click.argument("file", metavar="SOURCE")
@click.option("--format", metavar="FORMAT", help="Format of SOURCE, if it cannot be told.")
@click.option(
    "--prefix", default="", metavar="TEXT", help="Prefix of the names of imported runs and tags."
)
@click.option(
    "--run", "--as", "rename", type=RUN, metavar="NAME",
    help="Name of the run, if SOURCE has only one.",
)  # fmt: skip
@click.option(
    "--as-new", is_flag=True, help="New oids for all states: of a file that was edited or is lossy."
)
@click.option(
    "--map", "column_map", metavar="FILE",
    help="Map from the columns of SOURCE, a table, to fields; see docs/earlier-systems.md.",
)  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Only show what would be imported.")
@click.option(
    "--max-object", type=click.IntRange(min=1), metavar="BYTES",
    help="Largest object of a bundle to accept (default 2 GiB).",
)  # fmt: skip
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), metavar="N",
    help="Processes, for a large bundle (default one per core, at most 4).",
)  # fmt: skip
@OPTIONS
def import_(
    app: App,
    file: str,
    format: str | None,
    prefix: str,
    rename: str | None,
    as_new: bool,
    column_map: str | None,
    dry_run: bool,
    max_object: int | None,
    jobs: int | None,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Import the runs of a bundle, or of a file of another format.

    SOURCE is a file, a directory, or the URL of a database; a bundle may be -, standard input.
    Its format is found out. Every oid is recomputed: a file that was edited or cut off is refused,
    and nothing is imported.

    A run that exists here moves forward if SOURCE's continues it; otherwise SOURCE's is kept as
    NAME.conflict-1. Run the same command again to resume an interrupted import.
    """
    one_of(prefix=prefix, run=rename)
    one_of(format=format, map=column_map)
    with app.repository() as repo, app.output() as out:
        if format == _BUNDLE or (format is None and _is_bundle(app, file)):
            if as_new or dry_run:
                raise click.UsageError("a bundle has no --as-new or --dry-run; see 'bundle list'")
            jobs = min(_MOST_JOBS, cores()) if jobs is None else jobs
            _import_bundle(app, repo, out, file, prefix, rename, max_object, jobs, as_json)
            return
        if jobs is not None or max_object is not None:
            raise click.UsageError("only a bundle has --jobs and --max-object")
        if file == STREAM:
            raise click.UsageError("only a bundle can be imported from standard input")
        given = file if "://" in file else app.path(file)
        more = format_options(options)
        if column_map is not None:
            more["map"], format = str(app.path(column_map)), format or "table"
        with progress("import", not as_json) as tell:
            if dry_run:
                found = repo.preview_import(given, format=format, options=more, progress=tell)
            else:
                done = repo.import_data(
                    given, format=format, prefix=prefix, rename=rename, as_new=as_new,
                    options=more, progress=tell,
                )  # fmt: skip
        if dry_run:
            _show_preview(out, found, as_json)
        elif as_json:
            out.json({"states": done.states, "refs": _refs(done.refs), "notes": done.notes})
        else:
            _show_refs(out, done.refs)
            out.lines(done.notes)
            out.line(f"read {plural(done.states, 'state')}")


def _is_bundle(app: App, file: str) -> bool:
    if file == STREAM:
        return True
    path = app.path(file)
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC


def _import_bundle(
    app: App,
    repo: Repository,
    out: Output,
    file: str,
    prefix: str,
    rename: str | None,
    max_object: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    with progress("import", not as_json) as tell:
        done = repo.import_bundle(
            source(app, file), prefix=prefix, rename=rename, max_object=max_object,
            jobs=jobs, progress=lambda done: tell(done, None),
        )  # fmt: skip
    if as_json:
        out.json({"states": done.states, "objects": done.objects, "refs": _refs(done.refs)}
                 | {"attachments_aside": done.attachments})  # fmt: skip
        return
    _show_refs(out, done.refs)
    for name in done.attachments:
        out.line(f"{'conflict':9}  attachment kept as {name}")
    out.line(f"stored {plural(done.states, 'state')}, {plural(done.objects, 'object')}")


def _refs(refs: Mapping[str, ImportedRef]) -> dict[str, Any]:
    return {name: {"name": each.name, "what": each.what} for name, each in refs.items()}


def _show_refs(out: Output, refs: Mapping[str, ImportedRef]) -> None:
    for name, outcome in refs.items():
        here = "" if outcome.name == name else f" → {outcome.name}"
        out.line(f"{outcome.what:9}  {name}{here}")


def _show_preview(out: Output, found: Any, as_json: bool) -> None:
    if as_json:
        from simgit.objects.json_form import value_to_json

        runs = [
            {"name": run.name, "states": run.states,
             "parent": None if run.parent is None else list(run.parent),
             "config": value_to_json(run.config), "first": [value_to_json(s) for s in run.first]}
            for run in found.runs
        ]  # fmt: skip
        out.json({"runs": runs, "lossy": found.lossy, "notes": found.notes})
        return
    from simgit.errors import shown

    for run in found.runs:
        above = f", after step {run.parent[1]} of {run.parent[0]}" if run.parent else ""
        out.line(f"run {run.name}: {plural(run.states, 'state')}{above}")
        for i, state in enumerate(run.first):
            values = ", ".join(f"{name} {shown(value)}" for name, value in state.items())
            out.line(f"  {i}  {values}")
    if found.lossy:
        out.line(f"imported with --as-new only: {found.lossy}")
    out.lines(found.notes)
