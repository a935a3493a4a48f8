"""Learners of other libraries: what recording adds to their training in CartPole."""

from __future__ import annotations

import random
import resource
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from .case import Bench, Case, Figures, NotBuilt, at_most
from .measure import scratch

_NOTE = (
    "processor time, flushed in the background every 10 000 steps; of two equal trainings that take "
    "turns, a block of steps each, the median difference, and the flushes; without the first block, "
    "in which the self-check starts; taking a snapshot, every 500 to 1 000 steps, is too rare for "
    "the median (0.1 to 0.2 % more); 'once' is what begin and close add, in ms, 'check' the "
    "self-check's own processes of low priority, in ms, 'bare' a step that is not recorded, in µs; "
    "1 thread of torch"
)
FLUSHED = 10_000
"""Steps between two flushes: about those of ten seconds, after which a recorder flushes."""
RECORDED: dict[str, Any] = {"background": True, "flush_seconds": None}
FRAMES = 200
FIGURES = ("simgit", "once", "check", "bare")

Wrapper = Callable[[Any], Any]
Make = Callable[[Wrapper], tuple[Callable[[int], Any], Callable[[], Any]]]
"""Makes a training in wrapped environments: what learns for so many steps, and what ends it."""


class _Training:
    """One of two equal trainings that take turns: each has global generators of its own."""

    def __init__(self, make: Make, wrapper: Wrapper) -> None:
        import torch

        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        self._wrapper = wrapper
        self._recorders: list[Any] = []
        self.blocks: list[float] = []
        self.flushes = 0.0
        begun = process_time()
        self._learn, self._end = make(self._wrapped)
        self.once = process_time() - begun
        self._generators = _generators()

    def _wrapped(self, env: Any) -> Any:
        made = self._wrapper(env)
        self._recorders += [each for each in (made, made.env) if hasattr(each, "flush")]
        return made

    def block(self, count: int) -> None:
        """Learn for so many steps."""
        _put_back(*self._generators)
        begun = process_time()
        self._learn(count)
        self.blocks.append(process_time() - begun)
        self._generators = _generators()

    def flush(self) -> None:
        """Store what was recorded."""
        begun = process_time()
        for each in self._recorders:
            each.flush()
        self.flushes += process_time() - begun

    def end(self) -> None:
        """Close the environments."""
        begun = process_time()
        self._end()
        self.once += process_time() - begun


def _generators() -> tuple[Any, Any, Any]:
    import torch

    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _put_back(python: Any, numpy: Any, torch_state: Any) -> None:
    import torch

    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(torch_state)


def _children() -> float:
    """Return the processor time of the processes that this one started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _turns(make: Make, recorded: Wrapper, block: int, pairs: int) -> Figures:
    """Return the figures of two trainings that take turns."""
    begun = _children()
    _Training(make, lambda env: env).end()  # it imports what is imported when it is needed
    sides = bare, other = [_Training(make, each) for each in (lambda env: env, recorded)]
    for i in range(pairs + 1):
        for each in sides[:: 1 if i % 2 else -1]:
            each.block(block)
        if (i + 1) * block % FLUSHED < block:
            other.flush()
    for each in sides:
        each.end()
    # without the first one, in which the self-check starts
    pairs_of_blocks = zip(bare.blocks[1:], other.blocks[1:], strict=True)
    plain = statistics.median(bare.blocks[1:])
    added = statistics.median(b - a for a, b in pairs_of_blocks)
    storing = other.flushes / (pairs + 1)
    return {
        "simgit": 100 * (added + storing) / plain,
        "once": 1e3 * (other.once - bare.once),
        "check": 1e3 * (_children() - begun),
        "bare": 1e6 * plain / block,
    }


def _figures(bench: Bench, make: Make, library: str, block: int, pairs: int) -> Figures:
    try:
        import torch

        from simgit.gym import Recorder

        if library == _SB3:
            from simgit.integrations.sb3 import record
        else:
            import torchrl.collectors  # noqa: F401
    except ImportError as error:
        raise NotBuilt from error
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with scratch(bench.path) as path, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            recorded: Wrapper = (
                record(Path(path), "run", **RECORDED)
                if library == _SB3
                else partial(Recorder, repo=Path(path), run="run", **RECORDED)
            )
            return _turns(make, recorded, block, bench.size(pairs, max(3, pairs // 10)))
    finally:
        torch.set_num_threads(threads)


def _baselines(kind: str, lanes: int, wrapper: Wrapper) -> Any:
    """Make a training of Stable-Baselines3 with the default settings."""
    import stable_baselines3 as sb3
    from stable_baselines3.common.env_util import make_vec_env

    venv = make_vec_env("CartPole-v1", lanes, seed=0, wrapper_class=wrapper)
    model = getattr(sb3, kind)("MlpPolicy", venv, seed=0, device="cpu")
    return lambda count: model.learn(count, reset_num_timesteps=False), venv.close


def _collector(wrapper: Wrapper) -> Any:
    """Make a collector of TorchRL, whose policy is a network with two layers of 64."""
    import gymnasium
    from tensordict.nn import TensorDictSequential
    from torchrl import collectors
    from torchrl.envs import GymWrapper
    from torchrl.modules import MLP, EGreedyModule, QValueActor

    kind = getattr(collectors, "Collector", None) or collectors.SyncDataCollector
    env = GymWrapper(wrapper(gymnasium.make("CartPole-v1")))
    env.set_seed(0)
    net = MLP(in_features=4, out_features=2, num_cells=[64, 64])
    actor = QValueActor(module=net, in_keys=["observation"], spec=env.action_spec)
    policy = TensorDictSequential(actor, EGreedyModule(env.action_spec, eps_init=0.3, eps_end=0.3))
    collector = kind(env, policy, frames_per_batch=FRAMES, total_frames=-1)
    batches = iter(collector)

    def learn(count: int) -> None:
        for _ in range(count // FRAMES):
            next(batches)

    return learn, collector.shutdown


_SB3 = "stable_baselines3"


def _case(name: str, what: str, make: Make, library: str, block: int, pairs: int) -> Case:
    """Return a row whose figures are measured together, in so many pairs of blocks."""
    case = Case(name, f"what recording adds to {what}", "%", at_most(10), _NOTE)

    def figures(bench: Bench) -> Figures:
        return bench.keep(name, lambda: _figures(bench, make, library, block, pairs))

    for figure in FIGURES:
        case.side(figure, repeat=1)(lambda bench, figure=figure: figures(bench)[figure])
    return case


CASES = [
    _case("learn-dqn", "DQN of Stable-Baselines3", partial(_baselines, "DQN", 1), _SB3, 100, 150),
    _case("learn-a2c", "A2C of Stable-Baselines3", partial(_baselines, "A2C", 1), _SB3, 100, 150),
    _case(
        "learn-ppo", "PPO of Stable-Baselines3 in 4 environments", partial(_baselines, "PPO", 4),
        _SB3, 8_192, 3,
    ),
    _case("learn-torchrl", "a collector of TorchRL", _collector, "torchrl", FRAMES, 75),
]  # fmt: skip
