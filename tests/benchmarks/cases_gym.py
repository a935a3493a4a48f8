"""Recording Gymnasium environments, against Minari and against not recording at all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from . import subject
from .case import Bench, Case, NotBuilt, at_most
from .measure import all_cores, disk, scratch, seconds

cartpole = Case(
    "gym-cartpole",
    "CartPole, recorded, with resets",
    "steps/s",
    note="simgit with snapshots and provenance, 100 000 random steps; Minari hdf5, 10 000; 'bare' "
    "is the environment without a recorder; all to the end on disk",
)
overhead = Case(
    "gym-overhead",
    "what recording adds to a step of CartPole",
    "µs",
    at_most(6),
    "of processor time, with snapshots, to the end on disk; the median of differences to the bare "
    "environment right before; without what is done once a run: 2 000 steps go before",
)
size = Case("gym-bytes", "bytes a step of CartPole, after gc", "bytes", at_most(25))
pong = Case(
    "gym-pong",
    "Pong, frames of 210 x 160 x 3, recorded",
    "steps/s",
    note="2 000 random steps; Minari stores frames as JPEG, which changes them, and gets no infos: it "
    "cannot store those of Pong, which have other keys at a reset",
)
pong_size = Case(
    "gym-pong-bytes",
    "bytes a step of Pong, after gc",
    "bytes",
    at_most(150),
    "10 000 steps, lossless; an empty store takes 86 000 bytes",
)
LANES = 4
vector = Case(
    "gym-vector",
    "what recording adds to a step of one of 4 CartPoles in a SyncVectorEnv",
    "µs",
    at_most(lambda peers: peers["one by itself"]),
    "of processor time, as above; 'one by itself' is that row's figure, in the same run; 'bare' is "
    "the vector environment without a recorder",
)
vector_async = Case(
    "gym-vector-async",
    "what recording adds to a step of one of 4 CartPoles in an AsyncVectorEnv",
    "µs",
    at_most(lambda peers: 0.2 * peers["bare"]),
    "by the clock, on all cores, in turns with the vector environment without a recorder, 'bare': "
    "medians of five turns; 'processor time' is what it adds to that of the script's own process",
)
fan_out = Case(
    "fan-out", "fan_out of 1 000 arms of 50 steps of CartPole", "s", at_most(10),
    "a pool of two processes that runs already, a policy that lasts; in one process",
)  # fmt: skip
CASES = [cartpole, overhead, vector, vector_async, size, pong, pong_size, fan_out]


def make(id: str) -> Any:
    """Return an environment.

    Raises:
        NotBuilt: a package is missing.
    """
    try:
        import gymnasium

        if id.startswith("ALE/"):
            import ale_py

            gymnasium.register_envs(ale_py)
    except ImportError as error:
        raise NotBuilt from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make(id)


def drive(env: Any, count: int) -> None:
    """Take random actions, the same each time."""
    actions = np.random.default_rng(0).integers(0, env.action_space.n, count)
    env.reset(seed=0)
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()


def bare(id: str, count: int) -> float:
    """Return the seconds that an environment takes by itself."""
    env = make(id)
    return seconds(lambda: drive(env, count))


def recorded(bench: Bench, id: str, count: int, collect: bool = False) -> tuple[float, float]:
    """Return seconds and bytes of recording with simgit."""
    repository = subject.store()
    env = make(id)
    from simgit.gym import Recorder

    with scratch(bench.path) as path:
        with repository.init(path) as repo:
            recorder = Recorder(env, repo)

            def work() -> None:
                drive(recorder, count)
                recorder.close()

            taken = seconds(work)
            if collect:
                repo.gc()
        return taken, subject.stored(path)


def minari(bench: Bench, id: str, count: int, infos: bool = True) -> tuple[float, float]:
    """Return seconds and bytes of recording with Minari.

    Raises:
        NotBuilt: it is not installed.
    """
    env = make(id)
    with scratch(bench.path) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["MINARI_DATASETS_PATH"] = str(path)
        try:
            from minari import DataCollector
        except ImportError as error:
            raise NotBuilt from error
        collector = DataCollector(env, record_infos=infos, data_format="hdf5")

        def work() -> None:
            drive(collector, count)
            collector.create_dataset(
                dataset_id="bench/random-v0", algorithm_name="random", eval_env=id,
                code_permalink="https://example.org", author="bench", author_email="b@example.org",
                description="random actions",
            )  # fmt: skip

        taken = seconds(work)
        return taken, disk(Path(path))


def cartpole_steps(bench: Bench) -> int:
    """Return how many steps of CartPole simgit records."""
    return bench.size(100_000, 20_000)


def _processor_seconds(work: Callable[[], Any]) -> float:
    """Return the processor time of work: what else the machine does is not in it."""
    begun = process_time()
    work()
    return process_time() - begun


def _underway(bench: Bench, id: str, count: int) -> float:
    """Return the processor time of recording in a run whose first episode is checked already."""
    repository = subject.store()
    env = make(id)
    from simgit.gym import Recorder

    with scratch(bench.path) as path, repository.init(path) as repo:
        recorder = Recorder(env, repo)
        drive(recorder, 2_000)
        recorder.flush()

        def work() -> None:
            drive(recorder, count)
            recorder.flush()

        taken = _processor_seconds(work)
        recorder.close()
    return taken


@cartpole.side("simgit")
def _(bench: Bench) -> float:
    count = cartpole_steps(bench)
    return count / recorded(bench, "CartPole-v1", count)[0]


@cartpole.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    count = bench.size(10_000, 2_000)
    return count / minari(bench, "CartPole-v1", count)[0]


@cartpole.side("bare")
def _(bench: Bench) -> float:
    return cartpole_steps(bench) / bare("CartPole-v1", cartpole_steps(bench))


@overhead.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    count = cartpole_steps(bench)
    env = make("CartPole-v1")
    before = _processor_seconds(lambda: drive(env, count))
    return (_underway(bench, "CartPole-v1", count) - before) / count * 1e6


def _lanes() -> Any:
    import gymnasium

    return gymnasium.vector.SyncVectorEnv([lambda: make("CartPole-v1") for _ in range(LANES)])


def _drive_lanes(env: Any, count: int) -> None:
    """Take random actions, the same each time; the environment resets its lanes by itself."""
    actions = np.random.default_rng(0).integers(0, 2, (count, LANES))
    env.reset(seed=0)
    for each in actions:
        env.step(each)


def _bare_lanes(count: int) -> float:
    """Return the processor time of a vector environment by itself."""
    make("CartPole-v1")  # NotBuilt, if Gymnasium is missing
    env = _lanes()
    _drive_lanes(env, 500)
    return _processor_seconds(lambda: _drive_lanes(env, count))


def _lanes_underway(bench: Bench, count: int) -> float:
    """Return the processor time of recording lanes whose first episodes are checked already."""
    from simgit.gym import VectorRecorder

    repository = subject.store()
    with scratch(bench.path) as path, repository.init(path) as repo:
        recorder = VectorRecorder(_lanes(), repo)
        _drive_lanes(recorder, 500)
        recorder.flush()

        def work() -> None:
            _drive_lanes(recorder, count)
            recorder.flush()

        taken = _processor_seconds(work)
        recorder.close()
    return taken


@vector.side("simgit", repeat=5)
def _(bench: Bench) -> float:
    count = cartpole_steps(bench) // LANES
    before = _bare_lanes(count)
    return (_lanes_underway(bench, count) - before) / (count * LANES) * 1e6


@vector.side("one by itself", repeat=5)
def _(bench: Bench) -> float:
    return overhead.sides["simgit"].measure(bench)


@vector.side("bare", repeat=5)
def _(bench: Bench) -> float:
    count = cartpole_steps(bench) // LANES
    return _bare_lanes(count) / (count * LANES) * 1e6


def _in_turns(bench: Bench) -> dict[str, float]:
    """Return the figures of an AsyncVectorEnv, with and without a recorder, a step of a lane."""
    make("CartPole-v1")  # NotBuilt, if Gymnasium is missing
    import gymnasium

    from simgit.gym import VectorRecorder

    count = bench.size(4_000, 1_000)
    makers = [lambda: make("CartPole-v1")] * LANES
    taken: dict[str, list[tuple[float, float]]] = {"bare": [], "recorded": []}
    with all_cores(), scratch(bench.path) as path, subject.store().init(path) as repo:
        bare = gymnasium.vector.AsyncVectorEnv(makers)
        recorder = VectorRecorder(gymnasium.vector.AsyncVectorEnv(makers), repo)
        for env in (bare, recorder):
            _drive_lanes(env, 500)
        recorder.flush()
        for _ in range(5):
            for name, env in (("bare", bare), ("recorded", recorder)):
                begun, used = perf_counter(), process_time()
                _drive_lanes(env, count)
                if env is recorder:
                    recorder.flush()
                taken[name].append((perf_counter() - begun, process_time() - used))
        for env in (bare, recorder):
            env.close()
    before, after = (np.median(taken[name], axis=0) for name in ("bare", "recorded"))
    added, used = (after - before) / (count * LANES) * 1e6
    return {"simgit": added, "bare": before[0] / (count * LANES) * 1e6, "processor time": used}


def _side_by_side(name: str) -> None:
    @vector_async.side(name, repeat=1)
    def _(bench: Bench) -> float:
        return float(bench.keep("vector-async", lambda: _in_turns(bench))[name])


for _name in ("simgit", "bare", "processor time"):
    _side_by_side(_name)


@size.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    count = cartpole_steps(bench)
    return recorded(bench, "CartPole-v1", count, collect=True)[1] / count


@size.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    count = bench.size(10_000, 2_000)
    return minari(bench, "CartPole-v1", count)[1] / count


def pong_steps(bench: Bench) -> int:
    """Return how many steps of Pong are recorded."""
    return bench.size(2_000, 500)


@pong.side("simgit")
def _(bench: Bench) -> float:
    return pong_steps(bench) / recorded(bench, "ALE/Pong-v5", pong_steps(bench))[0]


@pong.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    count = bench.size(500, 200)
    return count / minari(bench, "ALE/Pong-v5", count, infos=False)[0]


@pong.side("bare")
def _(bench: Bench) -> float:
    return pong_steps(bench) / bare("ALE/Pong-v5", pong_steps(bench))


@pong_size.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    count = bench.size(10_000, 2_000)
    return recorded(bench, "ALE/Pong-v5", count, collect=True)[1] / count


@pong_size.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    count = bench.size(500, 200)
    return minari(bench, "ALE/Pong-v5", count, infos=False)[1] / count


def upright(observation: Any) -> int:
    """Return the action that keeps the pole up for 50 steps."""
    return int(observation[2] + observation[3] > 0)


def _fanned(bench: Bench, **options: Any) -> float:
    subject.store()
    from simgit.gym import fan_out as fan

    with scratch(bench.path) as folder, subject.store().init(folder) as repo:
        _record(repo, "CartPole-v1", 10)
        return seconds(lambda: fan(repo, "main@5", [0, 1] * 500, 50, policy=upright, **options))


def _record(repo: Any, env: str, steps: int) -> None:
    import gymnasium

    from simgit.gym import Recorder

    with Recorder(gymnasium.make(env), repo, "main") as recorder:
        recorder.reset(seed=1)
        for step in range(steps):
            recorder.step(step % 2)


@fan_out.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with all_cores(), ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(abs, range(8)))
        return _fanned(bench, executor=pool)


@fan_out.side("one process", repeat=1)
def _(bench: Bench) -> float:
    return _fanned(bench, workers=1)
