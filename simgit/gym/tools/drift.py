"""Drift: recorded actions are re-executed to their end, and all that differs is added up.

``verify`` stops at the first difference. Where a difference is to be expected (a measured time,
another version of a database) the question is how much there is of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from simgit.errors import Divergence, InvalidInput, plural
from simgit.gym.restoring.compare import Comparer, Difference
from simgit.gym.restoring.recorded_path import path_to_last
from simgit.gym.restoring.reexecute import Progress, Reexecution
from simgit.gym.restoring.verify import environment_before, sessions
from simgit.gym.spec.permit import Trust
from simgit.history.trajectory import Trajectory
from simgit.objects.arguments import checked
from simgit.repository import Repository


@dataclass
class FieldDrift:
    """The drift of one field: the states in which it differs, and by how much."""

    states: int = 0
    first: int = -1
    """The step of the first of these states."""
    recorded: Any = None
    """The value there, and what was found instead."""
    found: Any = None
    most: float | None = None
    """The greatest absolute difference of its numbers, None if they are none."""

    def add(self, step: int, difference: Difference) -> None:
        """Add a state in which the field differs."""
        if not self.states:
            self.first, self.recorded, self.found = step, difference.recorded, difference.found
        self.states += 1
        distance = _distance(difference.recorded, difference.found)
        if distance is not None:
            self.most = distance if self.most is None else max(self.most, distance)


@dataclass
class DriftReport:
    """The result of re-executing an action history.

    Attributes:
        states: the number of states that were compared.
        differing: the number of these that differ.
        fields: the drift by field (``reward``, ``observation``, ``info.cost``).
        returns: for each episode the recorded return and the one of now.
        endings: the number of episodes that ended otherwise, or no longer did where they had ended;
            where one ended earlier, its later actions were left out.
    """

    states: int = 0
    differing: int = 0
    fields: dict[str, FieldDrift] = field(default_factory=dict)
    returns: list[tuple[float, float]] = field(default_factory=list)
    endings: int = 0

    @property
    def has_drift(self) -> bool:
        """True if anything differs."""
        return bool(self.differing or self.endings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as data for JSON."""
        fields = {name: dict(vars(each)) for name, each in self.fields.items()}
        return {**vars(self), "fields": fields}

    def lines(self) -> Iterator[str]:
        """Yield the report as text."""
        if not self.has_drift:
            yield f"no drift: {plural(self.states, 'state')} as recorded"
            return
        yield f"{self.differing} of {plural(self.states, 'state')} differ"
        for name, each in sorted(self.fields.items(), key=lambda item: item[1].first):
            most = "" if each.most is None else f", by {each.most:.6g} at most"
            yield f"  {name}: {plural(each.states, 'state')} from step {each.first} on{most}"
        if self.endings:
            yield f"  {plural(self.endings, 'episode')} ended otherwise"
        if self.returns:
            was, now = np.mean(self.returns, axis=0).tolist()
            yield f"  mean return: {was:.6g} recorded, {now:.6g} now"


@checked
def drift(
    repo: Repository,
    revision: str,
    *,
    ignore: Sequence[str] = (),
    trust: Trust = None,
    make: Callable[[Any], Any] | None = None,
    progress: Progress | None = None,
) -> DriftReport:
    """Re-execute recorded actions to their end, and report all that differs.

    An episode that now ends earlier, or in which the environment raises, is left there: the next
    one begins with its recorded reset.

    Args:
        repo: the repository.
        revision: a run, a range or an episode, as in ``Repository.trajectory``. If it does not
            begin at a root, the state before it is restored first.
        ignore: paths of fields that are not compared, beside those of the run.
        trust: see ``restore``.
        make: makes an environment from its spec: another version of it, for instance.
        progress: called with the number of states compared, and of all.

    Raises:
        NotFound, InvalidInput, Untrusted, Divergence: see ``restore``.
    """
    states = repo.trajectory(revision)
    if not len(states):
        raise InvalidInput(f"'{revision}' has no states to re-execute")
    end, report = path_to_last(repo, states, revision), DriftReport()
    for start, stop in sessions(end, states):
        part = states[start - states.start : stop - states.start]
        env, seed = environment_before(end, part, trust, make)
        with closing(env):
            replay = Reexecution(
                env, reseeds=end.reseeds, total=len(states), progress=progress, ignore=end.ignored
            )
            replay.done = start - states.start
            comparer = Comparer(env, (*end.ignored, *ignore))
            for episode in _episodes(part):
                _add_episode(report, replay, comparer, episode, seed)
                seed = None
    return report


def _episodes(part: Trajectory) -> Iterator[Trajectory]:
    starts = {0, *np.flatnonzero(part.episode_starts).tolist(), len(part)}
    for start, stop in pairwise(sorted(starts)):
        yield part[start:stop]


def _add_episode(
    report: DriftReport,
    replay: Reexecution,
    comparer: Comparer,
    episode: Trajectory,
    seed: int | None,
) -> None:
    returned = 0.0
    try:
        for state in replay.steps(episode, seed=seed, compare=False):
            if state.action is None and state.reset is None:
                continue  # a merge of agents
            report.states += 1
            _add(report, state.step, list(comparer.differences(state, replay.returned)))
            if state.reset is None:
                returned += float(np.sum(replay.returned[1]))
                ended = [bool(np.any(each)) for each in replay.returned[2:4]]
                report.endings += ended != [bool(state.terminated), bool(state.truncated)]
                if any(ended) and state.step + 1 < episode.stop:
                    break
    except Divergence as error:  # it raises
        found = Difference(*(getattr(error, name) for name in ("field", "recorded", "found")))
        report.states += 1
        report.endings += 1
        _add(report, error.step, [found])  # type: ignore[attr-defined]
    report.returns.append((float(np.sum(episode.rewards)), returned))


def _add(report: DriftReport, step: int, found: list[Difference]) -> None:
    report.differing += bool(found)
    for each in found:
        name = each.field.partition("[")[0]
        report.fields.setdefault(name, FieldDrift()).add(step, each)


def _distance(recorded: Any, found: Any) -> float | None:
    """Return the greatest absolute difference of two values of one shape, None without numbers."""
    if recorded is None or found is None or isinstance(recorded, bool):
        return None
    try:
        was, now = (np.asarray(each, np.float64) for each in (recorded, found))
    except (TypeError, ValueError):
        return None
    if was.shape != now.shape or not was.size:
        return None
    with np.errstate(all="ignore"):
        worst = float(np.max(np.abs(was - now)))
    return worst if np.isfinite(worst) else None
