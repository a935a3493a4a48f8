"""``simgit trace edit`` and ``filter``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import clean
from simgit.cli.traces import FILE, PIPE, read, write, written
from simgit.kube.trace.diff import describe, diff_traces
from simgit.kube.trace.edit import (
    cut,
    filter_objects,
    filter_time,
    parse_duration,
    rehash,
    set_replicas,
    set_requests,
    workload,
)
from simgit.kube.trace.model import Trace
from simgit.kube.trace.workload_table import workload_table

OUTPUT = click.option(
    "-o", "--output", required=True, metavar="FILE",
    help="Where to write, FILE itself or another; FILE.json is JSON.",
)  # fmt: skip


@command(
    "edit",
    example="""\
simgit trace edit web.sktrace --workload web --cpu 500m --output small.sktrace
simgit trace edit web.sktrace -w web -n default --replicas 5 -o web.sktrace
simgit trace edit web.sktrace -w web --container log --memory 1Gi -o -""",
)
@FILE
@click.option("-w", "--workload", "name", required=True, metavar="NAME", help="What to edit.")
@click.option("-n", "--namespace", metavar="NAME", help="Only in this namespace.")
@click.option("-k", "--kind", metavar="KIND", help="Only of this kind, like Deployment.")
@click.option("-c", "--container", metavar="NAME", help="The container, the first by default.")
@click.option("--cpu", metavar="QUANTITY", help="Its request, like 500m.")
@click.option("--memory", metavar="QUANTITY", help="Its request, like 1Gi.")
@click.option("--replicas", type=click.IntRange(0), help="How many pods.")
@click.option("--rehash", "renew", is_flag=True, help="Renew the hashes of the index.")
@OUTPUT
def trace_edit(
    app: App,
    file: str,
    name: str,
    namespace: str | None,
    kind: str | None,
    container: str | None,
    cpu: str | None,
    memory: str | None,
    replicas: int | None,
    renew: bool,
    output: str,
    as_json: bool,
) -> None:
    """Set requests and replicas of a workload, in every event that applies it.

    Hashes in the index grow stale by an edit, which SimKube allows; --rehash renews them.
    """
    given = {"cpu": cpu, "memory": memory}
    requests = {key: text for key, text in given.items() if text is not None}
    if not requests and replicas is None:
        raise click.UsageError("give --cpu, --memory or --replicas")
    before = after = read(app, file)
    match = workload(name, namespace=namespace, gvk=kind)
    if requests:
        after = set_requests(after, match, container=container, **requests)
    if replicas is not None:
        after = set_replicas(after, match, replicas)
    _finish(app, output, before, rehash(after) if renew else after, as_json)


@command(
    "filter",
    example="""\
simgit trace filter day.sktrace -n shop -k Deployment -o shop.sktrace
simgit trace filter day.sktrace --from 10m --to 1h -o hour.sktrace""",
)
@FILE
@click.option("-k", "--kind", "kinds", multiple=True, metavar="KIND", help="Like Deployment.")
@click.option("-n", "--namespace", "namespaces", multiple=True, metavar="NAME", help="Where.")
@click.option("-w", "--workload", "names", multiple=True, metavar="NAME", help="Names.")
@click.option("--from", "begin", metavar="TIME", help="From this time on, like 90s or 1h30m.")
@click.option("--to", "end", metavar="TIME", help="Before this time.")
@click.option("--duration", metavar="TIME", help="Cut as SimKube's driver does.")
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
    """Keep objects of some kinds, namespaces and names, and a stretch of time.

    Options may be repeated; an object is kept that fits one of each. Times are counted from the
    first event; what exists at --from is applied there. --duration ends with an empty event.
    """
    before = after = read(app, file)
    if begin or end:
        first = parse_duration(begin or "0")
        after = filter_time(after, first, parse_duration(end) if end else after.seconds + 1)
    if duration:
        after = cut(after, parse_duration(duration))
    if kinds or namespaces or names:
        after = filter_objects(after, kinds=kinds, namespaces=namespaces, names=names)
    _finish(app, output, before, after, as_json, _counts)


def _counts(before: Trace, after: Trace) -> list[str]:
    lines = [
        f"{len(found(before))} → {len(found(after))} {what}"
        for what, found in (("workloads", workload_table), ("events", lambda t: t.events))
    ]
    return [*lines, f"{before.seconds} → {after.seconds} s"]


def _changes(before: Trace, after: Trace) -> list[str]:
    return describe(diff_traces(before, after))


def _finish(
    app: App,
    output: str,
    before: Trace,
    after: Trace,
    as_json: bool,
    summary: Callable[[Trace, Trace], list[str]] = _changes,
) -> None:
    """Write the changed trace, and say what changed."""
    write(app, output, after)
    if output == PIPE:
        return
    lines = summary(before, after)
    with app.output() as out:
        if as_json:
            record: dict[str, Any] = written(output, after) | {"changes": lines}
            out.json(record)
        for line in () if as_json else lines or ["nothing changed"]:
            out.line(clean(line))
