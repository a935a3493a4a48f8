"""``simgit checkout``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.output import say
from simgit.cli.params import REVISION, branch_settings, tracked_run
from simgit.cli.restore import restore_paths

if TYPE_CHECKING:
    from simgit.objects.oid import Oid
    from simgit.repository import Repository


@command(
    "checkout",
    example="""\
simgit checkout try-1
simgit checkout -b try-2 main@200 --set agent.lr=0.001
simgit checkout main@200 -- model.bin""",
)
@click.argument("revision", default="HEAD", type=REVISION)
@click.argument("paths", nargs=-1, metavar="[-- PATH…]")
@click.option("-b", "new", metavar="NAME", help="Create run NAME at REVISION first.")
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="With -b: override of a setting."
)
@click.option("--detach", is_flag=True, help="Point HEAD at the state, not at the run.")
@click.option("-f", "--force", is_flag=True, help="Overwrite local changes of files.")
def checkout(
    app: App,
    revision: str,
    paths: tuple[str, ...],
    new: str | None,
    pairs: tuple[str, ...],
    detach: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Point HEAD at a run, or detach it at a state, and restore the state's files.

    Locally changed files are overwritten only with --force. '-', or '@{-1}', is where HEAD was
    before the last checkout. With paths only files are restored, over local changes, as by
    'simgit restore'.
    """
    from simgit.objects.oid import Oid

    if "--" in app.words or paths:
        _files(app, revision, paths, bool(new or detach or pairs), as_json)
        return
    if new and detach:
        raise click.UsageError("-b and --detach cannot be used together")
    if pairs and not new:
        raise click.UsageError("--set needs -b")
    with app.repository() as repo, app.output() as out:
        before = repo.head
        revision = "@{-1}" if revision == "-" else revision
        with repo.transaction("checkout", new or revision):
            if new:
                repo.branch(new, revision, overrides=branch_settings(repo, revision, pairs))
            oid = repo.checkout(new or revision, detach=detach, force=force)
        head = repo.head
        if isinstance(before, Oid) and before != oid and not _is_kept(repo, before):
            short = before.short(repo.abbreviation)
            say(f"warning: state {short} is on no run; 'simgit branch NAME {short}' keeps it")
        if as_json:
            out.json({"head": head, "detached": isinstance(head, Oid), "oid": oid})
        elif isinstance(head, Oid):
            out.line(f"HEAD is now at {out.paint(head.short(repo.abbreviation), 'oid')} (detached)")
            if (there := tracked_run(repo, revision)) is not None:
                say(f"'{there.name}' is no run: 'simgit checkout -b NAME' begins one at its state")
        else:
            verb = "switched to a new run" if new else "switched to run"
            out.line(f"{verb} '{out.paint(head, 'run')}'")


def _is_kept(repo: Repository, state: Oid) -> bool:
    """Return True if a run, or a run of a remote, has a state in its history."""
    tips = (info.oid for info in repo.remote_runs().values())
    return bool(repo.contains(state)) or any(tip and repo.is_ancestor(state, tip) for tip in tips)


def _files(app: App, revision: str, paths: tuple[str, ...], moves: bool, as_json: bool) -> None:
    """Restore files, as ``checkout REVISION -- PATH`` or ``checkout -- PATH``."""
    words = [*app.words]
    if moves:
        raise click.UsageError("paths cannot be used together with -b, --set or --detach")
    if "--" in words and words[words.index("--") + 1 :] == [revision, *paths]:
        revision, paths = "HEAD", (revision, *paths)
    if not paths:
        raise click.UsageError("name the files after --")
    with app.repository() as repo:
        restore_paths(app, repo, "@{-1}" if revision == "-" else revision, paths, as_json)
