"""``simgit merge-base``."""

from __future__ import annotations

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.params import REVISION


@command("merge-base", example="simgit merge-base main try-1")
@click.argument("a", type=REVISION)
@click.argument("b", type=REVISION)
@click.option("--all", "every", is_flag=True, help="Print all best common ancestors.")
def merge_base(app: App, a: str, b: str, every: bool, as_json: bool) -> None:
    """Print the best common ancestor of two states; exit with 1 if they have none."""
    with app.repository() as repo, app.output() as out:
        found = repo.merge_bases(a, b)[: None if every else 1]
        for oid in found:
            out.json({"oid": oid}) if as_json else out.line(oid.hex())
    if not found:
        answer_no()
