"""``simgit trace filter``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.trace.edit import OUTPUT, finish
from simgit.cli.trace.files import FILE, read

if TYPE_CHECKING:
    from simgit.kube.trace.model import Trace


@command(
    "filter",
    example="""\
simgit trace filter day.sktrace -n shop -k Deployment -o shop.sktrace
simgit trace filter day.sktrace --from 10m --to 1h -o hour.sktrace""",
)
@FILE
@click.option(
    "-k", "--kind", "kinds", multiple=True, metavar="KIND", help="Kind to keep, such as Deployment."
)
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, metavar="NAME", help="Namespace to keep."
)
@click.option("-w", "--workload", "names", multiple=True, metavar="NAME", help="Name to keep.")
@click.option("--from", "begin", metavar="TIME", help="Time to begin at, such as 90s or 1h30m.")
@click.option("--to", "end", metavar="TIME", help="Time to end before.")
@click.option("--duration", metavar="TIME", help="Time to cut at, as SimKube's driver does.")
@OUTPUT
def trace_filter(
    app: App,
    file: str,
    kinds: tuple[str, ...],
    namespaces: tuple[str, ...],
    names: tuple[str, ...],
    begin: str | None,
    end: str | None,
    duration: str | None,
    output: str,
    as_json: bool,
) -> None:
    """Keep objects of some kinds, namespaces and names, and a range of time.

    Options may be repeated; an object is kept if it matches one of each. Times count from the
    first event; objects that exist at --from are applied there. --duration ends with an empty
    event.
    """
    from simgit.kube.trace.edit import cut, filter_objects, filter_time, parse_duration

    before = after = read(app, file)
    if begin or end:
        first = parse_duration(begin or "0")
        after = filter_time(after, first, parse_duration(end) if end else after.seconds + 1)
    if duration:
        after = cut(after, parse_duration(duration))
    if kinds or namespaces or names:
        after = filter_objects(after, kinds=kinds, namespaces=namespaces, names=names)
    finish(app, output, before, after, as_json, _counts)


def _counts(before: Trace, after: Trace) -> list[str]:
    from simgit.kube.trace.workload_table import workload_table

    lines = [
        f"{len(found(before))} → {len(found(after))} {what}"
        for what, found in (("workloads", workload_table), ("events", lambda t: t.events))
    ]
    return [*lines, f"{before.seconds} → {after.seconds} s"]
