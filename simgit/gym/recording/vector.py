"""The recorder of vector environments: each lane is a run, as if it were recorded alone."""

from __future__ import annotations

import operator
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from time import perf_counter as _clock
from typing import Any, Final, Self

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from simgit.errors import Conflict, Divergence, InvalidInput, SimgitError, StorageError
from simgit.gym.recording.copies import CopiesEnvironment
from simgit.gym.recording.resume_vector import (
    NEXT_STEP,
    SAME_STEP,
    VECTOR,
    Mode,
    autoreset_mode,
    batched,
    lanes_of,
    make_lanes,
    put_back,
)
from simgit.gym.recording.selfcheck import SelfCheck, may_reexecute
from simgit.gym.recording.session import Session, gap_after, open_repository
from simgit.gym.recording.snapshots import Snapshots, checked_choice
from simgit.gym.recording.sub_env_proxy import RemoteLane, lane_start, parts_of, seed_of
from simgit.gym.recording.sub_env_spec import describe_lanes, lanes_left_out
from simgit.gym.restoring.reseeding import reseeds_before_next
from simgit.gym.restoring.restore import STEP_SECONDS
from simgit.gym.restoring.run_notes import LEFT_OUT, REEXECUTE, ignored
from simgit.gym.spec.permit import Trust
from simgit.gym.spec.values import (
    cast_for,
    keep_reset,
    keeper,
    kept_or_simplified,
    observation_and_info,
    plain_info,
    plain_outcome,
    plain_type,
)
from simgit.objects.arguments import checked
from simgit.objects.coerce import coerce
from simgit.objects.columns import ABSENT
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplified
from simgit.recording.catch_up import CatchUp
from simgit.recording.finalize import settle
from simgit.recording.lane_rows import EMPTY, NONE, Outcomes
from simgit.recording.snapshot_schedule import NEVER
from simgit.recording.states import coerce_info, coerce_reset, simplified_fields
from simgit.refs.own_names import session_of
from simgit.repository import Repository

_Step = tuple[int, tuple[Any, ...] | None, tuple[Any, Any] | None]
"""A lane, and the fields of its state, and of a reset's state instead of it or after it."""
_FINAL: Final = ("final_obs", "final_info")
_ARRAY: Final = np.ndarray
_FLOAT: Final = np.dtype(np.float64)
_FLOATS: Final = frozenset(map(np.dtype, (np.float32, np.float64)))
_BOOL: Final = np.dtype(np.bool_)


