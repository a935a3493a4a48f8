"""``simgit trace convert``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command
from simgit.cli.params import Choice
from simgit.cli.trace.files import PIPE, read_with_bytes, write, written
from simgit.errors import warn

if TYPE_CHECKING:
    from simgit.kube.trace.model import Trace

_NAMED: Final = 3
"""The most fields that are not kept which are named."""


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
    if lost := _not_kept(found, data, suffix):
        warn(f"'{source}' is converted in content, not byte by byte; not kept: {lost}")
    if target != PIPE:
        with app.output() as out:
            out.json(written(target, found)) if as_json else out.line(f"wrote {target}")


def _not_kept(trace: Trace, data: bytes, suffix: str) -> str:
    """Return what converting back would not restore of a trace's bytes, "" if it restores all."""
    from simgit.kube.trace.files import JSON, encode_trace, is_json
    from simgit.kube.trace.sktrace import canonical_bytes

    text = is_json(data)
    if not text and suffix != JSON:
        return ""  # written as it was read
    back = encode_trace(trace, JSON) if text else canonical_bytes(trace)
    if back == data or (text and back.strip() == data.strip()):
        return ""
    what = "the order of keys, " + ("white space" if text else "sizes of numbers")
    dropped = list(islice(_dropped(_decoded(data, text), _decoded(back, text), ""), _NAMED))
    if dropped:
        named = ", ".join(f"'{each}'" for each in dropped)
        what = f"fields that no trace has, such as {named}; {what}"
    return f"{what} ({len(data)} bytes, converted back {len(back)})"


def _decoded(data: bytes, text: bool) -> Any:
    import json

    import msgpack

    return json.loads(data) if text else msgpack.unpackb(data, strict_map_key=False)


def _dropped(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield the paths of keys that are in one value and not in another."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            below = f"{path}.{key}" if path else str(key)
            if key in after:
                yield from _dropped(value, after[key], below)
            else:
                yield below
    elif isinstance(before, list) and isinstance(after, list):
        for i, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from _dropped(one, other, f"{path}[{i}]")
