"""Actors that record: each has a repository of its own, and pushes to one remote."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from simgit import worker as workers
from simgit.errors import InvalidInput, shown
from simgit.gym import Recorder
from simgit.gym.spec.permit import Trust
from simgit.gym.tools.collect import make_environment, make_policy
from simgit.integrations.ray.cluster import check_sendable, connect, get, reserved
from simgit.objects.coerce import check_number
from simgit.refs.names import check_ref_name

Env = str | Callable[[], Any]
"""The id of an environment, or a function that makes one."""
_CHUNK: Final = 1000
_END_SECONDS: Final = 60.0
"""The seconds that actors have to close after an error."""


class RolloutRange(NamedTuple):
    """States that a worker has recorded: of a run, from one step to another, both included."""

    run: str
    first: int
    last: int

    @property
    def revision(self) -> str:
        """The states as a revision, such as ``worker/0@99..worker/0@199``."""
        end = f"{self.run}@{self.last}"
        return end if self.first == 0 else f"{self.run}@{self.first - 1}..{end}"


class _Recording:
    """A worker of a remote while it is open, with its environment at the newest state."""

    def __init__(
        self, env: Env, remote: str, name: str, trust: Trust, seed: int | None,
        settings: Mapping[str, Any], options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.env: Any = make_environment(env) if isinstance(env, str) else env()
        try:
            self.work = workers.open(remote, name, **settings)
            try:
                self.run = self.work.run()
                self._begin(trust, seed, options)
            except BaseException as error:
                self.work.__exit__(type(error), error, error.__traceback__)
                raise
        except BaseException:
            self.env.close()
            raise

    def _begin(self, trust: Trust, seed: int | None, options: Mapping[str, Any]) -> None:
        repo, self.actions, self.observation = self.work.repository, 0, None
        self.seed, self.is_over = seed, True
        if self.run not in self.work.resumed:
            self.recorder = Recorder(self.env, repo, self.run, **options)
            return
        self.recorder = Recorder.resume(repo, self.run, env=self.env, trust=trust, **options)
        states, last = repo.trajectory(self.run), repo.state(self.run)
        self.actions = len(states) - int(states.present("reset").sum())
        self.seed, self.is_over = None, bool(last.terminated or last.truncated)
        self.observation = self.recorder.observation

    @property
    def step(self) -> int:
        """The step of the newest state, -1 without one."""
        return self.recorder.step_count

    def act(self, policy: Callable[[Any], Any]) -> bool:
        """Take one action; return True if it ended an episode."""
        if self.is_over:
            self.observation, _ = self.recorder.reset(seed=self.seed)
            self.seed = None
        action = policy(self.observation)
        self.observation, _, terminated, truncated, _ = self.recorder.step(action)
        self.actions += 1
        self.is_over = bool(terminated or truncated)
        return self.is_over

    def close(self, complete: bool) -> None:
        """Complete the run, or pause it, and push everything."""
        try:
            self.recorder.close()
            if not complete:
                self.work.repository.set_status(self.run, "paused")
        finally:
            self.work.close()


class RolloutActor:
    """The class of the actor ``RolloutWorker``: it records an environment into a run of its own.

    What it records is kept in a repository on its machine and pushed in the background, as
    ``simgit.worker.open`` says. An actor of the same name that is started later, or restarted by
    Ray, continues from the newest state.
    """

    def __init__(
        self,
        env: Env,
        remote: str | Path,
        name: str,
        policy: Callable[[Any], Any] | str | None = None,
        *,
        seed: int | None = None,
        trust: Trust = None,
        settings: Mapping[str, Any] | None = None,
        recorder: Mapping[str, Any] | None = None,
    ) -> None:
        """Note the arguments; the first call opens the worker, or raises.

        Args:
            env: the id of an environment, or a function that makes it.
            remote: the URL of the remote, or a directory.
            name: the name of the worker and of its run.
            policy: returns the action for an observation: a function or an object, or
                ``"module:function"``. If it has a method ``reset``, that is called with the seed.
                None for random actions.
            seed: of the first reset, and of random actions.
            trust: see ``simgit.gym.restore``; for a run that is continued.
            settings: further arguments of ``simgit.worker.open``.
            recorder: further arguments of ``simgit.gym.Recorder``.
        """
        self._given = (
            env, os.fspath(remote), name, trust, seed, dict(settings or {}), dict(recorder or {})
        )  # fmt: skip
        self._policy, self._seed = policy, seed
        self._act: Callable[[Any], Any] | None = None
        self._open: _Recording | None = None
        self._version = 0

    def _recording(self) -> _Recording:
        if self._open is None:
            self._open = _Recording(*self._given)
        if self._act is None:
            name = "random" if self._policy is None else self._policy
            if isinstance(name, str):
                self._act = make_policy(name, self._open.env, self._seed)
            elif callable(name):
                self._act = name
                if hasattr(name, "reset"):
                    name.reset(self._seed)
            else:
                raise InvalidInput(f"policy must be a function, got {shown(name)}", path="policy")
        return self._open

    def ready(self) -> dict[str, Any]:
        """Open the worker if it is not open; return its name, machine, process, and newest step.

        Raises:
            NotFound: there is no such environment or policy.
            TransportError: the remote cannot be reached, or refuses.
            InvalidInput, StorageError: see ``simgit.worker.open``.
        """
        found = self._recording()
        return {
            "name": found.work.name, "host": socket.gethostname(), "pid": os.getpid(),
            "step": found.step, "actions": found.actions,
        }  # fmt: skip

    def rollout(self, episodes: int | None = None, steps: int | None = None) -> RolloutRange:
        """Act for a number of episodes or actions, whichever is reached first; store the states.

        An episode that was begun by an earlier call is continued, and counts.

        Args:
            episodes: the greatest number of episodes that end.
            steps: the greatest number of actions.

        Raises:
            InvalidInput: neither is given.
        """
        if episodes is None and steps is None:
            raise InvalidInput("episodes or steps must say where to end")
        limits = [
            None if each is None else check_number(each, name, 1, whole=True)
            for name, each in (("episodes", episodes), ("steps", steps))
        ]
        return self._roll(limits[0], limits[1])

    def advance(
        self, upto: int, version: int = 0, weights: list[Any] | None = None
    ) -> RolloutRange:
        """Act until the run has so many actions in all: a call that is repeated does no more.

        Args:
            upto: the number of actions of the run, those of earlier actors included.
            version: the number of the weights.
            weights: a reference to them, in a list; they are fetched if the version is another.
        """
        if weights and version != self._version:
            self.set_weights(ray.get(weights[0]))
            self._version = version
        return self._roll(None, upto - self._recording().actions)

    def _roll(self, episodes: int | None, steps: int | None) -> RolloutRange:
        found = self._recording()
        assert self._act is not None
        first, ended, taken = found.step + 1, 0, 0
        while (steps is None or taken < steps) and (episodes is None or ended < episodes):
            ended += found.act(self._act)
            taken += 1
        found.recorder.flush()
        return RolloutRange(found.run, first, found.step)

    def set_weights(self, weights: Any) -> None:
        """Give the policy its weights, by its method ``set_weights`` or ``load_state_dict``.

        Args:
            weights: the weights, or (from a caller) the reference of ``ray.put``.

        Raises:
            InvalidInput: it has neither.
        """
        for name in ("set_weights", "load_state_dict"):
            method = getattr(self._policy, name, None)
            if callable(method):
                method(weights)
                return
        raise InvalidInput("the policy has no method 'set_weights'", path="policy")

    def snapshot(self) -> str:
        """Attach a snapshot of the environment to the newest state, push, and return its revision.

        Raises:
            InvalidInput: no state is recorded yet, or the environment cannot take one.
            TransportError, StorageError: it was not pushed within a minute.
        """
        found = self._recording()
        if found.step < 0:
            raise InvalidInput(f"'{found.run}' has no state yet: call rollout first")
        found.recorder.snapshot()
        found.recorder.flush()
        found.work.push()
        return f"{found.run}@{found.step}"

    def close(self, complete: bool = True) -> dict[str, int]:
        """Complete the run, and push everything; return how much was pushed.

        Args:
            complete: False to note that the run is paused, and not completed.

        Raises:
            StorageError: not everything could be pushed; it names the local repository.
        """
        if self._open is None:  # an actor that was lost while it closed has been restarted
            _, remote, name, _, _, settings, _ = self._given
            with workers.open(remote, name, **settings) as work:
                pass
        else:
            found, self._open = self._open, None
            found.close(complete)
            work = found.work
        pushed = work.result
        return {"states": pushed.states, "bytes": pushed.bytes, "pushes": pushed.pushes}


RolloutWorker = ray.remote(num_cpus=0)(RolloutActor)
"""``RolloutActor`` as an actor; it holds no CPU unless its ``options`` say so."""


# --- several ------------------------------------------------------------------------------------


class Rollouts:
    """Actors that record at the same time; a loop over it yields their results as they come.

    Attributes:
        workers: the handles of the actors.
        closed: what each has pushed, at the end.
        held: what ends with them: the reserved CPUs, and the actors themselves.
    """

    def __init__(self, actors: list[Any], steps: int, chunk: int, held: ExitStack) -> None:
        """Take the actors, what they are to do, and what ends with them; see ``rollouts``."""
        self.workers = actors
        self.held = held
        self.closed: list[dict[str, int]] = []
        self._steps, self._chunk = steps, chunk
        self._version, self._weights = 0, None
        self._is_open = True
        self._done = [0] * len(actors)
        self._next = [0] * len(actors)
        self._closing: dict[int, Any] = {}
        self._waiting: dict[Any, int] = {}

    def begin(self) -> None:
        """Wait until all workers are open, and let them begin.

        Raises:
            NotFound, InvalidInput, TransportError, StorageError: see ``RolloutActor.ready``.
        """
        for i, ref in enumerate([each.ready.remote() for each in self.workers]):
            found = get(ref)
            self._done[i], self._next[i] = found["actions"], found["step"] + 1
            self._go_on(i)

    def _go_on(self, i: int) -> None:
        """Let a worker record the next part, or close."""
        upto = min(self._steps, self._done[i] + self._chunk)
        if upto <= self._done[i]:
            self._closing[i] = self.workers[i].close.remote()
            return
        weights = None if self._weights is None else [self._weights]
        ref = self.workers[i].advance.remote(upto, self._version, weights)
        self._waiting[ref] = i
        self._done[i] = upto

    def set_weights(self, weights: Any) -> None:
        """Give all policies new weights, from their next part on; also those that are restarted.

        Args:
            weights: the weights, or the reference of ``ray.put``.
        """
        self._weights = weights if isinstance(weights, ray.ObjectRef) else ray.put(weights)
        self._version += 1

    def __iter__(self) -> Iterator[RolloutRange]:
        """Yield the results.

        Raises:
            SimgitError: what a worker raised.
        """
        while self._waiting:
            (ref, *_), _ = ray.wait([*self._waiting], num_returns=1)
            i = self._waiting.pop(ref)
            found = get(ref)
            first, self._next[i] = self._next[i], found.last + 1
            self._go_on(i)
            if found.last >= first:
                yield RolloutRange(found.run, first, found.last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the workers, which push everything; with an error, as far as that is possible.

        Runs that have not all of their actions are paused.
        """
        if not self._is_open:
            return
        self._is_open = False
        try:
            refs = [
                self._closing.get(i) or each.close.remote(complete=False)
                for i, each in enumerate(self.workers)
            ]
            if error is None:
                self.closed = [get(each) for each in refs]
            else:
                with suppress(Exception):  # the first error is told
                    ray.wait(refs, num_returns=len(refs), timeout=_END_SECONDS)
        finally:
            self.held.close()


