"""Learning curves: returns and lengths over episodes or steps, of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput
from simgit.plot.curves import Band, Curve, own_part, smooth
from simgit.plot.drawing import Drawing, color, legend, line_style, panels, styled, whole_numbers

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
) -> Drawing:
    """Draw curves, one panel for each label of a y axis ("return", "length (steps)").

    With a ``window`` above 1 the trailing mean is drawn, and the points faintly. A diamond marks
    where a curve branched off another one; shared points are drawn once, if both are drawn. A band
    is the mean of several runs with the 95 % confidence interval of the mean.

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
        axis.set_ylabel(label + (f"\nmean of {window}" if window > 1 else ""))
    first = next(iter(series.values()))
    if len(first) > 1 or isinstance(first[0], Band):
        legend(axes[0], beside=len(first) > _INSIDE)
    axes[0].set_title(title)
    axes[-1].set_xlabel(x_label)
    whole_numbers(axes[-1].xaxis)
    return drawing


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
    axis.plot(x, y, **look, marker=marker, markersize=3.5, label=curve.label)
    if curve.fork is not None and len(x):
        at = float(np.interp(curve.fork, x, y))
        edge = {"markeredgecolor": "white", "zorder": 5}
        axis.plot([curve.fork], [at], "D", color=color(index), markersize=7, **edge)
