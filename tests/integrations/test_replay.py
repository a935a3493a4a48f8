"""Replay buffers are stored as references to recorded steps, and come back bit by bit."""

from __future__ import annotations

from collections import deque, namedtuple
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import simgit
from simgit.errors import Divergence, IntegrityError, InvalidInput
from simgit.gym import Recorder
from simgit.integrations.replay import Replay
from simgit.integrations.rings import BLOCK

pytest.importorskip("gymnasium")


class Walk(gym.Env[Any, Any]):
    """A walk that terminates or is truncated, with observations that repeat."""

    def __init__(self, box: bool = False, image: bool = False) -> None:
        space: Any = gym.spaces.Box(-9, 9, (3,), np.float32)
        if image:
            space = gym.spaces.Dict({"at": space, "seen": gym.spaces.Box(0, 255, (4, 4), np.uint8)})
        self.observation_space = space
        self.action_space = (
            gym.spaces.Box(-3, 3, (2,), np.float32) if box else gym.spaces.Discrete(4)
        )

    def _see(self) -> Any:
        at = np.float32([self.at, self.at * 0.1, -self.at])
        if not isinstance(self.observation_space, gym.spaces.Dict):
            return at
        return {"at": at, "seen": self.np_random.integers(0, 256, (4, 4)).astype(np.uint8)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.left = float(self.np_random.normal()), int(self.np_random.integers(1, 9))
        return self._see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at += float(np.sum(action)) / 3 - 0.5
        self.left -= 1
        ended = abs(self.at) > 3
        return self._see(), self.at / 7, ended, self.left <= 0, {}


class Lanes:
    """Environments that are recorded one by one, and stepped as Stable-Baselines3 does."""

    def __init__(self, repo: Any, count: int, seed: int, **kind: bool) -> None:
        self.envs = [Recorder(Walk(**kind), repo, f"a/{i}", snapshots=None) for i in range(count)]
        self.seen = [env.reset(seed=seed + i)[0] for i, env in enumerate(self.envs)]
        self.rng = np.random.default_rng(seed)

    def step(self) -> list[tuple[Any, Any, Any, float, bool, bool]]:
        found = []
        for i, env in enumerate(self.envs):
            space = env.action_space
            if isinstance(space, gym.spaces.Box):
                action: Any = self.rng.uniform(space.low, space.high).astype(np.float32)
            else:
                action = np.int64(self.rng.integers(space.n))
            after, reward, terminated, truncated, _ = env.step(action)
            found.append((self.seen[i], after, action, reward, terminated, truncated))
            self.seen[i] = env.reset()[0] if terminated or truncated else after
        return found

    @property
    def tips(self) -> list[Any]:
        return [env.tip for env in self.envs]


def batch(items: list[Any]) -> Any:
    if isinstance(items[0], dict):
        return {key: np.stack([each[key] for each in items]) for key in items[0]}
    return np.stack(items)


def add(buffer: Any, rows: list[tuple[Any, Any, Any, float, bool, bool]]) -> None:
    """Add as Stable-Baselines3 does, with the flag that its vectors put into the info."""
    before, after, actions, rewards, terminated, truncated = (
        list(each) for each in zip(*rows, strict=True)
    )
    ended = np.array(terminated) | np.array(truncated)
    infos = [
        {"TimeLimit.truncated": b and not a} for a, b in zip(terminated, truncated, strict=True)
    ]
    buffer.add(batch(before), batch(after), batch(actions), np.array(rewards), ended, infos)


def contents(buffer: Any) -> dict[str, Any]:
    found = {"pos": buffer.pos, "full": buffer.full}
    for name, value in vars(buffer).items():
        for key, each in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(each, np.ndarray) and not each.dtype.hasobject:
                found[f"{name}.{key}"] = (each.dtype, each.shape, each.tobytes())
    return found


def made(lanes: Lanes, size: int, **options: Any) -> Any:
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    env = lanes.envs[0]
    is_dict = isinstance(env.observation_space, gym.spaces.Dict)
    kind = buffers.DictReplayBuffer if is_dict else buffers.ReplayBuffer
    return kind(size, env.observation_space, env.action_space, "cpu", len(lanes.envs), **options)


def raw(data: dict[str, Any]) -> dict[str, int]:
    """The number of rows of each column that are stored as bytes."""
    return {name: len(each["values"]) for name, each in data["bytes"].items()}


KINDS: list[tuple[int, dict[str, bool], dict[str, bool]]] = [
    (1, {}, {}),
    (3, {}, {}),
    (2, {"image": True}, {}),
    (1, {"box": True}, {}),
    (1, {}, {"handle_timeout_termination": False}),
    (2, {}, {"handle_timeout_termination": False, "optimize_memory_usage": True}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "kind", "options"), KINDS)
def test_buffers_of_stable_baselines_are_ranges_of_steps(
    count: int, kind: dict[str, bool], options: dict[str, bool], seed: int
) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, count, seed, **kind)
        buffer = made(lanes, 60 * count, **options)
        replay = Replay(buffer)
        spare = count if options.get("optimize_memory_usage") else 0
        for steps in (7, 40, 20, 90):  # new, part of the ring, wrapped, wrapped more than once
            for _ in range(steps):
                add(buffer, lanes.step())
            data = replay.save(repo, lanes.tips)
            assert len(data["pieces"]) <= 2 * count + spare
            assert all(rows <= spare for rows in raw(data).values())
            other = made(lanes, 60 * count, **options)
            Replay(other).load(repo, data)
            assert contents(other) == contents(buffer)
        stored = repo.attach("a/0", "replay", data)
        assert stored and repo.attachment("a/0", "replay")["digest"] == data["digest"]


