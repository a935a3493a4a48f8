"""How a repository shows itself in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simgit import notebook
from simgit.oid import Oid

if TYPE_CHECKING:
    from simgit.repository import Repository

_RUNS: Final = 20
_HEADS: Final = ("run", "status", "step", "episodes", "return", "branched off")


def to_html(repo: Repository) -> str:
    """Return where a repository is, how large, and its newest runs."""
    head = repo.head
    where = f"detached at {head.short()}" if isinstance(head, Oid) else head
    title = f"{repo.directory or 'repository in memory'}, {repo.size():,} bytes, HEAD {where}"
    runs = sorted(repo.runs(), key=lambda run: -run.created)
    rows = [
        (run.name, run.status, "" if run.step is None else run.step, run.episodes,
         f"{run.return_:.6g}", run.parent or "")
        for run in runs[:_RUNS]
    ]  # fmt: skip
    more = notebook.paragraph(f"and {len(runs) - _RUNS} more runs") if len(runs) > _RUNS else ""
    return notebook.paragraph(title) + notebook.table(rows, _HEADS) + more
