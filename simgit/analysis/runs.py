"""Learning curves and the tree of a repository's runs, as numbers and as pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Final, Literal

import numpy as np

from simgit.analysis.run_nodes import tree
from simgit.analysis.shared_states import RunNames
from simgit.analysis.statistics import band
from simgit.errors import InvalidInput, NotFound
from simgit.history.buckets import width_for
from simgit.history.trajectory import Trajectory
from simgit.odb.clock import TIME, clock_of
from simgit.odb.segments.block import BLOCK_ROWS
from simgit.plot import Averaged, Band, Branch, Curve, Drawing, learning_curve, run_tree, smooth
from simgit.plot.curves import Floats
from simgit.repository import Repository

Axis = Literal["episodes", "steps", "time"]
Measure = Literal["returns", "lengths", "solved", "epsilon", "loss"]
MEASURES: Final[dict[str, str]] = {
    "returns": "return", "lengths": "length (steps)", "solved": "solved", "epsilon": "epsilon",
    "loss": "loss",
}  # fmt: skip
METRICS: Final = "metrics"
"""The beginning of the name of the attachment with what an agent told in the last episodes.

It has ``episode``, numbers, and an array of as many floats for each metric; see ``RunNames``.
"""
_RECORDED: Final = ("returns", "lengths")
_TOLD: Final = ("epsilon", "loss")
BOUNDED: Final = frozenset({"solved", "epsilon"})
"""Measures from 0 to 1, which are drawn whole."""
_NAMES: Final = {
    "returns": "Return", "lengths": "Length", "solved": "Solved share", "epsilon": "Epsilon",
    "loss": "Loss",
}  # fmt: skip
_BETWEEN: Final = "-_/.= "
_LAST: Final = 10
"""The number of newest values that are told of a curve."""
X_LABELS: Final = {"episodes": "episode", "steps": "step", "time": "time"}


def learning_curves(
    repo: Repository,
    runs: Sequence[str] = (),
    measures: Sequence[Measure] = ("returns",),
    *,
    x: Axis = "episodes",
    window: int = 1,
    bands: bool = False,
    full: bool = False,
    title: str = "",
) -> Drawing:
    """Draw measures of the episodes of runs (default: the run of HEAD).

    A run has its whole history, so a branched run continues the curve of its parent; with ``bands``
    runs that differ only in their seeds become a mean with its interval. Where the first episodes
    would squash the others they lie outside, marked at the edge; not with ``full``.

    Raises:
        NotFound: no such run, no agent that told a measure, or matplotlib is not installed.
        InvalidInput: there are no episodes to draw.
    """
    series: dict[str, Sequence[Curve | Band]] = {}
    for measure in measures:
        found = curves(repo, runs, measure, x=x)
        series[MEASURES[measure]] = by_seed(repo, found, window) if bands else found
    title = title or _title(series, measures)
    full = full or BOUNDED.issuperset(measures)
    return learning_curve(series, title=title, x_label=X_LABELS[x], window=window, full=full)


def _title(series: Mapping[str, Sequence[Curve | Band]], measures: Sequence[Measure]) -> str:
    """Return a title with the measure, and the run if there is no legend."""
    shown = " and ".join(_NAMES[measure] for measure in measures) + " of episodes"
    first, *others = next(iter(series.values()))
    return shown if others or isinstance(first, Band) else f"{first.label}: {shown.lower()}"


def curves(
    repo: Repository,
    runs: Sequence[str] = (),
    measure: Measure = "returns",
    *,
    x: Axis = "episodes",
) -> list[Curve]:
    """Return a curve for each run or other revision, over its whole history.

    ``solved`` is 1 for an episode of SimKube that reached its goal, else 0. ``epsilon`` and the
    mean ``loss`` of an episode are what a training noted with its checkpoints.

    Raises:
        NotFound: no such run, or its agent told nothing of this measure.
        InvalidInput: the end of its episodes is not a goal.
    """
    names = list(runs) or [repo.head_run.name]
    known = set(repo.runs)
    found = []
    for name in names:
        states = repo.trajectory(name)
        if measure == "solved" and not states.has("info.ready"):
            raise InvalidInput(f"'{name}' has no goal to solve: it was not recorded from SimKube")
        episodes = Episodes.of(states)
        if measure in _TOLD:
            episodes.measures[measure] = _told(repo, name, states, episodes, measure)
        curve = episodes.curve(name, measure, x)
        parent, step = _left(repo, name, names) if name in known else (None, None)
        if step is not None and len(curve.x):
            curve = replace(curve, fork=episodes.place(step, x), parent=parent)
        found.append(curve)
    return found


def _told(
    repo: Repository, name: str, states: Trajectory, episodes: Episodes, measure: str
) -> Floats:
    """Return a metric of each episode, NaN where none was noted.

    Raises:
        NotFound: there is none at all.
    """
    found: dict[int, float] = {}
    names = RunNames(repo, name if name in repo.runs else None)
    for step in episodes.ends.astype(int):
        oid = states[int(step) - states.start].oid
        with repo.odb.read() as txn:
            attached = names.bound(txn, oid, int(step), METRICS)
        noted = repo.attachment(oid, attached) if attached is not None else {}
        if measure in noted:
            found |= zip(noted["episode"].tolist(), noted[measure].tolist(), strict=True)
    if not found:
        raise NotFound(
            f"run '{name}' has no {measure}: only trainings of agents that learn note it", name=name
        )
    return np.array([found.get(int(each), np.nan) for each in episodes.numbers], np.float64)


def field_curves(
    repo: Repository,
    runs: Sequence[str],
    field: str,
    *,
    x: Axis = "steps",
    points: int | None = None,
) -> list[Curve]:
    """Return a curve of a field's values for each run or other revision, over steps or times.

    Args:
        repo: the repository.
        runs: the runs, or other revisions (default: the run of HEAD).
        field: the field.
        x: "steps" or "time".
        points: the most points of a history over its steps: if it has many thousand times as many
            states, each point is the mean of 2^k of them, for which few states are read; see
            ``Curve.averaged``. None for a point for each state.

    Raises:
        NotFound: no state has the field.
        InvalidInput: it is not a number in each state, or ``x`` is "episodes".
    """
    if x == "episodes":
        raise InvalidInput("a field has a value in each state: draw it over steps or time")
    found = []
    for name in list(runs) or [repo.head_run.name]:
        states = repo.trajectory(name)
        if points is not None and x == "steps":
            means = _means(repo, name, states, field, points)
            if means is not None:
                found.append(means)
                continue
        values = np.ma.asanyarray(states.column(field))
        if values.ndim != 1 or values.dtype.kind not in "biuf":
            raise InvalidInput(f"cannot draw '{field}': not a number in each state", path=field)
        y = values.astype(np.float64).filled(np.nan)
        along = states.steps.astype(np.float64) if x == "steps" else clocks(states)
        kept = ~(np.isnan(along) | np.isnan(y))
        found.append(Curve(name, along[kept], y[kept]))
    return found


def _means(
    repo: Repository, name: str, states: Trajectory, field: str, points: int
) -> Curve | None:
    """Return the curve of a long history from the summaries of its states; None to read them.

    That is where few states were summarised, or infinities, which would take a mean with them.
    """
    width = width_for(0, len(states), points)
    if states.start or width < BLOCK_ROWS or not _is_number(states[-1:], field):
        return None
    try:
        found = repo.buckets(states[-1].oid, [field], width=width)
    except (InvalidInput, NotFound):  # integers that no float tells apart, say
        return None
    of, has = found.fields[field], found.fields[field].n > 0
    if not has.any() or not np.isfinite([of.min[has], of.max[has], of.mean[has]]).all():
        return None
    starts = found.step[has]
    start, tail = int(starts[0]), _LAST
    begin = _known(states[start : start + width], field)
    while len((end := _known(states[-tail:], field))[0]) < _LAST and tail < len(states):
        tail *= 8
    x = starts + (np.minimum(width, found.stop - starts) - 1) / 2
    x[0], x[-1] = begin[0][0], end[0][-1]
    averaged = Averaged(
        width, int(of.n.sum()), of.min[has], of.max[has], float(begin[1][0]), end[1][-_LAST:]
    )
    return Curve(name, x, of.mean[has], averaged=averaged)


def _is_number(states: Trajectory, field: str) -> bool:
    values = np.ma.asanyarray(states.column(field))
    return values.ndim == 1 and values.dtype.kind in "biuf"


def _known(states: Trajectory, field: str) -> tuple[Floats, Floats]:
    """Return the steps and values of a field, without states where it is absent or NaN."""
    values = np.ma.asanyarray(states.column(field)).astype(np.float64).filled(np.nan)
    known = ~np.isnan(values)
    return states.steps[known].astype(np.float64), values[known]


def clocks(states: Trajectory) -> Floats:
    """Return the simulator's time in each state, NaN without one; shape (n,)."""
    if not states.has(("info", TIME)):
        return np.full(len(states), np.nan)
    (found,) = states.leaf_columns(("info", TIME))
    values = getattr(found, "values", None)
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf":
        return np.where(found.absent, np.nan, values.astype(np.float64))
    given = [None] * len(states) if values is None else values
    return np.array([clock_of({TIME: each}) for each in given], np.float64)


