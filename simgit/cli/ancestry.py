"""``simgit merge-base``, ``lineage``, ``children``, ``leaves``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from simgit.cli.app import App, answer_no, command
from simgit.cli.describe import flat, run_record
from simgit.cli.output import STATUS_STYLES, plural
from simgit.cli.show import state_record
from simgit.cli.values import REVISION, RUN
from simgit.history.state import State
from simgit.repository import Repository


@command("merge-base", example="simgit merge-base main try-1")
@click.argument("a", type=REVISION)
@click.argument("b", type=REVISION)
@click.option("--all", "every", is_flag=True, help="All best common ancestors.")
def merge_base(app: App, a: str, b: str, every: bool, as_json: bool) -> None:
    """Print the best common ancestor of two states; exit with 1 if they have none."""
    with app.repository() as repo, app.output() as out:
        found = repo.merge_bases(a, b)[: None if every else 1]
        for oid in found:
            out.json({"oid": oid}) if as_json else out.line(oid.hex())
    if not found:
        answer_no()


@command("lineage", example="simgit lineage try-1")
@click.argument("run", required=False, type=RUN)
def lineage(app: App, run: str | None, as_json: bool) -> None:
    """Show a run (HEAD's by default) and the runs that it was branched off, nearest first."""
    with app.repository() as repo, app.output() as out:
        found = repo.lineage(run)
        if as_json:
            for info in found:
                out.json(run_record(info))
            return
        digits = repo.abbreviation
        rows = []
        for info in found:
            point = info.branch_point
            whence = "" if point is None else f"from {point.short(digits)} of {info.parent or '?'}"
            settings = plural(len(flat(dict(info.overrides))), "setting") if info.overrides else ""
            status = (info.status, STATUS_STYLES.get(info.status, ""))
            rows.append([(info.name, "run"), status, f"step {info.step}", whence, settings])
        out.table(rows)


@command("children", example="simgit children main@200")
@click.argument("revision", default="HEAD", type=REVISION)
def children(app: App, revision: str, as_json: bool) -> None:
    """List the states that have a state among their parents."""
    with app.repository() as repo:
        _write_states(app, repo, repo.children(revision), as_json)


@command("leaves", example="simgit leaves")
def leaves(app: App, as_json: bool) -> None:
    """List the states that no state follows: the ends of all histories."""
    with app.repository() as repo:
        _write_states(app, repo, repo.leaves(), as_json)


def _write_states(app: App, repo: Repository, states: Sequence[State], as_json: bool) -> None:
    digits, refs = repo.abbreviation, repo.decorations()
    with app.output(page=True) as out:
        if as_json:
            for state in states:
                out.json(state_record(state))
            return
        rows = []
        for state in states:
            names = ", ".join(name.rpartition("runs/")[2] for name in refs.get(state.oid, []))
            ended = [flag for flag in ("terminated", "truncated") if getattr(state, flag)]
            rows.append([
                (state.oid.short(digits), "oid"), f"step {state.step}",
                f"ep{state.episode}.{state.episode_step}", " ".join(ended), (names, "run"),
            ])  # fmt: skip
        out.table(rows)
