"""Examination of an environment: determinism, snapshot driver, exactness of restores, costs.

Everything is measured on the spot, in a temporary repository."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import gymnasium
import numpy as np

from simgit.errors import Divergence, InvalidInput, NotFound, SimgitError, shown
from simgit.gym import drivers
from simgit.gym.recording.recorder import Recorder
from simgit.gym.restoring.compare import difference
from simgit.gym.restoring.recorded_path import SNAPSHOT, RecordedPath
from simgit.gym.restoring.reexecute import Progress, Reexecution
from simgit.gym.restoring.restore import plans, restore
from simgit.gym.restoring.run_notes import Verdict
from simgit.gym.restoring.verify import judge
from simgit.gym.spec.values import comparable_info
from simgit.process import end_with_parent
from simgit.repository import Repository

_RUN: Final = "main"
_SAMPLES: Final = 8
_TABLES: Final = ("objects", "bodies")
"""The tables that hold objects."""
_ENOUGH: Final = 0.5
_MOST: Final = 20_000
"""Seconds and steps to measure the cost of recording."""


@dataclass(frozen=True)
class Point:
    """One restore in another process.

    Attributes:
        step: the step of the state.
        seconds: the duration of the restore, without making the environment.
        cost: the number of actions that were re-executed.
        how: see ``RestorePlan``.
        differs: the first difference afterwards, None without one.
    """

    step: int
    seconds: float
    cost: int
    how: str
    differs: str | None


@dataclass(frozen=True)
class Examination:
    """The findings about an environment. Times are in seconds, sizes in bytes.

    Attributes:
        environment: its id.
        driver: the snapshot driver's name.
        why: the reason why it has no snapshots, None if it has.
        needs_trust: True if its snapshots hold pickles.
        repeats: True if two of them did the same in this process, else the first difference.
        verdict: the result of the check that a recorder makes of a run; see ``Verdict``.
        points: restores in another process, each followed by ``horizon`` recorded actions.
        horizon: the number of those actions.
        make: time to make one.
        step: time of a bare step, resets included.
        recorded_step: the same, recorded durably with snapshots.
        snapshot: median time of a snapshot.
        put_back: median time to put one back.
        raw: size of a snapshot's data.
        stored: what a snapshot adds to the store after the one before it.
    """

    environment: str
    driver: str
    why: str | None
    needs_trust: bool
    repeats: str | None
    verdict: str
    points: tuple[Point, ...]
    horizon: int
    make: float
    step: float
    recorded_step: float
    snapshot: float | None
    put_back: float | None
    raw: int | None
    stored: int | None

    @property
    def exact(self) -> int:
        """The number of exact points."""
        return sum(point.differs is None for point in self.points)

    def to_json(self) -> dict[str, Any]:
        """Return the findings as data for JSON."""
        return {**asdict(self), "exact": self.exact}


def examine(
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    *,
    make: Callable[[], Any] | None = None,
    steps: int = 600,
    points: int = 20,
    horizon: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Examination:
    """Examine an environment with random actions.

    Args:
        name: its id.
        kwargs: arguments of ``gymnasium.make``.
        make: makes it, if it needs further wrappers.
        steps: the length of the recorded run; ``horizon`` of its steps follow each point.
        points: the number of random states to restore.
        horizon: the number of further actions to compare at each.
        seed: the random seed of the run and of the points.
        progress: called with the number of parts done, and of all.

    Raises:
        NotFound: no such environment, or it cannot be made.
        InvalidInput: the environment raises an exception.
    """
    create = make or (lambda: _make(name, kwargs or {}))
    tell = progress or (lambda done, total: None)
    total = points + 4
    with _named(name), warnings.catch_warnings(), tempfile.TemporaryDirectory() as directory:
        warnings.simplefilter("ignore")
        begun = perf_counter()
        with closing(create()) as env:
            seconds = perf_counter() - begun
            actions = _actions(env, steps, seed)
            tell(1, total)
            bare = _run(env, actions, seed)
        with closing(create()) as env:
            repeats = _first_difference(bare[0], _run(env, actions, seed)[0])
        tell(2, total)
        verdict = _record(create(), Path(directory), actions, seed)
        step, recorded = _overhead(create, bare[1], seed)
        tell(3, total)
        with closing(create()) as env:
            facts = _snapshot_facts(env, actions[:50], seed)
        tell(4, total)
        rng = np.random.default_rng(seed)
        chosen = sorted(rng.integers(0, max(1, steps - horizon), points).tolist())
        checked = _elsewhere(directory, chosen, horizon, lambda done: tell(4 + done, total))
    return Examination(
        environment=name, repeats=repeats, verdict=verdict.result, points=tuple(checked),
        horizon=horizon, make=seconds,
        step=step, recorded_step=recorded, **facts,
    )  # fmt: skip


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn an exception of the environment into InvalidInput with the environment's name."""
    try:
        yield
    except SimgitError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"environment '{name}' raises {shown(why)}", name=name) from error


def _make(name: str, kwargs: Mapping[str, Any]) -> Any:
    try:
        return gymnasium.make(name, **kwargs)
    except (gymnasium.error.Error, ImportError) as error:
        raise NotFound(f"cannot make environment '{name}': {error}", name=name) from error


def _actions(env: Any, steps: int, seed: int) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(steps)]


def _run(env: Any, actions: Sequence[Any], seed: int) -> tuple[list[Any], float]:
    """Return the results of an environment, and the median time of a step."""
    returned: list[Any] = [env.reset(seed=seed)]
    times = []
    for action in actions:
        begun = perf_counter()
        step = env.step(action)
        times.append(perf_counter() - begun)
        returned.append(step)
        if step[2] or step[3]:
            returned.append(env.reset())
    return returned, statistics.median(times)