def series_curves(repo: Repository, runs: Sequence[str] = (), tag: str = "") -> list[Curve]:
    """Return a curve for each run that has the series of a tag, over the steps that it was given.

    A branched run continues the curve of its parent.

    Raises:
        NotFound: no run has such a series.
    """
    names = list(runs) or [repo.head_run.name]
    every = {name: repo.series(name) for name in names}
    if not any(tag in found for found in every.values()):
        repo.series(names[0], tag)  # which says so
    known = set(repo.runs)
    curves = []
    for name, found in every.items():
        if tag not in found:
            continue
        order = np.argsort(found[tag].step, kind="stable")
        x, y = (column[order].astype(np.float64) for column in (found[tag].step, found[tag].value))
        parent, step = _left(repo, name, names) if name in known else (None, None)
        shared = repo.series(f"{name}@{step}").get(tag) if step is not None else None
        fork = float(shared.step.max()) if shared is not None and len(shared.step) else None
        curves.append(Curve(name, x, y, fork, parent if fork is not None else None))
    return curves


def _left(repo: Repository, name: str, names: Sequence[str]) -> tuple[str | None, int | None]:
    """Return which of the named runs a run was branched off (None for no one), and the step."""
    first = None
    step = None
    for info in repo.lineage(name):
        if info.name != name and info.name in names:
            return info.name, step
        if info.branch_point is not None:
            at = repo.state(info.branch_point).step
            step = at if step is None else min(step, at)
            first = at if first is None else first
    return None, first


