"""``simgit plot --kind values`` and ``policy``: the values that an agent gives to actions."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.output import Output, clean, columns, number

if TYPE_CHECKING:
    from pathlib import Path

    from simgit.analysis import Thoughts
    from simgit.plot.curves import Floats
    from simgit.repository import Repository


def values(
    out: Output, repo: Repository, revision: str, output: Path | None, title: str, as_json: bool
) -> None:
    """Draw values of actions in the states of an episode, or print them as a table."""
    from simgit import analysis

    if output is not None:
        analysis.draw_values(repo, revision, title=title).save(output)
        out.json({"file": str(output)}) if as_json else out.line(f"wrote {output}")
        return
    found = analysis.thoughts(repo, revision)
    if as_json:
        for step, row, taken in zip(found.steps, found.values, found.taken, strict=True):
            out.json({
                "step": step, "values": dict(zip(found.actions, row.tolist(), strict=True)),
                "taken": None if taken is None else found.actions[taken],
            })  # fmt: skip
        return
    _write(out, found)


def _write(out: Output, found: Thoughts) -> None:
    import numpy as np

    actions = [clean(name) for name in found.actions]
    heads = actions if _fits(actions) else [str(i) for i in range(len(actions))]
    rows: list[list[Any]] = [[(head, "bold") for head in ("step", *heads, "taken")]]
    for i, (step, row) in enumerate(zip(found.steps, found.values, strict=True)):
        taken = found.taken[i]
        best = None if found.over[i] else int(np.argmax(row))
        rows.append([str(step), *_cells(row, best), "" if taken is None else heads[taken]])
    out.table(rows, right=tuple(range(len(actions) + 1)))
    if heads != actions:
        named = ", ".join(f"{i}={name}" for i, name in enumerate(actions))
        for line in textwrap.wrap(named, columns(), break_on_hyphens=False):
            out.line(line)
    out.line(f"* marks the greatest; the agent is that of step {number(found.checkpoint)}")


def _cells(row: Floats, best: int | None) -> list[tuple[str, str]]:
    return [
        (f"*{value:.3g}", "good") if i == best else (f"{value:.3g}", "")
        for i, value in enumerate(row)
    ]


def _fits(actions: list[str]) -> bool:
    """Return whether a table with the names of actions as its heads fits the terminal."""
    wide = sum(2 + max(8, len(name)) for name in actions)
    return 6 + wide + max(map(len, actions), default=0) <= columns()


def policy(
    out: Output, repo: Repository, revision: str, output: Path | None, title: str, as_json: bool
) -> None:
    """Draw which action is preferred for which requests, or print their values as JSON."""
    from simgit import analysis

    if output is not None:
        analysis.draw_policy(repo, revision, title=title).save(output)
        out.json({"file": str(output)}) if as_json else out.line(f"wrote {output}")
    elif as_json:
        out.json(asdict(analysis.policy(repo, revision)))
    else:
        raise click.UsageError("--kind policy needs --output or --json")