class VectorRecorder(CopiesEnvironment, VectorWrapper):
    """Records a vector environment, lane by lane, without changing its behaviour.

    Lane ``i``, the i-th sub-environment, is the run ``{run}/{i}``. Its states are those of that
    environment alone: an episode's last observation is a state in every autoreset mode, and the
    row that NEXT_STEP fills with a reset is that reset's state.
    """

    is_observer = True

    @checked
    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        repo: Repository | str | Path,
        run: str = "main",
        *,
        snapshots: str | int | None = "auto",
        config: Mapping[str, Any] | None = None,
        provenance: bool = True,
        self_check: bool = True,
        unencodable: str = "skip",
        ignore: Sequence[str] = (),
        volatile: Sequence[str] = (),
        **flush: Any,
    ) -> None:
        """Wrap a vector environment.

        Args:
            env: the vector environment, with all its other wrappers.
            repo: a repository, or a path, at which one is created if it does not exist.
            run: the prefix of the runs' names.
            snapshots: "auto", a number of steps, or None; none are taken where the lanes are in
                other processes without ``Lane``, or are not environments of their own.
            config: the runs' configuration.
            provenance: see ``Recorder``.
            self_check: see ``Recorder``; for lanes that are environments of their own.
            unencodable: see ``Recorder``.
            ignore: likewise.
            volatile: likewise.
            flush: options of ``Repository.recorder``.

        Raises:
            Conflict: another recorder writes a run.
            InvalidInput: a run is completed, or of another environment.
        """
        super().__init__(env)
        self._repo = open_repository(repo)
        self._parts = parts_of(env)
        self._is_native = not isinstance(env.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
        names = [f"{run}/{i}" for i in range(env.num_envs)]
        self._keep_action = keeper(env.single_action_space, "action")
        self._cast = cast_for(env.single_observation_space)
        self._mode = autoreset_mode(env)
        self._start_snapshots(checked_choice(snapshots))
        self._session = Session(
            self._repo, names, describe_lanes(env), config=config, provenance=provenance,
            unencodable=unencodable, ignore=ignore, volatile=volatile, options=flush,
        )  # fmt: skip
        self._dtype = _plain_dtype(env.single_observation_space)
        self._action_dtype = _action_dtype(env.single_action_space)
        self._action_shape = env.num_envs, *(env.single_action_space.shape or ())
        self._lanes = env.num_envs
        self._shape = (env.num_envs,)
        self._no_flags = bytes(env.num_envs)
        self._resets: set[int] = set()  # the lanes that the next step resets
        self._quiet = 0  # the steps in which nothing is due in any lane
        # lanes that are not recorded until their next reset, and why
        self._gaps: dict[int, str] = {}
        self._errors: list[SimgitError] = []
        self._first = [True] * env.num_envs
        self._starts: dict[int, Any] = {}
        self._catch_ups: dict[int, CatchUp] = {}  # of lanes that are compared, not recorded
        infos = [self._repo.runs[name] for name in self.runs]
        self._steps = 0  # steps of all lanes together
        counts = [-1 if info.step is None else info.step for info in infos]
        self._counted = counts, 0  # and how many of the steps are in these
        self._episodes = [info.episodes or 0 for info in infos]
        self._targets = [_LaneTarget(self._session, i, self._errors) for i in range(env.num_envs)]
        for i, each in enumerate(self._snapshots):
            seeds = reseeds_before_next(self._repo, self.runs[i])
            each.start(self._counts[i], self._session.noter(i), seeds)
        is_new, may = set(self._counts) == {-1}, may_reexecute(env)
        if is_new:
            marks = {VECTOR: {"autoreset_mode": self._mode}, **({} if may else {REEXECUTE: False})}
            self._session.note_all({
                name: {**marks, **({LEFT_OUT: missing} if missing else {})}
                for name, missing in zip(self.runs, lanes_left_out(env), strict=True)
            })  # fmt: skip
        self._check = SelfCheck(self_check and may and bool(self._parts) and is_new)
        self._session.watch(self._check)

    def _start_snapshots(self, choice: Any) -> None:
        choice = choice if self._parts else None
        drivers = [
            part.driver() if choice is not None and isinstance(part, RemoteLane) else None
            for part in self._parts or [None] * self.num_envs
        ]
        self._snapshots = [Snapshots(choice, None, None, driver) for driver in drivers]
        self._next = [-1] * self.num_envs  # when something is due, at the earliest
        self._next_start = [-1] * self.num_envs  # the same, if an episode begins there

    @classmethod
    @checked
    def resume(
        cls,
        repo: Repository | str | Path,
        run: str,
        *,
        env: VectorEnv[Any, Any, Any] | None = None,
        at: Sequence[int] | None = None,
        vectorization_mode: Mode = "sync",
        trust: Trust = None,
        **options: Any,
    ) -> Self:
        """Restore each lane to its run's newest state, and return a recorder that continues them.

        A lane whose episode has ended is reset by the next step, unless the autoreset mode is
        DISABLED. With ``at`` earlier states are restored: up to each run's newest state each step
        is compared with the recorded one, then steps are appended.

        Args:
            repo: the repository.
            run: the prefix of the runs' names.
            env: a new environment to use, made as the recorded one was, its lanes wrapped in
                ``Lane`` if they are in other processes; made from the spec, with the recorded
                autoreset mode, if None.
            at: the step of each run to restore; -1 for all, for a new environment, before the
                first states.
            vectorization_mode: "sync", or "async" with a process for each lane.
            trust: see ``restore``.
            options: further arguments of ``VectorRecorder``.

        Raises:
            NotFound: no such runs, or an environment is not installed.
            InvalidInput, Untrusted, Divergence: see ``restore``.
            Conflict: another recorder writes a run.
        """
        repo = open_repository(repo)
        names = lanes_of(repo, run)
        made = make_lanes(repo, names, vectorization_mode, trust) if env is None else env
        try:
            if at is not None and len(at) != len(names):
                raise InvalidInput(f"at must have a step for each of {len(names)} runs")
            resets = put_back(repo, names, made, trust, at)
            recorder = cls(made, repo, run, **options)
        except BaseException:
            made.close()
            raise
        recorder._session.is_new = False
        for i, each in enumerate(recorder._snapshots):
            each.session = recorder._session.continued(i)
        recorder._resets = {i for i, each in enumerate(resets) if each}
        if at is not None:
            recorder._continue(at)
        return recorder

    def _continue(self, at: Sequence[int]) -> None:
        """Continue from recorded states with restored lanes."""
        for i, (name, step) in enumerate(zip(self.runs, at, strict=True)):
            self._counts[i] = step
            part = self._repo.trajectory(name)[: step + 1]
            self._episodes[i] = int(part.episode_starts.sum()) if step >= 0 else 0
            seeds = reseeds_before_next(self._repo, name)
            session = self._snapshots[i].session
            self._snapshots[i].start(step, self._session.noter(i), seeds, session)
            catch_up = CatchUp(
                self._repo.trajectory(name), step, ignored(self._repo.lineage(name)),
                self._repo.attach,
            )  # fmt: skip
            if not catch_up.is_done:
                self._catch_ups[i] = catch_up

    # --- Gymnasium's methods ---

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step all lanes and record the resulting states; see ``Recorder.step``.

        All lanes' states of a step are recorded, or none: after an error each lane is recorded
        from its next reset on.
        """
        settle()
        if (
            type(actions) is np.ndarray
            and actions.dtype is self._action_dtype
            and actions.shape == self._action_shape
        ):
            kept: Any = actions.copy()
        else:
            kept = tuple(
                kept_or_simplified(self._keep_action, each, "action", self._session.simplifier)
                for each in self._rows(self.action_space, actions)
            )
        start = _clock()
        try:
            result = self.env.step(actions)
            self._record(kept, result, (_clock() - start) / self._lanes)
        except BaseException as error:
            self._fail(error)
            raise
        return result

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of ``options["reset_mask"]``; see ``Recorder.reset``."""
        settle()
        self._reopen()
        mask = None
        given = options
        if options is not None and "reset_mask" in options:
            # as in Gymnasium: the lanes get the remaining options
            mask = np.array(options["reset_mask"])
            given = {key: value for key, value in options.items() if key != "reset_mask"}
        lanes = range(self.num_envs) if mask is None else np.flatnonzero(mask).tolist()
        simplifier = self._session.simplifier
        marks = {i: keep_reset(self._seed(seed, i), given, simplifier) for i in lanes}
        if self._parts and self._session.is_new:
            self._starts = {i: lane_start(self._parts[i]) for i in lanes if self._first[i]}
        try:
            result = self.env.reset(seed=seed, options=options)
            observations, infos = observation_and_info(result)
            if not self._record_reset_rows(observations, infos, marks):
                rows = list(self._rows(self.observation_space, observations))
                kept = [(self._keep(rows[i]), self._info(infos, i)) for i in lanes]
                for i, state in zip(lanes, kept, strict=True):
                    self._record_reset(i, *state, marks[i])
            self._tell()
        except BaseException as error:
            self._fail(error)
            raise
        self._resets.difference_update(lanes)
        return result

    def attach(
        self, lane: int, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Attach data or a file to the newest state of a lane; see ``Recorder.attach``."""
        if lane in self._gaps:
            raise InvalidInput(f"cannot attach '{name}' to lane {lane}: {self._gaps[lane]}")
        self._reopen()
        if lane in self._catch_ups:
            self._catch_ups[lane].attach(name, data, path=path)
        else:
            self._session.recorder.attach(lane, name, data, path=path)

    def flush(self) -> None:
        """Store the buffered states durably.

        Raises:
            Conflict: another writer moved a run; the new states go to a run of their own.
        """
        self._session.flush()

    def close(self, **kwargs: Any) -> None:
        """Store the buffered states, release the runs, and close the environment."""
        try:
            if self._check.is_waiting and self._session.is_open:
                self._session.check()
            if self._session.is_open and self._session.is_new:
                self._session.note_all({
                    name: {STEP_SECONDS: each.step_seconds} if each.step_seconds else {}
                    for name, each in zip(self.runs, self._snapshots, strict=True)
                })  # fmt: skip
            self._session.end()
        finally:
            super().close(**kwargs)

    def __del__(self) -> None:
        """Leave what was not closed to ``finalize``: old versions of Gymnasium would close it here.

        (The garbage collector calls this anywhere, in a transaction too, or before there is a
        session.)
        """

    @property
    def repo(self) -> Repository:
        """The repository."""
        return self._repo

    @property
    def runs(self) -> list[str]:
        """The runs being written, in the order of the lanes."""
        names: list[str] = self._session.recorder.runs
        return names

    @property
    def step_counts(self) -> list[int]:
        """The newest states' steps in their runs."""
        counts, since = self._counted  # another thread may ask: nothing is changed
        steps = self._steps
        return [count + steps - since for count in counts]

    @property
    def tips(self) -> list[Oid | None]:
        """The newest states' oids; the states are stored first, which computes them."""
        self.flush()
        return [
            self._repo.resolve(f"{name}@{step}") if step >= 0 else None
            for name, step in zip(self.runs, self.step_counts, strict=True)
        ]

    @property
    def observations(self) -> Any:
        """The newest observations of all lanes, as one batch, read from the repository."""
        self.flush()
        reached = zip(self.runs, self.step_counts, strict=True)
        return batched(self, [self._repo.state(f"{name}@{step}") for name, step in reached])

    # --- recording ---

    @property
    def _counts(self) -> list[int]:
        """The newest states' steps, to be changed by the thread that records."""
        counts, since = self._counted
        if since != self._steps:
            counts = [count + self._steps - since for count in counts]
            self._counted = counts, self._steps
        return counts

    def _record(self, kept: Sequence[Any], result: Any, seconds: float) -> None:
        if not self._record_rows(kept, result, seconds):
            observations, *outcomes, infos = result
            ended = np.logical_or(*outcomes[1:])
            rows = self._rows(self.observation_space, observations)
            rewards = np.asarray(outcomes[0])  # of several numbers each, or of one
            lists = [
                list(rewards) if rewards.ndim > 1 else rewards.tolist(),
                *(np.asarray(each).tolist() for each in outcomes[1:]),
            ]
            # all are checked before any is appended: all are recorded or none
            lanes = [
                (i, *self._states(i, row, (kept[i], *outcome), infos, ended[i]))
                for i, (row, *outcome) in enumerate(zip(rows, *lists, strict=True))
            ]
            self._append_states(lanes, ended, seconds)
            self._await_resets(ended)
        if self._errors:
            self._tell()
        if self._check.is_waiting and (
            min(self._episodes) > 1 or self._check.is_due(sum(self._counts))
        ):
            self._session.check()

    def _await_resets(self, ended: Any) -> None:
        """Note the lanes that the next step resets."""
        self._resets = {*np.flatnonzero(ended).tolist()} if self._mode == NEXT_STEP else set()

    def _record_rows(self, kept: Sequence[Any], result: Any, seconds: float) -> bool:
        """Record a step of which most lanes need no closer look; return False if all may need one.

        The values of such a lane are stored as they are.
        """
        if type(result) is not tuple or len(result) != 5 or not self._session.is_open:
            return False
        observations, rewards, terminated, truncated, infos = result
        if (
            not type(observations) is type(rewards) is type(terminated) is type(truncated) is _ARRAY
            or observations.dtype is not self._dtype
            or not (rewards.dtype is _FLOAT or rewards.dtype in _FLOATS)
            or not terminated.dtype is truncated.dtype is _BOOL
            or not rewards.shape == terminated.shape == truncated.shape == self._shape
            or observations.shape[:1] != self._shape
            or observations.ndim < 2
            or len(kept) != self._lanes
            or (type(kept) is tuple and Simplified in map(type, kept))
        ):
            return False
        self._quiet -= 1
        if self._quiet < 0 and self._needs_care():
            return False
        if rewards.dtype is not _FLOAT:
            rewards = rewards.astype(np.float64)
        outcomes = rewards.tobytes(), terminated.tobytes(), truncated.tobytes()
        if infos or self._resets or not outcomes[1] == outcomes[2] == self._no_flags:
            return self._record_events(kept, result, outcomes, seconds)
        recorder = self._session.recorder
        if not recorder._append_rows(observations, kept, outcomes):
            return False
        self._steps += 1
        if self._quiet < 0:
            self._look_at_due(seconds, (), ())
        if recorder._left <= 0:
            self._flush_if_full()
        return True

    def _record_events(
        self, kept: Sequence[Any], result: Any, outcomes: Outcomes, seconds: float
    ) -> bool:
        """Do the same where there are infos, or episodes end or begin."""
        observations, rewards, terminated, truncated, infos = result
        recorder, ends = self._session.recorder, list[int]()
        if not outcomes[1] == outcomes[2] == self._no_flags:
            ends = (terminated | truncated).nonzero()[0].tolist()
        awaited = {*ends} if self._mode == NEXT_STEP else set()
        if self._resets:
            ends = [i for i in ends if i not in self._resets]
        last, then, plain_infos, others = observations, None, None, list[int]()
        if infos or self._mode == SAME_STEP:
            followed = ends if self._mode == SAME_STEP else []
            last, then, plain_infos, others = self._looked_at(observations, infos, followed)
        lanes: list[_Step] = []
        if others:
            lists = [each.tolist() for each in (rewards, terminated, truncated)]
            lanes = [
                (i, *self._states(i, observations[i], (kept[i], *(each[i] for each in lists)),
                                  infos, terminated[i] | truncated[i]))
                for i in others
            ]  # fmt: skip
        resets = {i: EMPTY for i in self._resets if i not in others} if self._resets else NONE
        if not recorder._append_rows(
            last, kept, outcomes, plain_infos, resets, tuple(others), then
        ):
            return False
        self._resets = awaited
        self._steps += 1
        begun = () if then is None else then[1]
        for i in others:
            self._counts[i] -= 1
        for i in begun:
            self._counts[i] += 1
        if lanes:
            self._append_states(lanes, terminated | truncated, seconds)
        for i in resets:
            self._begin_episode(i)
        for i in begun:
            self._begin_episode(i)
        if ends and (others or begun):
            ends = [i for i in ends if not (i in others or i in begun)]
        if ends or self._quiet < 0:
            self._look_at_due(seconds, ends, {*others, *resets, *begun})
        at_once = recorder._flushes_episodes and bool(ends or begun)
        if at_once or recorder._left <= 0:
            self._flush_if_full(at_once)
        return True

    def _looked_at(
        self, observations: Any, infos: Any, followed: Sequence[int]
    ) -> tuple[Any, tuple[Any, dict[int, Any]] | None, dict[int, Any], list[int]]:
        """Return what is recorded of infos, and of lanes that ended and were reset in one step.

        Args:
            observations: of all lanes.
            infos: likewise.
            followed: the lanes that ended.

        Returns:
            The last observations; those, and the infos, of the resets, if there are any; the infos
            by lane; the lanes that need a closer look.
        """
        last = observations.copy() if followed else observations
        plain: dict[int, Any] = {}
        begun: dict[int, Any] = {}
        others: list[int] = []
        for i in range(self._lanes) if infos else followed:
            try:
                if i in followed:
                    last[i] = self._final(infos["final_obs"][i])
                    reset = coerce_info(plain_info(split_info(infos, i, _FINAL)))
                    final_info = split_info(infos.get("final_info", {}), i)
                    plain[i], begun[i] = coerce_info(plain_info(final_info)), reset
                else:
                    plain[i] = coerce_info(plain_info(split_info(infos, i)))
            except Exception:  # also of what a user's class does: it is looked at closely
                others.append(i)
        return last, (observations, begun) if begun else None, plain, others

    def _final(self, observation: Any) -> Any:
        """Return an episode's last observation, if it is of the form of most.

        Raises:
            TypeError: it is of another one.
        """
        if type(observation) is not np.ndarray or observation.dtype is not self._dtype:
            raise TypeError
        if observation.shape != self.single_observation_space.shape:
            raise TypeError
        return observation

    def _record_reset_rows(self, observations: Any, infos: Any, marks: Mapping[int, Any]) -> bool:
        """Record a reset whose values are stored as they are; return False if one may not be."""
        if (
            type(observations) is not np.ndarray
            or observations.dtype is not self._dtype
            or observations.ndim < 2
            or len(observations) != self._lanes
            or self._needs_care()
        ):
            return False
        try:
            plain = {i: coerce_info(plain_info(split_info(infos, i))) for i in marks}
            given = {i: coerce_reset(mark) for i, mark in marks.items()}
        except Exception:  # also of what a user's class does: it is looked at closely
            return False
        others = tuple(i for i in range(self._lanes) if i not in marks)
        outcomes = bytes(8 * self._lanes), self._no_flags, self._no_flags
        actions: Any = (None,) * self._lanes
        if self._action_dtype is not None:
            actions = np.zeros(self._action_shape, self._action_dtype)
        recorder = self._session.recorder
        if not recorder._append_rows(observations, actions, outcomes, plain, given, others):
            return False
        for i in marks:
            self._counts[i] += 1
            self._begin_episode(i)
        self._flush_if_full()
        return True

    def _flush_if_full(self, at_once: bool = False) -> None:
        try:
            self._session.recorder._flush_if_full(at_once)
        except (Conflict, StorageError) as error:
            self._errors.append(error)  # the states are kept

    def _needs_care(self) -> bool:
        """Return True if a lane is not recorded as most states are."""
        return bool(self._gaps or self._catch_ups or self._session.volatile or any(self._first))

    def _look_at_due(self, seconds: float, ends: Sequence[int], without: Container[int]) -> None:
        """Take the snapshots that are due after a step, but not in some lanes."""
        counts = self._counts
        for i in ends:
            if counts[i] >= self._next[i] or self._snapshots[i].is_of_ends:
                self._look(i, seconds, True, False)
        if self._quiet < 0:
            pairs = zip(counts, self._next, strict=True)
            due = [i for i, (count, until) in enumerate(pairs) if count >= until]
            for i in due:
                if i not in ends and i not in without:
                    self._look(i, seconds, False, False)
            self._quiet = min(map(operator.sub, self._next, self._counts)) - 1

    def _append_states(self, lanes: Iterable[_Step], ended: Any, seconds: float) -> None:
        """Append what ``_states`` made of a step, and take the snapshots that are due."""
        for i, step, reset in lanes:
            if step is not None:
                was_compared = i in self._catch_ups  # then its snapshots are there
                self._append(i, *step)
                if not was_compared and (self._counts[i] >= self._next[i] or ended[i]):
                    self._look(i, seconds, bool(ended[i]), reset is not None)
            if reset is not None:
                self._record_reset(i, *reset, {})

    def _states(
        self, i: int, row: Any, fields: tuple[Any, ...], infos: Any, ended: Any
    ) -> tuple[tuple[Any, ...] | None, tuple[Any, Any] | None]:
        """Return the recorded form of a lane's step, and of a reset instead of or after it.

        Raises:
            InvalidInput: a value has no encoding.
        """
        if i in self._resets:
            return None, (self._keep(row), self._info(infos, i))
        is_followed = ended and self._mode == SAME_STEP
        reset = (self._keep(row), self._info(infos, i, _FINAL)) if is_followed else None
        if i in self._gaps:
            return None, reset
        last = infos["final_obs"][i] if is_followed else row
        info = self._info(infos.get("final_info", {}) if is_followed else infos, i)
        action, *outcome = fields
        return (self._keep(last), action, *self._outcome(*outcome), info), reset

    def _keep(self, observation: Any) -> Any:
        """Return the recorded form of an observation; InvalidInput if it has no encoding."""
        try:
            value = self._cast(observation)
            if type(value) is np.ndarray and value.dtype is self._dtype:
                return value
            return coerce(value, "observation")
        except Exception:  # also of what a user's class does
            return self._session.simplifier.simplify(observation, "observation")

    def _info(self, infos: Any, i: int, leave_out: Sequence[str] = ()) -> Any:
        """Return the recorded form of a lane's info; InvalidInput if it has none."""
        try:
            found = split_info(infos, i, leave_out)
        except Exception:  # not what Gymnasium's vectors return
            found = infos
        return kept_or_simplified(plain_info, found, "info", self._session.simplifier)

    def _outcome(self, reward: Any, terminated: Any, truncated: Any) -> tuple[Any, Any, Any]:
        """Return the recorded form of reward and flags; InvalidInput if they have none."""
        if type(reward) is float and type(terminated) is bool and type(truncated) is bool:
            return reward, terminated, truncated
        names = ("reward", "terminated", "truncated")
        values = plain_outcome(reward, terminated, truncated)
        found = simplified_fields(self._session.simplifier, dict(zip(names, values, strict=True)))
        return found.get("rewards", found.get("reward")), found["terminated"], found["truncated"]

    def _record_reset(self, i: int, row: Any, info: Any, mark: Any) -> None:
        gap = self._gaps.pop(i, None)
        if gap is not None:
            self._snapshots[i].start_over()
            self._next_start[i] = -1
        was_compared = i in self._catch_ups
        self._append(i, row, info=info, reset=mark, message=gap)
        self._begin_episode(i, was_compared)

    def _begin_episode(self, i: int, was_compared: bool = False) -> None:
        """Count an episode, and take the snapshot that is due."""
        self._episodes[i] += 1
        if self._counts[i] < self._next_start[i]:
            return
        if self._parts and not was_compared:
            self._snapshots[i].after_reset(
                self._parts[i], self._counts[i], self._episodes[i], self._targets[i]
            )
            self._plan(i)

    def _plan(self, i: int) -> None:
        """Note when the next snapshot of a lane is due."""
        snapshots = self._snapshots[i]
        self._next[i], self._next_start[i] = snapshots.next, snapshots.next_start
        self._quiet = min(self._quiet, self._next[i] - self._counts[i] - 1)

    def _look(self, i: int, seconds: float, ended: bool, is_reset: bool) -> None:
        """Take a snapshot of a lane if one is due and the lane is still where the step ended."""
        if not self._parts:
            self._next[i] = NEVER
            return
        snapshots, part, target = self._snapshots[i], self._parts[i], self._targets[i]
        snapshots.after_step(part, self._counts[i], seconds, ended, target)
        if ended and not is_reset:
            snapshots.before_reset(part, self._counts[i], self._episodes[i] + 1, target)
        self._plan(i)

    def _append(self, i: int, *fields: Any, **more: Any) -> None:
        self._quiet = 0  # what is due next may be due at another step
        if not self._session.is_open:
            self._reopen()
        if i in self._catch_ups:
            more.pop("message", None)
            self._catch_ups[i].append(*fields, **more)
            self._counts[i] += 1
            if self._catch_ups[i].is_done:
                del self._catch_ups[i]
            return
        attachments = None
        if self._first[i]:
            self._first[i] = False
            seed = seed_of(self._parts[i]) if self._parts else None
            start = self._starts.pop(i, None)
            start = None if start is None else lane_start(self._parts[i], start)
            facts = {"seed": seed, **({} if start is None else {"random": start})}
            if self._session.is_new:
                step = self._counts[i] + 1
                snapshot = self._snapshots[i].first(self._parts[i], step) if self._parts else None
                facts = self._session.begin(facts, snapshot, step, i)
                self._snapshots[i].session = session_of(facts)
            attachments = self._session.first_attachments(facts)
        self._counts[i] += 1
        if self._session.volatile:
            self._session.attach_volatile(full=True)
            take = self._session.volatile[i].take
            if "info" in more:
                more["info"] = take(more["info"], self._counts[i])
            else:
                fields = (*fields[:-1], take(fields[-1], self._counts[i]))
        try:
            self._session.recorder.append(i, *fields, attachments=attachments, **more)
        except (Conflict, StorageError) as error:
            self._errors.append(error)  # the state is kept; those of other lanes follow

    def _rows(self, space: Any, items: Any) -> Iterator[Any]:
        """Return the items of a batch, one for each lane."""
        return iter(items) if isinstance(items, np.ndarray) else iterate(space, items)

    def _seed(self, seed: Any, i: int) -> int | None:
        """Return the seed that Gymnasium's vector environments give to a lane."""
        if seed is None or (isinstance(seed, int) and self._is_native):
            return seed
        return seed + i if isinstance(seed, int) else seed[i]

    # --- ends ---

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, (Conflict, Divergence, StorageError)):
            self._quiet = 0
            self._gaps = dict.fromkeys(range(self.num_envs), gap_after(error))
            self._session.fail(error, self.runs[0], {})

    def _tell(self) -> None:
        """Raise the error of a flush, now that all lanes' states are kept."""
        if self._errors:
            error = self._errors[0]
            self._errors.clear()
            raise error

    def _reopen(self) -> None:
        if not self._session.is_open:
            self._session.reopen()
            newest = [self._session.newest(i) for i in range(self.num_envs)]
            self._counted = newest, self._steps


class _LaneTarget:
    """The recorder of one lane, for its snapshots."""

    __slots__ = ("_errors", "_lane", "_session")

    def __init__(self, session: Session, lane: int, errors: list[SimgitError]) -> None:
        self._session = session
        self._lane = lane
        self._errors = errors

    def attach(self, name: str, data: Any) -> None:
        try:
            self._session.recorder.attach(self._lane, name, data)
        except (Conflict, StorageError) as error:
            self._errors.append(error)


def _plain_dtype(space: Any) -> Any:
    """Return the dtype of the arrays of a space, if they are stored unchanged."""
    if not isinstance(space, (spaces.Box, spaces.MultiDiscrete)):
        return None
    dtype = space.dtype
    return dtype if dtype is not None and dtype.isnative and dtype.itemsize <= 8 else None


def _action_dtype(space: Any) -> Any:
    """Return the dtype of the arrays, or numbers, of actions, if they are stored unchanged."""
    if plain_type(space) is not None:
        return space.dtype
    is_array = type(space) in (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)
    dtype = space.dtype if is_array and space.shape else None
    is_plain = dtype is not None and dtype.isnative and dtype.kind in "iuf" and dtype.itemsize <= 8
    return dtype if is_plain else None


def lane_info(infos: Mapping[str, Any], i: int, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Return the recorded form of one lane's info; see ``split_info``."""
    info: dict[str, Any] = plain_info(split_info(infos, i, leave_out))
    return info


def split_info(infos: Mapping[str, Any], i: int, leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Return the info of one lane: the entries whose masks include it.

    Without a mask an entry is the lane's element of an array, or belongs to all lanes.
    """
    found: dict[str, Any] = {}
    if not infos:
        return found
    for key, values in infos.items():
        mask = infos.get(f"_{key}")
        is_mask = str(key).startswith("_") and str(key)[1:] in infos
        if is_mask or key in leave_out or (mask is not None and not mask[i]):
            continue
        found[key] = _lane_value(values, i)
    return found


def _lane_value(values: Any, i: int) -> Any:
    if isinstance(values, Mapping):
        return split_info(values, i)
    return values[i] if isinstance(values, np.ndarray) and values.ndim else values
