"""``simgit trace convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.params import Choice
from simgit.cli.trace.files import PIPE, read_with_bytes, write, written
from simgit.errors import warn

if TYPE_CHECKING:
    from simgit.kube.trace.model import Trace


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
    "--to", type=Choice(["json", "sktrace"]),
    help="Format to write (default: by the suffix of TO).",
)  # fmt: skip
def trace_convert(app: App, source: str, target: str, to: str | None, as_json: bool) -> None:
    """Convert a trace between JSON and .sktrace, without loss of content.

    The format of FROM is recognised by its content. 64-bit hashes are strings in JSON. Keys are
    written in alphabetical order, so converting back need not give the same bytes: if it does not,
    that is said. - is standard input or output.
    """
    found, data = read_with_bytes(app, source)
    suffix = f".{to}" if to else Path(target).suffix
    if target != PIPE and to and suffix != Path(target).suffix:
        raise click.UsageError(f"'{target}' must end with '{suffix}'")
    write(app, target, found, suffix)
    if lost := _not_kept(found, data):
        warn(f"'{source}' is converted in content, not byte by byte; not kept: {lost}")
    if target != PIPE:
        with app.output() as out:
            out.json(written(target, found)) if as_json else out.line(f"wrote {target}")


def _not_kept(trace: Trace, data: bytes) -> str:
    """Return what converting back would not restore of a trace's bytes, "" if it restores all."""
    from simgit.kube.trace.files import JSON, SUFFIX, encode_trace, is_json

    text = is_json(data)
    back = encode_trace(trace, JSON if text else SUFFIX)
    if back == data:
        return ""
    what = "the order of keys, " + (
        "white space, spelling of numbers" if text else "sizes of numbers"
    )
    return f"{what} ({len(data)} bytes, converted back {len(back)})"
