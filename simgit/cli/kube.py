"""``simgit kube``: the cluster of a recorded state, of a trace file, or a live one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.environment_options import (
    NODES,
    cluster_arguments,
    live_options,
    warn_of_late_events,
    with_context,
)
from simgit.cli.live_commands import (
    KubeGroup,
    allow,
    cleanup,
    nodes_create,
    nodes_delete,
    preflight,
)
from simgit.cli.output import Output, clean
from simgit.cli.permission import Asker
from simgit.cli.trace.files import read, write, written
from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from simgit.analysis.cluster_comparison import ClusterComparison, Outcomes
    from simgit.analysis.recorded_clusters import Recorded
    from simgit.kube.embedded import EmbeddedCluster
    from simgit.kube.live.current import CurrentCluster
    from simgit.kube.observation import Observation


F = TypeVar("F", bound=Callable[..., Any])
_PHASES: Final = {"Running": "good", "Pending": "warn", "Failed": "bad"}


@click.group("kube", cls=KubeGroup)
def kube() -> None:
    """Show the cluster of a recorded state, of a trace, or a live one, and prepare a live one."""


def _of_cluster(function: F) -> F:
    """Add the options that choose a cluster."""
    for option in (
        click.option("--context", metavar="NAME",
                     help="With --live: context of the kubeconfig (default: the current one)."),
        click.option("--live", is_flag=True, help="Show what is on a live cluster now."),
        click.option("--until", type=click.IntRange(0), help="With --trace: second to stop at."),
        click.option(
            "--seed", default=0, help="With --trace: random seed of ties between nodes (default 0)."
        ),
        click.option(
            "--nodes",
            type=NODES,
            metavar="N|FILE",
            help="With --trace: number of nodes (default 3), or file of nodes and events.",
        ),
        click.option(
            "--trace", metavar="FILE", help="Trace file whose cluster at the end is shown."
        ),
        click.argument("revision", required=False),
    ):  # fmt: skip
        function = option(function)
    return function


def _cluster(
    app: App,
    revision: str | None,
    trace: str | None,
    nodes: Any,
    seed: int,
    until: int | None,
    live: bool,
    context: str | None,
) -> EmbeddedCluster | CurrentCluster:
    if live:
        if revision is not None or trace is not None or nodes is not None or until is not None:
            raise click.UsageError("--live is the present: it takes no revision and no --trace")
        from simgit.kube.live.api import Api
        from simgit.kube.live.current import CurrentCluster

        return CurrentCluster(Api(context))
    if context is not None:
        raise click.UsageError("--context needs --live")
    if trace is None:
        if nodes is not None or seed or until is not None:
            raise click.UsageError("--nodes, --seed and --until need --trace")
        return _recorded(app, revision).cluster()
    if revision is not None:
        raise click.UsageError("a revision and --trace cannot be used together")
    from simgit.kube.task.cluster_setup import cluster_setup

    setup, content = cluster_setup(nodes, {"duration": until}), read(app, trace)
    if until is None:
        warn_of_late_events(setup, content)
    return setup.replay(content, seed, 0)


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
        heads = ["node", "status", "CPU", "", "memory", "", "pods"]
        _table(out, heads, [_node(row) for row in rows], (2, 3, 4, 5, 6))


def _node(row: Mapping[str, Any]) -> list[Any]:
    used = row["used"]
    return [
        clean(row["name"]), (_status(row), "" if row["ready"] else "bad"),
        f"{used['cpu']}/{row['cpu']}", _percent(used["cpu"], row["cpu"]),
        f"{used['memory']}/{row['memory']}", _percent(used["memory"], row["memory"]),
        f"{used['pods']}/{row['pods']}",
    ]  # fmt: skip


def _status(row: Mapping[str, Any]) -> str:
    """Return the status of a node in kubectl's words."""
    ready = "Ready" if row["ready"] else "NotReady"
    return f"{ready},SchedulingDisabled" if row["unschedulable"] else ready


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
        start = cluster.start if rows else 0.0  # of a live cluster it is asked for
        _table(out, heads, [_event(row, start) for row in rows], (0,))


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


@command(
    "compare",
    example="""\
simgit kube compare main@3
simgit kube compare main@3 --live --driver replayer --speed 100""",
)
@click.argument("revision", required=False)
@click.option("--live", is_flag=True, help="Replay the trace on a live cluster too.")
@live_options
def compare(app: App, revision: str | None, live: bool, as_json: bool, **given: Any) -> None:
    """Compare the embedded cluster with a live one, or with what was recorded.

    It replays the trace of a state. Without --live the recorded counts are compared, which tells
    most of a live run. With --live the trace is replayed on a live cluster, and pods are compared
    by workload; the embedded cluster gets the live one's nodes. Exits with 1 if anything differs.
    """
    from simgit.analysis.cluster_comparison import compare_live, compare_recorded
    from simgit.gym.restoring.recorded_path import RecordedPath
    from simgit.gym.spec.permit import Permit, refusal
    from simgit.kube.live.driver import LiveSettings
    from simgit.refs.names import HEAD

    options = {**given, "cluster": "live" if live else None, "duration": None}
    chosen = cluster_arguments(options, "--live")
    found = _recorded(app, revision)
    if live:
        with app.repository() as repo:
            origin = RecordedPath(repo, repo.resolve(revision or HEAD)).origin
            if not Permit(repo, origin, Asker(repo))():
                raise refusal("a recorded trace would be applied to a live cluster")
        before = found.setup.live
        settings = {**(before.plain() if before is not None else {}), **chosen["cluster"]}
        compared = compare_live(
            found, LiveSettings.of(with_context({"cluster": settings})["cluster"])
        )
    else:
        with app.repository() as repo:
            run = repo.state(revision or HEAD).run
            facts = repo.runs[run].metadata.get("cluster") if run is not None else None
        compared = compare_recorded(found, facts if isinstance(facts, Mapping) else {})
    with app.output() as out:
        out.json(compared.plain()) if as_json else _write_comparison(out, compared)
    if not compared.agrees:
        answer_no()


def _write_comparison(out: Output, found: ClusterComparison) -> None:
    rows: list[list[Any]] = [[("", "bold"), ("observation", "bold")]]
    seen = [("recorded", found.recorded), ("embedded", found.embedded), ("live", found.live)]
    rows += [[name, _counted(each)] for name, each in seen if each is not None]
    out.table(rows)
    for group in found.groups:
        if not group.agrees:
            subject = f"{group.namespace} {group.workload} ({group.cpu} CPU, {group.memory})"
            out.line(
                f"{clean(subject)}: embedded {_told(group.embedded)}; live {_told(group.live)}"
            )
    if not found.same_nodes:
        out.line("recorded with other nodes than the live cluster has: its counts may differ")
    out.line(out.paint("agree", "good") if found.agrees else out.paint("differ", "bad"))


def _counted(seen: Observation) -> str:
    return clean(", ".join(f"{name} {value}" for name, value in seen.plain().items()))


def _told(outcomes: Outcomes) -> str:
    return ", ".join(f"{n} {clean(what)}" for what, n in sorted(outcomes.items())) or "none"


def _table(out: Output, heads: list[str], rows: list[list[Any]], right: tuple[int, ...]) -> None:
    out.table([[(head, "bold") for head in heads], *rows], right=right, fit=True)


for _command in (
    pods, nodes, events, trace, compare, preflight, allow, cleanup, nodes_create, nodes_delete,
):  # fmt: skip
    kube.add_command(_command)
