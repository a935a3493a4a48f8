"""``simgit trust``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.permission import trust_file


@command("trust", example="""\
simgit trust
simgit trust --list
simgit trust --revoke""", at_op=False)  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List the trusted repositories.")
@click.option("--revoke", is_flag=True, help="Stop trusting this repository.")
def trust(app: App, listing: bool, revoke: bool, as_json: bool) -> None:
    """Allow snapshots of this repository to load pickles.

    A pickle can run any code of its author. Most snapshots have none; those of environments that
    consist of custom objects (MiniGrid) do. Without trust their states are restored by
    re-executing the recorded actions, which takes longer.
    """
    one_of(list=listing, revoke=revoke)
    known = trust_file()
    with app.output() as out:
        if listing:
            found = [str(each.parent) for each in known.directories()]
            for each in found:
                out.json({"directory": each}) if as_json else out.line(each)
            return
        with app.repository() as repo:
            assert repo.directory is not None
            directory = repo.directory
        was = known.has(directory)
        if revoke:
            known.remove(directory)
        else:
            known.add(directory)
        if as_json:
            out.json({"directory": str(directory.parent), "trusted": not revoke})
            return
        now, already = ("is no longer", "was not") if revoke else ("is now", "is already")
        out.line(f"'{directory.parent}' {already if was != revoke else now} trusted")
