"""Restoring: any state of a recorded run, alive again, and going on as it went on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

from simgit import Divergence, InvalidInput, NotFound, Repository, Unverified
from simgit.gym import (
    EnvironmentChanged,
    Recorder,
    Untrusted,
    drivers,
    plan,
    restore,
    step_batch,
    verify,
)
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.run_notes import BY_PROCESS, BY_REPLAY, DIVERGES, EXACT
from simgit.gym.restoring.verify import judge, note
from simgit.odb import foreign

pytestmark = pytest.mark.usefixtures("without_torch")


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with Repository.init(tmp_path) as made:
        yield made


def record(
    repo: Repository, env: Any, run: str = "main", *,
    steps: int = 120, seed: int | None = 5, **how: Any,
) -> None:  # fmt: skip
    """Record random actions; only the first reset has a seed."""
    how = {"snapshots": drivers.select(env), "step_trigger": every(20), **how}
    env.action_space.seed(7)
    actions = [env.action_space.sample() for _ in range(steps)]
    recorder = Recorder(env, repo, run, **how)
    recorder.reset(seed=seed)
    for action in actions:
        _, _, terminated, truncated, _ = recorder.step(action)
        if terminated or truncated:
            recorder.reset()
    recorder.close()


def every(count: int) -> Any:
    return lambda step: step % count == 0


def never(step: int) -> bool:
    return False


def goes_on(env: Any, repo: Repository, run: str, step: int) -> bool:
    """Whether a restored environment gives the recorded states that follow a step."""
    from simgit.gym.restoring.reexecute import Reexecution

    states = repo.trajectory(run)[step + 1 :]
    Reexecution(env).replay(states)
    return len(states) > 0


@pytest.mark.slow
def test_every_state_of_a_run_is_restored_and_goes_on(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"))
    for step in (0, 1, 19, 20, 21, 77, 110):
        env = restore(repo, f"main@{step}")
        assert isinstance(env, gym.wrappers.TimeLimit)
        assert np.array_equal(
            np.asarray(env.unwrapped.state, np.float32), repo.state(f"main@{step}").observation
        )
        assert goes_on(env, repo, "main", step)


def vouch(repo: Repository, driver: str = "generic", run: str = "main") -> None:
    """Note a verdict that vouches for the snapshots of a run."""
    found = {
        "result": EXACT, "driver": driver, "format": 2, "snapshots": {"checked": 3, "of": 3},
        "upto": 1000,
    }  # fmt: skip
    repo.configure(run, metadata={"verdict": found})


def test_the_nearest_snapshot_is_taken_once_one_has_been_compared(repo: Repository) -> None:
    record(repo, gym.make("MountainCar-v0"))
    vouch(repo)
    assert plan(repo, "main@47") == drivers_plan(47, 20), "compared from one snapshot earlier"
    restore(repo, "main@47")
    assert plan(repo, "main@47") == drivers_plan(47, 40)
    assert plan(repo, "main@47").cost == 7
    assert plan(repo, "main@40").cost == 0


@pytest.mark.parametrize("snapshots", ["auto", 20, None])
def test_the_seconds_of_a_restore_are_told_beforehand(repo: Repository, snapshots: Any) -> None:
    env = Recorder(
        Slow(gym.make("CartPole-v1")), repo, snapshots=snapshots, provenance=False,
        self_check=False,
    )  # fmt: skip
    env.reset(seed=5)
    for i in range(60):
        if any(env.step(i % 2)[2:4]):
            env.reset()
    env.flush()
    assert plan(repo, "main@50").seconds is None
    env.close()
    found, step = plan(repo, "main@50"), repo.runs["main"].metadata["step_seconds"]
    assert step >= 0.002
    assert found.seconds == found.cost * step
    assert (found.cost == 0) == (found.start == 50)


class Slow(gym.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> Any:
        time.sleep(0.002)
        return self.env.step(action)


def drivers_plan(step: int, start: int) -> Any:
    from simgit.gym import RestorePlan

    return RestorePlan(step, "snapshot", start, driver="generic")


def test_without_snapshots_all_is_executed_again(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"), snapshots=None, step_trigger=never)
    found = plan(repo, "main@50")
    assert (found.how, found.start, found.seed, found.cost) == ("creation", 0, 5, 51)
    assert goes_on(restore(repo, "main@50"), repo, "main", 50)


def test_a_seeded_reset_is_nearer_than_the_making(repo: Repository) -> None:
    recorder = Recorder(gym.make("MountainCar-v0"), repo, snapshots=None)
    for seed in (1, 2):
        recorder.reset(seed=seed)
        for _ in range(30):
            recorder.step(1)
    recorder.close()
    assert (plan(repo, "main@40").how, plan(repo, "main@40").start) == ("episode", 31)
    assert goes_on(restore(repo, "main@40"), repo, "main", 40)


def test_what_is_kept_over_resets_is_not_forgotten(repo: Repository) -> None:
    """A mean of rewards shows after the reset, which itself comes again without it."""
    recorder = Recorder(gym.wrappers.NormalizeReward(gym.make("Pendulum-v1")), repo, snapshots=None)
    record_seeded(recorder)
    assert (plan(repo, "main@40").how, plan(repo, "main@40").start) == ("creation", 0)
    assert goes_on(restore(repo, "main@31"), repo, "main", 31)


class Leaky(gym.Wrapper[Any, Any, Any, Any]):
    """Of nobody's package; counts its episodes in their rewards."""

    count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.count += 1
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, float(reward) + self.count, *rest