def test_what_is_not_recorded_is_stored_as_bytes(seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 1, seed)
        buffer = made(lanes, 100)
        for _ in range(3):  # before: steps of another environment, not recorded
            buffer.add(
                *[np.float32([[1, 2, 3]])] * 2, np.array([2]), np.array([5.0]), np.array([0]), [{}]
            )
        for _ in range(50):
            add(buffer, lanes.step())
        buffer.rewards[20] += 1  # relabelled
        data = Replay(buffer).save(repo, lanes.tips)
        assert raw(data)["observations"] == 3
        assert raw(data)["rewards"] == 4
        other = made(lanes, 100)
        Replay(other).load(repo, data)
        assert contents(other) == contents(buffer)


def test_rows_that_change_between_two_saves_are_noticed(seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 1, seed)
        buffer = made(lanes, 3 * BLOCK)
        replay = Replay(buffer)
        for _ in range(BLOCK + 50):
            add(buffer, lanes.step())
        assert raw(replay.save(repo, lanes.tips)) == {}
        buffer.observations[5] = 8.5  # in a block that no step has reached since
        add(buffer, lanes.step())
        data = replay.save(repo, lanes.tips)
        assert raw(data) == {"observations": 1}
        other = made(lanes, 3 * BLOCK)
        Replay(other).load(repo, data)
        assert contents(other) == contents(buffer)


def test_steps_that_did_not_reach_the_buffer_are_passed_over(seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 1, seed)
        buffer = made(lanes, 200)
        for i in range(150):
            rows = lanes.step()
            if not 40 <= i < 60 and i != 149:
                add(buffer, rows)
        data = Replay(buffer).save(repo, lanes.tips)
        assert raw(data) == {}
        assert len(data["pieces"]) == 2
        other = made(lanes, 200)
        Replay(other).load(repo, data)
        assert contents(other) == contents(buffer)


def test_a_restored_buffer_goes_on_and_is_stored_again(seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 2, seed)
        buffer = made(lanes, 80)
        for _ in range(70):
            add(buffer, lanes.step())
        data = Replay(buffer).save(repo, lanes.tips)
        other = made(lanes, 80)
        replay = Replay(other)
        replay.load(repo, data)
        for _ in range(30):
            rows = lanes.step()
            add(buffer, rows)
            add(other, rows)
        one, two = Replay(buffer).save(repo, lanes.tips), replay.save(repo, lanes.tips)
        assert one["digest"] == two["digest"]
        assert raw(one) == raw(two) == {}


Step = namedtuple("Step", "state action reward after done")


