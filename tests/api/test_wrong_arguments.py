"""Every public function and every parameter, with arguments that are wrong in every way."""

from __future__ import annotations

import datetime
import inspect
import itertools
import random
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

import simgit
import simgit.gym
from simgit import Oid, Repository, SimgitError
from simgit.datasets.dataset import Dataset
from simgit.datasets.sampling import EpochSampler, Priorities
from simgit.errors import SimgitWarning
from simgit.gym import CollectionSpec
from simgit.repository.runs import RunsView
from tests.support.examples import share

NASTY: list[Any] = [
    None, 0, -1, 1, 2**31, 2**63, 2**64, -(2**70), 10**5000, 1e999, -1e999, float("nan"), 0.5, True,
    1j, "", "x", "main", "x" * 5000, "\ud800", "a\0b", "a\nb", "..", "a..b", "@", "^", "~", "*", ":",
    "main@", "main@{", "main@ep", "-x", "/dev/null/x", "é" * 300, "[", "{}", "1e999", b"", b"\xff" * 32, [],
    [None], ["main", 3], {}, {1: 2}, {None: object()}, {"a": object()}, (), set(), object(),
    lambda *a, **k: None, len, int, Path("nowhere"), Path("\0"), np.zeros(3), np.zeros((2, 2), object),
    np.int64(-1), np.float64("nan"), np.datetime64("NaT"), datetime.datetime(2020, 1, 1), range(3),
    slice(None), slice("a"), Ellipsis, iter([]), Oid(b"\0" * 32), NotImplemented, Exception("x"),
]  # fmt: skip