@dataclass(frozen=True)
class Episodes:
    """The finished episodes of a trajectory: number, step and time of the last state, measures."""

    numbers: Floats
    ends: Floats
    times: Floats
    measures: dict[str, Floats]

    @classmethod
    def of(cls, trajectory: Trajectory) -> Episodes:
        """Return the episodes that ended; if no end is recorded, all but the last."""
        last = np.append(np.flatnonzero(trajectory.episode_starts[1:]), len(trajectory) - 1)
        last = last[: len(trajectory.lengths)].astype(np.int64)
        counts = (trajectory.terminations | trajectory.truncations)[last]
        if not counts.any():
            counts = np.arange(len(last)) < max(1, len(last) - 1)
        kept = last[counts & (trajectory.lengths > 0)]
        at = np.isin(last, kept)
        return cls(
            trajectory.episode_ids[kept].astype(np.float64),
            trajectory.steps[kept].astype(np.float64),
            clocks(trajectory)[kept],
            {
                **{name: getattr(trajectory, name)[at].astype(np.float64) for name in _RECORDED},
                "solved": trajectory.terminations[kept].astype(np.float64),
            },
        )

    def curve(self, label: str, measure: Measure, x: Axis) -> Curve:
        """Return the curve of a measure, over the episodes' numbers, last steps or last times."""
        along = {"episodes": self.numbers, "steps": self.ends, "time": self.times}
        return Curve(label, along[x], self.measures[measure])

    def place(self, step: int, x: Axis) -> float:
        """Return the x of a step: itself, or that of the last episode that had ended."""
        if x == "steps":
            return float(step)
        before = int(np.searchsorted(self.ends, step, side="right"))
        return float((self.numbers if x == "episodes" else self.times)[max(0, before - 1)])


def by_seed(repo: Repository, found: Sequence[Curve], window: int = 1) -> list[Curve | Band]:
    """Join the curves of runs that differ only in their seeds to bands."""
    groups: dict[str, list[Curve]] = {}
    known = set(repo.runs)
    for curve in found:
        key = curve.label
        if key in known:
            config = _without_seeds(dict(repo.runs[key].config))
            key = json.dumps(config, sort_keys=True, default=repr)
        groups.setdefault(key, []).append(replace(curve, y=smooth(curve.y, window)))
    return [
        band(_common_name([c.label for c in group]), group) if len(group) > 1 else group[0]
        for group in groups.values()
    ]


def _without_seeds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seeds(v) for k, v in value.items() if k != "seed"}
    return value


def _common_name(names: Sequence[str]) -> str:
    """Return the common prefix of runs' names, without a number at the end."""
    pairs = zip(min(names), max(names), strict=False)
    common = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    common = common.rstrip("0123456789").rstrip(_BETWEEN).removesuffix("seed")
    return common.rstrip(_BETWEEN) or names[0]


def draw_tree(repo: Repository, *, title: str = "Runs") -> Drawing:
    """Draw the runs as lines over steps, each from its branch point.

    Raises:
        InvalidInput: there are no runs with states.
        NotFound: matplotlib is not installed.
    """
    nodes = [node for node in tree(repo) if node.info.step is not None]
    if not nodes:
        raise InvalidInput("no runs to draw")
    return run_tree(
        [
            Branch(n.info.name, n.start, n.info.step or 0, n.parent,
                   f"return {n.info.return_:.6g}")
            for n in nodes
        ],
        title=title,
    )  # fmt: skip
