"""Datasets: what a learner draws from recorded runs, beside buffers in memory that it knows."""

from __future__ import annotations

import contextlib
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import peer_d3rlpy, subject
from .case import Bench, Case, NotBuilt, at_most
from .measure import affinity, pin

BATCH = 256
LENGTH = 32
NOTE = "of a run of 1 M states (quick: 100 000), after the first touch; TorchRL has the same "
NOTE += (
    "transitions in memory (LazyTensorStorage), d3rlpy 200 000 of them (MDPDataset) in a Python of "
)
NOTE += "its own, which SIMGIT_BENCH_D3RLPY names: it pins another Gymnasium"
sample = Case("dataset-sample", f"draw {BATCH} transitions", "ms", at_most(0.25), NOTE)
sequences = Case(
    "dataset-sequences",
    f"draw {BATCH} sequences of {LENGTH} steps",
    "ms",
    at_most(1.5),
    NOTE + "; TorchRL's SliceSampler; Minari reads so many episodes and cuts them",
)
loader = Case(
    "dataset-loader",
    f"a batch of {BATCH} transitions from a DataLoader with two workers",
    "ms",
    at_most(1.0),
    "on all cores; the mean of an epoch after its first 50 batches; torch has the same transitions as tensors "
    "in memory, collated item by item",
)
CASES = [sample, sequences, loader]


def _dataset(bench: Bench) -> Any:
    path = subject.recorded(bench, bench.size(1_000_000, 100_000))

    def build() -> Any:
        repo = subject.store().open(path)
        if not hasattr(repo, "dataset"):
            raise NotBuilt
        return repo.dataset("main")

    return bench.keep("dataset", build)


def _median(draw: Callable[[int], object], count: int) -> float:
    """Return the median time of drawing, in milliseconds, after the first."""
    taken = []
    for seed in range(count + 3):
        start = time.perf_counter()
        draw(seed)
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken[3:])


def _columns(bench: Bench) -> dict[str, Any]:
    """Return all transitions as arrays, and the episode of each."""
    run = _dataset(bench).transitions()
    found: dict[str, Any] = bench.keep("dataset-columns", lambda: run[:])
    return found


@sample.side("simgit")
def _(bench: Bench) -> float:
    data = _dataset(bench)
    return _median(lambda seed: data.sample(BATCH, seed), 500)


@sequences.side("simgit")
def _(bench: Bench) -> float:
    found = _dataset(bench).sequences(LENGTH, 1)
    return _median(lambda seed: found.sample(BATCH, seed), 200)


def _torchrl(bench: Bench, sliced: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.environ.setdefault("RL_LOGGING_LEVEL", "WARNING")
            import torch
            from tensordict import TensorDict
            from torchrl.data import LazyTensorStorage, ReplayBuffer
            from torchrl.data.replay_buffers.samplers import RandomSampler, SliceSampler
    except ImportError as error:
        raise NotBuilt from error
    columns = _columns(bench)
    count = len(columns["rewards"])
    ended = columns["terminations"] | columns["truncations"]
    fields = {
        "observation": columns["observations"], "action": np.asarray(columns["actions"]),
        "reward": columns["rewards"], "next": columns["next_observations"],
        "terminated": columns["terminations"], "truncated": columns["truncations"],
        "episode": np.cumsum(np.append(False, ended[:-1])),
    }  # fmt: skip
    tensors = {name: torch.from_numpy(np.array(each)) for name, each in fields.items()}
    sampler = (
        SliceSampler(slice_len=LENGTH, traj_key="episode", truncated_key=None, cache_values=True)
        if sliced
        else RandomSampler()
    )
    size = BATCH * LENGTH if sliced else BATCH
    buffer = ReplayBuffer(storage=LazyTensorStorage(count), sampler=sampler, batch_size=size)
    buffer.extend(TensorDict(tensors, batch_size=[count]))
    return buffer


@sample.side("TorchRL")
def _(bench: Bench) -> float:
    buffer = _torchrl(bench, sliced=False)
    return _median(lambda _: buffer.sample(), 500)


@sequences.side("TorchRL")
def _(bench: Bench) -> float:
    buffer = _torchrl(bench, sliced=True)
    return _median(lambda _: buffer.sample(), 50)


@sequences.side("Minari", repeat=1)
def _(bench: Bench) -> float:
    try:
        from minari import MinariDataset
    except ImportError as error:
        raise NotBuilt from error

    def build() -> Any:
        folder = bench.folder("dataset-minari")
        path = subject.recorded(bench, bench.size(100_000, 20_000))
        with subject.store().open(path) as repo:
            repo.export("minari", folder / "data", "main")
        return MinariDataset(folder / "data" / "data")

    dataset = bench.keep("dataset-minari-set", build)
    random = np.random.default_rng(1)

    def draw(_: int) -> object:
        found = []
        for episode in dataset.sample_episodes(min(BATCH, dataset.total_episodes)):
            steps = len(episode.rewards)
            at = int(random.integers(0, max(1, steps - LENGTH + 1)))
            found.append(
                (episode.observations[at : at + LENGTH], episode.actions[at : at + LENGTH])
            )
        return found

    return _median(draw, 3)


def _d3rlpy(bench: Bench, length: int, draws: int) -> float:
    columns = {
        name: np.asarray(column)[: bench.size(200_000, 50_000)]
        for name, column in _columns(bench).items()
        if name != "discounts"
    }
    columns["truncations"] = np.append(columns["truncations"][:-1], True)  # where they are cut
    columns["truncations"] &= ~columns["terminations"]
    try:
        return peer_d3rlpy.median(columns, bench.folder("d3rlpy"), BATCH, length, draws)
    except FileNotFoundError as error:
        raise NotBuilt from error


@sample.side("d3rlpy", repeat=1)
def _(bench: Bench) -> float:
    return _d3rlpy(bench, 1, 100)


@sequences.side("d3rlpy", repeat=1)
def _(bench: Bench) -> float:
    return _d3rlpy(bench, LENGTH, 50)


@contextlib.contextmanager
def _every_core() -> Iterator[None]:
    """Let workers run beside this process, which the suite pins to one core."""
    before = affinity()
    pin(range(os.cpu_count() or 1))
    try:
        yield
    finally:
        pin(before)


def _epoch(load: Callable[[], Iterable[Any]]) -> float:
    """Return the mean time of a batch, in milliseconds, after the first ones."""
    with _every_core():
        return _mean(load(), 50)


def _mean(batches: Iterable[Any], skipped: int) -> float:
    """Return the mean time of a batch, in milliseconds, after the first ones."""
    count, start = 0, time.perf_counter()
    for _ in batches:
        count += 1
        if count == skipped:
            start = time.perf_counter()
    return 1e3 * (time.perf_counter() - start) / max(1, count - skipped)


@loader.side("simgit", repeat=1)
def _(bench: Bench) -> float:
    data = _dataset(bench).to_torch()
    return _epoch(lambda: data.loader(BATCH, workers=2))


@loader.side("torch", repeat=1)
def _(bench: Bench) -> float:
    try:
        import torch
        from torch.utils.data import DataLoader, TensorDataset
    except ImportError as error:
        raise NotBuilt from error
    columns = _columns(bench)
    count = min(len(columns["rewards"]), bench.size(200_000, 50_000))
    names = (
        "observations",
        "actions",
        "rewards",
        "next_observations",
        "terminations",
        "truncations",
    )
    tensors = [torch.from_numpy(np.array(columns[name][:count])) for name in names]
    data = TensorDataset(*tensors)
    return _epoch(lambda: DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=2))
