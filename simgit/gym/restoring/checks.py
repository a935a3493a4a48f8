"""Checks of a recorded run: continued from some of its snapshots, and re-executed from the start.

Of a run without snapshots that serve, some later episodes are re-executed by themselves too, from
their seeded resets: whether these forget what was before.

Each check is made in a process that is forked for it (where the system can): what an environment
keeps in its class, its module or its library is as in any new process. See ``check_process``.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from functools import partial
from itertools import pairwise
from time import monotonic
from typing import Final

from simgit.errors import Divergence, InvalidInput
from simgit.gym.drivers import CannotRestore
from simgit.gym.restoring.recorded_path import SNAPSHOT, RecordedPath, path_to_last
from simgit.gym.restoring.reexecute import Reexecution
from simgit.gym.restoring.restore import RestorePlan, begin, from_snapshot
from simgit.gym.spec.values import plain_info
from simgit.history.trajectory import Trajectory
from simgit.objects.codec import encode_value
from simgit.objects.coerce import coerce
from simgit.recording.verdicts import (
    BY_REPLAY,
    RESETS,
    UNSEEDED,
    Outcome,
    Verdict,
    details,
    judged,
    named,
    of_resets,
    spread,
)
from simgit.repository import Repository

SAMPLE: Final = 3
"""The number of snapshots that are checked: an early, a middle and a late one."""
_PART: Final = 0.7
"""The part of a check's time after which it stops by itself, with what it has found."""
_LEAST: Final = 0.5
"""The seconds that the first episode of a kind has, although the time of the check may be over."""
Opened = Callable[[], AbstractContextManager[Repository]]
Apart = Callable[[Callable[[], Outcome], int, float], Outcome]
"""Makes a check in a process of its own: the check, the step at which it starts, its seconds."""


