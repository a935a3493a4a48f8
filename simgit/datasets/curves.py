"""The curves of a run that TensorBoard shows: its episodes' returns and lengths, and its series."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from simgit.datasets.series import Floats, series_of
from simgit.history.log import episode_columns
from simgit.history.step_range import find_pieces
from simgit.odb.database import ObjectDatabase
from simgit.odb.location import Location
from simgit.odb.segments.times import time_spans
from simgit.storage.base import ReadTxn

WINDOW: Final = 100
"""The episodes of which ``rollout/ep_rew_mean`` is the mean, as in Stable-Baselines3."""
NAMES: Final = (
    "charts/episodic_return", "charts/episodic_length", "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
)  # fmt: skip


class TaggedCurve(NamedTuple):
    """The points of one tag; arrays of shape (n,). Times are seconds since 1970, 0 if unknown."""

    tag: str
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    values: Floats


def curves_of(odb: ObjectDatabase, txn: ReadTxn, tip: Location) -> list[TaggedCurve]:
    """Return the curves of a state's whole history, that of a parent run included.

    The step of an episode is that of its last state. A later point is only ever added at the end
    of a curve, unless the run is moved to another history.
    """
    episodes = episode_columns(odb, txn, tip)
    ended = episodes.terminated | episodes.truncated
    steps = (episodes.stop - 1)[ended]
    returns = episodes.return_[ended]
    lengths = (episodes.stop - episodes.start - 1)[ended].astype(np.float64)
    times = _times(odb, txn, tip, steps)
    columns = (returns, lengths, _means(returns), _means(lengths))
    found = [
        TaggedCurve(name, steps, times, values)
        for name, values in zip(NAMES, columns, strict=True)
        if len(steps)
    ]
    for tag, series in sorted(series_of(odb, txn, tip).items()):
        found.append(TaggedCurve(tag, series.step, np.nan_to_num(series.time), series.value))
    return found


def _means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return for each value the mean of the last hundred up to it."""
    if not np.isfinite(values).all():  # sums would carry NaN and infinities on
        parts = [values[max(0, i + 1 - WINDOW) : i + 1] for i in range(len(values))]
        with np.errstate(all="ignore"):
            return np.array([part.mean() for part in parts])
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    begins = np.maximum(0, ends - WINDOW)
    means: npt.NDArray[np.float64] = (sums[ends] - sums[begins]) / (ends - begins)
    return means


def _times(
    odb: ObjectDatabase, txn: ReadTxn, tip: Location, steps: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return when the states with some steps were recorded, in seconds since 1970."""
    spans = [
        span for piece in find_pieces(txn, tip, 0, tip.step + 1) for span in time_spans(txn, *piece)
    ]
    stops = np.array([span.stop for span in spans], np.int64)
    times = np.array([(span.time or 0) / 1e9 for span in spans])
    return times[np.searchsorted(stops, steps, side="right")]