def test_of_a_wrapper_that_is_not_known_nothing_is_believed(repo: Repository) -> None:
    record_seeded(Recorder(Leaky(gym.make("Pendulum-v1")), repo, snapshots=None))
    assert plan(repo, "main@62").how == "creation"
    assert goes_on(restore(repo, "main@62"), repo, "main", 62)


def record_seeded(recorder: Recorder) -> None:
    """Three episodes of thirty steps, each with a seed."""
    for seed in (1, 2, 3):
        recorder.reset(seed=seed)
        for step in range(30):
            recorder.step(np.array([step / 30], np.float32))
    recorder.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # SWIG's, at the import
@pytest.mark.parametrize("name", ["LunarLander-v3", "BipedalWalker-v3"])
def test_environments_without_snapshots_are_replayed(repo: Repository, name: str) -> None:
    record(repo, gym.make(name), steps=200)
    assert goes_on(restore(repo, "main@170"), repo, "main", 170)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_atari_needs_an_earlier_snapshot(repo: Repository) -> None:
    ale_py = pytest.importorskip("ale_py")
    gym.register_envs(ale_py)
    record(repo, gym.make("ALE/Qbert-v5"), steps=70, step_trigger=every(30))
    vouch(repo, "ale")
    assert plan(repo, "main@65").lead == 30
    restore(repo, "main@65")
    found = plan(repo, "main@65")
    assert (found.start, found.lead, found.driver) == (63, 60, "ale")
    assert goes_on(restore(repo, "main@65"), repo, "main", 65)


