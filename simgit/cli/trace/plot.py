"""``simgit trace plot``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from simgit.cli.app import App, command
from simgit.cli.cluster_usage import write_usage
from simgit.cli.environment_options import NODES, warn_of_late_events
from simgit.cli.trace.files import FILE, read
from simgit.errors import plural


@command(
    "plot",
    example="""\
simgit trace plot day.sktrace
simgit trace plot day.sktrace --nodes 5 --output day.png""",
)
@FILE
@click.option("-o", "--output", metavar="FILE", help="Picture to write: FILE.png or FILE.svg.")
@click.option(
    "--nodes",
    type=NODES,
    metavar="N|FILE",
    help="Number of nodes of 16 CPU and 32Gi (default 3), or file of nodes and events.",
)
@click.option("--seed", default=0, help="Random seed of ties between nodes (default 0).")
def trace_plot(
    app: App, file: str, output: str | None, nodes: Any, seed: int, as_json: bool
) -> None:
    """Replay a trace on the embedded cluster and plot the usage of its nodes.

    Usage is the share of a node that pods request. Without --output it is plotted in the terminal.
    """
    from simgit.analysis import trace_usage
    from simgit.kube.task.cluster_setup import cluster_setup
    from simgit.plot import occupancy
    from simgit.plot.drawing import check_format

    if output is not None:
        check_format(app.path(output))
    trace, setup = read(app, file), cluster_setup(nodes)
    warn_of_late_events(setup, trace)
    found = trace_usage(trace, setup.nodes, node_events=setup.node_events, seed=seed)
    with app.output(page=output is None) as out:
        if output is not None:
            name = Path(file).stem
            title = f"{name} on {plural(len(setup.node_names), 'node')}"
            occupancy(found, title=title).save(app.path(output))
            out.json({"file": output}) if as_json else out.line(f"wrote {output}")
        elif as_json:
            out.json(asdict(found))
        else:
            write_usage(out, found)
