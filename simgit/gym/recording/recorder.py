"""The recorder of one environment: a wrapper that only observes, and writes a run.

``env = simgit.gym.Recorder(env, repo)`` is all that a script needs. The script gets the very
objects that the environment returns; what is recorded is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from os import PathLike
from pathlib import Path
from time import perf_counter as _clock
from typing import Any, Self

import gymnasium
from gymnasium.utils import RecordConstructorArgs

from simgit.errors import Conflict, Divergence, InvalidInput, StorageError
from simgit.gym.recording.answers import RecordedAnswers
from simgit.gym.recording.catch_up import moved, state_of
from simgit.gym.recording.copies import CopiesEnvironment
from simgit.gym.recording.selfcheck import SelfCheck, may_reexecute
from simgit.gym.recording.session import (
    SKIP,
    Session,
    check_open,
    gap_after,
    generators_of,
    open_repository,
    seed_in_use,
    start_of,
)
from simgit.gym.recording.snapshots import (
    Snapshots,
    SnapshotTaker,
    Trigger,
    load_trigger,
    trigger_name,
)
from simgit.gym.recording.volatile import ignored_paths, volatile_paths
from simgit.gym.restoring.full_reset import declaration
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.reexecute import Progress
from simgit.gym.restoring.reseeding import reseeds_before_next
from simgit.gym.restoring.restore import STEP_SECONDS, restore
from simgit.gym.restoring.run_notes import LEFT_OUT, LIVE, REEXECUTE, VERDICT, Verdict, ignored
from simgit.gym.spec import spec as specs
from simgit.gym.spec.permit import Trust
from simgit.gym.spec.provenance import CLUSTER
from simgit.gym.spec.values import (
    BOOLS,
    cast_for,
    five_values,
    hard_step,
    is_set,
    keep_reset,
    keeper,
    kept_or_simplified,
    needs_cast,
    observation_and_info,
    plain_info,
    plain_outcome,
    plain_type,
    thaw,
)
from simgit.objects.arguments import checked
from simgit.objects.columns import ABSENT
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplified
from simgit.recording.catch_up import CatchUp
from simgit.recording.finalize import settle
from simgit.refs.own_names import session_of
from simgit.repository import Repository


class Recorder(CopiesEnvironment, gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Records an environment to a run of a repository, without changing its behaviour.

    Every reset and every step is a state. States are stored every so many states and seconds, at
    ``flush`` and ``close``, and when the process ends. An exception in the environment marks the
    run as failed, with everything before it stored; recording continues with the next reset, whose
    state has a message that says so. What cannot be stored is left out, see ``unencodable``.
    What an environment declares in its metadata about its resets (``reset_forgets``) is noted with
    the run, see ``simgit.gym.restoring.full_reset``.
    """

    is_observer = True
    """The environment does not depend on this wrapper; see ``simgit.gym.spec``."""
    returned: Any = None
    """The newest result of ``step`` or ``reset``, None before the first."""
    _calls: Sized = ()
    _due: Sized = ()
    _look: Callable[[], None]

    @checked
    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        repo: Repository | str | Path,
        run: str = "main",
        *,
        snapshots: str | int | SnapshotTaker | None = "auto",
        episode_trigger: Trigger | str | None = None,
        step_trigger: Trigger | str | None = None,
        config: Mapping[str, Any] | None = None,
        provenance: bool = True,
        self_check: bool = True,
        unencodable: str = "skip",
        ignore: Sequence[str] = (),
        volatile: Sequence[str] = (),
        **flush: Any,
    ) -> None:
        """Wrap an environment.

        Args:
            env: the environment, with all its other wrappers.
            repo: a repository, or a path, at which one is created if it does not exist.
            run: the run; created if it does not exist, continued if it has states.
            snapshots: "auto" for as many as cost little, a number of steps between two, None for
                no snapshots, or a driver; the driver is chosen by the environment otherwise.
            episode_trigger: called with the number of each episode, from 1 on; a snapshot is taken
                at the start of those for which it returns True. A function, or "module:name".
            step_trigger: called with the step of each state; likewise.
            config: the run's configuration; keys may be dotted.
            provenance: record versions, machine, command line, and commit and diff of the script's
                code with the run.
            self_check: check in a process of its own, while the recording goes on, whether what
                is recorded of a new run continues exactly, and note the verdict with the run.
            unencodable: "skip" to leave out what cannot be stored, with a warning and a note in
                the run's metadata; "raise" for an InvalidInput.
            ignore: paths of fields that are recorded and not compared when the run is restored or
                verified, since they differ by nature (``"info.seconds"``, ``"info.*.pid"``).
            volatile: paths of entries of the info that are not even part of the states, but of
                their attachment "volatile"; see ``simgit.gym.volatile``.
            flush: ``flush_every``, ``flush_seconds``, ``flush_bytes``, ``flush_episodes`` and
                ``background`` of ``Repository.recorder``.

        Raises:
            Conflict: another recorder writes the run.
            InvalidInput: the run is completed, or of another environment; a trigger or the choice
                of snapshots is malformed.
        """
        episodes, steps = load_trigger(episode_trigger), load_trigger(step_trigger)
        is_live = self._is_live = getattr(env.unwrapped, "is_live", False)
        if is_live:
            snapshots, episodes, steps = 1, None, None  # nothing is re-executed: each has its own
        self._snapshots = Snapshots(snapshots, episodes, steps, at_ends=is_live)
        saved = {"run": run, "provenance": provenance, "self_check": self_check, **flush}
        saved |= {} if unencodable == SKIP else {"unencodable": unencodable}
        given = {"ignore": ignored_paths(ignore), "volatile": volatile_paths(volatile)}
        saved |= {name: paths for name, paths in given.items() if paths}
        saved |= {"snapshots": snapshots} if isinstance(snapshots, (str, int)) else {}
        triggers = {"episode_trigger": episode_trigger, "step_trigger": step_trigger}
        saved |= {name: trigger_name(each) for name, each in triggers.items() if each is not None}
        saved |= {"config": dict(config)} if config else {}
        RecordConstructorArgs.__init__(self, repo=_path(repo), **saved)
        gymnasium.Wrapper.__init__(self, env)
        self._repo = open_repository(repo)
        core: Any = env.unwrapped
        facts = core.facts() if is_live else {}  # before anything is written
        self._session = Session(
            self._repo, run, specs.describe(env), config=config, provenance=provenance,
            unencodable=unencodable, ignore=ignore, volatile=volatile, options=flush,
        )  # fmt: skip
        self._keep_action = keeper(env.action_space, "action")
        self._cast = cast_for(env.observation_space)
        self._casts = needs_cast(env.observation_space)
        self._action_type = plain_type(env.action_space)
        self._begin()
        may, missing = may_reexecute(env), specs.left_out(env)
        marks = {**({} if may else {REEXECUTE: False}), **({LEFT_OUT: missing} if missing else {})}
        marks |= declaration(env)
        if is_live:
            marks |= {VERDICT: Verdict(LIVE).to_json(), **({CLUSTER: facts} if provenance else {})}
        if marks and self._count < 0:
            self._session.noter()(marks)
        self._check = SelfCheck(self_check and may and self._count < 0)
        self._session.watch(self._check)

    def _begin(self) -> None:
        info = self._repo.runs[self._session.recorder.run]
        self._count = -1 if info.step is None else info.step
        self._episodes = info.episodes or 0  # a shallow history counts from what is here
        self._first = True
        self._start: Any = None
        self._append = self._session.recorder.append
        seeds = reseeds_before_next(self._repo, self._session.recorder.run)
        self._snapshots.start(self._count, self._session.noter(), seeds)
        self._catch_up: CatchUp | None = None
        self._volatile = self._session.volatile[0] if self._session.volatile else None
        self._next = -1  # the first step takes the slow path
        self._gap: str | None = None

    @classmethod
    @checked
    def resume(
        cls,
        repo: Repository | str | Path,
        run: str,
        *,
        at: str | int | Oid | None = None,
        env: gymnasium.Env[Any, Any] | None = None,
        trust: Trust = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Self:
        """Restore a run's newest state, and return a recorder that continues the run.

        With ``at`` an earlier state of the run is restored: up to the newest state each step is
        compared with the recorded one, then steps are appended. Of a live run, which is not
        re-executed, the newest state is restored, and the steps up to there are answered from what
        was recorded.

        Args:
            repo: the repository.
            run: the run, or a new branch.
            at: an earlier state of the run: a step, a revision, an oid; -1 for a new environment,
                before the first state.
            env: an environment to use, made as the recorded one was; made from the spec if None.
            trust: see ``restore``.
            progress: see ``restore``.
            options: further arguments of ``Recorder``.

        Raises:
            NotFound, InvalidInput, Untrusted, Divergence: see ``restore``.
            Conflict: another recorder writes the run.
        """
        repo = open_repository(repo)
        step, start = -1, None
        if at != -1:
            start = repo.resolve(run) if at is None else state_of(repo, run, at)
            step = repo.state(start).step
        check_open(repo, run)
        path = RecordedPath(repo, run)
        if path.is_live:
            start = path.oid
        if start is not None:
            reached = (
                f"{run}@{repo.state(moved(repo, start)).step}"  # the run's own history is meant
            )
            made = restore(repo, reached, env=env, trust=trust, progress=progress)
        else:
            made = path.make(trust) if env is None else env
        if path.is_live and step < path.step:
            made = RecordedAnswers(made, path.trajectory[step + 1 :])
        try:
            recorder = cls(made, repo, run, **options)
        except BaseException:
            if env is None:
                made.close()
            raise
        recorder._continue(repo, run, step)
        return recorder

    @classmethod
    @checked
    def branch(
        cls,
        repo: Repository | str | Path,
        run: str,
        start: str | Oid,
        *,
        overrides: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Branch a run off a recorded state, and return a recorder that continues from there.

        Args:
            repo: the repository.
            run: the new run.
            start: the state.
            overrides: see ``Repository.branch``.
            metadata: likewise.
            options: those of ``resume``.

        Raises:
            AlreadyExists: a run of this name exists.
            NotFound, InvalidInput, Untrusted, Divergence: see ``restore``.
        """
        repo = open_repository(repo)
        repo.branch(run, start, overrides=overrides, metadata=metadata)
        return cls.resume(repo, run, **options)

    def _continue(self, repo: Repository, run: str, step: int) -> None:
        """Continue from a recorded state with a restored environment."""
        self._session.is_new = False
        self._count = step
        self._episodes = (
            int(repo.trajectory(run)[: step + 1].episode_starts.sum()) if step >= 0 else 0
        )
        found = self._session.continued()
        self._snapshots.start(step, self._session.noter(), reseeds_before_next(repo, run), found)
        catch_up = CatchUp(repo.trajectory(run), step, ignored(repo.lineage(run)), repo.attach)
        if not catch_up.is_done:
            self._catch_up = catch_up
            self._volatile = None
            self._append = catch_up.append

    # --- Gymnasium's methods ---

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment, record the resulting state, and return the environment's result.

        Raises:
            InvalidInput: with ``unencodable="raise"``: the action has no encoding, and the
                environment was not stepped; or the result has none, and nothing is recorded until
                the next reset.
            Conflict: another writer moved the run; the new states go to a run of their own.
            StorageError: it could not be stored; it is kept, and stored with the next flush.
        """
        if self._calls or self._due:
            self._look()
        kept = action
        if type(action) is not self._action_type:
            kept = kept_or_simplified(self._keep_action, action, "action", self._session.simplifier)
        count = self._count = self._count + 1
        if count >= self._next:
            result = self.returned = self._step_watched(action, kept)
            return result
        try:
            result = self.env.step(action)
            observation, reward, terminated, truncated, info = result
            try:
                seen = self._cast(observation) if self._casts else observation
                if (
                    type(truncated) is not bool
                    or type(terminated) is not bool
                    or (type(reward) is not float and type(reward) in BOOLS)
                ):
                    reward, terminated, truncated = plain_outcome(reward, terminated, truncated)
                info = plain_info(info) if info else info
            except Exception:  # also of what a user's class does
                seen, reward, terminated, truncated, info = hard_step(
                    self._session.simplifier, self._cast,
                    (observation, reward, terminated, truncated), info,
                )  # fmt: skip
            if self._volatile is not None:
                info = self._apart(info)
            self._append(seen, kept, reward, terminated, truncated, info)
        except BaseException as error:
            self._fail(error, kept)
            raise
        self.returned = result
        return result

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment and record the state; the seed is passed on, never invented.

        Raises:
            InvalidInput: the options, or what the environment returned, have no encoding; see
                ``step``.
            Conflict: see ``step``.
        """
        kept = keep_reset(seed, options, self._session.simplifier)
        self._reopen()
        if self._check.is_waiting and self._count >= self._episodes > 0:  # there was a step, too
            self._session.check()
        if self._catch_up is None and self._gap is None:
            self._snapshots.before_reset(
                self.env, self._count, self._episodes + 1, self._session.recorder
            )
        drawn = None
        if self._catch_up is None and not self._first:
            if seed is None and self._snapshots.asks_for_generators(self._count + 1):
                drawn = generators_of(self.env, self._snapshots.packed)
            if seed is not None or drawn is not None:
                self._snapshots.begun(self._count + 1)
        self._count += 1
        if self._first and self._session.is_new:
            self._start = start_of(self.env)
        try:
            result = self.env.reset(seed=seed, options=options)
            observation, info = observation_and_info(result)
            simplifier = self._session.simplifier
            info = self._apart(kept_or_simplified(plain_info, info, "info", simplifier))
            self._append(
                kept_or_simplified(self._cast, observation, "observation", simplifier),
                info=info, reset=kept,
                attachments=self._attachments() or drawn, **self._after_gap(),
            )  # fmt: skip
        except BaseException as error:
            self._fail(error, kept)
            raise
        self._episodes += 1
        self.returned = result
        if self._catch_up is None:
            target = self._session.recorder
            self._snapshots.after_reset(self.env, self._count, self._episodes, target)
            self._next = self._snapshots.next
            if self._is_live:
                self.flush()  # it took minutes, and cannot be had again
        else:
            self._caught_up()
        return result

    def attach(
        self, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Attach data or the file ``path`` to the newest state, in the transaction that stores it.

        Data are copied.

        Raises:
            InvalidInput: the name is not allowed, the data have no encoding, or the newest state
                was not recorded because of an earlier error.
        """
        if self._gap is not None:
            raise InvalidInput(
                f"cannot attach '{name}': {self._gap}",
                name=name,
            )
        self._reopen()
        (self._catch_up or self._session.recorder).attach(name, data, path=path)

    def snapshot(self) -> None:
        """Take a snapshot of the newest state, beside those that the schedule takes.

        Nothing is taken where there is one already, or where none can be had.
        """
        if self._count >= 0 and self._gap is None and self._catch_up is None:
            self._reopen()
            self._snapshots.take_now(self.env, self._count, self._session.recorder)
            self._next = min(self._next, self._snapshots.next)

    def look_before_steps(
        self, look: Callable[[], None], calls: Sized = (), due: Sized = ()
    ) -> None:
        """Call a function before each step while one of two collections is not empty.

        What it raises comes from ``step``, before the environment is stepped. Without them it is
        called no more.
        """
        self._look, self._calls, self._due = look, calls, due

    def hasten(self, seconds: float, valid: float) -> None:
        """Flush more often for a while; see ``RecorderBase.hasten``."""
        self._session.recorder.hasten(seconds, valid)

    def hurry(self) -> None:
        """Let ``close`` not wait for the check of what is recorded: somebody waits for the end."""
        self._check.give_up()

    def flush(self) -> None:
        """Store the buffered states durably.

        Raises:
            Conflict: see ``step``.
        """
        self._session.flush()

    def close(self) -> None:
        """Store the buffered states, release the run, and close the environment."""
        try:
            if self._check.is_waiting and self._session.is_open:
                self._session.check()
            self._end()
        finally:
            super().close()

    @property
    def repo(self) -> Repository:
        """The repository."""
        return self._repo

    @property
    def run(self) -> str:
        """The run being written: after a conflict not the requested one."""
        name: str = self._session.recorder.run
        return name

    @property
    def step_count(self) -> int:
        """The newest state's step in the run: ``f"{env.run}@{env.step_count}"`` is its revision."""
        return self._count

    @property
    def observation(self) -> Any:
        """The observation of the state at ``step_count``, read from the repository: a copy.

        Raises:
            NotFound: no state is recorded yet.
        """
        self.flush()
        state = self._repo.state(f"{self.run}@{self._count}")
        return thaw(self.env.observation_space, state.observation)

    @property
    def tip(self) -> Oid | None:
        """The newest state's oid; the state is stored first, which computes it."""
        self.flush()
        tip: Oid | None = self._session.recorder.tip
        return tip

    # --- the slow path of a step ---

    def _step_watched(self, action: Any, kept: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step on the slow path: reopen after the end, measure, take snapshots."""
        if self._gap is not None:
            self._count -= 1
            return self.env.step(action)
        self._reopen()
        try:
            start = _clock()
            result = self.env.step(action)
            seconds = _clock() - start
            observation, reward, terminated, truncated, info = five_values(result)
            try:
                fields = (
                    self._cast(observation), *plain_outcome(reward, terminated, truncated),
                    plain_info(info) if info else info,
                )  # fmt: skip
            except Exception:  # also of what a user's class does
                fields = hard_step(
                    self._session.simplifier, self._cast,
                    (observation, reward, terminated, truncated), info,
                )  # fmt: skip
            seen, *rest, info = fields
            info = self._apart(info)
            self._append(seen, kept, *rest, info, attachments=self._attachments())
        except BaseException as error:
            self._fail(error, kept)
            raise
        if self._catch_up is None:
            ended = is_set(terminated) or is_set(truncated)
            target = self._session.recorder
            self._snapshots.after_step(self.env, self._count, seconds, ended, target)
            self._next = self._snapshots.next
            if self._check.is_due(self._count):
                self._session.check()
            if self._is_live:
                self.flush()
        else:
            self._caught_up()
        return result

    def _apart(self, info: Any) -> Any:
        """Return an info without its volatile entries, which are kept for an attachment."""
        if self._volatile is None:
            return info
        self._session.attach_volatile(full=True)
        return self._volatile.take(info, self._count)

    def _caught_up(self) -> None:
        """Record from now on, if everything recorded has been replayed."""
        assert self._catch_up is not None
        if self._catch_up.is_done:
            self._catch_up = None
            self._volatile = self._session.volatile[0] if self._session.volatile else None
            self._append = self._session.recorder.append

    def _attachments(self) -> dict[str, Any] | None:
        """Return the attachments of a session's first state, None for other states."""
        if not self._first or self._catch_up is not None:
            return None
        self._first = False
        random = None if self._start is None else start_of(self.env, self._start)
        self._start = None
        facts = {"seed": seed_in_use(self.env), **({} if random is None else {"random": random})}
        if self._session.is_new:
            facts = self._session.begin(
                facts, self._snapshots.first(self.env, self._count), self._count
            )
            self._snapshots.session = session_of(facts)
        return self._session.first_attachments(facts)

    def _after_gap(self) -> dict[str, str]:
        """Return the message about states that were not recorded, and clear it."""
        gap, self._gap = self._gap, None
        if gap is None or self._catch_up is not None:
            return {}
        self._snapshots.start_over()
        return {"message": gap}

    # --- ends ---

    def _end(self) -> None:
        self._next = -1
        seconds = self._snapshots.step_seconds
        if self._session.is_open and self._session.is_new and seconds:
            self._session.noter()({STEP_SECONDS: seconds})
        self._session.end()

    def _fail(self, error: BaseException, kept: Any) -> None:
        if isinstance(error, (Conflict, StorageError)):
            return  # of a flush: the state is kept
        self._count -= 1
        if isinstance(error, Divergence):
            return  # nothing was being written
        self._next = -1
        # no recorded state leads to where the environment is now
        self._gap = gap_after(error)
        given = kept.value if isinstance(kept, Simplified) else kept
        given = None if given is ABSENT else given
        self._session.fail(error, self.run, {"after": self._count, "given": given})

    def _reopen(self) -> None:
        settle()
        if not self._session.is_open:
            self._session.reopen()
            self._append = (self._catch_up or self._session.recorder).append
            if self._catch_up is None:
                self._count = self._session.newest()


def _path(repo: Repository | str | Path) -> str:
    """Return a repository's path as an argument of a wrapper, ':memory:' without one."""
    if isinstance(repo, Repository):
        return ":memory:" if repo.directory is None else str(repo.directory)
    return str(repo)
