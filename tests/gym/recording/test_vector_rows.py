"""Lanes have the states of recorders of their own, however they end, are flushed and looked at."""

from __future__ import annotations

import random
import sys
import threading
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from simgit import Repository
from simgit.gym import Recorder, VectorRecorder
from tests.support.examples import share


class Drawn(gymnasium.Env[Any, Any]):
    """An environment of some form, whose episodes end at any step."""

    def __init__(self, form: int, info: int) -> None:
        self.form, self.info = form, info
        dtype = np.float64 if form == 2 else np.float32
        self.size = 70 if form == 3 else 3  # an array that is an object of its own
        self.observation_space = gymnasium.spaces.Box(-1e9, 1e9, (self.size,), dtype)  # type: ignore[arg-type]
        self.action_space = [
            gymnasium.spaces.Discrete(5), gymnasium.spaces.Box(-1, 1, (2,), np.float32),
            gymnasium.spaces.Box(-1, 1, (), np.float32), gymnasium.spaces.MultiDiscrete([3, 4]),
        ][form]  # fmt: skip
        self.time = self.end = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.time, self.end = 0, int(self.np_random.integers(1, self.form * 4 + 12))
        return self.seen()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        self.time += 1
        observation, info = self.seen()
        ends = self.time >= self.end
        reward = float(np.sum(action) + self.time)
        return observation, reward, ends and self.end % 2 == 1, ends and self.end % 2 == 0, info

    def seen(self) -> tuple[Any, dict[str, Any]]:
        drawn = self.np_random.standard_normal(self.size).astype(self.observation_space.dtype)
        if self.info == 0 or (self.info == 2 and self.time % 3 == 0):
            return drawn, {}
        return drawn, {"t": float(self.time), **({"a": np.arange(2)} if self.info == 2 else {})}


def options_of(draw: random.Random) -> dict[str, Any]:
    return {
        "flush_seconds": draw.choice([None, 0.001, 10.0]),
        "snapshots": draw.choice(["auto", None, None, 5]),
        "flush_every": draw.choice([1, 3, 7, 16, 50, 1000]),
        "flush_bytes": draw.choice([40, 1000, 1 << 26]),
        "flush_episodes": draw.random() < 0.2, "background": draw.random() < 0.3,
        "self_check": False, "provenance": False,
    }  # fmt: skip


def case(draw: random.Random) -> None:
    form, info, lanes = draw.randrange(4), draw.randrange(3), draw.randrange(1, 5)
    mode, options = draw.choice(list(AutoresetMode)), options_of(draw)
    with Repository.init(":memory:") as repo:
        vector = SyncVectorEnv([lambda: Drawn(form, info)] * lanes, autoreset_mode=mode)
        env = VectorRecorder(vector, repo, "lanes", **options)
        options |= {"snapshots": None, "flush_bytes": 1 << 26, "flush_every": 1000}
        alone = [Recorder(Drawn(form, info), repo, f"alone/{i}", **options) for i in range(lanes)]
        env.reset(seed=5)
        for i, each in enumerate(alone):
            each.reset(seed=5 + i)
        vector.action_space.seed(draw.randrange(1 << 30))
        ended = np.zeros(lanes, bool)
        for _ in range(draw.randrange(5, 100)):
            if mode is AutoresetMode.DISABLED and ended.any():
                env.reset(options={"reset_mask": ended})
                for i in np.flatnonzero(ended):
                    alone[i].reset(options={})
            actions, before = vector.action_space.sample(), ended
            *_, terminated, truncated, _ = env.step(actions)
            ended = terminated | truncated
            for i, each in enumerate(alone):
                if mode is AutoresetMode.NEXT_STEP and before[i]:
                    each.reset()
                    continue
                each.step(actions[i])
                if mode is AutoresetMode.SAME_STEP and ended[i]:
                    each.reset()
            if draw.random() < 0.05:
                env.flush()
            elif mode is AutoresetMode.DISABLED and draw.random() < 0.05:
                chosen = np.array([draw.random() < 0.5 for _ in range(lanes)])
                chosen[draw.randrange(lanes)] = True
                env.reset(seed=7, options={"reset_mask": chosen, "a": 1})
                for i in np.flatnonzero(chosen):
                    alone[i].reset(seed=7 + int(i), options={"a": 1})
                ended &= ~chosen
            elif draw.random() < 0.05:
                lane = draw.randrange(lanes)
                env.attach(lane, "mark", "x")
                alone[lane].attach("mark", "x")
        assert env.step_counts == [each.step_count for each in alone]
        for each in (env, *alone):
            each.close()
        for i in range(lanes):
            found, wanted = repo[f"lanes/{i}"], repo[f"alone/{i}"]
            assert [repr(each.value) for each in found] == [repr(each.value) for each in wanted]
            marks = [
                [repo.state(each.state).step for each in repo.history_attachments(name, "mark")]
                for name in (f"lanes/{i}", f"alone/{i}")
            ]
            assert marks[0] == marks[1]


