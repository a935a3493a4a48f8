"""``simgit trace edit``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import clean
from simgit.cli.trace.files import FILE, PIPE, read, write, written

if TYPE_CHECKING:
    from simgit.kube.trace.model import Trace


OUTPUT = click.option(
    "-o", "--output", required=True, metavar="FILE",
    help="File to write, possibly FILE itself; FILE.json is JSON.",
)  # fmt: skip


@command(
    "edit",
    example="""\
simgit trace edit web.sktrace --workload web --cpu 500m --output small.sktrace
simgit trace edit web.sktrace -w web -n default --replicas 5 -o web.sktrace
simgit trace edit web.sktrace -w web --container log --memory 1Gi -o -""",
)
@FILE
@click.option("-w", "--workload", "name", required=True, metavar="NAME", help="Workload to edit.")
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of the workload (default: any).")
@click.option(
    "-k", "--kind", metavar="KIND", help="Kind of the workload, such as Deployment (default: any)."
)
@click.option("-c", "--container", metavar="NAME", help="Container (default: the first).")
@click.option("--cpu", metavar="QUANTITY", help="CPU request, such as 500m.")
@click.option("--memory", metavar="QUANTITY", help="Memory request, such as 1Gi.")
@click.option("--replicas", type=click.IntRange(0), help="Number of pods.")
@click.option("--rehash", "renew", is_flag=True, help="Update the hashes of the index.")
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

    An edit leaves stale hashes in the index, which SimKube allows; --rehash updates them.
    """
    from simgit.kube.trace.edit import rehash, set_replicas, set_requests, workload

    given = {"cpu": cpu, "memory": memory}
    requests = {key: text for key, text in given.items() if text is not None}
    if not requests and replicas is None:
        raise click.UsageError("nothing to edit: give --cpu, --memory or --replicas")
    before = after = read(app, file)
    match = workload(name, namespace=namespace, gvk=kind)
    if requests:
        after = set_requests(after, match, container=container, **requests)
    if replicas is not None:
        after = set_replicas(after, match, replicas)
    finish(app, output, before, rehash(after) if renew else after, as_json)


def _changes(before: Trace, after: Trace) -> list[str]:
    from simgit.kube.trace.diff import describe, diff_traces

    return describe(diff_traces(before, after))


def finish(
    app: App,
    output: str,
    before: Trace,
    after: Trace,
    as_json: bool,
    summary: Callable[[Trace, Trace], list[str]] = _changes,
) -> None:
    """Write the changed trace and print the changes."""
    write(app, output, after)
    if output == PIPE:
        return
    lines = summary(before, after)
    with app.output() as out:
        if as_json:
            record: dict[str, Any] = written(output, after) | {"changes": lines}
            out.json(record)
        for line in () if as_json else lines or ["no changes"]:
            out.line(clean(line))
