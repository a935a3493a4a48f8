"""The HTML of a repository and its runs in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from simgit.plot import notebook
from simgit.refs.runs import RunInfo

_RUNS: Final = 20
_HEADS: Final = ("run", "status", "step", "episodes", "return", "branched off")


def runs_table(runs: Iterable[RunInfo]) -> str:
    """Return a table of the newest runs as HTML."""
    runs = sorted(runs, key=lambda run: -run.created)
    rows = [
        (run.name, run.status, "" if run.step is None else run.step,
         "?" if run.episodes is None else run.episodes,
         f"{run.return_:.6g}", run.parent or "")
        for run in runs[:_RUNS]
    ]  # fmt: skip
    more = notebook.paragraph(f"and {len(runs) - _RUNS} more runs") if len(runs) > _RUNS else ""
    return notebook.table(rows, _HEADS) + more


def repository_overview(title: str, runs: Iterable[RunInfo]) -> str:
    """Return a repository's title and the table of its newest runs as HTML."""
    return notebook.paragraph(title) + runs_table(runs)