@pytest.mark.parametrize("form", ["tuple", "list", "dict", "named"])
def test_a_deque_of_tuples(form: str, seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 1, seed)
        buffer: deque[Any] = deque(maxlen=50)
        element: Any = {"named": Step}.get(form)
        for _ in range(80):
            ((before, after, action, reward, terminated, _),) = lanes.step()
            row = (before, int(action), reward, after, terminated)
            made: dict[str, Any] = {
                "tuple": row, "list": list(row), "named": Step(*row),
                "dict": dict(zip(Step._fields, row, strict=True)),
            }  # fmt: skip
            buffer.append(made[form])
        data = Replay(buffer, element).save(repo, lanes.tips)
        assert raw(data) == {}
        other: deque[Any] = deque(maxlen=50)
        Replay(other, element).load(repo, data)
        assert len(other) == 50
        assert type(other[0]) is type(buffer[0])
        for mine, theirs in zip(other, buffer, strict=True):
            pairs = (
                zip(mine.values(), theirs.values(), strict=True)
                if isinstance(mine, dict)
                else zip(mine, theirs, strict=True)
            )
            for one, two in pairs:
                assert type(one) is type(two)
                assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


def test_a_deque_of_lanes_that_take_turns(seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 3, seed)
        buffer: deque[Any] = deque(maxlen=100)
        for _ in range(50):
            for before, after, action, reward, terminated, truncated in lanes.step():
                buffer.append((before, action, reward, after, terminated or truncated))
        data = Replay(buffer).save(repo, lanes.tips)
        assert raw(data) == {}
        assert len(data["pieces"]) == 3


@pytest.mark.slow  # TorchRL takes seconds to import
@pytest.mark.parametrize("flat", [False, True])
def test_a_buffer_of_torchrl(flat: bool, seed: int) -> None:
    torch, torchrl = pytest.importorskip("torch"), pytest.importorskip("torchrl.data")
    tensordict = pytest.importorskip("tensordict").TensorDict
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 2, seed)
        buffer = torchrl.ReplayBuffer(storage=torchrl.LazyTensorStorage(64), batch_size=4)
        for _ in range(5):
            steps = [lanes.step() for _ in range(10)]
            if flat:  # lane by lane, as a collector's batch is when it is flattened
                rows = [step[lane] for lane in range(2) for step in steps]
            else:
                rows = [row for step in steps for row in step]
            before, after, actions, rewards, terminated, truncated = (
                list(each) for each in zip(*rows, strict=True)
            )
            hot = torch.nn.functional.one_hot(torch.tensor(batch(actions)), 4)
            ended = torch.tensor(terminated) | torch.tensor(truncated)
            following = {
                "observation": torch.tensor(batch(after)),
                "reward": torch.tensor(rewards, dtype=torch.float32)[:, None],
                "terminated": torch.tensor(terminated)[:, None],
                "truncated": torch.tensor(truncated)[:, None], "done": ended[:, None],
            }  # fmt: skip
            now = {
                "observation": torch.tensor(batch(before)),
                "action": hot,
                "done": torch.zeros(20, 1, dtype=torch.bool),
            }
            buffer.extend(tensordict({**now, "next": tensordict(following, [20])}, [20]))
        data = Replay(buffer).save(repo, lanes.tips)
        assert raw(data) == {}
        assert len(data["pieces"]) <= 24  # some transitions are there twice
        other = torchrl.ReplayBuffer(storage=torchrl.LazyTensorStorage(64), batch_size=4)
        Replay(other).load(repo, data)
        assert len(other) == 64
        assert (other[:] == buffer[:]).all()
        assert other._writer._cursor == buffer._writer._cursor


def test_what_does_not_fit_is_refused(seed: int) -> None:
    with simgit.Repository.init(":memory:") as repo:
        lanes = Lanes(repo, 1, seed)
        buffer = made(lanes, 50)
        for _ in range(30):
            add(buffer, lanes.step())
        data = Replay(buffer).save(repo, lanes.tips)
        with pytest.raises(InvalidInput, match="slots"):
            Replay(made(lanes, 51)).load(repo, data)
        with pytest.raises(Divergence):
            Replay(made(lanes, 50)).load(repo, {**data, "digest": b"0" * 32})
        for key, value in (
            ("pieces", [[0, 1, 999, 0, 1, 1000]]),
            ("histories", [b"1"]),
            ("bytes", {"no": 1}),
        ):
            with pytest.raises((IntegrityError, simgit.NotFound)):
                Replay(made(lanes, 50)).load(repo, {**data, key: value})
        with pytest.raises(InvalidInput):
            Replay(object())
        with pytest.raises(InvalidInput, match=r"replay\.0"):
            Replay(deque([("a", 1)])).save(repo, lanes.tips)