class RunCheck:
    """The checks of the first states of a run."""

    def __init__(
        self,
        opened: Opened,
        run: str,
        *,
        stop: int | None = None,
        seconds: float,
        sample: int = SAMPLE,
        stretches: bool = False,
        replayed: int | None = None,
        trust: bool | None = True,
    ) -> None:
        """Take what is to be checked.

        Args:
            opened: returns the repository; called in the process that makes a check.
            run: the run.
            stop: the number of states to check; None for all.
            seconds: the time for everything.
            sample: the number of snapshots to check.
            stretches: continue from each snapshot to the next one that is checked, not to the end.
            replayed: the number of states that were re-executed and agree; None if that is to be
                checked.
            trust: see ``restore``; True is safe for a run that the asking process recorded.
        """
        self._opened = opened
        self._run = run
        self._stop = stop
        self._seconds = seconds
        self._sample = sample
        self._stretches = stretches
        self._replayed = replayed
        self._trust = trust

    def verdict(self, apart: Apart) -> Verdict:
        """Return what the checks say about the run."""
        deadline = monotonic() + self._seconds
        with self._opened() as repo:
            path = self._path(repo)
            (steps, total), upto = self._chosen(path), path.step
        last = [None] * len(steps)
        ends = [*steps[1:], *last[:1]] if self._stretches else last

        def left() -> float:
            return max(0.0, (deadline - monotonic()) / 2)

        def patience() -> float:
            return max(5.0, left())

        outcomes = [
            apart(partial(self.from_snapshot, at, left() * _PART, end), at, patience())
            for at, end in zip(steps, ends, strict=True)
        ]
        replay, again = Outcome(0, compared=self._replayed or 0), None
        if self._replayed is None:
            replay = apart(partial(self.replay, left() * _PART), 0, patience())
        if replay.differs and not (
            outcomes and all(o.compared and not o.differs for o in outcomes)
        ):
            again = apart(partial(self.replay, patience(), replay.compared + 1), 0, patience())
        found = judged(outcomes, replay, again, total, upto)
        if found.result != BY_REPLAY:
            return found
        with self._opened() as repo:
            resets = _resets(self._path(repo))
        more = dict(found.details)
        for kind, every in resets.items():
            tried: list[Outcome] = []
            lengths: list[int] = []
            for at, end in spread(every, self._sample):
                time = max(left() * _PART, 0.0 if tried else _LEAST)
                if time:
                    tried.append(apart(partial(self.from_reset, at, time, end), at, patience()))
                    lengths.append(end - at)
            more |= of_resets(kind, tried, lengths, len(every))
        return replace(found, details=more)

    # --- in a process of their own ---

    def from_snapshot(self, step: int, seconds: float, end: int | None = None) -> Outcome:
        """Restore a new environment from a snapshot, and continue as recorded, up to a step."""
        with self._opened() as repo:
            path = self._path(repo)
            plan = from_snapshot(path, self._trust, step)
            if plan is None:
                return Outcome(step, unmade="the snapshot cannot be used")
            form = path.snapshot(plan.start).get("version")
            made = Outcome(plan.start, driver=plan.driver, form=form)
            last = _border(path, plan.start) if end is None else end + 1
            states = path.trajectory[plan.start + 1 : min(last, _border(path, plan.start))]
            return self._continued(path, plan, states, made, seconds)

    def replay(self, seconds: float, most: int | None = None) -> Outcome:
        """Re-execute everything from the making of the environment; ``most`` states uncompared."""
        with self._opened() as repo:
            path = self._path(repo)
            made_at, seed = path.upto(0).creation()
            if seed is None and 0 not in path.begun(0):
                return Outcome(0, unmade="the first reset had no seed")
            plan = RestorePlan(path.step, "creation", made_at, seed=seed)
            states = path.trajectory[made_at : _border(path, made_at)]
            return self._continued(path, plan, states, Outcome(made_at), seconds, most)

    def from_reset(self, step: int, seconds: float, end: int) -> Outcome:
        """Re-execute states in a new environment, from a reset up to a step."""
        with self._opened() as repo:
            path = self._path(repo)
            plan = RestorePlan(path.step, "episode", step)
            return self._continued(path, plan, path.trajectory[step:end], Outcome(step), seconds)

    def _path(self, repo: Repository) -> RecordedPath:
        states = repo.trajectory(self._run)
        return path_to_last(repo, states[: self._stop], self._run)

    def _chosen(self, path: RecordedPath) -> tuple[list[int], int]:
        """Return the steps of the snapshots to check, and the number of all."""
        found = sorted(path.attached(SNAPSHOT, path.step - 1))
        # after a reset there is little that a snapshot could lack
        chosen = [at for at in found if not path.is_reset(at)] or found
        plans = (from_snapshot(path, self._trust, at) for at in spread(chosen, self._sample))
        return sorted({plan.start for plan in plans if plan is not None}), len(found)

    def _continued(
        self,
        path: RecordedPath,
        plan: RestorePlan,
        states: Trajectory,
        found: Outcome,
        seconds: float,
        most: int | None = None,
    ) -> Outcome:
        facts, until = found.to_json(), monotonic() + seconds
        try:
            env = path.make(self._trust)
        except BaseException as error:  # of whatever the environment's modules do
            return Outcome(**{**facts, "unmade": named(error)})
        digest = hashlib.sha256()
        with closing(env):
            try:
                replay = begin(path, env, plan)
            except (Divergence, CannotRestore) as error:
                return Outcome(**{**facts, "differs": details(error)})
            except BaseException as error:
                return Outcome(**{**facts, "unmade": named(error)})
            done = 0
            try:
                for _ in replay.steps(states, seed=plan.seed, compare=most is None):
                    done += 1
                    digest.update(_bytes(replay))
                    if done == most or monotonic() > until:
                        break
            except BaseException as error:
                facts["differs"] = details(error)
                digest.update(_bytes(replay))
        return Outcome(**{**facts, "compared": done, "digest": digest.hexdigest()})


def _resets(path: RecordedPath) -> dict[str, list[tuple[int, int]]]:
    """Return the later resets of each kind, each with the step where its part ends.

    The newest come first: before them there is most that they could have kept.
    """
    stop = path.step + 1
    borders = [stop, *filter(path.is_reset, path.begun(path.step))][::-1]
    found = {RESETS: path.seeded_resets(0)[::-1], UNSEEDED: list(path.drawn_resets(0))}
    return {
        kind: [
            (at, min(end, borders[bisect_right(borders, at)]))
            for end, at in pairwise([stop, *steps])
            if borders[bisect_left(borders, at)] != at
        ]
        for kind, steps in found.items()
    }


def _border(path: RecordedPath, step: int) -> int:
    """Return the step after the last that the environment of a step gave."""
    later = [at for at in path.begun(path.step) if at > step and path.is_reset(at)]
    return min(later, default=path.step + 1)


def _bytes(replay: Reexecution) -> bytes:
    *values, info = replay.returned or ({},)
    try:
        return encode_value(coerce([*values, plain_info(info)], "returned"), "returned")
    except (InvalidInput, TypeError, ValueError):
        return repr((values, info)).encode()
