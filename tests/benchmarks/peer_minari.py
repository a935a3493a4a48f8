"""Minari, given the same states: its own collector around an environment that repeats them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .case import NotBuilt
from .generate import Row


def record(path: Path, rows: Sequence[Row], name: str = "main") -> None:
    """Collect the states into a data set, in HDF5, which is its default.

    Raises:
        NotBuilt: it is not installed.
    """
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    try:
        from minari import DataCollector
    except ImportError as error:
        raise NotBuilt from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = DataCollector(_repeating(rows), record_infos=False, data_format="hdf5")
        for _, action, _, _, _, reset in rows:
            if reset is None:
                env.step(action)
            else:
                env.reset()
        env.create_dataset(
            dataset_id=f"bench/{name}-v0", algorithm_name="random", eval_env="CartPole-v1",
            code_permalink="https://example.org", author="bench", author_email="b@example.org",
            description="random actions",
        )  # fmt: skip


def write_episodes(path: Path, rows: Sequence[Row]) -> None:
    """Write the states as episodes, in HDF5, from arrays: what is left of its collector.

    Raises:
        NotBuilt: it is not installed.
    """
    try:
        import gymnasium
        from minari.data_collector import EpisodeBuffer
        from minari.dataset.minari_storage import MinariStorage
    except ImportError as error:
        raise NotBuilt from error
    spaces = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32), gymnasium.spaces.Discrete(2)
    storage = MinariStorage.new(path, *spaces, data_format="hdf5")
    starts = [i for i, row in enumerate(rows) if row[5] is not None] + [len(rows)]
    for start, stop in pairwise(starts):
        observations, actions, rewards, terminated, truncated, _ = zip(
            *rows[start:stop], strict=True
        )
        storage.update_episodes([
            EpisodeBuffer(
                observations=np.array(observations), actions=np.array(actions[1:]),
                rewards=np.array(rewards[1:], float), terminations=np.array(terminated[1:], bool),
                truncations=np.array(truncated[1:], bool), infos={},
            )
        ])  # fmt: skip


def columns(path: Path, name: str = "main") -> NDArray[np.float32]:
    """Read all episodes; return the observations one after another."""
    return np.concatenate([episode.observations for episode in _episodes(path, name)])


def parting(path: Path, ours: str, theirs: str) -> int:
    """Return the number of the first state that differs, by reading and comparing both."""
    ahead = 0
    for one, other in zip(_episodes(path, ours), _episodes(path, theirs), strict=False):
        both = min(len(one.observations), len(other.observations))
        differs = (one.observations[:both] != other.observations[:both]).any(axis=1)
        if differs.any():
            return ahead + int(differs.argmax())
        ahead += both
    return ahead


def _episodes(path: Path, name: str) -> Iterable[Any]:
    os.environ["MINARI_DATASETS_PATH"] = str(path)
    import minari

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.load_dataset(f"bench/{name}-v0").iterate_episodes()


def _repeating(rows: Sequence[Row]) -> Any:
    """Return an environment of which the steps are the given states."""
    import gymnasium

    class Repeating(gymnasium.Env[Any, Any]):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)
        spec = gymnasium.spec("CartPole-v1")

        def __init__(self) -> None:
            self.rows = iter(rows)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return next(self.rows)[0], {}

        def step(self, action: Any) -> Any:
            observation, _, reward, terminated, truncated, _ = next(self.rows)
            return observation, reward, terminated, truncated, {}

    return Repeating()
