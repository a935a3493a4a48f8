"""``simgit plot --kind pods`` and ``occupancy``: pods and the usage of nodes over time."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from simgit.cli.output import Output, clean, number
from simgit.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

    from simgit.plot import PodHistory, Usage
    from simgit.repository import Repository

_WIDE = 40
_DRAWN = 24
"""The most pods that are drawn; more are counted."""


def pods(
    out: Output, repo: Repository, revision: str, output: Path | None, title: str, as_json: bool
) -> None:
    """Draw one episode's pods and actions, or print them as a table."""
    from simgit import analysis

    if output is not None:
        analysis.pods(repo, revision, title=title).save(output)
        out.json({"file": str(output)}) if as_json else out.line(f"wrote {output}")
        return
    trajectory, history = analysis.pod_steps(repo, revision)
    rewards = [
        float(reward) if there else None
        for reward, there in zip(trajectory.rewards, trajectory.present("reward"), strict=True)
    ]
    if as_json:
        for i in range(len(history.steps)):
            out.json({
                "step": int(history.steps[i]), "action": history.actions[i] or None,
                "blocked": history.blocked[i], "ready": _count(history.ready[i]),
                "pending": _count(history.pending[i]), "reward": rewards[i],
            })  # fmt: skip
        return
    out.line(f"{out.paint(clean(analysis.episode_title(trajectory)), 'run')}")
    _write(out, history, rewards)


def _count(value: float) -> int | None:
    import numpy as np

    return int(value) if np.isfinite(value) else None


def _write(out: Output, history: PodHistory, rewards: list[float | None]) -> None:
    heads = ["step", "action", "pods", "reward"]
    rows: list[list[Any]] = [[(head, "bold") for head in heads]]
    for i, step in enumerate(history.steps):
        action = clean(history.actions[i]) + (" (refused)" if history.blocked[i] else "")
        style = "bad" if history.blocked[i] else ""
        reward = "" if rewards[i] is None else number(rewards[i])
        rows.append([str(int(step)), (action, style), _pods(history, i), reward])
    out.table(rows, right=(0, 3))
    out.line("● ready, ○ pending")


def _pods(history: PodHistory, i: int) -> str:
    ready, pending = _count(history.ready[i]), _count(history.pending[i])
    if ready is None or pending is None:
        return "not observed"
    if ready + pending > _DRAWN:
        return f"{ready} ready, {pending} pending"
    return "●" * ready + "○" * pending


def one(revisions: list[str], kind: str, repo: Repository) -> str:
    """Return the only revision that a kind of picture can show, or HEAD's run."""
    if len(revisions) > 1:
        raise InvalidInput(f"--kind {kind} takes one run, got {len(revisions)}")
    return revisions[0] if revisions else repo.head_run.name


def occupancy(
    out: Output, repo: Repository, revision: str, output: Path | None, title: str, as_json: bool
) -> None:
    """Draw the usage of nodes over the steps of an episode, or print it as lines."""
    from simgit import analysis, plot

    trajectory = analysis.one_episode(repo.trajectory(revision))
    found = analysis.loop_usage(repo, trajectory)
    if output is not None:
        name = title or analysis.episode_title(trajectory)
        plot.occupancy(found, title=name, x_label="step", steps=True).save(output)
        out.json({"file": str(output)}) if as_json else out.line(f"wrote {output}")
    elif as_json:
        out.json(asdict(found))
    else:
        out.line(out.paint(clean(analysis.episode_title(trajectory)), "run"))
        write_usage(out, found, "step")


def write_usage(out: Output, found: Usage, unit: str = "second") -> None:
    """Print the usage of nodes as a line each, empty at the bottom and full at the top."""
    import numpy as np

    from simgit.plot.text import sparkline

    rows: list[list[Any]] = [[(head, "bold") for head in ("node", "of", "", "most", "at last")]]
    for resource, shares in found.used.items():
        for name, line in zip(found.nodes, shares, strict=True):
            numbers = [_percent(value) for value in (np.nanmax(line), line[-1])]
            rows.append([clean(name), resource, sparkline(line, _WIDE, 0.0, 1.0), *numbers])
    for what, counts in (("ready", found.ready), ("pending", found.pending)):
        numbers = [number(value) for value in (np.nanmax(counts), counts[-1])]
        rows.append([what, "pods", sparkline(counts, _WIDE, 0.0), *numbers])
    out.table(rows, right=(3, 4))
    first, last = number(found.times[0]), number(found.times[-1])
    out.line(f"from {unit} {first} to {last}")


def _percent(share: float) -> str:
    """Return a share as text; a node that is not there has none."""
    return f"{100 * share:.0f} %" if math.isfinite(share) else ""
