"""Environments whose processes are generators, so that no snapshot is taken: what their resets keep.

All have episodes of ten steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

LENGTH = 10


class Model(gym.Env[Any, Any]):
    """A random walk by a process that is made anew at each reset: it forgets."""

    observation_space = gym.spaces.Box(-1e9, 1e9, (2,), np.float64)
    action_space = gym.spaces.Discrete(3)
    made = 0

    def __init__(self) -> None:
        self.level, self.time, self.episode = 0.0, 0, 0
        type(self).made += 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.level, self.time, self.episode = 0.0, 0, self.episode + 1
        self.process = self.run()
        return self.seen(), {}

    def run(self) -> Iterator[None]:
        while True:
            self.level += self.draw()
            yield

    def draw(self) -> float:
        return float(self.np_random.normal())

    def step(self, action: Any) -> Any:
        self.time += 1
        next(self.process)
        self.level += int(action)
        return self.seen(), self.level, self.time == LENGTH, False, {}

    def seen(self) -> Any:
        return np.array([self.time, self.level])


class Declared(Model):
    """Says that it forgets."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": True}}


class DeclaredForAll(Model):
    """Says that all that outlives a reset is ``np_random``."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": "np_random"}}


class OfItsOwn(Model):
    """Draws from a generator that only a seeded reset makes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.generator = random.Random(seed)
        return super().reset(seed=seed)

    def draw(self) -> float:
        return self.generator.random()


class WithoutOne(OfItsOwn):
    """Has none before, and so raises if it begins with another reset."""

    def __init__(self) -> None:
        super().__init__()
        del self.generator


class OfOldTimes(Model):
    """Has what the first of its episodes made, and raises without it."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed == 0:
            self.found = {seed: 1.0}
        return super().reset(seed=seed)

    def draw(self) -> float:
        return super().draw() + self.found[0]


class ThirdFails(Model):
    """Has seats for two: the third one that is made in a process raises in the fifth step."""

    def __init__(self) -> None:
        super().__init__()
        self.seat = type(self).made

    def draw(self) -> float:
        if self.seat == 3 and self.time == 5:
            raise OSError("no seat left")
        return super().draw()


class ThirdFailsDeclared(ThirdFails):
    """Says that it forgets."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": True}}


class OfNumbersOfASeed(Model):
    """Counts the episodes since the last seeded reset, which shows from the third on."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.since = 0 if seed is not None else self.since + 1
        return super().reset(seed=seed)

    since = 0

    def draw(self) -> float:
        return super().draw() + 100 * (self.since > 2)


class DeclaredNot(Model):
    """Says that it does not, although nothing shows."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": False}}


class Mean(Model):
    """Divides rewards by a mean of all that there were."""

    total, count = 0.0, 0

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        self.total, self.count = self.total + abs(reward), self.count + 1
        return observation, reward / (1 + self.total / self.count), *rest


class Tenth(Model):
    """Counts its episodes, which shows in the fifth step of every tenth."""

    def seen(self) -> Any:
        shown = 1000 * self.episode * (self.episode % 10 == 0 and self.time == 5)
        return np.array([self.time, self.level + shown])


class DeclaredWrongly(Tenth):
    """Says that it forgets, and does not."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": True}}


class OfPython(Model):
    """Draws from Python's generator, which no reset seeds."""

    def draw(self) -> float:
        return random.random()


class OfNumPy(Model):
    """Draws from NumPy's global generator."""

    def draw(self) -> float:
        return float(np.random.normal())


class IgnoresSeed(Model):
    """Draws from a generator that is made once."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(7)

    def draw(self) -> float:
        return float(self.generator.normal())


class Quiet(Model):
    """Shows nothing of what it draws before the eighth step."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": "np_random"}}

    def step(self, action: Any) -> Any:
        observation, _, *rest = super().step(action)
        return observation, 0.0, *rest

    def seen(self) -> Any:
        return np.array([self.time, self.level if self.time >= 8 else 0.0])


class QuietAndStored(Quiet):
    """Has no process, and no count in its class: so it has snapshots."""

    def __init__(self) -> None:
        self.level, self.time, self.episode = 0.0, 0, 0

    def run(self) -> Any:
        return None

    def step(self, action: Any) -> Any:
        self.time, self.level = self.time + 1, self.level + self.draw()
        return self.seen(), 0.0, self.time == LENGTH, False, {}


class Cache(Model):
    """Keeps what it computed, which never shows."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, float] = {}

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        given = int(action)
        return observation, reward + self.known.setdefault(given, given**0.5), *rest


class Misspelt(Model):
    """Says it in a way that is none."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": "True"}}


class Plain(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that says nothing of itself."""

    def step(self, action: Any) -> Any:
        return self.env.step(action)


class PlainDeclared(Plain):
    """A wrapper that says that it forgets."""

    metadata: ClassVar[dict[str, Any]] = {"simgit": {"reset_forgets": True}}  # type: ignore[assignment,misc]
