"""Ready and pending pods over the steps of an agent, with its actions marked."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simgit.errors import InvalidInput
from simgit.plot.curves import Floats
from simgit.plot.drawing import (
    FAINT,
    INK,
    PALETTE,
    WARM,
    Drawing,
    action_colors,
    legend,
    panels,
    styled,
    thing_of,
    whole_numbers,
)

_READY, _PENDING, _BAD = PALETTE[0], PALETTE[4], PALETTE[1]


@dataclass(frozen=True)
class PodHistory:
    """Observed pods and the actions of an agent, shape (n,) each; NaN where an observation failed.

    ``actions[i]`` is the name of the action that led to step i, "" at a reset; ``blocked`` is True
    if it was refused. ``starts`` are the first steps of the episodes.
    """

    steps: Floats
    ready: Floats
    pending: Floats
    actions: Sequence[str]
    blocked: Sequence[bool] = ()
    starts: Sequence[float] = field(default=())


@styled
def pod_history(history: PodHistory, *, target: int | None = None, title: str = "") -> Drawing:
    """Draw pods above, actions below: a row for each action that was used.

    Raises:
        InvalidInput: there are no steps.
        NotFound: matplotlib is not installed.
    """
    if not len(history.steps):
        raise InvalidInput("no steps to draw")
    names = _rows({name for name in history.actions if name})
    ratios = (3.0, 0.35 + 0.28 * max(1, len(names)))
    drawing, (above, below) = panels(2, height=3.0 + 0.3 * max(1, len(names)), ratios=ratios)
    _pods(above, history, target)
    _actions(below, history, names)
    above.set_title(title)
    below.set_xlabel("step")
    whole_numbers(below.xaxis)
    return drawing


def _pods(axis: Any, history: PodHistory, target: int | None) -> None:
    edges = np.append(history.steps - 0.5, history.steps[-1] + 0.5)
    top = stacked_pods(axis, edges, history.ready, history.pending)
    if target is not None:
        axis.axhline(target, color=INK, linestyle="--", linewidth=1.0, label=f"target: {target}")
    failed = history.steps[~np.isfinite(history.ready)]
    if len(failed):
        at = np.zeros(len(failed))
        axis.plot(failed, at, "x", color=_BAD, label="not observed", clip_on=False)
    _mark_starts(axis, history)
    axis.set_ylim(0, max(top, target or 0) * 1.08)
    legend(axis, beside=True)


def stacked_pods(axis: Any, edges: Floats, ready: Floats, pending: Floats) -> float:
    """Draw pods between edges, pending on top of ready; return the greatest number, at least 1."""
    both = ready + pending
    axis.stairs(ready, edges, fill=True, color=_READY, alpha=0.25, linewidth=0)
    axis.stairs(both, edges, baseline=ready, fill=True, color=_PENDING, alpha=0.35, linewidth=0)
    axis.stairs(both, edges, color=_PENDING, linewidth=1.8, label="pending\n(on top of ready)")
    axis.stairs(ready, edges, color=_READY, linewidth=1.8, label="ready")
    axis.set_ylabel("pods")
    whole_numbers(axis.yaxis)
    return float(max([1.0, *both[np.isfinite(both)]]))


def _mark_starts(axis: Any, history: PodHistory) -> None:
    for start in history.starts:
        axis.axvline(start - 0.5, color=FAINT, linewidth=1.2, zorder=0)


def _rows(used: Set[str]) -> list[str]:
    """Return the actions from top to bottom: opposite ones, which share a thing, side by side."""
    colors = action_colors(sorted(used))
    warm = dict(zip(sorted(used), [each in WARM for each in colors], strict=True))
    return sorted(used, key=lambda n: (n != "noop", sorted(thing_of(n)), not warm[n], n))


def _actions(axis: Any, history: PodHistory, names: Sequence[str]) -> None:
    rows = {name: len(names) - 1 - i for i, name in enumerate(names)}
    colors = dict(zip(names, action_colors(names), strict=True))
    blocked = list(history.blocked) or [False] * len(history.actions)
    for refused, marker in ((False, "o"), (True, "X")):
        chosen = [
            i for i, name in enumerate(history.actions) if name and bool(blocked[i]) is refused
        ]
        if chosen:
            shown = [history.actions[i] for i in chosen]
            ink = INK if refused else [colors[name] for name in shown]
            axis.scatter(history.steps[chosen], [rows[name] for name in shown], s=28, c=ink,
                         marker=marker, clip_on=False)  # fmt: skip
            label = "refused" if refused else "done (colour: action)"
            axis.plot([], [], marker, color=INK if refused else FAINT, markeredgecolor=INK,
                      linestyle="", label=label)  # fmt: skip
    _mark_starts(axis, history)
    axis.set_yticks(list(rows.values()), list(rows))
    axis.set_ylim(-0.6, len(names) - 0.4)
    axis.set_ylabel("action")
    if names:
        legend(axis, beside=True)