def rollouts(
    env: Env,
    n: int,
    remote: str | Path,
    policy: Callable[[Any], Any] | str | None = None,
    steps: int = 1000,
    max_restarts: int = -1,
    *,
    name: str = "worker",
    chunk: int = _CHUNK,
    seed: int = 0,
    num_cpus: float = 1.0,
    trust: Trust = None,
    settings: Mapping[str, Any] | None = None,
    recorder: Mapping[str, Any] | None = None,
) -> Rollouts:
    """Let actors record, and return a context that yields their results as they come.

    Each has a run ``NAME/0``, ``NAME/1``, … and a repository of its own, and pushes to the remote.
    An actor that is lost is restarted, and continues from its newest state; each result is yielded
    once. Runs that are at the remote already are continued until they have ``steps`` actions.

    Args:
        env: the id of an environment, or a function that makes it.
        n: the number of actors.
        remote: the URL of the remote, or a directory that all machines see.
        policy: see ``RolloutActor``.
        steps: the number of actions that each run has at the end.
        max_restarts: how often Ray restarts an actor; -1 for any number.
        name: what the names of the workers begin with.
        chunk: the most actions of a result.
        seed: the seed of the first one's first reset; the i-th one has ``seed + i``.
        num_cpus: the CPUs that each actor holds until the end of the context.
        trust, settings, recorder: see ``RolloutActor``.

    Raises:
        InvalidInput: a number or name cannot be, or the policy cannot be sent to other processes.
        ClusterError: no cluster, or no free CPU for 30 seconds.
        NotFound: no such environment or policy.
        TransportError: the remote cannot be reached, or refuses.
    """
    n, steps, chunk = (
        check_number(each, what, 1, whole=True)
        for each, what in ((n, "n"), (steps, "steps"), (chunk, "chunk"))
    )
    names = [check_ref_name(f"{name}/{i}", "a worker") for i in range(n)]
    check_sendable(policy, "policy")
    check_sendable(env, "environment's function")
    connect()
    url = os.fspath(remote)
    url = url if "://" in url else str(Path(url).expanduser().resolve())
    with ExitStack() as held:
        options: dict[str, Any] = {"num_cpus": num_cpus, "max_restarts": max_restarts}
        options["max_task_retries"] = -1 if max_restarts else 0
        if num_cpus:
            group = held.enter_context(reserved(num_cpus, n))
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group)
        actors = []
        for i, each in enumerate(names):
            actor = RolloutWorker.options(**options).remote(
                env, url, each, policy, seed=seed + i, trust=trust, settings=settings,
                recorder=recorder,
            )  # fmt: skip
            held.callback(ray.kill, actor)
            actors.append(actor)
        made = Rollouts(actors, steps, chunk, held)
        made.begin()
        made.held = held.pop_all()
    return made
