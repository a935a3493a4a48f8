"""``simgit trace show``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import Output, clean
from simgit.cli.trace.files import FILE, read, seconds
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.kube.trace.model import Trace
    from simgit.kube.trace.timeline import EventRow
    from simgit.kube.trace.workload_table import WorkloadRow


_LISTED = 6
"""The most objects or changes of an event that are named without --full."""


@command(
    "show",
    example="""\
simgit trace show web.sktrace
simgit trace show web.sktrace --events --full""",
)
@FILE
@click.option("--events", is_flag=True, help="Show only the events.")
@click.option("--workloads", is_flag=True, help="Show only the workloads.")
@click.option("--full", is_flag=True, help="List all changes of an event.")
def trace_show(
    app: App, file: str, events: bool, workloads: bool, full: bool, as_json: bool
) -> None:
    """Show a trace's workloads with their requests, and its events over time.

    Requests are those of one pod, the sum of its containers. Times count from the first event.
    In an event, + is created, ~ changed, - deleted.
    """
    from simgit.kube.trace.timeline import timeline
    from simgit.kube.trace.workload_table import workload_table

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
    from simgit.kube.trace.sktrace import trace_id

    return {
        "id": trace_id(trace), "start": trace.start, "seconds": trace.seconds,
        "workloads": [asdict(row) for row in rows], "events": [asdict(row) for row in line],
    }  # fmt: skip


def _write_head(out: Output, file: str, trace: Trace, rows: list[WorkloadRow]) -> None:
    from simgit.kube.trace.sktrace import trace_id

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
