"""``simgit export``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from simgit.cli.app import App, command
from simgit.cli.output import progress, say, size
from simgit.cli.params import REVISION
from simgit.errors import plural
from simgit.storage.durable import is_special

_STREAMED: Final = ("arrow", "csv", "jsonl", "numpy")
"""The formats that a pipe can take."""
OPTIONS = click.option(
    "-o", "--option", "options", multiple=True, metavar="NAME=VALUE",
    help="Option of the format; see docs/formats.md.",
)  # fmt: skip


@command(
    "export",
    example="""\
simgit export parquet runs.parquet main 'sweep/*'
simgit export csv - main --fields observation,reward --where 'reward > 0'
simgit export minari cartpole main""",
)
@click.argument("format", metavar="FORMAT")
@click.argument("target", metavar="TARGET")
@click.argument("revisions", nargs=-1, type=REVISION, metavar="[REVISION]…")
@click.option("--fields", metavar="FIELD,…", help="Only these fields, such as info.lives.")
@click.option("--where", metavar="CONDITION", help="Only the states that meet a condition.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing file.")
@OPTIONS
def export(
    app: App,
    format: str,
    target: str,
    revisions: tuple[str, ...],
    fields: str | None,
    where: str | None,
    force: bool,
    options: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write runs into TARGET, a file or directory of another format.

    TARGET is new; - is standard output. FORMAT is one of 'arrow', 'csv', 'jsonl', 'lerobot',
    'minari', 'numpy', 'parquet' and 'tensorboard'. REVISION is a run, a pattern such as 'sweep/*',
    or a range; HEAD without it. A state that several runs share is written once.

    A row is a state: its observation and reward are what the environment returned for the action
    in the same row. 'simgit import' makes the same states of the file, with the same oids, unless
    --fields or --where leave something out.
    """
    names = None if fields is None else [each for each in fields.split(",") if each]
    if names == []:
        raise click.UsageError("--fields names no field")
    if Path(format).suffix:
        raise click.UsageError(f"the format comes first, as in: simgit export parquet {format}")
    with (
        app.repository() as repo, progress("export", not as_json and target != "-") as tell,
        _stdout(format) if target == "-" else nullcontext(app.path(target)) as where_to,
    ):  # fmt: skip
        done = repo.export(
            format, where_to, *revisions, fields=names, where=where,
            options=format_options(options), replace=force, progress=tell,
        )  # fmt: skip
    notes = [*done.notes, *([f"not the same run when imported: {done.lossy}"] * bool(done.lossy))]
    if target == "-":
        for note in notes:
            say(note)
        return
    with app.output() as out:
        if as_json:
            out.json({"states": done.states, "runs": done.runs, "bytes": done.bytes,
                      "lossy": done.lossy, "notes": done.notes})  # fmt: skip
            return
        for note in notes:
            out.line(note)
        out.line(f"{plural(done.states, 'state')}, {plural(len(done.runs), 'run')}: "
                 f"{size(done.bytes)} in {target}")  # fmt: skip


@contextmanager
def _stdout(format: str) -> Iterator[Path]:
    """Yield the path whose contents are written to stdout.

    A pipe is written to at once, by what is written from beginning to end. A file may have had
    something before, which the shell's >> keeps.

    Raises:
        UsageError: a directory was made there.
    """
    there = Path("/dev/stdout")
    if format in _STREAMED and is_special(there):
        yield there
        return
    with TemporaryDirectory() as scratch:
        made = Path(scratch, "stdout")
        yield made
        if made.is_dir():
            raise click.UsageError(f"'{format}' makes a directory: name it instead of '-'")
        with made.open("rb") as opened:
            shutil.copyfileobj(opened, sys.stdout.buffer)
        sys.stdout.flush()


def format_options(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the options of a format by name; ``true`` for one without a value.

    Raises:
        UsageError: one has no name.
    """
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name:
            raise click.UsageError(f"option '{pair}' of the format must be of the form NAME=VALUE")
        found[name] = text if equals else "true"
    return found