def _first_difference(one: Sequence[Any], two: Sequence[Any]) -> str | None:
    for i, (a, b) in enumerate(zip(one, two, strict=False)):
        names = ("observation", "info") if len(a) == 2 else _STEP
        for name, one_value, other in zip(names, a, b, strict=True):
            found = difference(name, *map(_comparable, (one_value, other)))
            if found is not None:
                return f"step {i}, {found.field}"
    return None


_STEP: Final = ("observation", "reward", "terminated", "truncated", "info")


def _comparable(value: Any) -> Any:
    return comparable_info(value) if isinstance(value, dict) else value


def _record(env: Any, directory: Path, actions: Sequence[Any], seed: int) -> Verdict:
    """Record a run; return the verdict of the self-check that a recorder makes."""
    with Repository.init(directory) as repo:
        recorder = Recorder(env, repo, _RUN, provenance=False, self_check=False)
        with closing(recorder):
            _run(recorder, actions, seed)
        return judge(repo, _RUN)


def _overhead(create: Callable[[], Any], step: float, seed: int) -> tuple[float, float]:
    """Return the time of a step, bare and recorded durably."""
    count = min(max(int(_ENOUGH / step), 100), _MOST)
    with closing(create()) as env:
        actions = _actions(env, count, seed)
    bare = _timed(create(), actions, seed)
    with tempfile.TemporaryDirectory() as directory, Repository.init(directory) as repo:
        recorder = Recorder(create(), repo, _RUN, provenance=False, self_check=False)
        recorded = _timed(recorder, actions, seed)
    return bare / count, recorded / count


def _timed(env: Any, actions: Sequence[Any], seed: int) -> float:
    env.reset(seed=seed)
    begun = perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    env.close()
    return perf_counter() - begun


def _snapshot_facts(env: Any, actions: Sequence[Any], seed: int) -> dict[str, Any]:
    """Return the findings about an environment's snapshots."""
    _run(env, actions, seed)
    driver = drivers.select(env)
    facts: dict[str, Any] = {
        "driver": driver.name, "needs_trust": driver.needs_trust, "why": drivers.check(env),
        "snapshot": None, "put_back": None, "raw": None, "stored": None,
    }  # fmt: skip
    if driver.where != "any":
        return facts
    taking: list[float] = []
    putting: list[float] = []
    with Repository.init(":memory:") as repo:
        stored = [_stored(repo, data) for data in _snapshots(env, driver, actions, taking)]
    data = driver.snapshot(env)
    for _ in range(_SAMPLES):
        begun = perf_counter()
        driver.restore(env, data or {})
        putting.append(perf_counter() - begun)
    return facts | {
        "snapshot": statistics.median(taking), "put_back": statistics.median(putting),
        "raw": raw_size(data), "stored": int(statistics.median(stored[1:])),
    }  # fmt: skip


def _snapshots(env: Any, driver: Any, actions: Sequence[Any], taking: list[float]) -> Any:
    for i in range(_SAMPLES):
        begun = perf_counter()
        data = driver.snapshot(env)
        taking.append(perf_counter() - begun)
        yield data
        for action in actions[i * 4 : i * 4 + 4]:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()


def _stored(repo: Repository, data: Any) -> int:
    """Attach a snapshot; return the bytes of objects that it added to the store."""
    state = repo.commit({"state": "before"}, run=_RUN)
    before = stored_bytes(repo)
    repo.attach(state, SNAPSHOT, drivers.pack(data))
    return stored_bytes(repo) - before


def stored_bytes(repo: Repository) -> int:
    """Return the bytes of all loose objects of a repository."""
    with repo.odb.read() as txn:
        return sum(len(value) for table in _TABLES for _, value in txn.scan(table))


def raw_size(data: Any) -> int:
    """Return the size of nested data: the bytes of arrays and bytes, and eight for each number."""
    if isinstance(data, Mapping):
        return sum(map(raw_size, data.values()))
    if isinstance(data, (list, tuple)):
        return sum(map(raw_size, data))
    if isinstance(data, np.ndarray):
        return data.nbytes
    return len(data) if isinstance(data, (bytes, str)) else 8


# --- in another process --------------------------------------------------------------------------


def _elsewhere(
    directory: str, steps: Sequence[int], horizon: int, tell: Callable[[int], None]
) -> list[Point]:
    """Restore states in a new process, and continue from each."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as pool:
        waiting = [pool.submit(check_point, directory, step, horizon) for step in steps]
        found = []
        for each in waiting:
            found.append(each.result())
            tell(len(found))
    return found


def check_point(directory: str, step: int, horizon: int) -> Point:
    """Restore one state of a recorded run and execute the recorded actions that follow."""
    warnings.simplefilter("ignore")
    with Repository.open(directory, read_only=True) as repo:
        path = RecordedPath(repo, f"{_RUN}@{step}")
        env = path.make(True)  # this process recorded it
        begun = perf_counter()
        try:
            # a given environment is not spent on what was only tried, see ``restored``
            plan = next(each for each in plans(path, env, True) if not each.tried)
            restore(repo, path.oid, env=env, trust=True)
            seconds = perf_counter() - begun
            Reexecution(env, ignore=path.ignored).replay(
                repo.trajectory(_RUN)[step + 1 : step + 1 + horizon]
            )
        except Divergence as error:
            text = f"step {error.step}, {error.field}"  # type: ignore[attr-defined]
            return Point(step, perf_counter() - begun, 0, "", text)
        except SimgitError as error:
            return Point(step, perf_counter() - begun, 0, "", str(error))
        finally:
            env.close()
    return Point(step, seconds, plan.cost, plan.how, None)
