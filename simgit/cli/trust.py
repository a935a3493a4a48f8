"""``simgit trust``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command, one_of


@command("trust", example="""\
simgit trust
simgit trust --list
simgit trust --revoke""", at_op=False)  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List the trusted repositories.")
@click.option("--revoke", is_flag=True, help="Stop trusting this repository.")
@click.option(
    "--data", is_flag=True, help="Allow to use a repository of another user, without its code."
)
def trust(app: App, listing: bool, revoke: bool, data: bool, as_json: bool) -> None:
    """Allow this repository to name code that is executed.

    A repository that you created is trusted, except for what you import. Others name modules of
    environments and contain pickles, and both can do anything. This command trusts all that is in
    the repository now; what is imported later has to be trusted again. Without trust, registered
    environments are restored by re-executing the recorded actions, and data can be read.
    """
    from simgit.storage.directory import find_repository
    from simgit.storage.trust import TrustList

    one_of(list=listing, revoke=revoke, data=data)
    with app.output() as out:
        if listing:
            for each in TrustList().entries():
                shown, is_data = str(each.directory.parent), each.token is None
                if as_json:
                    out.json({"directory": shown, "data_only": is_data})
                else:
                    out.line(f"{shown} (data only)" if is_data else shown)
            return
        if data:
            directory = find_repository(app.directory.resolve(), anyone=True)
            TrustList().add(directory, None)
            changed, said = True, "may be used"
        else:
            with app.repository(anyone=True) as repo:
                assert repo.directory is not None
                directory = repo.directory
                changed = repo.distrust() if revoke else repo.trust()
            now, already = ("is no longer", "was not") if revoke else ("is now", "is already")
            said = f"{now if changed else already} trusted"
        if as_json:
            what = {"trusted": not (revoke or data)} | ({"data": True} if data else {})
            out.json({"directory": str(directory.parent), **what})
            return
        out.line(f"'{directory.parent}' {said}")
