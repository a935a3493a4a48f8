"""Vector environments: twenty snapshots of one run, each gone on with in another process."""

from __future__ import annotations

import statistics
import tempfile
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from simgit import Repository
from simgit.gym import drivers
from simgit.gym.tools import doctor
from tests.support import continuation


def examine_vector(
    name: str, recipe: dict[str, Any], *, points: int, horizon: int, seed: int
) -> dict[str, Any]:
    """Return what ``Examination.to_json`` returns, as far as there is an answer for vectors."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as directory:
        warnings.simplefilter("ignore")
        begun = perf_counter()
        env = continuation.make(recipe)
        made = perf_counter() - begun
        env.reset(seed=seed)
        env.action_space.seed(seed)
        driver = drivers.select(env)
        cases, expected, taking, stored = [], [], [], []
        rng = np.random.default_rng(seed)
        with Repository.init(directory) as repo:
            for i in range(points):
                continuation.goes_on(env, continuation.sample(env, int(rng.integers(1, 40))))
                begun = perf_counter()
                data = driver.snapshot(env)
                taking.append(perf_counter() - begun)
                before = doctor.stored_bytes(repo)
                repo.attach(repo.commit({"i": i}, run=f"p/{i}"), "snapshot", data)
                stored.append(doctor.stored_bytes(repo) - before)
                actions = continuation.sample(env, horizon)
                cases.append({"make": recipe, "state": f"p/{i}", "actions": actions})
                begun = perf_counter()
                expected.append(continuation.goes_on(env, actions))
                step = (perf_counter() - begun) / horizon
                driver.restore(env, data)
        got = continuation.elsewhere(Path(directory), cases)
    exact = sum(a == b for a, b in zip(expected, got, strict=True))
    return {
        "environment": name, "driver": driver.name, "why": None, "repeats": None,
        "needs_trust": driver.needs_trust, "points": [{"step": i} for i in range(points)],
        "horizon": horizon, "make": made, "step": step, "recorded_step": None,
        "snapshot": statistics.median(taking), "put_back": None, "raw": doctor.raw_size(data),
        "stored": int(statistics.median(stored[1:])), "exact": exact,
    }  # fmt: skip