def test_lanes_have_the_states_of_recorders_of_their_own(seed: int) -> None:
    for number in range(share(60)):
        print(number)
        case(random.Random(f"{seed} {number}"))


def test_the_end_of_an_episode_in_any_lane_is_stored_at_once() -> None:
    with Repository.init(":memory:") as repo:
        env = VectorRecorder(
            SyncVectorEnv([lambda: Drawn(0, 0)] * 3), repo, "lanes", snapshots=None,
            self_check=False, flush_seconds=None, flush_episodes=True,
        )  # fmt: skip
        env.reset(seed=5)
        ends = 0
        for _ in range(60):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            for i in np.flatnonzero(terminated | truncated):
                ends += 1
                assert repo.runs[f"lanes/{i}"].step == env.step_counts[i]
        assert ends > 10
        env.close()


def test_flags_and_rewards_of_any_bytes_are_those_of_a_recorder_of_its_own() -> None:
    class Odd(SyncVectorEnv):
        def step(self, actions: Any) -> Any:
            observations, rewards, *flags, infos = super().step(actions)
            flags = [(each.view(np.uint8) * 255).view(bool) for each in flags]
            return observations, rewards.astype(np.float32), *flags, infos

    with Repository.init(":memory:") as repo:
        for name, kind in (("odd", Odd), ("plain", SyncVectorEnv)):
            vector = kind([lambda: Drawn(0, 0)] * 3)
            env = VectorRecorder(vector, repo, name, snapshots=None, self_check=False)
            env.reset(seed=5)
            for i in range(60):
                env.step(np.full(3, i % 5))
            env.close()
        for i in range(3):
            assert repo.runs[f"odd/{i}"].oid == repo.runs[f"plain/{i}"].oid


class OfTwoDtypes(gymnasium.Env[Any, Any]):
    """Its space is of float64; now and then it gives what cannot be stored, or another dtype."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, dtype: Any, odd: int | None) -> None:
        self.dtype, self.odd, self.time = dtype, odd, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.time = 0
        return np.full(3, 0.5, self.dtype), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Any]:
        self.time += 1
        info = {"thing": object()} if self.time == self.odd else {}
        return np.full(3, self.time + 0.5, self.dtype), 1.0, self.time == 6, False, info


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(("dtype", "odd"), [(np.float64, 3), (np.float32, None), (np.float32, 4)])
def test_observations_of_float64_stay_arrays(
    mode: AutoresetMode, dtype: Any, odd: int | None
) -> None:
    """A lane that left the quick way once has no form, and nothing equals none."""
    with Repository.init(":memory:") as repo:
        makers = [lambda: OfTwoDtypes(dtype, odd), lambda: OfTwoDtypes(dtype, None)]
        vector = SyncVectorEnv(makers, autoreset_mode=mode)
        env = VectorRecorder(vector, repo, "lanes", snapshots=None, self_check=False)
        env.reset(seed=5)
        for _ in range(25):
            _, _, terminated, truncated, _ = env.step(np.zeros(2, int))
            ended = terminated | truncated
            if mode is AutoresetMode.DISABLED and ended.any():
                env.reset(options={"reset_mask": ended})
        env.close()
        for lane in range(2):
            for state in repo[f"lanes/{lane}"]:
                assert isinstance(state.observation, np.ndarray)
                assert state.observation.tolist() == [state.episode_step + 0.5] * 3


def test_another_thread_that_reads_counts_changes_none() -> None:
    with Repository.init(":memory:") as repo:
        env = VectorRecorder(
            SyncVectorEnv([lambda: Drawn(0, 0)] * 2), repo, "lanes", snapshots=None,
            self_check=False, provenance=False,
        )  # fmt: skip
        env.reset(seed=5)
        seen, over, interval = [0], threading.Event(), sys.getswitchinterval()

        def read() -> None:
            while not over.is_set():
                seen.append(min(env.step_counts))

        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=read) for _ in range(2)]
        for each in threads:
            each.start()
        try:
            for count in range(1, 2001):
                env.step(np.zeros(2, int))
                assert env.step_counts == [count] * 2
        finally:
            over.set()
            for each in threads:
                each.join()
            sys.setswitchinterval(interval)
        env.close()
        assert {len(repo[f"lanes/{i}"]) for i in range(2)} == {2001}
        assert max(seen) <= 2000


def test_a_step_with_too_few_values_is_refused_as_it_was() -> None:
    class Short(SyncVectorEnv):
        short = False

        def step(self, actions: Any) -> Any:
            observations, rewards, *others = super().step(actions)
            return observations, rewards[:1] if self.short else rewards, *others

    with Repository.init(":memory:") as repo:
        vector = Short([lambda: Drawn(1, 0)] * 3)
        env = VectorRecorder(vector, repo, "lanes", snapshots=None, self_check=False)
        env.reset(seed=5)
        for _ in range(5):
            env.step(env.action_space.sample())
        vector.short = True
        with pytest.raises(ValueError, match="zip"):
            env.step(env.action_space.sample())
        env.close()
        assert {len(repo[f"lanes/{i}"]) for i in range(3)} == {6}
