"""``simgit trace convert``."""

from __future__ import annotations

from pathlib import Path

import click

from simgit.cli.app import App, command
from simgit.cli.trace.files import PIPE, read, write, written


@command(
    "convert",
    example="""\
simgit trace convert web.sktrace web.json
simgit trace convert web.json web.sktrace
simgit trace convert web.sktrace - --to json | jq .events""",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option(
    "--to", type=click.Choice(["json", "sktrace"]),
    help="Format to write (default: by the suffix of TO).",
)  # fmt: skip
def trace_convert(app: App, source: str, target: str, to: str | None, as_json: bool) -> None:
    """Convert a trace between JSON and .sktrace, without loss.

    The format of FROM is recognised by its content. 64-bit hashes are strings in JSON. - is
    standard input or output.
    """
    found = read(app, source)
    suffix = f".{to}" if to else Path(target).suffix
    if target != PIPE and to and suffix != Path(target).suffix:
        raise click.UsageError(f"'{target}' must end with '{suffix}'")
    write(app, target, found, suffix)
    if target != PIPE:
        with app.output() as out:
            out.json(written(target, found)) if as_json else out.line(f"wrote {target}")
