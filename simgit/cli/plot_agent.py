"""``simgit plot --kind values`` and ``policy``: what an agent thinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from simgit.cli.output import Output, clean, number

if TYPE_CHECKING:
    from pathlib import Path

    from simgit.pictures import Thoughts
    from simgit.repository import Repository


def values(
    out: Output, repo: Repository, revision: str, output: Path | None, title: str, as_json: bool
) -> None:
    """Draw values of actions in the states of an episode, or print them as a table."""
    from simgit import pictures

    if output is not None:
        pictures.draw_values(repo, revision, title=title).save(output)
        out.json({"file": str(output)}) if as_json else out.line(f"wrote {output}")
        return
    found = pictures.thoughts(repo, revision)
    if as_json:
        for record in _records(found):
            out.json(record)
        return
    _write(out, found)


def _records(found: Thoughts) -> list[dict[str, Any]]:
    return [
        {
            "step": step, "values": dict(zip(found.actions, row.tolist(), strict=True)),
            "taken": None if taken is None else found.actions[taken],
        }
        for step, row, taken in zip(found.steps, found.values, found.taken, strict=True)
    ]  # fmt: skip


def _write(out: Output, found: Thoughts) -> None:
    heads = ["step", *map(clean, found.actions), "taken"]
    rows: list[list[Any]] = [[(head, "bold") for head in heads]]
    for step, row, taken in zip(found.steps, found.values, found.taken, strict=True):
        best = int(np.argmax(row))
        cells = [(f"{value:.3g}", "good" if i == best else "") for i, value in enumerate(row)]
        marked = [(f"*{text}", style) if style else (text, style) for text, style in cells]
        rows.append([str(step), *marked, "" if taken is None else clean(found.actions[taken])])
    out.table(rows, right=tuple(range(len(found.actions) + 1)))
    out.line(f"* is the greatest; the agent is that of step {number(found.checkpoint)}")


def policy(
    out: Output, repo: Repository, revision: str, output: Path | None, title: str, as_json: bool
) -> None:
    """Draw which action is preferred for which requests; there is no such table."""
    from simgit.pictures import draw_policy

    if output is None:
        raise click.UsageError("--kind policy is a picture: give --output")
    draw_policy(repo, revision, title=title).save(output)
    out.json({"file": str(output)}) if as_json else out.line(f"wrote {output}")
