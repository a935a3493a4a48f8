"""``simgit children`` and ``leaves``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from simgit.cli.app import App, command
from simgit.cli.output import counted
from simgit.cli.params import REVISION

if TYPE_CHECKING:
    from simgit.history.state import State
    from simgit.repository import Repository


@command("children", example="simgit children main@200")
@click.argument("revision", default="HEAD", type=REVISION)
def children(app: App, revision: str, as_json: bool) -> None:
    """List the states whose parent is REVISION (default: HEAD)."""
    with app.repository() as repo:
        _write_states(app, repo, repo.children(revision), as_json)


@command("leaves", example="simgit leaves")
def leaves(app: App, as_json: bool) -> None:
    """List the states without children: the ends of all histories."""
    with app.repository() as repo:
        _write_states(app, repo, repo.leaves(), as_json)


def _write_states(app: App, repo: Repository, states: Sequence[State], as_json: bool) -> None:
    digits, refs = repo.abbreviation, repo.decorations()
    with app.output(page=True) as out:
        if as_json:
            for state in states:
                out.json(state)
            return
        rows = []
        for state in states:
            found = [name.removeprefix("HEAD -> ") for name in refs.get(state.oid, [])]
            names = ", ".join(name.removeprefix("runs/").removeprefix("remotes/") for name in found)
            ended = [flag for flag in ("terminated", "truncated") if getattr(state, flag)]
            rows.append([
                (state.oid.short(digits), "oid"), f"step {state.step}",
                f"ep{counted(state.episode)}.{counted(state.episode_step)}", " ".join(ended),
                (names, "run"),
            ])  # fmt: skip
        out.table(rows)
