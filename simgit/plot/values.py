"""Action values of an agent: over states, and its preferred action over a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput
from simgit.plot.curves import Floats
from simgit.plot.drawing import (
    PALETTE,
    Drawing,
    action_colors,
    blank,
    headline,
    matplotlib,
    panels,
    styled,
)

_WRITTEN: Final = 16
"""The greatest number of columns with numbers in the cells."""
_PALE: Final = 0.72
"""How white the unvisited part of a map is."""


@styled
def state_values(
    values: npt.ArrayLike,
    actions: Sequence[str],
    states: Sequence[str],
    *,
    chosen: Sequence[int | None] = (),
    over: Sequence[bool] = (),
    title: str = "",
    x_label: str = "state",
) -> Drawing:
    """Draw a table of values, shape (states, actions): a column per state, a row per action.

    The action of the greatest value has a frame, the ``chosen`` one a dot; states that are ``over``
    have neither, since no action follows.

    Raises:
        InvalidInput: the shape does not fit the names, or there are no states.
        NotFound: matplotlib is not installed.
    """
    table = np.asarray(values, np.float64)
    if table.shape != (len(states), len(actions)) or not table.size:
        raise InvalidInput(
            f"values must have shape {(len(states), len(actions))} (states, actions), "
            f"got {table.shape}"
        )
    width = float(np.clip(2.6 + 0.55 * len(states), 5.0, 11.0))
    drawing, (axis,) = panels(1, width=width, height=1.7 + 0.36 * len(actions))
    image = axis.imshow(table.T, aspect="auto", cmap="cividis")
    axis.grid(False)
    axis.set_yticks(range(len(actions)), actions)
    for label, ink in zip(axis.get_yticklabels(), action_colors(actions), strict=True):
        label.set_bbox({"facecolor": ink, "alpha": 0.25, "edgecolor": "none", "pad": 1.5})
    axis.tick_params(axis="y", length=0)
    every = max(1, len(states) // 12)
    axis.set_xticks(range(0, len(states), every), states[::every])
    _marks(drawing, axis, table, chosen, over)
    if len(states) <= _WRITTEN:
        _numbers(axis, table)
    bar = drawing.figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02)
    bar.set_label("value")
    bar.outline.set_visible(False)
    headline(drawing, title)
    axis.set_xlabel(x_label)
    return drawing


def _marks(
    drawing: Drawing,
    axis: Any,
    table: Floats,
    chosen: Sequence[int | None],
    over: Sequence[bool],
) -> None:
    from matplotlib.patches import Rectangle

    frame: dict[str, Any] = {"fill": False, "edgecolor": PALETTE[1], "linewidth": 2.2}
    for state, action in enumerate(table.argmax(axis=1)):
        if not (over and over[state]):
            axis.add_patch(Rectangle((state - 0.5, action - 0.5), 1, 1, **frame))
    handles = [Rectangle((0, 0), 1, 1, label="greatest value", **frame)]
    taken = [(i, action) for i, action in enumerate(chosen) if action is not None]
    if taken:
        x, y = zip(*taken, strict=True)
        look = {"color": PALETTE[1], "edgecolors": "white", "linewidths": 0.8}
        handles.append(axis.scatter(x, np.asarray(y) + 0.32, s=30, label="action taken", **look))
    drawing.figure.legend(handles=handles, loc="outside lower right", ncols=2)


def _numbers(axis: Any, table: Floats) -> None:
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (state, action), value in np.ndenumerate(table):
        ink = "white" if value < middle else "black"
        axis.text(state, action, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=7.5)


@styled
def policy_map(
    values: npt.ArrayLike,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    actions: Sequence[str],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    visited: npt.ArrayLike | None = None,
) -> Drawing:
    """Draw the preferred action, and its value, over a grid of two variables of the state.

    ``values`` has shape (len(y), len(x), actions). Where ``visited``, shape (len(y), len(x)), is
    False the map is pale: there the agent has only guesses. None draws all of it alike.

    Raises:
        InvalidInput: the shape does not fit.
        NotFound: matplotlib is not installed.
    """
    grid = np.asarray(values, np.float64)
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if grid.shape != (len(ys), len(xs), len(actions)) or not grid.size:
        raise InvalidInput(
            f"values must have shape {(len(ys), len(xs), len(actions))} (y, x, actions), "
            f"got {grid.shape}"
        )
    if len(actions) > len(PALETTE):
        raise InvalidInput(
            f"cannot draw {len(actions)} actions: there are only {len(PALETTE)} colours"
        )
    colors = matplotlib().colors
    drawing = blank(8.0, 4.4)
    left, right = drawing.figure.subplots(1, 2, sharey=True)
    best = grid.argmax(axis=2)
    _preferred(left, xs, ys, best, actions, colors)
    image = right.pcolormesh(xs, ys, grid.max(axis=2), cmap="cividis", shading="nearest")
    if visited is not None:
        known = np.asarray(visited, bool)
        _pale(left, xs, ys, known, colors)
        _pale(right, xs, ys, known, colors)
        drawing.figure.text(0.99, 0.01, "pale: not visited", ha="right", fontsize=9)
    right.set_title("value of it")
    bar = drawing.figure.colorbar(image, ax=right, pad=0.02)
    bar.outline.set_visible(False)
    for each in (left, right):
        each.grid(False)
        each.set_xlabel(x_label)
    left.set_ylabel(y_label)
    headline(drawing, title)
    return drawing


def _pale(axis: Any, xs: Floats, ys: Floats, known: npt.NDArray[Any], colors: Any) -> None:
    unknown = np.ma.masked_where(known, np.ones(known.shape))
    axis.pcolormesh(
        xs, ys, unknown, cmap=colors.ListedColormap(["white"]), shading="nearest", alpha=_PALE
    )


def _preferred(
    axis: Any, xs: Floats, ys: Floats, best: npt.NDArray[Any], actions: Sequence[str], colors: Any
) -> None:
    used = np.unique(best)
    inks = action_colors(actions)
    palette = colors.ListedColormap(inks)
    bounds = colors.BoundaryNorm(np.arange(len(actions) + 1) - 0.5, len(actions))
    axis.pcolormesh(xs, ys, best, cmap=palette, norm=bounds, shading="nearest", alpha=0.85)
    for action in used:
        axis.plot([], [], "s", color=inks[action], label=actions[action])
    axis.set_title("preferred action")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
