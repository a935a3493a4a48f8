"""``simgit checkout`` and ``status``."""

from __future__ import annotations

import click

from simgit.cli.app import App, command, one_of
from simgit.cli.output import STATUS_STYLES, number
from simgit.cli.values import REVISION, settings
from simgit.oid import Oid


@command("checkout", example="""\
simgit checkout try-1
simgit checkout -b try-2 main@200 --set agent.lr=0.001""")  # fmt: skip
@click.argument("revision", default="HEAD", type=REVISION)
@click.option("-b", "new", metavar="NAME", help="Create a run there first.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="With -b: a setting.")
@click.option("--detach", is_flag=True, help="Point HEAD at the state, not at the run.")
def checkout(
    app: App, revision: str, new: str | None, pairs: tuple[str, ...], detach: bool, as_json: bool
) -> None:
    """Point HEAD at a run, or detach it at a state."""
    one_of(b=new, detach=detach)
    if pairs and not new:
        raise click.UsageError("--set needs -b")
    with app.repository() as repo, app.output() as out:
        if new:
            repo.branch(new, revision, overrides=settings(pairs))
        oid = repo.checkout(new or revision, detach=detach)
        head = repo.head
        if as_json:
            out.json({"head": head, "detached": isinstance(head, Oid), "oid": oid})
        elif isinstance(head, Oid):
            out.line(f"HEAD is now at {out.paint(head.short(repo.abbreviation), 'oid')} (detached)")
        else:
            verb = "switched to a new run" if new else "switched to run"
            out.line(f"{verb} '{out.paint(head, 'run')}'")


@command("status", example="simgit status")
def status(app: App, as_json: bool) -> None:
    """Show where HEAD is and how its run stands."""
    with app.repository() as repo, app.output() as out:
        head = repo.head
        if isinstance(head, Oid):
            state = repo.state(head)
            if as_json:
                out.json({"head": head, "detached": True, "oid": head, "step": state.step})
            else:
                out.line(f"HEAD detached at {out.paint(head.short(repo.abbreviation), 'oid')}")
                out.line(f"step {state.step}, episode {state.episode}")
            return
        info = repo.run(head) if head in repo.run_names() else None
        if as_json:
            out.json({
                "head": head, "detached": False, "oid": info.oid if info else None,
                "step": info.step if info else None, "status": info.status if info else None,
            })  # fmt: skip
            return
        out.line(f"on run {out.paint(head, 'run')}")
        if info is None or info.oid is None:
            out.line("no states yet")
            return
        shown = out.paint(info.status, STATUS_STYLES.get(info.status, ""))
        out.line(
            f"{shown}, step {info.step}, {info.episodes} episodes, return {number(info.return_)}"
        )
