"""``simgit provenance``."""

from __future__ import annotations

from typing import Any

import click

from simgit.cli.app import App, command
from simgit.cli.render import run_info
from simgit.cli.show import outline
from simgit.errors import NotFound


@command(
    "provenance",
    example="""\
simgit provenance main
simgit provenance --dry-run
simgit provenance --dry-run -- python train.py --api-key 12345""",
)
@click.option("--dry-run", is_flag=True, help="Show what would be recorded, of COMMAND if given.")
@click.argument("words", metavar="[RUN] [-- COMMAND]", nargs=-1)
def provenance(app: App, words: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Show what is recorded of where a run comes from.

    That is versions, machine, command line, git commit and diff, and the facts of a live cluster.
    Values that look like secrets are masked before anything is stored.

    With --dry-run nothing is read from a repository and nothing is stored: it shows what a recorder
    would record if it were started here, with COMMAND as its command line.
    """
    facts, diff = _collected(words) if dry_run else _recorded(app, words)
    with app.output(page=True) as out:
        if as_json:
            out.json({"provenance": facts, "diff": diff})
            return
        out.lines(outline(facts))
        if diff:
            out.line()
            out.lines(diff.splitlines())


def _collected(words: tuple[str, ...]) -> tuple[dict[str, Any], str | None]:
    from simgit.gym.spec.provenance import Provenance

    found = Provenance.collect(arguments=words or None)
    return found.facts, found.diff


def _recorded(app: App, words: tuple[str, ...]) -> tuple[dict[str, Any], str | None]:
    from simgit.gym.recording.session import DIFF
    from simgit.gym.spec.provenance import CLUSTER

    if len(words) > 1:
        raise click.UsageError(f"provenance takes one run, got {len(words)}; see --dry-run")
    with app.repository() as repo:
        info = run_info(repo, words[0]) if words else repo.head_run
        facts = info.metadata.get("provenance")
        if not isinstance(facts, dict):
            raise NotFound(f"run '{info.name}' was recorded without its provenance", name=info.name)
        if isinstance(cluster := info.metadata.get(CLUSTER), dict):
            facts = {**facts, CLUSTER: cluster}
        code = facts.get("code")
        is_changed = isinstance(code, dict) and code.get("changed")
        for state in repo.log(info.name, reverse=True) if is_changed else ():
            if DIFF in repo.attachments(state.oid):
                diff = repo.attachment(state.oid, DIFF)
                return facts, diff if isinstance(diff, str) else None
        return facts, None
