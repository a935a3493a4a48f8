"""``simgit trace show``, ``diff`` and ``plot``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import Output, clean, plural
from simgit.cli.plot_loop import write_usage
from simgit.cli.traces import FILE, read, seconds
from simgit.kube.trace.diff import describe, diff_traces
from simgit.kube.trace.model import Trace
from simgit.kube.trace.sktrace import trace_id
from simgit.kube.trace.timeline import EventRow, timeline
from simgit.kube.trace.workload_table import WorkloadRow, workload_table
from simgit.plot import occupancy
from simgit.plot.drawing import check_format

_LISTED = 6
"""How many objects or changes of an event are named without --full."""


@command(
    "show",
    example="""\
simgit trace show web.sktrace
simgit trace show web.sktrace --events --full""",
)
@FILE
@click.option("--events", is_flag=True, help="Only the events.")
@click.option("--workloads", is_flag=True, help="Only the workloads.")
@click.option("--full", is_flag=True, help="List everything that an event does.")
def trace_show(
    app: App, file: str, events: bool, workloads: bool, full: bool, as_json: bool
) -> None:
    """Show a trace's workloads with their requests, and its events over time.

    Requests are those of one pod, all its containers together. Times are counted from the first
    event. Of an event, + is created, ~ changed, - deleted.
    """
    trace = read(app, file)
    rows, line = workload_table(trace), timeline(trace)
    with app.output(page=True) as out:
        if as_json:
            out.json(_record(trace, rows, line))
            return
        both = events == workloads
        if both:
            _write_head(out, file, trace, rows)
        if workloads or both:
            _write_workloads(out, rows)
        if both:
            out.line()
        if events or both:
            _write_events(out, line, full)


def _record(trace: Trace, rows: list[WorkloadRow], line: list[EventRow]) -> dict[str, Any]:
    return {
        "id": trace_id(trace), "start": trace.start, "seconds": trace.seconds,
        "workloads": [asdict(row) for row in rows], "events": [asdict(row) for row in line],
    }  # fmt: skip


def _write_head(out: Output, file: str, trace: Trace, rows: list[WorkloadRow]) -> None:
    counts = f"{plural(len(rows), 'workload')}, {plural(len(trace.events), 'event')}"
    out.line(f"{out.paint(clean(file), 'bold')}  {counts}, {seconds(trace.seconds)}")
    out.line(out.paint(f"id {trace_id(trace)}", "dim"))
    out.line()


def _write_workloads(out: Output, rows: list[WorkloadRow]) -> None:
    heads = ["workload", "kind", "replicas", "CPU", "memory", "versions", "applied", "deleted"]
    cells = [
        [
            clean(f"{row.namespace}/{row.name}"), clean(row.gvk.rpartition(".")[2]),
            "" if row.replicas is None else str(row.replicas), row.cpu, row.memory,
            str(row.versions), seconds(row.first), seconds(row.deleted),
        ]
        for row in rows
    ]  # fmt: skip
    out.table([[(head, "bold") for head in heads], *cells], right=(2, 3, 4, 5, 6, 7))


def _write_events(out: Output, line: list[EventRow], full: bool) -> None:
    cells = [
        [mark, text] for row in line for mark, text in _event_lines(row, None if full else _LISTED)
    ]
    out.table([[("time", "bold"), ("event", "bold")], *cells], right=(0,))


def _event_lines(row: EventRow, most: int | None) -> list[tuple[str, Any]]:
    texts: list[Any] = [(f"+ {clean(name)}", "new") for name in row.created]
    texts += [f"~ {clean(change)}" for change in row.changed]
    texts += [(f"- {clean(name)}", "old") for name in row.deleted]
    left = len(texts) - most if most is not None else 0
    if left > 1:
        texts = [*texts[:most], (f"and {left} more", "dim")]
    times = [seconds(row.offset)] + [""] * max(0, len(texts) - 1)
    return list(zip(times, texts or [("nothing", "dim")], strict=True))


@command(
    "diff",
    example="""\
simgit trace diff before.sktrace after.sktrace""",
)
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are differences.")
def trace_diff(app: App, before: str, after: str, exit_code: bool, as_json: bool) -> None:
    """Show how two traces differ, a line a change: web: cpu 17 → 16500m.

    A change is shown once, however many events repeat it. Hashes and encodings do not count.
    """
    changes = diff_traces(read(app, before), read(app, after))
    with app.output(page=True) as out:
        for change, line in zip(changes, describe(changes), strict=True):
            out.json(asdict(change)) if as_json else out.line(clean(line))
    if changes and exit_code:
        answer_no()


@command(
    "plot",
    example="""\
simgit trace plot day.sktrace
simgit trace plot day.sktrace --nodes 5 --output day.png""",
)
@FILE
@click.option("-o", "--output", metavar="FILE", help="Draw FILE.png or FILE.svg.")
@click.option("--nodes", type=click.IntRange(1, 10_000), default=3, show_default=True,
              help="How many, of 16 CPU and 32Gi each.")  # fmt: skip
@click.option("--seed", default=0, help="What decides between equal nodes.")
def trace_plot(
    app: App, file: str, output: str | None, nodes: int, seed: int, as_json: bool
) -> None:
    """Replay a trace on the embedded cluster and show how full its nodes are over time.

    Full is what pods request of what a node has. Without --output, lines for a terminal.
    """
    from simgit.analysis import trace_usage
    from simgit.kube.embedded import virtual_nodes

    if output is not None:
        check_format(Path(output))
    found = trace_usage(read(app, file), virtual_nodes(nodes), seed=seed)
    with app.output(page=output is None) as out:
        if output is not None:
            name = Path(file).stem
            title = f"{name} on {plural(nodes, 'node')}"
            occupancy(found, title=title).save(app.path(output))
            out.json({"file": output}) if as_json else out.line(f"wrote {output}")
        elif as_json:
            out.json(asdict(found))
        else:
            write_usage(out, found)
