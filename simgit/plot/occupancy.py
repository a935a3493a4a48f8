"""The occupancy of a cluster's nodes over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput
from simgit.plot.curves import Floats
from simgit.plot.drawing import Drawing, panels, styled, whole_numbers
from simgit.plot.pods import stacked_pods

_NAMED: Final = 24
"""The greatest number of nodes that are named at the axis."""


@dataclass(frozen=True)
class Usage:
    """The occupancy of each node at each time.

    ``times`` has shape (t,), ascending; ``used[resource]`` has shape (nodes, t) and holds shares
    of the node's capacity, 0 to 1; ``ready`` and ``pending`` count pods, shape (t,).
    """

    times: Floats
    nodes: Sequence[str]
    used: Mapping[str, Floats]
    ready: Floats
    pending: Floats


@styled
def occupancy(
    usage: Usage, *, title: str = "", x_label: str = "time (s)", steps: bool = False
) -> Drawing:
    """Draw a map of nodes over time for each resource, and the pods below.

    A value holds from its time to the next one. With ``steps`` each is drawn centred on its step.

    Raises:
        InvalidInput: there are no times.
        NotFound: matplotlib is not installed.
    """
    if not len(usage.times):
        raise InvalidInput("no times to draw")
    rows = len(usage.used)
    each = 0.7 + 0.22 * min(len(usage.nodes), _NAMED)
    drawing, axes = panels(rows + 1, height=rows * each + 2.6, ratios=[*[each] * rows, 1.7])
    edges = np.append(usage.times, usage.times[-1] + 1) - 0.5 if steps else _edges(usage.times)
    for axis, (resource, used) in zip(axes, usage.used.items(), strict=False):
        image = _map(axis, edges, used, usage.nodes, resource)
    bar = drawing.figure.colorbar(image, ax=axes[:rows], fraction=0.03, pad=0.01)
    bar.set_label("requested, % of the node")
    bar.outline.set_visible(False)
    axes[-1].set_ylim(0, 1.08 * stacked_pods(axes[-1], edges, usage.ready, usage.pending))
    drawing.figure.legend(loc="outside lower right", ncols=2)
    axes[0].set_title(title)
    axes[-1].set_xlabel(x_label)
    whole_numbers(axes[-1].xaxis)
    return drawing


def _edges(times: Floats) -> Floats:
    """Return the edges of the values' intervals; the last is as long as the mean."""
    mean = float(np.diff(times).mean()) if len(times) > 1 else 1.0
    return np.append(times, times[-1] + max(mean, 1e-9))


def _map(axis: Any, edges: Floats, used: Floats, nodes: Sequence[str], resource: str) -> Any:
    rows = np.arange(len(nodes) + 1)
    image = axis.pcolormesh(edges, rows, 100 * used, cmap="Blues", vmin=0, vmax=100)
    axis.grid(False)
    axis.set_ylim(len(nodes), 0)
    axis.set_ylabel(resource)
    if len(nodes) <= _NAMED:
        axis.set_yticks(rows[:-1] + 0.5, nodes, fontsize=8)
    else:
        axis.set_yticks([0.5, len(nodes) - 0.5], [nodes[0], nodes[-1]], fontsize=8)
    axis.tick_params(axis="y", length=0)
    return image