def test_an_unseeded_first_reset_can_be_repeated(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"), snapshots=None, step_trigger=never, seed=None)
    assert repo.state("main@0").reset == {}
    assert goes_on(restore(repo, "main@30"), repo, "main", 30)


def test_an_environment_that_is_given_is_put_into_the_state(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"))
    mine = gym.make("CartPole-v1")
    assert restore(repo, "main@33", env=mine) is mine
    assert goes_on(mine, repo, "main", 33)


def test_other_random_numbers_for_planning(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"))
    random.seed(3)
    before = random.getstate()
    one, two = (restore(repo, "main@33", rng=False) for _ in range(2))
    assert random.getstate() == before, "planning leaves the caller's random numbers alone"
    assert np.array_equal(one.unwrapped.state, two.unwrapped.state)
    assert one.np_random.random() != two.np_random.random()


def test_progress_tells_how_far_it_is(repo: Repository) -> None:
    record(repo, gym.make("MountainCar-v0"), snapshots=None, step_trigger=never, steps=150)
    told: list[tuple[int, int | None]] = []
    restore(repo, "main@150", progress=lambda done, total: told.append((done, total)))
    assert told == [(64, 151), (128, 151), (151, 151)]


# --- what goes wrong -----------------------------------------------------------------------------


class Thing:
    """An object of a class that has no plain form."""


class Odd(gym.Env[Any, Any]):
    """Returns a number that comes from elsewhere."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    elsewhere: ClassVar = [0]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.thing = Thing()
        return self._next(), {}

    def step(self, action: Any) -> Any:
        return self._next(), 0.0, False, False, {}

    def _next(self) -> Any:
        self.elsewhere[0] += 1
        return np.array([float(self.elsewhere[0])])


class Elsewhere(gym.Env[Any, Any]):
    """Has part of its state where no snapshot looks."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float64)
    action_space = gym.spaces.Discrete(3)
    total: ClassVar = [0]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.total[0], self.sum = 0, 0.0
        return np.array([self.sum]), {}

    def step(self, action: Any) -> Any:
        self.total[0] += int(action) + 1
        self.sum += self.total[0]
        return np.array([self.sum]), 0.0, False, False, {}


@pytest.fixture
def elsewhere(repo: Repository, checked: None) -> Iterator[str]:
    """A run of it that was checked; its newest state has a snapshot."""
    gym.register("Elsewhere-v0", entry_point=f"{__name__}:Elsewhere")
    try:
        record(repo, gym.make("Elsewhere-v0"), steps=40)
        yield "main"
    finally:
        gym.registry.pop("Elsewhere-v0", None)


@pytest.fixture
def odd() -> Any:
    Odd.elsewhere[0] += 1000  # another process begins with 0
    gym.register("Odd-v0", entry_point=f"{__name__}:Odd", max_episode_steps=1000)
    try:
        yield gym.make("Odd-v0", disable_env_checker=True)
    finally:
        gym.registry.pop("Odd-v0", None)


def test_what_does_not_repeat_is_named(repo: Repository, odd: Any) -> None:
    record(repo, odd, snapshots=None, step_trigger=never, steps=10)
    with pytest.raises(Divergence, match="does not repeat step 0: 'observation'") as caught:
        restore(repo, "main@5")
    assert (caught.value.step, caught.value.field) == (0, "observation")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pickles_are_loaded_only_with_trust(repo: Repository, odd: Any) -> None:
    minigrid = pytest.importorskip("minigrid")
    assert minigrid
    env = gym.make("MiniGrid-DoorKey-8x8-v0")
    env.reset(seed=1)
    record(repo, env)
    vouch(repo)
    asked: list[int] = []
    assert plan(repo, "main@45").how == "snapshot", "this process recorded it"
    assert plan(repo, "main@45", trust=lambda: not asked.append(1)).how == "snapshot"
    assert not asked
    with repo.odb.write() as txn:
        foreign.mark_all(txn)
    vouch(repo)  # this user has checked it
    for trust in (None, False, lambda: False):
        assert plan(repo, "main@45", trust=trust).how == "creation"
    assert plan(repo, "main@45", trust=lambda: not asked.append(1)).how == "snapshot"
    assert asked, "a function is asked"
    for trust in (None, True):
        assert goes_on(restore(repo, "main@45", trust=trust), repo, "main", 45)


def test_without_trust_and_seed_the_error_names_the_command(repo: Repository, odd: Any) -> None:
    odd.reset()
    record(repo, odd, seed=None)
    for env in (None, odd):
        with pytest.raises(Untrusted, match="'simgit trust'"):
            restore(repo, "main@45", trust=False, env=env)


class Fragile(gym.Env[Any, Any]):
    """Cannot step where its own method has put it back."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float64)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = np.zeros(1)
        return self.place.copy(), {}

    def step(self, action: Any) -> Any:
        self.place += int(action)
        return self.place.copy(), 0.0, False, False, {}

    def get_state(self) -> Any:
        return {"place": self.place}

    def set_state(self, data: Any) -> None:
        if data["place"][0] > 30:
            raise ValueError("too far")
        del self.place


@pytest.fixture
def fragile(repo: Repository, checked: None) -> Iterator[str]:
    gym.register("Fragile-v0", entry_point=f"{__name__}:Fragile")
    try:
        record(repo, gym.make("Fragile-v0"), steps=70)
        yield "main"
    finally:
        gym.registry.pop("Fragile-v0", None)


@pytest.mark.slow
def test_after_an_exception_the_next_way_is_tried(repo: Repository, fragile: str) -> None:
    assert repo.runs[fragile].metadata["verdict"]["result"] == BY_REPLAY
    vouch(repo, "methods")
    for step in (25, 65):  # from a step, and from its own method
        assert plan(repo, f"main@{step}").how == "snapshot"
        assert goes_on(restore(repo, f"main@{step}"), repo, "main", step)


@pytest.mark.slow
def test_an_exception_where_none_was_recorded_is_a_difference(
    repo: Repository, fragile: str
) -> None:
    found = verify(repo, fragile, make=lambda description: Broken())
    assert found.divergence is not None
    assert found.to_json()["field"] == "exception" and found.stop == 3
    assert "does not repeat step 3: it raises 'ZeroDivisionError: " in str(found.divergence)


class Broken(Fragile):
    def step(self, action: Any) -> Any:
        self.left = getattr(self, "left", 3) - 1
        return super().step(int(action) + 0 // self.left)


def test_a_merge_of_agents_does_nothing_to_the_environment(repo: Repository) -> None:
    for seed, run in enumerate(("main", "other")):
        record(repo, gym.make("CartPole-v1"), run, steps=30, seed=seed)
    tip = repo.state("main")
    repo.branch("merged", "main")
    repo.commit(run="merged", parents=["other"], message="mean of main, other")
    env = restore(repo, "merged")
    actions = [0, 1, 1, 0]
    with repo.recorder("merged") as recorder:
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(action)
            recorder.append(observation, np.int64(action), reward, terminated, truncated, {})
    found = verify(repo, "merged")
    assert found.divergence is None and found.stop == tip.step + 2 + len(actions)
    repo.commit({"observation": tip.observation}, run="merged")
    with pytest.raises(InvalidInput, match="neither an action nor a reset"):
        verify(repo, "merged")


def test_states_that_no_environment_gave_cannot_be_restored(repo: Repository) -> None:
    repo.commit({"x": 1}, run="main")
    with pytest.raises(InvalidInput, match="not recorded from an environment"):
        restore(repo, "main")


def test_an_unknown_environment_is_named(repo: Repository, odd: Any) -> None:
    record(repo, odd, steps=3)
    spec = dict(repo.object(repo.state("main@0").origin).fields)
    spec["environment"] = {**spec["environment"], "id": "Gone-v7", "entry_point": "gone:Env"}
    with repo.recorder("other", spec=spec) as recorder:
        recorder.append({"x": 1}, reset={"seed": 1})
    with pytest.raises(NotFound, match="'Gone-v7'"):
        restore(repo, "other")


def test_an_environment_with_another_action_space_is_refused(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"), steps=5)
    with pytest.raises(InvalidInput, match="action space"):
        restore(repo, "main@3", env=_with_more_actions())


def _with_more_actions() -> Any:
    env = gym.make("CartPole-v1")
    env.action_space = gym.spaces.Discrete(3)
    return env


def test_other_versions_are_warned_of(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"), steps=5)
    facts = dict(repo.runs["main"].metadata["provenance"])
    repo.configure("main", metadata={"provenance": facts | {"versions": {"gymnasium": "0.1"}}})
    with pytest.warns(EnvironmentChanged, match=r"gymnasium 0\.1 \(now "):
        restore(repo, "main@3")


# --- verification --------------------------------------------------------------------------------


def test_a_run_verifies_state_for_state(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"))
    states = len(repo.trajectory("main"))
    for revision, start, stop in (
        ("main", 0, states), ("main@30..60", 31, 61), ("main@ep2", None, None),
    ):  # fmt: skip
        found = verify(repo, revision)
        assert found.divergence is None
        if start is not None:
            assert (found.start, found.stop) == (start, stop)


def test_of_no_states_there_is_nothing_to_verify(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"), steps=5)
    with pytest.raises(InvalidInput, match=r"'main\.\.main' has no states"):
        verify(repo, "main..main")


class Scalar(gym.Env[Any, Any]):
    """Actions without axes; a float32 leads to other numbers than a float."""

    observation_space = gym.spaces.Box(-9, 9, (), np.float64)
    action_space = gym.spaces.Dict(
        push=gym.spaces.Box(-1, 1, (), np.float32), pair=gym.spaces.Tuple([gym.spaces.Discrete(3)])
    )

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place: Any = 0.1
        return np.float64(self.place), {}

    def step(self, action: Any) -> Any:
        push, number = action["push"], action["pair"][0]
        self.place = (self.place + push * push) % 5
        return np.float64(self.place), 0.0, False, False, {"kinds": f"{type(push)}{type(number)}"}


KINDS: dict[str, Any] = {"float32": np.float32, "float64": np.float64, "float": float}


@pytest.mark.parametrize("kinds", [["float32"], ["float64"], ["float"], ["float32", "float"]])
def test_actions_come_again_as_what_they_were_given(repo: Repository, kinds: list[str]) -> None:
    recorder = Recorder(Scalar(), repo, snapshots=None)
    recorder.reset(seed=1)
    for step in range(40):
        if step == 20:
            recorder.flush()
        push = KINDS[kinds[step // 20 % len(kinds)]](np.sin(step))
        recorder.step({"push": push, "pair": (np.int64(step % 3),)})
    recorder.close()
    assert verify(repo, "main").divergence is None


def test_a_run_that_two_environments_gave_verifies(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"), steps=40)
    record(repo, gym.make("CartPole-v1"), steps=40, seed=9)
    assert verify(repo, "main").divergence is None
    assert goes_on(restore(repo, "main@60"), repo, "main", 60)


def test_verification_names_the_first_state_that_differs(repo: Repository) -> None:
    env = gym.make("CartPole-v1")
    env.unwrapped.length = 0.5
    recorder = Recorder(env, repo, snapshots=None)
    recorder.reset(seed=1)
    for i in range(12):
        if i == 8:
            env.unwrapped.force_mag = 11.0  # what nobody was told of
        recorder.step(i % 2)
    recorder.close()
    found = verify(repo, "main")
    assert found.divergence is not None
    assert (found.stop, found.to_json()["field"]) == (9, "observation")


@pytest.mark.slow
def test_verdicts_say_what_a_run_is_good_for(repo: Repository, odd: Any) -> None:
    record(repo, gym.make("CartPole-v1"), "good")
    record(repo, gym.make("CartPole-v1"), "slow", seed=6, snapshots=None, step_trigger=never)
    record(repo, odd, "bad", snapshots=None, step_trigger=never, steps=9)
    for run, result in (("good", EXACT), ("slow", BY_REPLAY), ("bad", BY_PROCESS)):
        found = judge(repo, run)
        assert found.result == result, found
        assert repo.runs[run].metadata["verdict"]["result"] == result
    assert repo.runs["bad"].metadata["verdict"]["field"] == "observation"


@pytest.mark.slow
def test_a_verdict_comes_only_of_states_after_a_snapshot(repo: Repository, elsewhere: str) -> None:
    assert next(RecordedPath(repo, elsewhere).attached("snapshot", 40)) == 40, (
        "nothing follows this one"
    )
    verdict = repo.runs[elsewhere].metadata["verdict"]
    assert verdict["result"] == BY_REPLAY
    assert "Elsewhere.total" in verdict["reason"]


@pytest.mark.slow
def test_snapshots_that_are_known_not_to_serve_are_not_taken(
    repo: Repository, elsewhere: str
) -> None:
    note(repo, elsewhere, verify(repo, elsewhere))  # says less than the verdict that is there
    repo.branch("branch", "main@20")
    for run in ("main", "branch"):
        Elsewhere.total[0] = 1000
        assert plan(repo, f"{run}@20").how == "creation"
        assert goes_on(restore(repo, f"{run}@20"), repo, "main", 20)
    resumed = Recorder.resume(repo, "branch")
    resumed.step(int(repo.state("main@21").action))
    resumed.close()
    assert repo.resolve("branch") == repo.resolve("main@21")
    actions = [int(action) for action in repo["main@20..main@25"].actions]
    found = step_batch(repo, ["main@20"] * 2, [actions] * 2, workers=1)
    assert [each.tip for each in found] == [repo.resolve("main@25")] * 2
    other = step_batch(repo, ["main@20"], [[(action + 1) % 3 for action in actions]])[0]
    assert plan(repo, other.run).how == "creation", "what is known of a run holds for its rollouts"


def test_where_only_such_a_snapshot_leads_to_a_state_it_is_not_restored(repo: Repository) -> None:
    record(repo, gym.make("CartPole-v1"))
    refuted = {"result": BY_REPLAY, "driver": "generic", "step": 7, "field": "observation"}
    repo.configure("main", metadata={"verdict": refuted})
    with repo.recorder("main") as recorder:  # what leads to it by re-execution is not this
        recorder.append({"x": 1}, 0)
    repo.attach("main", "snapshot", RecordedPath(repo, "main@100").snapshot(100))
    with pytest.raises(Divergence):
        restore(repo, "main")


@pytest.mark.slow
def test_without_a_known_beginning_the_first_seeded_reset_is_taken(
    repo: Repository, elsewhere: str
) -> None:
    recorder = Recorder(gym.make("Elsewhere-v0"), repo, "late", snapshots=None)
    for seed in (None, 1, 2):
        recorder.reset(seed=seed)
        recorder.step(2)
    recorder.close()
    assert (plan(repo, "late").how, plan(repo, "late").start) == ("episode", 2)
    restore(repo, "late")


def test_branching_warns_unless_the_run_is_known_to_be_exact(repo: Repository, odd: Any) -> None:
    record(repo, gym.make("CartPole-v1"), "good")
    record(repo, odd, "bad", snapshots=None, step_trigger=never, steps=9)
    for run in ("good", "bad"):
        repo.configure(run, metadata={"verdict": {}})
    with pytest.warns(Unverified, match="'good' was not checked.*'simgit verify good'"):
        repo.branch("unchecked", "good@5")
    judge(repo, "good")
    judge(repo, "bad")
    repo.branch("checked", "good@5")
    repo.branch("further", "checked")  # which has the verdict of its parent
    with pytest.warns(Unverified, match="'bad' depends on the process"):
        repo.branch("doubtful", "bad@5")


def test_states_of_no_environment_are_branched_without_a_word(repo: Repository) -> None:
    repo.commit({"x": 1}, run="main")
    repo.branch("other", "main")


@pytest.mark.slow
def test_verifying_a_whole_run_can_be_noted(repo: Repository, odd: Any) -> None:
    record(repo, odd, "bad", snapshots=None, step_trigger=never, steps=9)
    record(repo, gym.make("CartPole-v1"), "good")
    for run, result in (("bad", DIVERGES), ("good", BY_REPLAY)):
        repo.configure(run, metadata={"verdict": {}})
        note(repo, run, verify(repo, run, snapshots=0))
        assert repo.runs[run].metadata["verdict"]["result"] == result
    judge(repo, "good")
    note(repo, "good", verify(repo, "good"))
    assert repo.runs["good"].metadata["verdict"]["result"] == EXACT, "replay says less"


def test_a_dict_of_actions_is_executed_again_in_the_order_of_its_space() -> None:
    class Sums(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        action_space = gym.spaces.Dict(
            [(name, gym.spaces.Box(-9, 9, (1,), np.float32)) for name in ("c", "bb", "a")]
        )

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.x = np.zeros(1, np.float32)
            return self.x.copy(), {}

        def step(self, action: Any) -> Any:
            for each in action.values():
                self.x += each
            return self.x.copy(), 0.0, False, False, {}

    repo = Repository.init(":memory:")
    env = Recorder(Sums(), repo, "main", self_check=False, snapshots=None)
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(200):
        env.step(env.action_space.sample())
    env.close()
    found = verify(repo, "main", make=lambda spec: Sums())
    assert found.divergence is None
