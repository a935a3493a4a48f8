"""``simgit trace diff``."""

from __future__ import annotations

from dataclasses import asdict

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.output import clean
from simgit.cli.trace.files import read


@command(
    "diff",
    example="""\
simgit trace diff before.sktrace after.sktrace""",
)
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are differences.")
def trace_diff(app: App, before: str, after: str, exit_code: bool, as_json: bool) -> None:
    """Show the differences of two traces, one per line: web: cpu 17 → 16500m.

    A change that several events repeat is shown once. Hashes and encodings are not compared.
    """
    from simgit.kube.trace.diff import describe, diff_traces

    changes = diff_traces(read(app, before), read(app, after))
    with app.output(page=True) as out:
        for change, line in zip(changes, describe(changes), strict=True):
            out.json(asdict(change)) if as_json else out.line(clean(line))
    if changes and exit_code:
        answer_no()
