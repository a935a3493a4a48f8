"""``simgit kube``: the cluster of a recorded state, or of a trace file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, command
from simgit.cli.live_commands import (
    KubeGroup,
    allow,
    cleanup,
    nodes_create,
    nodes_delete,
    preflight,
)
from simgit.cli.output import Output, clean
from simgit.cli.trace.files import read, write, written
from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from simgit.analysis.recorded_clusters import Recorded
    from simgit.kube.embedded import EmbeddedCluster


F = TypeVar("F", bound=Callable[..., Any])
_PHASES: Final = {"Running": "good", "Pending": "warn", "Failed": "bad"}


@click.group("kube", cls=KubeGroup)
def kube() -> None:
    """Show the cluster of a recorded state, or of a trace, and prepare a real one."""


def _of_cluster(function: F) -> F:
    """Add the options that choose a cluster."""
    for option in (
        click.option("--until", type=click.IntRange(0), help="With --trace: second to stop at."),
        click.option(
            "--seed", default=0, help="With --trace: random seed of ties between nodes (default 0)."
        ),
        click.option(
            "--nodes", type=click.IntRange(1), help="With --trace: number of nodes (default 3)."
        ),
        click.option(
            "--trace", metavar="FILE", help="Trace file whose cluster at the end is shown."
        ),
        click.argument("revision", required=False),
    ):
        function = option(function)
    return function


def _cluster(
    app: App,
    revision: str | None,
    trace: str | None,
    nodes: int | None,
    seed: int,
    until: int | None,
) -> EmbeddedCluster:

    if trace is None:
        if nodes is not None or seed or until is not None:
            raise click.UsageError("--nodes, --seed and --until need --trace")
        return _recorded(app, revision).cluster()
    if revision is not None:
        raise click.UsageError("a revision and --trace cannot be used together")
    from simgit.kube.task.cluster_setup import cluster_setup

    return cluster_setup(nodes, {"duration": until}).replay(read(app, trace), seed, 0)


def _recorded(app: App, revision: str | None) -> Recorded:
    from simgit.analysis.recorded_clusters import recorded
    from simgit.refs.names import HEAD

    with app.repository() as repo:
        return recorded(repo, revision or HEAD)


@command(
    "pods",
    example="""\
simgit kube pods train/cpu-slight-dqn-1@200
simgit kube pods --trace web.sktrace""",
)
@_of_cluster
def pods(app: App, as_json: bool, **which: Any) -> None:
    """List the pods, with the node of each or the reason why it is pending."""
    rows = _cluster(app, **which).pods()
    with app.output(page=True) as out:
        if as_json:
            for row in rows:
                out.json(row)
            return
        heads = ["namespace", "pod", "phase", "ready", "node", "CPU", "memory", "message"]
        _table(out, heads, [_pod(row) for row in rows], (5, 6))


def _pod(row: Mapping[str, Any]) -> list[Any]:
    phase = row["phase"]
    return [
        clean(row["namespace"]), clean(row["name"]), (phase, _PHASES.get(phase, "")),
        "yes" if row["ready"] else "no", clean(row["node"] or ""), row["cpu"], row["memory"],
        clean(row["message"] or ""),
    ]  # fmt: skip


@command(
    "nodes",
    example="""\
simgit kube nodes main@ep3.5
simgit kube nodes --trace web.sktrace --nodes 5""",
)
@_of_cluster
def nodes(app: App, as_json: bool, **which: Any) -> None:
    """List the nodes, with their used and total resources."""
    rows = _cluster(app, **which).nodes()
    with app.output(page=True) as out:
        if as_json:
            for row in rows:
                out.json(row)
            return
        heads = ["node", "ready", "CPU", "", "memory", "", "pods"]
        _table(out, heads, [_node(row) for row in rows], (2, 3, 4, 5, 6))


def _node(row: Mapping[str, Any]) -> list[Any]:
    used = row["used"]
    return [
        clean(row["name"]), "yes" if row["ready"] else ("no", "bad"),
        f"{used['cpu']}/{row['cpu']}", _percent(used["cpu"], row["cpu"]),
        f"{used['memory']}/{row['memory']}", _percent(used["memory"], row["memory"]),
        f"{used['pods']}/{row['pods']}",
    ]  # fmt: skip


def _percent(used: str, offered: str) -> str:
    from simgit.kube.quantity import parse_quantity

    whole = parse_quantity(offered).nano
    return f"{100 * parse_quantity(used).nano // whole} %" if whole else ""


@command(
    "events",
    example="""\
simgit kube events main@40
simgit kube events --trace web.sktrace --until 30""",
)
@_of_cluster
@click.option("--object", "wanted", metavar="NAME", help="Only events of objects of this name.")
def events(app: App, wanted: str | None, as_json: bool, **which: Any) -> None:
    """List the events, oldest first, with seconds since the trace's start."""
    cluster = _cluster(app, **which)
    rows = [row for row in cluster.events() if wanted in (None, row["name"])]
    with app.output(page=True) as out:
        if as_json:
            for row in rows:
                out.json(row)
            return
        heads = ["time", "kind", "object", "reason", "message"]
        _table(out, heads, [_event(row, cluster.start) for row in rows], (0,))


def _event(row: Mapping[str, Any], start: float) -> list[Any]:
    name = f"{row['namespace']}/{row['name']}" if row["namespace"] else row["name"]
    return [
        f"{row['time'] - start:g} s", clean(row["kind"].rpartition(".")[2]), clean(name),
        clean(row["reason"]), clean(row["message"]),
    ]  # fmt: skip


@command(
    "trace",
    example="""\
simgit kube trace main@40
simgit kube trace main@40 --output there.sktrace""",
)
@click.argument("revision", required=False)
@click.option(
    "-o", "--output", metavar="FILE", help="File to write the trace to; - is standard output."
)
def trace(app: App, revision: str | None, output: str | None, as_json: bool) -> None:
    """Show how actions have changed the trace of a state, or write that trace."""
    from simgit.kube.trace.diff import describe, diff_traces
    from simgit.kube.trace.sktrace import trace_id

    found = _recorded(app, revision)
    if output is not None:
        if output == "-" and as_json:
            raise InvalidInput("--json and --output - both write to standard output")
        write(app, output, found.trace)
        if output == "-":
            return
    changes = diff_traces(found.base, found.trace)
    with app.output() as out:
        if as_json:
            shown = {"id": trace_id(found.trace), "changes": [str(each) for each in changes]}
            out.json(shown | ({} if output is None else written(output, found.trace)))
            return
        out.line(out.paint(f"id {trace_id(found.trace)}", "dim"))
        for line in describe(changes) if changes else ["no changes since the episode began"]:
            out.line(clean(line))


def _table(out: Output, heads: list[str], rows: list[list[Any]], right: tuple[int, ...]) -> None:
    out.table([[(head, "bold") for head in heads], *rows], right=right, fit=True)


for _command in (
    pods, nodes, events, trace, preflight, allow, cleanup, nodes_create, nodes_delete,
):  # fmt: skip
    kube.add_command(_command)
