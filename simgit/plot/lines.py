"""Columns over steps: a panel for each recorded field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput
from simgit.plot.curves import Floats
from simgit.plot.drawing import FAINT, Drawing, color, legend, line_style, panels, styled
from simgit.plot.drawing import whole_numbers as at_whole_numbers

_MOST: Final = 8
"""The greatest number of lines for a column of arrays."""


@styled
def columns(
    steps: npt.ArrayLike,
    fields: Mapping[str, npt.ArrayLike],
    *,
    starts: Sequence[float] = (),
    title: str = "",
) -> Drawing:
    """Draw columns of shape (n,) or (n, …) over steps of shape (n,); an array is several lines.

    A line has a gap where a value is NaN or masked. ``starts`` are the steps at which episodes
    begin.

    Raises:
        InvalidInput: a field is not numeric, or there are no steps.
        NotFound: matplotlib is not installed.
    """
    x = np.asarray(steps, np.float64)
    if not len(x) or not fields:
        raise InvalidInput("no steps to draw")
    drawing, axes = panels(len(fields), height=1.0 + 1.9 * len(fields))
    for axis, (name, values) in zip(axes, fields.items(), strict=True):
        _field(axis, x, name, values)
        for start in starts:
            axis.axvline(start, color=FAINT, linewidth=1.0, zorder=0)
    axes[0].set_title(title)
    axes[-1].set_xlabel("step")
    at_whole_numbers(axes[-1].xaxis)
    return drawing


def _field(axis: Any, x: Floats, name: str, values: npt.ArrayLike) -> None:
    lines = _lines(name, values, len(x))
    for index in range(min(_MOST, lines.shape[1])):
        look = {"color": color(index), "linestyle": line_style(index), "linewidth": 1.4}
        axis.plot(x, lines[:, index], label=f"[{index}]", **look)
    axis.set_ylabel(name)
    if lines.shape[1] > 1:
        legend(axis, beside=True)


def _lines(name: str, values: npt.ArrayLike, count: int) -> Floats:
    try:
        found: Any = np.ma.asanyarray(values)
    except ValueError:  # a list of arrays of several shapes
        found = np.ma.asanyarray([])
    if found.dtype.kind not in "biuf" or len(found) != count:
        raise InvalidInput(f"cannot draw '{name}': not a column of numbers")
    lines: Floats = found.reshape(count, -1).astype(np.float64).filled(np.nan)
    return lines
