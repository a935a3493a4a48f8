"""Learning curves: returns and lengths over episodes or steps, of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput
from simgit.plot.curves import Band, Curve, clear_range, own_part, smooth
from simgit.plot.drawing import (
    INK,
    Drawing,
    color,
    legend,
    line_style,
    panels,
    styled,
    whole_numbers,
)

_RAW_ALPHA: Final = 0.25
_INSIDE: Final = 6
"""More curves than these have their legend beside the axes."""
_DOTS: Final = 25
"""The greatest number of points that are marked each."""


@styled
def learning_curve(
    series: Mapping[str, Sequence[Curve | Band]],
    *,
    title: str = "",
    x_label: str = "episode",
    window: int = 1,
    full: bool = False,
) -> Drawing:
    """Draw curves, one panel for each label of a y axis ("return", "length (steps)").

    With a ``window`` above 1 the trailing mean is drawn, and the points faintly. A diamond marks
    where a curve branched off another one; shared points are drawn once, if both are drawn. A band
    is the mean of several runs with the 95 % confidence interval of the mean. Where the first
    points would squash the others they lie outside, with triangles at the edge; not with ``full``.
    Points that are means of many states have the range of these around them.

    Raises:
        InvalidInput: there is nothing to draw.
        NotFound: matplotlib is not installed.
    """
    if not any(len(each.x) for group in series.values() for each in group):
        raise InvalidInput("no episodes to draw")
    drawing, axes = panels(len(series), height=1.0 + 2.6 * len(series))
    for axis, (label, group) in zip(axes, series.items(), strict=True):
        drawn = {each.label for each in group}
        for index, each in enumerate(group):
            if isinstance(each, Band):
                _band(axis, each, index)
            elif len(each.x):
                part = own_part(each) if each.parent in drawn else slice(None)
                _curve(axis, each, part, index, window)
        if not full:
            _clip(axis, group, window)
        axis.set_ylabel(label + (f"\nmean of {window}" if window > 1 else ""))
    first = next(iter(series.values()))
    if len(first) > 1 or isinstance(first[0], Band) or first[0].averaged is not None:
        legend(axes[0], beside=len(first) > _INSIDE)
    axes[0].set_title(title)
    axes[-1].set_xlabel(x_label)
    whole_numbers(axes[-1].xaxis)
    return drawing


def _clip(axis: Any, group: Sequence[Curve | Band], window: int) -> None:
    """Leave out what squashes the curves; mark where, how many points and how far they lie."""
    drawn = [each.mean if isinstance(each, Band) else smooth(each.y, window) for each in group]
    found = clear_range(drawn)
    if found is None:
        return
    axis.set_ylim(*found)
    beyond = {
        "v": (np.less, found[0], np.nanmin, 0.03),
        "^": (np.greater, found[1], np.nanmax, 0.97),
    }
    for marker, (outside, edge, extreme, at) in beyond.items():
        left = [outside(y, edge) for y in drawn]
        count = sum(int(each.sum()) for each in left)
        if not count:
            continue
        for index, (each, points) in enumerate(zip(group, left, strict=True)):
            x = np.asarray(each.x)[points]
            axis.plot(x, np.full(len(x), edge), marker, color=color(index), markersize=5,
                      clip_on=False, zorder=6)  # fmt: skip
        furthest = float(extreme(np.concatenate(drawn)))
        text = f"{count} outside, {'down' if marker == 'v' else 'up'} to {furthest:.4g}"
        side, box = "bottom" if marker == "v" else "top", {"facecolor": "white", "alpha": 0.8}
        axis.text(0.995, at, text, transform=axis.transAxes, ha="right", va=side, fontsize=8.5,
                  color=INK, zorder=7, bbox={**box, "edgecolor": "none", "pad": 1.5})  # fmt: skip


def _band(axis: Any, each: Band, index: int) -> None:
    label = f"{each.label}: mean of {each.count} seeds, 95 % interval"
    axis.plot(each.x, each.mean, color=color(index), linestyle=line_style(index), label=label)
    axis.fill_between(each.x, each.low, each.high, color=color(index), alpha=0.2, linewidth=0)


def _curve(axis: Any, curve: Curve, part: slice, index: int, window: int) -> None:
    look = {"color": color(index), "linestyle": line_style(index)}
    x, y = curve.x[part], smooth(curve.y, window)[part]
    if window > 1:
        axis.plot(x, curve.y[part], color=color(index), alpha=_RAW_ALPHA, linewidth=0.8)
    marker = "o" if len(x) <= _DOTS and window == 1 else None
    label, of = curve.label, curve.averaged
    if of is not None:
        label += f": means of {of.width} states, least to greatest"
        axis.fill_between(
            x, of.low[part], of.high[part], color=color(index), alpha=0.2, linewidth=0
        )
    axis.plot(x, y, **look, marker=marker, markersize=3.5, label=label)
    if curve.fork is not None and len(x):
        at = float(np.interp(curve.fork, x, y))
        edge = {"markeredgecolor": "white", "zorder": 5}
        axis.plot([curve.fork], [at], "D", color=color(index), markersize=7, **edge)
