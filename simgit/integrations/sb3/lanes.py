"""The lanes of a training: each environment of the vector is recorded as a run of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.monitor import Monitor

from simgit.errors import InvalidInput
from simgit.gym import Recorder
from simgit.gym.recording.session import open_repository
from simgit.gym.spec.permit import Trust
from simgit.objects.arguments import checked
from simgit.repository import Repository

_SECONDS = "info.episode.t"
"""The seconds that a Monitor below the recorder writes into the info."""
_OPTIONS = ("ignore", "volatile", "unencodable", "snapshots", "flush_every", "flush_seconds",
            "flush_bytes", "flush_episodes", "background")  # fmt: skip
"""Options of a recorder that a resumed one takes over."""


class LaneRecording:
    """A ``wrapper_class`` that records each environment it is called with as the next lane.

    A copy that goes to another process takes the next lane with it: SubprocVecEnv makes them in
    order. See ``record``.
    """

    def __init__(
        self, repo: Repository | str, run: str, lane: int | None, options: Mapping[str, Any]
    ) -> None:
        self._repo = repo
        self._run = run
        self._lane = lane
        self._options = dict(options)
        self._next = 0
        self._process = os.getpid()

    def __call__(self, env: Any) -> Any:
        """Return the environment, recorded; a Monitor on the outside is kept there.

        Raises:
            InvalidInput: this is a forked process, which cannot know its lane.
            Conflict: see ``Recorder``.
        """
        lane = self._lane
        if lane is None:
            if os.getpid() != self._process:
                raise InvalidInput(
                    "a forked process does not know its lane: use start_method='forkserver', or "
                    "record(…, lane=i)"
                )
            lane, self._next = self._next, self._next + 1
        run = f"{self._run}/{lane}"
        if type(env) is Monitor:  # its seconds are no part of a state
            env.env = Recorder(env.env, self._repo, run, **self._options)
            return env
        options = dict(self._options)
        if _has_monitor(env):
            options["volatile"] = sorted({*options.get("volatile", ()), _SECONDS})
        return Recorder(env, self._repo, run, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the recording of one lane, for another process."""
        lane = self._lane
        if lane is None:
            lane, self._next = self._next, self._next + 1
        return LaneRecording, (path_of(self._repo), self._run, lane, self._options)


def _has_monitor(env: Any) -> bool:
    while env is not None and not isinstance(env, Monitor):
        env = vars(env).get("env")
    return env is not None


def path_of(repo: Repository | str) -> str:
    """Return the path of a repository, for another process.

    Raises:
        InvalidInput: it is in memory.
    """
    if isinstance(repo, str):
        return repo
    if repo.directory is None:
        raise InvalidInput(
            "a repository in memory cannot be written by other processes: use DummyVecEnv, or a "
            "directory"
        )
    return str(repo.directory)


@checked
def record(
    repo: Repository | str | Path, run: str, *, lane: int | None = None, **options: Any
) -> Callable[[Any], Any]:
    """Return a ``wrapper_class`` that records the environments of a vector, a run for each.

    The runs are ``run/0``, ``run/1``, … in the order of the vector, with DummyVecEnv and with
    SubprocVecEnv. A Monitor is kept on the outside, so that its seconds are no part of the states.

    Args:
        repo: a repository, or a path, at which one is created if it does not exist.
        run: the name before the number of the lane.
        lane: the number of the only lane; None counts.
        options: options of ``simgit.gym.Recorder``.

    Raises:
        InvalidInput: the path is not one of a repository.
    """
    opened = open_repository(repo)
    given = opened if isinstance(repo, Repository) or opened.directory is None else path_of(opened)
    if given is not opened:
        opened.close()
    return LaneRecording(given, run, None if lane is None else int(lane), options)