def filled(path: Any) -> Repository:
    repo = Repository.init(path)
    env = simgit.gym.Recorder(
        gymnasium.make("CartPole-v1"), repo, "main", provenance=False, self_check=False
    )
    env.reset(seed=1)
    for i in range(12):
        if env.step(i % 2)[2]:
            env.reset()
    env.close()
    repo.attach("main", "x", {"a": 1})
    repo.tag("v1", "main@3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SimgitWarning)
        repo.branch("other", "main@5")
    return repo


GIVEN: dict[str, Any] = {
    "revision": "main", "revisions": "main", "a": "main@2", "b": "main@5", "name": "x", "run": "main",
    "old": "other", "new": "third", "start": "main@3", "digits": "00000000", "status": "active",
    "value": 1, "data": 1, "path": "info", "key": 0, "length": 2, "actions": [0, 1], "horizon": 2,
    "state": "main@3", "states": ["main@3"], "observation": 1, "lane": 0, "field": "reward",
    "paths": "reward", "text": "ab" * 32, "raw": b"\0" * 32, "fields": "reward", "target": "main",
}  # fmt: skip
LEFT_OUT = {
    "act",
    "progress",
    "make",
    "compute",
    "self",
    "cls",
    "kwargs",
    "options",
    "flush",
    "trust",
    "clock",
}
"""Functions that are called, whose faults are their own; and trust, which a user is asked for."""


def arguments(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: each
        for name, each in inspect.signature(function).parameters.items()
        if name not in LEFT_OUT and each.kind is not each.VAR_KEYWORD
    }


class Target:
    """One public callable: where to find it, and what it needs."""

    def __init__(self, name: str, find: Callable[[Any], Any], **given: Any) -> None:
        self.name, self.find, self.given = name, find, given

    def __repr__(self) -> str:
        return self.name


def public(kind: type) -> list[str]:
    return [
        name
        for name in vars(kind)
        if (not name.startswith("_") or name in ("__getitem__", "__contains__"))
        and callable(getattr(kind, name))
    ]


def of(kind: type, find: Callable[[Any], Any], *without: str) -> list[Target]:
    return [
        Target(f"{kind.__name__}.{name}", lambda world, name=name: getattr(find(world), name))
        for name in public(kind)
        if name not in without
    ]


class World:
    """What the targets act on; made anew after each call that changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repo = filled(":memory:")
        self.trajectory = self.repo["main"]
        self.env: Any = None

    # most targets need no recorder: its threads, and what its end stores, cost more than the calls

    @cached_property
    def recorder(self) -> Any:
        recorder = self.repo.recorder("recorded")
        recorder.append(1)
        return recorder

    @cached_property
    def lanes(self) -> Any:
        return self.repo.recorder(["lane/0", "lane/1"])

    @cached_property
    def simulator(self) -> Any:
        simulator = self.repo.recorder(
            "simulated",
            rebuild=lambda **given: {"given": given},
            advance=lambda simulator, action: None,
            observe=lambda simulator: {"observation": 1},
        )
        simulator.reset(seed=1)
        return simulator


TARGETS: list[Target] = [
    *of(Repository, lambda world: world.repo, "init", "open", "discover", "clone", "close",
        "create_bundle", "import_bundle", "export", "import_data", "repair", "transaction", "name_command", "fsck", "gc"),
    *of(simgit.Trajectory, lambda world: world.trajectory, "plot"),
    *of(RunsView, lambda world: world.repo.runs),
    *of(Oid, lambda world: world.repo.resolve("main")),
    *of(Dataset, lambda world: world.repo.dataset("main")),
    *[
        Target(f"Transitions.{name}", lambda world, name=name: getattr(world.repo.dataset("main").transitions(), name))
        for name in ("__getitems__", "numbers", "sample", "sampler")
    ],
    *of(Priorities, lambda world: Priorities(5)),
    *of(EpochSampler, lambda world: EpochSampler(5, 2)),
    Target("Repository.gc", lambda world: world.repo.gc),
    *[
        Target(f"Repository.{name}", lambda world, name=name: getattr(Repository, name))
        for name in ("open", "discover")
    ],
    Target("Oid", lambda world: Oid),
    *[
        Target(f"RunRecorder.{name}", lambda world, name=name: getattr(world.recorder, name))
        for name in ("append", "attach")
    ],
    *[
        Target(f"SimulatorRecorder.{name}", lambda world, name=name: getattr(world.simulator, name))
        for name in ("append", "attach", "reset", "step")
    ],
    *[
        Target(f"LaneRecorder.{name}", lambda world, name=name: getattr(world.lanes, name))
        for name in ("attach", "append_batch", "append")
    ],
]  # fmt: skip


def gym_target(name: str, **more: Any) -> Target:
    return Target(
        f"gym.{name}",
        lambda world: getattr(simgit.gym, name),
        repo=lambda world: world.repo, path="info.x",
        **more,
    )  # fmt: skip


def cartpole(world: World) -> Any:
    return gymnasium.make("CartPole-v1")


def vector(world: World) -> Any:
    return SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")])


GYM = [
    gym_target("restore"), gym_target("plan"), gym_target("verify"), gym_target("judge"),
    gym_target("volatile"), gym_target("what_if", horizon=1, actions=[0]),
    gym_target("step_batch", actions=[0]), gym_target("drift"),
    gym_target("fan_out", arms=[0], horizon=1),
    gym_target("collect_once", spec=lambda world: CollectionSpec("CartPole-v1")),
    gym_target("Recorder", env=cartpole, run="made"),
    gym_target("VectorRecorder", env=vector, run="made"),
    Target("gym.Recorder.resume", lambda world: simgit.gym.Recorder.resume,
           repo=lambda world: world.repo),
    Target("gym.Recorder.branch", lambda world: simgit.gym.Recorder.branch,
           repo=lambda world: world.repo, run="made"),
    Target("gym.VectorRecorder.resume", lambda world: simgit.gym.VectorRecorder.resume,
           repo=lambda world: world.repo),
]  # fmt: skip


def needed(target: Target, function: Any, world: World) -> dict[str, Any]:
    found = {}
    for name, each in arguments(function).items():
        if each.kind is each.VAR_POSITIONAL or each.default is not each.empty:
            continue
        value = target.given.get(name, GIVEN.get(name))
        found[name] = value(world) if inspect.isfunction(value) else value
    return found


def call(function: Any, given: dict[str, Any], name: str, value: Any) -> None:
    """Call with one argument replaced, and use what comes of it."""
    parameter = arguments(function)[name]
    if parameter.kind is parameter.VAR_POSITIONAL:
        result = function(*given.values(), value)
    elif parameter.kind is parameter.POSITIONAL_ONLY:
        result = function(value)
    else:
        result = function(**{**given, name: value})
    if isinstance(result, Iterator):
        list(itertools.islice(result, 3))
    for each in (result, getattr(result, "repo", None) and result):
        close = getattr(each, "close", None)
        if close is not None and not isinstance(each, Repository):
            close()


def attempt(target: Target, world: World, name: str, value: Any) -> str | None:
    """Return what is wrong with the outcome of a call, None if it is right."""
    is_long = isinstance(value, (int, np.integer)) and 1000 < value < 2**63
    if is_long and name in ("horizon", "rollouts", "workers", "snapshots"):
        return None  # right, and long
    function = target.find(world)
    given = needed(target, function, world)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SimgitWarning)
            warnings.simplefilter("ignore", UserWarning)
            call(function, given, name, value)
    except SimgitError as error:
        text = str(error)
        if not isinstance(value, str) and ("\n" in text or len(text) > 1000):
            return f"{target} {name}={value!r:.60}: message {text!r:.80}"
    except IndexError:
        # of a sequence, which Python's own protocols need
        return None if target.name == "Trajectory.__getitem__" else f"{target}: IndexError"
    except Exception as error:
        return f"{target} {name}={_repr(value)}: {type(error).__name__}: {error!s:.120}"
    return None


def _repr(value: Any) -> str:
    return f"{value!r:.50}" if not isinstance(value, int) or abs(value) < 2**80 else "a huge int"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    place = tmp_path / "within"  # ".." is one of the arguments
    place.mkdir()
    monkeypatch.chdir(place)
    return World(place)


def wrong(target: Target, world: World, values: list[Any]) -> list[str]:
    found = []
    for name in arguments(target.find(world)):
        for value in values:
            bad = attempt(target, world, name, value)
            if bad is not None:
                found.append(bad)
    return found


def chosen(seed: str, most: int) -> list[Any]:
    """Return the values to try: all in the full profile."""
    count = min(len(NASTY), share(most))
    return random.Random(seed).sample(NASTY, count)


@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_a_wrong_argument_is_an_error_of_simgit(target: Target, world: World) -> None:
    found = wrong(target, world, chosen(repr(target), 200))
    assert not found, "\n" + "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("target", GYM, ids=repr)
def test_a_wrong_argument_of_the_gym_is_an_error_of_simgit(target: Target, world: World) -> None:
    found = wrong(target, world, chosen(repr(target), 50))
    assert not found, "\n" + "\n".join(found)
