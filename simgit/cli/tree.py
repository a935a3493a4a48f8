"""``simgit tree``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simgit.cli.app import App, command
from simgit.cli.output import STATUS_STYLES, Output, clean, number

if TYPE_CHECKING:
    from simgit.pictures import Node


@command(
    "tree",
    example="""\
simgit tree
simgit tree --output runs.png""",
)
@click.option("-o", "--output", metavar="FILE", help="Draw FILE.png or FILE.svg.")
def tree(app: App, output: str | None, as_json: bool) -> None:
    """Show which run was branched off which, where, and what each returned.

    A return is the sum of all rewards on the way to the run's newest state.
    """
    from simgit.pictures import draw_tree
    from simgit.pictures import tree as nodes_of

    with app.repository() as repo, app.output(page=output is None) as out:
        if output is not None:
            from simgit.plot.drawing import check_format

            check_format(Path(output))
            draw_tree(repo).save(app.path(output))
            out.json({"file": output}) if as_json else out.line(f"wrote {output}")
            return
        nodes = nodes_of(repo)
        if as_json:
            for node in nodes:
                out.json(_record(node))
            return
        _write(out, nodes, repo.head)


def _record(node: Node) -> dict[str, Any]:
    info = node.info
    return {
        "name": info.name, "parent": info.parent, "branch_point": info.branch_point,
        "branch_step": node.start if info.branch_point else None, "step": info.step,
        "episodes": info.episodes, "return": info.return_, "status": info.status,
        "depth": node.depth,
    }  # fmt: skip


def _write(out: Output, nodes: list[Node], head: object) -> None:
    heads = ["run", "from step", "to step", "episodes", "return", "status"]
    rows: list[list[Any]] = [[(text, "bold") for text in heads]]
    for node in nodes:
        info = node.info
        name = branches(node.last) + clean(info.name) + (" (HEAD)" if info.name == head else "")
        rows.append([
            (name, "run"), str(node.start), "-" if info.step is None else str(info.step),
            str(info.episodes), number(info.return_),
            (info.status, STATUS_STYLES.get(info.status, "")),
        ])  # fmt: skip
    out.table(rows if nodes else [], right=(1, 2, 3, 4))


def branches(last: tuple[bool, ...]) -> str:
    """Return the lines before a name: which levels above it go on, and its own branch."""
    if not last:
        return ""
    above = "".join("   " if ended else "│  " for ended in last[:-1])
    return above + ("└─ " if last[-1] else "├─ ")
