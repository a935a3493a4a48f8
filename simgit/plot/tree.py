"""The runs of a repository as a tree over their steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simgit.errors import InvalidInput
from simgit.plot.drawing import INK, Drawing, color, panels, styled, whole_numbers


@dataclass(frozen=True)
class Branch:
    """A run, from the step where it was branched off (None for a root) to its end.

    ``note`` is a text behind its name: a return, for instance.
    """

    name: str
    start: int
    stop: int
    parent: str | None = None
    note: str = ""


@styled
def run_tree(branches: Sequence[Branch], *, title: str = "", x_label: str = "step") -> Drawing:
    """Draw each run as a line from its branch point, in the given order.

    Raises:
        InvalidInput: there are no runs.
        NotFound: matplotlib is not installed.
    """
    if not branches:
        raise InvalidInput("no runs to draw")
    drawing, (axis,) = panels(1, height=1.1 + 0.36 * len(branches))
    rows = {branch.name: row for row, branch in enumerate(branches)}
    end = max(branch.stop for branch in branches) or 1
    for branch in branches:
        row, look = rows[branch.name], color(rows[branch.name])
        axis.plot([branch.start, branch.stop], [row, row], color=look, linewidth=3)
        axis.plot([branch.stop], [row], "o", color=look, markersize=6)
        if branch.parent in rows:
            axis.plot([branch.start] * 2, [rows[branch.parent], row], color=look, linewidth=1.2)
            axis.plot([branch.start], [rows[branch.parent]], "D", color=look, markersize=6,
                      markeredgecolor="white", zorder=5)  # fmt: skip
        axis.annotate(
            f" {branch.name}  {branch.note}".rstrip(), (branch.stop, row), xytext=(6, 0),
            textcoords="offset points", va="center", color=INK, fontsize=9, annotation_clip=False,
        )  # fmt: skip
    axis.set_xlim(-0.01 * end, 1.02 * end)
    axis.set_ylim(len(branches) - 0.5, -0.5)
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.grid(False)
    axis.set_title(title)
    axis.set_xlabel(x_label)
    whole_numbers(axis.xaxis)
    return drawing