@dataclass(frozen=True)
class LearnerLane:
    """One environment of the vector at a checkpoint: its run, its step, and how it was wrapped."""

    run: str
    step: int
    oid: bytes
    monitor: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return the lane as it is stored."""
        return {
            "run": self.run, "step": self.step, "oid": self.oid,
            "monitor": self.monitor, "options": dict(self.options),
        }  # fmt: skip


def runs_of(venv: Any) -> list[str]:
    """Return the runs of the lanes of a vector.

    Raises:
        InvalidInput: a lane is not recorded, or has a wrapper above its recorder whose state would
            not be restored.
    """
    try:
        stacks = venv.env_method("__str__")
        runs = list(venv.get_attr("run"))
        is_recorded = all(isinstance(run, str) for run in runs)
    except AttributeError:
        stacks, runs, is_recorded = [], [], False
    for stack in stacks:
        above = stack.partition("<Recorder<")[0]
        if above not in ("", "<Monitor") or "<Recorder<" not in stack:
            is_recorded = False
    if not is_recorded:
        raise InvalidInput(
            "the environments of the model are not recorded, or wrapped above the recorder: use "
            "simgit.integrations.sb3.record as the wrapper_class"
        )
    return runs


def lanes_of(venv: Any, repo: Repository) -> list[LearnerLane]:
    """Return the lanes of a vector where they are now, with all their states stored."""
    venv.env_method("flush")
    steps = venv.get_attr("step_count")
    saved = venv.get_attr("_saved_kwargs")
    names = venv.env_method("class_name")
    lanes = []
    for i, (run, step) in enumerate(zip(venv.get_attr("run"), steps, strict=True)):
        options = {key: value for key, value in saved[i].items() if key in _OPTIONS}
        monitor = None
        if names[i] == "Monitor":
            keys = ("info_keywords", "reset_keywords", "allow_early_resets")
            found = {key: venv.get_attr(key, [i])[0] for key in keys}
            monitor = {key: list(each) if isinstance(each, tuple) else each
                       for key, each in found.items()}  # fmt: skip
        oid = bytes(repo.resolve(f"{run}@{step}"))
        lanes.append(LearnerLane(run, int(step), oid, monitor, options))
    return lanes


class LaneRestorer:
    """Restores one lane's environment in the process that steps it: an ``env_fn`` of a vector."""

    def __init__(
        self, repo: Repository | str, lane: LearnerLane, make: Callable[[int], Any] | None, i: int,
        trust: Trust,
    ) -> None:  # fmt: skip
        self._given = (repo, lane, make, i, trust)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the restorer with the repository's path, for another process."""
        repo, *rest = self._given
        return LaneRestorer, (path_of(repo), *rest)

    def __call__(self) -> Any:
        """Return the environment with its recorder, and its Monitor above.

        Raises:
            NotFound, InvalidInput, Untrusted, Divergence, Conflict: see ``Recorder.resume``.
        """
        repo, lane, make, i, trust = self._given
        env = None if make is None else make(i)
        recorder = Recorder.resume(
            repo, lane.run, at=lane.step, env=env, trust=trust, **lane.options
        )
        if lane.monitor is None:
            return recorder
        keys = lane.monitor
        monitor = Monitor(
            recorder,
            None,
            keys["allow_early_resets"],
            tuple(keys["reset_keywords"]),
            tuple(keys["info_keywords"]),
        )
        _continue(monitor, recorder.repo, lane)
        return monitor


def _continue(monitor: Any, repo: Repository, lane: LearnerLane) -> None:
    """Let a new Monitor know the episodes up to a recorded state; their seconds are not known."""
    past = repo.trajectory(lane.run)[: lane.step + 1]
    starts = np.flatnonzero(past.episode_starts)
    ends = np.flatnonzero(past.terminations | past.truncations)
    rewards = past.rewards
    begin = int(starts[-1]) + 1 if len(starts) else 0
    monitor.rewards = [float(each) for each in rewards[begin:]]
    monitor.needs_reset = bool(len(ends)) and int(ends[-1]) == lane.step
    firsts = starts[np.searchsorted(starts, ends) - 1] + 1
    spans = list(zip(firsts.tolist(), ends.tolist(), strict=True))
    # added one after another, as the Monitor does: the sum of an array has another order
    monitor.episode_returns = [sum(rewards[a : b + 1].tolist()) for a, b in spans]
    monitor.episode_lengths = [b + 1 - a for a, b in spans]
    monitor.episode_times = [0.0] * len(spans)
    monitor.total_steps = int((~past.episode_starts).sum())
