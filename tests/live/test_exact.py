"""Simulations that were interrupted and steered are exact: scripts in this process, cut off
anywhere, and given answers and settings wherever they look."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgit import Repository
from simgit.live import Control, attach
from simgit.live.channel import Message
from tests.support.examples import share

pytestmark = pytest.mark.filterwarnings("ignore::simgit.errors.Unverified")
STEPS = 40


class Walk(gymnasium.Env[Any, Any]):
    """A noisy walk; its episodes end after some steps, its options place it."""

    observation_space = gymnasium.spaces.Box(-1e9, 1e9, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self) -> None:
        self.place, self.steps = 0.0, 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place, self.steps = float((options or {}).get("place", 0.0)), 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.place += float(np.asarray(action).sum()) + 0.01 * float(self.np_random.normal())
        self.steps += 1
        return self._seen(), self.place, self.steps >= 11, False, {}

    def _seen(self) -> Any:
        return np.array([self.place, self.steps], np.float64)


gymnasium.register("SteeredWalk-v0", Walk)  # a name of its own: other tests take theirs back


class Cut(Exception):
    """The simulation is cut off here."""


class Driver:
    """Gives inputs, and cuts off, at chosen looks: by the number of states, and the place.

    Attributes:
        left: what was not given yet, or not accepted.
    """

    def __init__(self, inputs: Mapping[tuple[int, str], Any], cut: Any = None) -> None:
        self.left = dict(inputs)
        self._cut = cut

    def at(self, control: Control, place: str) -> None:
        here = control.position, place
        if self._cut is not None and self._cut[0] == here:
            if self._cut[1] == "cut":
                raise Cut
            control._listener.put({"do": "stop"})
        elif here in self.left:
            request = self.left[here]

            def accepted(answer: Mapping[str, Any]) -> None:
                if "result" in answer:
                    del self.left[here]

            control._listener.waiting.append(Message(dict(request), accepted))


def body(control: Control, driver: Driver) -> None:
    """Draws from every generator, asks, resets with seeds and options, and looks at its settings."""
    config = control.config
    env = control.env(gymnasium.make("SteeredWalk-v0"), self_check=False)
    driver.at(control, "begun")
    while control.position <= STEPS:
        driver.at(control, "check")
        control.check()
        scale = config["scale"]
        driver.at(control, "check again")
        control.check()
        action = env.action_space.sample() * scale + random.random() + np.random.random()
        if control.position % 7 == 3:
            driver.at(control, "ask")
            action = action + control.ask("push?", {"by": 0.5}, timeout=0)["by"]
        driver.at(control, "step")
        *_, terminated, _, _ = env.step(np.asarray(action, np.float32) * config["gain"])
        driver.at(control, "reset")
        if terminated:
            number = control.position
            if number % 3:
                env.reset(seed=number, options={"place": number})
            else:
                env.reset()


def execute(repo: Repository, run: str, driver: Driver, act: Callable[..., None] = body) -> None:
    """Execute a script once, from where its run stands."""
    random.seed(1)
    np.random.seed(2)
    if run in repo.runs:
        repo.set_status(run, "active")
    with suppress(Cut), attach(repo, run, config={"scale": 1.0, "gain": 1.0}, seed=3) as control:
        act(control, driver)


def oids(repo: Repository, run: str) -> list[str]:
    return [each.oid.hex() for each in repo.trajectory(run)]


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path / "r") as found:
        yield found


PLACES = ["check", "check again", "ask", "step"]
places = st.tuples(st.integers(1, STEPS), st.sampled_from(PLACES))
sets = st.builds(
    lambda name, value: {"do": "set", "overrides": {name: value}},
    st.sampled_from(["scale", "gain"]), st.sampled_from([0.5, 2.0]),
)  # fmt: skip
cuts = st.tuples(places, st.sampled_from(["cut", "stop"]))


def check(repo: Repository, inputs: Any, cuts: Any) -> None:
    execute(repo, "whole", Driver(inputs))
    left = inputs
    for cut in sorted(cuts, key=lambda each: (each[0][0], PLACES.index(each[0][1]))):
        driver = Driver(left, cut)
        execute(repo, "cut", driver)
        left = driver.left
    execute(repo, "cut", Driver(left))
    assert oids(repo, "cut") == oids(repo, "whole")


@settings(max_examples=share(40))
@given(st.dictionaries(places, sets, max_size=4), st.lists(cuts, max_size=3))
def test_a_steered_run_that_is_cut_off_anywhere_goes_on_to_the_same_states(
    tmp_path_factory: pytest.TempPathFactory, inputs: Any, cuts: Any
) -> None:
    with Repository.init(tmp_path_factory.mktemp("exact") / "r") as repo:
        check(repo, inputs, cuts)
