"""``simgit merge-base``."""

from __future__ import annotations

import click

from simgit.cli.app import App, answer_no, command, one_of
from simgit.cli.params import REVISION


@command(
    "merge-base",
    example="""\
simgit merge-base main try-1
simgit merge-base --is-ancestor main@200 try-1""",
)
@click.argument("a", type=REVISION)
@click.argument("b", type=REVISION)
@click.option("--all", "every", is_flag=True, help="Print all best common ancestors.")
@click.option(
    "--is-ancestor", "asks", is_flag=True, help="Print nothing; exit with 1 unless A leads to B."
)
def merge_base(app: App, a: str, b: str, every: bool, asks: bool, as_json: bool) -> None:
    """Print the best common ancestor of two states; exit with 1 if they have none."""
    one_of(all=every, is_ancestor=asks)
    if asks:
        with app.repository() as repo, app.output() as out:
            leads = repo.is_ancestor(a, b)
            if as_json:
                out.json({"is_ancestor": leads})
        if not leads:
            answer_no()
        return
    with app.repository() as repo, app.output() as out:
        found = repo.merge_bases(a, b)[: None if every else 1]
        for oid in found:
            out.json({"oid": oid}) if as_json else out.line(oid.hex())
    if not found:
        answer_no()
