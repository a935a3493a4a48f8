"""``simgit status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simgit.cli.app import App, command
from simgit.cli.output import STATUS_STYLES, Output, clean, counted, counted_sum
from simgit.errors import plural

if TYPE_CHECKING:
    from simgit.refs.remotes import Upstream
    from simgit.repository import Repository


@command("status", example="simgit status")
def status(app: App, as_json: bool) -> None:
    """Show where HEAD is, its run's status, and the files that have changed.

    Of a run that is known at a remote, how far it is ahead or behind what was last seen there.

    A directory without a file of HEAD's state is one line. What .simgitignore names is left out,
    by git's patterns.
    """
    with app.repository() as repo, app.output() as out:
        files = repo.status()
        found: dict[str, Any] = {
            "modified": list(files.modified),
            "deleted": list(files.deleted),
            "untracked": list(files.untracked),
        }
        if as_json:
            out.json(_head(repo) | _upstream(repo) | found)
            return
        _write_head(repo, out)
        for kind, style in (("modified", "bad"), ("deleted", "bad"), ("untracked", "dim")):
            if found[kind]:
                out.line(f"{kind}:")
            for path in found[kind]:
                out.line("    " + out.paint(clean(path), style))


def _head(repo: Repository) -> dict[str, Any]:
    from simgit.objects.oid import Oid

    head = repo.head
    if isinstance(head, Oid):
        step = repo.state(head).step
        return {"head": head, "detached": True, "oid": head, "step": step, "status": None}
    info = repo.runs.get(head)
    return {
        "head": head, "detached": False, "oid": info.oid if info else None,
        "step": info.step if info else None, "status": info.status if info else None,
    }  # fmt: skip


def _write_head(repo: Repository, out: Output) -> None:
    from simgit.objects.oid import Oid

    head = repo.head
    if isinstance(head, Oid):
        state = repo.state(head)
        out.line(f"HEAD detached at {out.paint(head.short(repo.abbreviation), 'oid')}")
        out.line(f"step {state.step}, episode {counted(state.episode)}")
        return
    out.line(f"on run {out.paint(head, 'run')}")
    info = repo.runs.get(head)
    if info is None or info.oid is None:
        out.line("no states yet")
        return
    shown = out.paint(info.status, STATUS_STYLES.get(info.status, ""))
    episodes = "? episodes" if info.episodes is None else plural(info.episodes, "episode")
    out.line(
        f"{shown}, step {info.step}, {episodes}, return {counted_sum(info.return_, info.episodes)}"
    )
    if (found := repo.upstreams(head).get(head)) is not None:
        out.line(_standing(found))


def _upstream(repo: Repository) -> dict[str, Any]:
    head = repo.head
    found = repo.upstreams(head).get(head) if isinstance(head, str) else None
    return {"upstream": None if found is None else found._asdict()}


def _standing(found: Upstream) -> str:
    """Return how a run stands to the one that it tracks, in git's words."""
    name, ahead, behind = found
    if ahead and behind:
        return f"diverged from '{name}': {plural(ahead, 'state')} only here, {behind} only there"
    if ahead:
        return f"ahead of '{name}' by {plural(ahead, 'state')}"
    if behind:
        return f"behind '{name}' by {plural(behind, 'state')}"
    return f"up to date with '{name}'"
