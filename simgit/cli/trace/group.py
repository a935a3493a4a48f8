"""``simgit trace``: the group of commands on traces."""

from __future__ import annotations

import click

from simgit.cli.app import CommandGroup
from simgit.cli.trace.convert import trace_convert
from simgit.cli.trace.diff import trace_diff
from simgit.cli.trace.edit import trace_edit
from simgit.cli.trace.filter import trace_filter
from simgit.cli.trace.generate import trace_generate
from simgit.cli.trace.plot import trace_plot
from simgit.cli.trace.show import trace_show
from simgit.cli.trace.validate import trace_validate


@click.group("trace", cls=CommandGroup)
def trace() -> None:
    """Generate, show, change and check SimKube traces; no repository is needed."""


for each in (
    trace_generate, trace_show, trace_plot, trace_diff, trace_edit, trace_filter, trace_validate,
    trace_convert,
):  # fmt: skip
    trace.add_command(each)
