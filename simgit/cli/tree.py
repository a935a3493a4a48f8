"""``simgit tree``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from simgit.cli.app import App, command
from simgit.cli.output import STATUS_STYLES, Output, clean, counted, counted_sum, number

if TYPE_CHECKING:
    from simgit.analysis import RunNode

_ROLLOUTS: Final = "what-if"
"""The metadata that a rollout of ``simgit what-if`` has."""
_FEW: Final = 3
"""More rollouts than these from one state are shown as one line."""


@command(
    "tree",
    example="""\
simgit tree
simgit tree --output runs.png""",
)
@click.option("-o", "--output", metavar="FILE", help="Picture to write: FILE.png or FILE.svg.")
def tree(app: App, output: str | None, as_json: bool) -> None:
    """Show which run was branched off which, at which step, and the return of each.

    A return is the sum of all rewards from the root to the run's newest state. Rollouts of what-if
    from one state share a line.
    """
    from simgit.analysis import tree as nodes_of

    with app.repository() as repo, app.output(page=output is None) as out:
        if output is not None:
            from simgit.analysis import draw_tree
            from simgit.plot.drawing import check_format

            check_format(app.path(output))
            draw_tree(repo).save(app.path(output))
            out.json({"file": output}) if as_json else out.line(f"wrote {output}")
            return
        nodes = nodes_of(repo)
        if as_json:
            for node in nodes:
                info = node.info
                out.json({
                    "name": info.name, "parent": node.parent or info.parent,
                    "branch_point": info.branch_point,
                    "branch_step": node.start if info.branch_point else None, "step": info.step,
                    "episodes": info.episodes, "return": info.return_, "status": info.status,
                    "depth": node.depth,
                })  # fmt: skip
            return
        _write(out, nodes, repo.head)


def _write(out: Output, nodes: list[RunNode], head: object) -> None:
    heads = ["run", "from step", "to step", "episodes", "return", "status"]
    rows: list[list[Any]] = [[(text, "bold") for text in heads]]
    for group in _grouped(nodes):
        rows += [_folded(group)] if len(group) > _FEW else [_row(node, head) for node in group]
    out.table(rows if nodes else [], right=(1, 2, 3, 4))


def _row(node: RunNode, head: object) -> list[Any]:
    info = node.info
    name = branches(node.last) + clean(info.name) + (" (HEAD)" if info.name == head else "")
    return [
        (name, "run"), str(node.start), "-" if info.step is None else str(info.step),
        counted(info.episodes), counted_sum(info.return_, info.episodes),
        (info.status, STATUS_STYLES.get(info.status, "")),
    ]  # fmt: skip


def _grouped(nodes: list[RunNode]) -> Iterator[list[RunNode]]:
    """Yield nodes in their order, rollouts from the same state together."""

    def rollouts_of(node: RunNode) -> object:
        name = node.info.name
        counted = _ROLLOUTS in node.info.metadata and name.rpartition("-")[2].isdigit()
        return node.info.branch_point if counted else name

    for _, group in itertools.groupby(nodes, rollouts_of):
        yield list(group)


def _folded(group: list[RunNode]) -> list[Any]:
    """Return one row for many rollouts."""
    numbers = sorted(int(node.info.name.rpartition("-")[2]) for node in group)
    stem, steps = group[0].info.name.rpartition("-")[0], [node.info.step or 0 for node in group]
    mean = sum(node.info.return_ for node in group) / len(group)
    name = f"{branches(group[-1].last)}{clean(stem)}-{numbers[0]} … -{numbers[-1]}"
    return [
        (name, "run"), str(group[0].start), str(max(steps)), "", f"mean {number(mean)}",
        f"{len(group)} rollouts",
    ]  # fmt: skip


def branches(last: tuple[bool, ...]) -> str:
    """Return the lines before a name: which levels above it go on, and its own branch."""
    if not last:
        return ""
    above = "".join("   " if ended else "│  " for ended in last[:-1])
    return above + ("└─ " if last[-1] else "├─ ")
