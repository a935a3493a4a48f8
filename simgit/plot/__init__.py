"""Pictures of plain data: curves, pods, values, occupancy, trees; PNG, SVG, or text.

Arrays come in, a ``Drawing`` goes out; nothing here depends on repositories, clusters or agents
(``simgit.analysis`` brings them together). Importing this does not load matplotlib; the first
picture does, and text does not need it.
"""

from simgit.plot.curves import Averaged, Band, Curve, smooth
from simgit.plot.drawing import Drawing
from simgit.plot.learning import learning_curve
from simgit.plot.lines import columns
from simgit.plot.occupancy import Usage, occupancy
from simgit.plot.pods import PodHistory, pod_history
from simgit.plot.text import chart, evenly, sparkline
from simgit.plot.tree import Branch, run_tree
from simgit.plot.values import policy_map, state_values

__all__ = [
    "Averaged", "Band", "Branch", "Curve", "Drawing", "PodHistory", "Usage", "chart", "columns",
    "evenly", "learning_curve", "occupancy", "pod_history", "policy_map", "run_tree", "smooth",
    "sparkline", "state_values",
]  # fmt: skip
