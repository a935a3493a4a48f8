"""Environments that hide a number: each in another place, changed at another time.

``HIDING`` has the classes by name. A class says how it keeps the number (``put`` and ``get``); the
base class decides when it changes, and shows it as the reward.
"""

from __future__ import annotations

import collections
import contextvars
import ctypes
import dataclasses
import enum
import functools
import itertools
import os
import random
import sqlite3
import sys
import tempfile
import threading
import time
import types
import weakref
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np

EPISODE = 12
TIMES = ("step", "late", "episodes", "end", "reset")
"""When the number changes: in each step, in the ninth, from the third episode on, at an episode's
end, or in each reset."""
HIDING: dict[str, type[Hidden]] = {}
NEEDS: dict[str, str] = {}
"""Packages that a class needs."""


class Hidden(gym.Env[Any, Any]):
    """Keeps a number somewhere, and shows it as the reward."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"]}
    times: tuple[str, ...] = ("step", "late")
    is_kept = False
    """True if the number outlives resets, whenever it changes."""

    def __init_subclass__(cls, needs: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__name__.startswith("_"):
            HIDING[cls.__name__] = cls
            if needs:
                NEEDS[cls.__name__] = needs

    def __init__(self, when: str = "step") -> None:
        self.observation_space = gym.spaces.Box(-1e9, 1e9, (2,), np.float64)
        self.action_space = gym.spaces.Discrete(3)
        self.when, self.episode, self.t = when, 0, 0
        self.make()

    def make(self) -> None:
        """Make what the number is kept in."""

    def put(self, number: int) -> None:
        """Keep a number."""
        raise NotImplementedError

    def get(self) -> int:
        """Return the number that is kept."""
        raise NotImplementedError

    def draw(self, action: int) -> None:
        """Change the number."""
        self.put((self.get() * 3 + action + 1) % 9973)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if not self.episode or not (self.is_kept or self.when in ("end", "episodes", "reset")):
            self.put(1)
        self.t, self.episode = 0, self.episode + 1
        if self.when == "reset":
            self.draw(self.episode)
        return self.look(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        ended = self.t == EPISODE
        due = {"step": True, "late": self.t == 9, "episodes": self.episode > 2, "end": ended}
        if due.get(self.when, False):
            self.draw(int(action))
        return self.look(), float(self.get()), ended, False, {}

    def look(self) -> Any:
        return np.array([self.t, self.episode], np.float64)


# --- names that say nothing, and ordinary attributes ----------------------------------------------


class Game:
    """A simulator that is no environment."""

    def __init__(self) -> None:
        self.pos = 0


class _InAttribute(Hidden):
    attribute = "env"

    def make(self) -> None:
        setattr(self, self.attribute, Game())

    def put(self, number: int) -> None:
        getattr(self, self.attribute).pos = number

    def get(self) -> int:
        return int(getattr(self, self.attribute).pos)


class InEnv(_InAttribute):
    times = TIMES


class InUnwrappedName(_InAttribute):
    attribute = "render_state"


class InObservationMode(_InAttribute):
    attribute = "observation_mode"


class InViewer(_InAttribute):
    attribute = "viewer"


class InReservedName(Hidden):
    times = TIMES

    def put(self, number: int) -> None:
        self.reward_range = (0, number)

    def get(self) -> int:
        return self.reward_range[1]


class InEnvs(Hidden):
    def make(self) -> None:
        self.envs = [Game(), Game()]

    def put(self, number: int) -> None:
        self.envs[1].pos = number

    def get(self) -> int:
        return self.envs[1].pos


class InEnvsOfNumbers(Hidden):
    def put(self, number: int) -> None:
        self.envs = {"number": number}

    def get(self) -> int:
        return self.envs["number"]


class InMetadata(Hidden):
    def put(self, number: int) -> None:
        self.metadata = {**type(self).metadata, "number": number}

    def get(self) -> int:
        return int(self.metadata["number"])


class InMetadataOfTheClass(Hidden):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "number": 0}

    def put(self, number: int) -> None:
        self.metadata["number"] = number

    def get(self) -> int:
        return int(self.metadata["number"])


class InSpec(Hidden):
    def put(self, number: int) -> None:
        assert self.spec is not None
        self.spec.kwargs["number"] = number

    def get(self) -> int:
        assert self.spec is not None
        return int(self.spec.kwargs["number"])


class InRenderMode(Hidden):
    def put(self, number: int) -> None:
        self.render_mode = ("rgb_array", "ansi")[number % 2]

    def get(self) -> int:
        return 7 if self.render_mode == "ansi" else 8


class InClock(Hidden):
    times = TIMES

    def put(self, number: int) -> None:
        self.clock, self.window, self.screen = float(number), [number], None

    def get(self) -> int:
        return int(self.clock) + self.window[0]


class InSlots(Hidden):
    __slots__ = ("__number",)
    times = TIMES

    def put(self, number: int) -> None:
        self.__number = number

    def get(self) -> int:
        return self.__number


class InPrivateName(Hidden):
    def put(self, number: int) -> None:
        self.__number = number
        self._np_random_number = number

    def get(self) -> int:
        return self.__number + self._np_random_number


class InDescriptor(Hidden):
    class Field:
        def __set_name__(self, owner: Any, name: str) -> None:
            self.name = f"field {name}"

        def __get__(self, thing: Any, owner: Any = None) -> Any:
            return vars(thing)[self.name]

        def __set__(self, thing: Any, value: Any) -> None:
            vars(thing)[self.name] = value

    number = Field()

    def put(self, number: int) -> None:
        self.number = number

    def get(self) -> int:
        return int(self.number)


# --- spaces ---------------------------------------------------------------------------------------


class InActionSpace(Hidden):
    times = TIMES

    def put(self, number: int) -> None:
        self.action_space = gym.spaces.Discrete(3 + number % 50)

    def get(self) -> int:
        return int(self.action_space.n)  # type: ignore[attr-defined]


class InSpaceOfSeveral(Hidden):
    def make(self) -> None:
        self.choices = [gym.spaces.Discrete(n) for n in (3, 4, 5)]
        self.action_space = self.choices[0]

    def put(self, number: int) -> None:
        self.action_space = self.choices[number % 3]

    def get(self) -> int:
        return self.choices.index(self.action_space) + int(self.action_space.n)  # type: ignore


class InBoundOfSpace(Hidden):
    def make(self) -> None:
        self.inner_space = gym.spaces.Box(0, 1, (2,), np.float64)

    def put(self, number: int) -> None:
        self.inner_space.high[0] = number

    def get(self) -> int:
        return int(self.inner_space.high[0])


class OwnSpace(gym.spaces.Discrete):
    number = 0


class InOwnSpace(Hidden):
    def make(self) -> None:
        self.inner_space = OwnSpace(3)

    def put(self, number: int) -> None:
        self.inner_space.number = number

    def get(self) -> int:
        return self.inner_space.number


class InSpacesNumbers(Hidden):
    times = ("step", "late", "reset")
    """Samples its space, which nobody has seeded."""

    def put(self, number: int) -> None:
        self.number = int(self.action_space.sample())

    def get(self) -> int:
        return self.number


class InSpaceOfTheClass(Hidden):
    inner_space: ClassVar[Any] = gym.spaces.Discrete(999, seed=3)

    def put(self, number: int) -> None:
        self.number = int(self.inner_space.sample())

    def get(self) -> int:
        return self.number


# --- kinds of values that look like constants -----------------------------------------------------


class Phase(enum.Enum):
    DAY = 1
    DUSK = 2
    NIGHT = 3


class InEnum(Hidden):
    times = TIMES

    def put(self, number: int) -> None:
        self.phase = list(Phase)[number % 3]

    def get(self) -> int:
        return {Phase.DAY: 10, Phase.DUSK: 20, Phase.NIGHT: 30}[self.phase]


class Counter(enum.Enum):
    ONLY: Any = [0]  # noqa: RUF012


class InMemberOfEnum(Hidden):
    def make(self) -> None:
        self.counter = Counter.ONLY

    def put(self, number: int) -> None:
        self.counter.value[0] = number

    def get(self) -> int:
        return int(self.counter.value[0])


class InFlag(Hidden):
    class Bits(enum.IntFlag):
        ONE = 1
        TWO = 2
        FOUR = 4

    def put(self, number: int) -> None:
        self.bits = self.Bits(number % 8)

    def get(self) -> int:
        return int(self.bits)


class Goblin:
    strength = 5


class Orc:
    strength = 9


class InDrawnClass(Hidden):
    def put(self, number: int) -> None:
        self.kind = (Goblin, Orc)[number % 2]

    def get(self) -> int:
        return self.kind.strength


class InBoundMethod(Hidden):
    """A state machine whose state is a method."""

    def put(self, number: int) -> None:
        self.act = (self.walk, self.run)[number % 2]

    def get(self) -> int:
        return self.act()

    def walk(self) -> int:
        return 4

    def run(self) -> int:
        return 6


class InPartial(Hidden):
    def put(self, number: int) -> None:
        self.answer = functools.partial(abs, number)

    def get(self) -> int:
        return self.answer()


class InPartialOfAList(Hidden):
    def make(self) -> None:
        self.numbers = [0]
        self.answer = functools.partial(sum, self.numbers)

    def put(self, number: int) -> None:
        self.numbers[0] = number

    def get(self) -> int:
        return self.answer()


class InLambda(Hidden):
    def put(self, number: int) -> None:
        self.answer = lambda: number

    def get(self) -> int:
        return self.answer()


class InClosure(Hidden):
    def make(self) -> None:
        number = 0

        def put(value: int) -> None:
            nonlocal number
            number = value

        self.setter, self.getter = put, lambda: number

    def put(self, number: int) -> None:
        self.setter(number)

    def get(self) -> int:
        return self.getter()


class InSharedClosure(Hidden):
    """A function encloses an array that is an attribute too."""

    def make(self) -> None:
        grid = self.grid = np.zeros(3)
        self.getter = lambda: int(grid[0])

    def put(self, number: int) -> None:
        self.grid[0] = number

    def get(self) -> int:
        return self.getter()


class InFunctionAttribute(Hidden):
    def put(self, number: int) -> None:
        _noted.number = number  # type: ignore[attr-defined]

    def get(self) -> int:
        return int(_noted.number)  # type: ignore[attr-defined]


def _noted() -> None:
    pass


class InBuiltinMethod(Hidden):
    """Draws by a method of its generator that it keeps."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.number = 0
        super().reset(seed=seed)
        self.roll = self.np_random.integers
        return self.look(), {}

    def put(self, number: int) -> None:
        if hasattr(self, "roll"):
            self.number = int(self.roll(1000))

    def get(self) -> int:
        return self.number


class InPatchedStep(Hidden):
    """Its step is replaced by a function of the instance."""

    def make(self) -> None:
        self.number = [0]
        plain, number = self.step, self.number

        def step(action: Any) -> Any:
            return plain(action)

        self.step = step  # type: ignore[method-assign]
        self.reader = lambda: number[0]

    def put(self, number: int) -> None:
        self.number[0] = number

    def get(self) -> int:
        return self.reader()


# --- outside of the instance ----------------------------------------------------------------------


class InClass(Hidden):
    times = TIMES
    number = 0

    def put(self, number: int) -> None:
        type(self).number = number

    def get(self) -> int:
        return self.number


class InListOfTheClass(Hidden):
    numbers: ClassVar[list[int]] = [0]

    def put(self, number: int) -> None:
        self.numbers[0] = number

    def get(self) -> int:
        return self.numbers[0]


class InCountOfTheClass(Hidden):
    is_kept = True
    numbers: ClassVar[Any] = itertools.count(1)

    def put(self, number: int) -> None:
        self.number = next(self.numbers)

    def get(self) -> int:
        return self.number


class InGeneratorOfTheClass(Hidden):
    numbers: ClassVar[Any] = np.random.default_rng(42)

    def put(self, number: int) -> None:
        self.number = int(self.numbers.integers(1000))

    def get(self) -> int:
        return self.number


class Registry:
    held: ClassVar[dict[str, int]] = {}


class InOtherClass(Hidden):
    def put(self, number: int) -> None:
        Registry.held["number"] = number

    def get(self) -> int:
        return Registry.held["number"]


GLOBAL = 0
TABLE: dict[str, int] = {}
NUMBERS = random.Random(5)
LOCAL = threading.local()
VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)
WEAK: Any = weakref.WeakKeyDictionary()
STORE: dict[int, int] = {}


class InGlobal(Hidden):
    times = TIMES

    def put(self, number: int) -> None:
        global GLOBAL
        GLOBAL = number

    def get(self) -> int:
        return GLOBAL


class InTable(Hidden):
    def put(self, number: int) -> None:
        _put_into_table(number)

    def get(self) -> int:
        return TABLE["number"]


def _put_into_table(number: int) -> None:
    TABLE["number"] = number


class InGlobalGenerator(Hidden):
    def put(self, number: int) -> None:
        self.number = NUMBERS.randrange(1000)

    def get(self) -> int:
        return self.number


class InThreadLocal(Hidden):
    def put(self, number: int) -> None:
        LOCAL.number = number

    def get(self) -> int:
        return int(LOCAL.number)


class InContext(Hidden):
    def put(self, number: int) -> None:
        VARIABLE.set(number)

    def get(self) -> int:
        return VARIABLE.get()


class InWeakDict(Hidden):
    def put(self, number: int) -> None:
        WEAK[self] = number

    def get(self) -> int:
        return int(WEAK[self])


class InStoreById(Hidden):
    """A property that keeps its value elsewhere, by the address of the environment."""

    @property
    def number(self) -> int:
        return STORE[id(self)]

    def put(self, number: int) -> None:
        STORE[id(self)] = number

    def get(self) -> int:
        return self.number


class InDefaultArgument(Hidden):
    def put(self, number: int, held: Any = [0]) -> None:  # noqa: B006
        held[0] = number
        self.held = held

    def get(self) -> int:
        return int(self.held[0])


class InCache(Hidden):
    def put(self, number: int) -> None:
        _at.cache_clear()
        LAST[:] = [number]
        _at(0)
        LAST[:] = [0]

    def get(self) -> int:
        return _at(0)


LAST = [0]


@functools.lru_cache
def _at(_: int) -> int:
    return LAST[0]


class InFile(Hidden):
    def make(self) -> None:
        self.path = str(Path(tempfile.gettempdir()) / f"nasty-{os.getpid()}")

    def put(self, number: int) -> None:
        Path(self.path).write_text(str(number))

    def get(self) -> int:
        return int(Path(self.path).read_text())


class InEnvironmentVariable(Hidden):
    def put(self, number: int) -> None:
        os.environ["NASTY_NUMBER"] = str(number)

    def get(self) -> int:
        return int(os.environ.get("NASTY_NUMBER", "0"))


class InModuleOfSystem(Hidden):
    def put(self, number: int) -> None:
        sys.setrecursionlimit(2000 + number % 100)

    def get(self) -> int:
        return sys.getrecursionlimit()


class InModuleOfTheUser(Hidden):
    """In a module of its own, as a simulator beside the environment."""

    def make(self) -> None:
        self.name = simulator.__name__

    def put(self, number: int) -> None:
        simulator.held = number  # type: ignore[attr-defined]

    def get(self) -> int:
        return int(simulator.held)  # type: ignore[attr-defined]


simulator = types.ModuleType("nasty_simulator")
sys.modules[simulator.__name__] = simulator


class InLateAttributeOfTheClass(Hidden):
    """In an attribute that the class has only when it is first set."""

    def put(self, number: int) -> None:
        if number != 1:
            type(self).later = number  # type: ignore[attr-defined]

    def get(self) -> int:
        return int(getattr(type(self), "later", 1))


class InLateGlobal(Hidden):
    def put(self, number: int) -> None:
        if number != 1:
            globals()["SET_LATER"] = number

    def get(self) -> int:
        return int(globals().get("SET_LATER", 1))


class InLateAttributeOfAFunction(Hidden):
    def put(self, number: int) -> None:
        if number != 1:
            _plainly.later = number  # type: ignore[attr-defined]

    def get(self) -> int:
        return int(getattr(_plainly, "later", 1))


def _plainly(number: int) -> int:
    return number


def _doubled(number: int) -> int:
    return 2 * number


SHOWN = _plainly


class InChosenFunction(Hidden):
    """Which function a global name has."""

    def put(self, number: int) -> None:
        global SHOWN
        self.number = number
        SHOWN = _doubled if number % 2 else _plainly

    def get(self) -> int:
        return SHOWN(self.number)


class InChosenMethod(Hidden):
    """Which function the class has as its method."""

    def plainly(self) -> int:
        return self.number

    def doubled(self) -> int:
        return 2 * self.number

    shown = plainly

    def put(self, number: int) -> None:
        self.number = number
        kind = type(self)
        kind.shown = kind.doubled if number % 2 else kind.plainly  # type: ignore[method-assign]

    def get(self) -> int:
        return self.shown()


class _One:
    def factor(self) -> int:
        return 1


class _Two(_One):
    def factor(self) -> int:
        return 2


class _Chosen(_One):
    """Which class it extends is state."""


class InBasesOfAClass(Hidden):
    def put(self, number: int) -> None:
        self.number = number
        _Chosen.__bases__ = (_Two,) if number % 2 else (_One,)

    def get(self) -> int:
        return self.number * _Chosen().factor()


class InGlobalRandom(Hidden):
    times = ("step", "late", "reset")

    def put(self, number: int) -> None:
        self.number = random.randrange(1000)

    def get(self) -> int:
        return self.number


class InGlobalNumpy(Hidden):
    times = ("step", "late", "reset")

    def put(self, number: int) -> None:
        self.number = int(np.random.randint(1000))

    def get(self) -> int:
        return self.number


class InTorchLoadedLate(Hidden, needs="torch"):
    def put(self, number: int) -> None:
        self.number = number

    def draw(self, action: int) -> None:
        import torch

        self.number = int(torch.randint(1000, ()))

    def get(self) -> int:
        return self.number


# --- not determined at all ------------------------------------------------------------------------


class FromSystem(Hidden):
    times = ("step",)

    def put(self, number: int) -> None:
        self.number = int.from_bytes(os.urandom(2), "little")

    def get(self) -> int:
        return self.number


class FromClock(FromSystem):
    def put(self, number: int) -> None:
        self.number = time.perf_counter_ns() % 100_003


class FromHash(FromSystem):
    def put(self, number: int) -> None:
        self.number = hash(f"number {number % 5}") % 1000

    def draw(self, action: int) -> None:
        self.put(self.t)


class FromSetOfTexts(FromSystem):
    def make(self) -> None:
        self.colours = {"red", "green", "blue", "black", "white"}

    def put(self, number: int) -> None:
        self.number = sum(len(each) * 3**i for i, each in enumerate(self.colours)) + number % 7

    def draw(self, action: int) -> None:
        self.put(self.t)


class FromOrderOfTexts(FromSetOfTexts):
    """Iterates over a set that it makes each time."""

    def make(self) -> None:
        self.colours = ()  # type: ignore[assignment]

    def put(self, number: int) -> None:
        colours = {"red", "green", "blue", "black", "white"}
        self.number = sum(len(each) * 3**i for i, each in enumerate(colours)) + number % 7


class FromAddress(FromSystem):
    def put(self, number: int) -> None:
        self.number = id(self) // 16 % 10_007 + number % 7

    def draw(self, action: int) -> None:
        self.put(self.t)


# --- objects --------------------------------------------------------------------------------------


class Node:
    def __init__(self, owner: Any) -> None:
        self.owner, self.number = owner, 0


class InNestedObject(Hidden):
    """An object that refers to the environment."""

    times = TIMES

    def make(self) -> None:
        self.node = Node(self)
        self.node.owner.other = Node(self.node)

    def put(self, number: int) -> None:
        self.other.owner.number = number

    def get(self) -> int:
        return self.node.number


class InSharedList(Hidden):
    def make(self) -> None:
        self.one = [0]
        self.other = {"inner": (self.one,)}

    def put(self, number: int) -> None:
        self.one[0] = number

    def get(self) -> int:
        return self.other["inner"][0][0]


class InView(Hidden):
    def make(self) -> None:
        self.grid = np.zeros((3, 4))
        self.row = self.grid[1]

    def put(self, number: int) -> None:
        self.grid[1, 2] = number

    def get(self) -> int:
        return int(self.row[2])


class InViewOfAnObject(Hidden):
    def make(self) -> None:
        self.node = Node(None)
        self.node.grid = np.zeros(4)  # type: ignore[attr-defined]
        self.part = self.node.grid[1:]  # type: ignore[attr-defined]

    def put(self, number: int) -> None:
        self.node.grid[2] = number  # type: ignore[attr-defined]

    def get(self) -> int:
        return int(self.part[1])


class InBuffer(Hidden):
    def make(self) -> None:
        self.buffer = bytearray(8)
        self.array = np.frombuffer(self.buffer, np.int64)

    def put(self, number: int) -> None:
        self.buffer[:] = number.to_bytes(8, "little")

    def get(self) -> int:
        return int(self.array[0])


class InMemoryview(Hidden):
    def make(self) -> None:
        self.view = memoryview(bytearray(2))

    def put(self, number: int) -> None:
        self.view[:] = (number % 60000).to_bytes(2, "little")

    def get(self) -> int:
        return int.from_bytes(self.view, "little")


class InMemoryOfC(Hidden):
    def make(self) -> None:
        self.handle = (ctypes.c_long * 2)()
        self.array = np.ctypeslib.as_array(self.handle)

    def put(self, number: int) -> None:
        self.handle[1] = number

    def get(self) -> int:
        return int(self.array[1])


class InPointer(Hidden):
    def make(self) -> None:
        self.handle = ctypes.pointer(ctypes.c_long(0))

    def put(self, number: int) -> None:
        self.handle.contents.value = number

    def get(self) -> int:
        return self.handle.contents.value


class InScalarArray(Hidden):
    times = TIMES

    def make(self) -> None:
        self.array, self.wide = np.array(0), np.longdouble(0)

    def put(self, number: int) -> None:
        self.array[()] = number
        self.wide = np.longdouble(number) / 3

    def get(self) -> int:
        return int(self.array) + int(self.wide * 3)


class InStructuredArray(Hidden):
    def make(self) -> None:
        self.array = np.zeros(2, [("a", "i4"), ("b", "f8", (2,))])

    def put(self, number: int) -> None:
        self.array["b"][1, 0] = number

    def get(self) -> int:
        return int(self.array[1]["b"][0])


class InObjectArray(Hidden):
    def make(self) -> None:
        self.node = Node(None)
        self.array = np.array([self.node, None], object)

    def put(self, number: int) -> None:
        self.node.number = number

    def get(self) -> int:
        return int(self.array[0].number)


class InTransposed(Hidden):
    def make(self) -> None:
        self.array = np.zeros((3, 2)).T

    def put(self, number: int) -> None:
        self.array[1, 2] = number

    def get(self) -> int:
        return int(self.array[1].sum())


class LabelledArray(np.ndarray):
    label = 0


class InArraySubclass(Hidden):
    def make(self) -> None:
        self.array = np.zeros(2).view(LabelledArray)

    def put(self, number: int) -> None:
        self.array.label = number

    def get(self) -> int:
        return self.array.label


class LabelledDict(dict):  # type: ignore[type-arg]
    label = 0


class InDictSubclass(Hidden):
    def make(self) -> None:
        self.held = LabelledDict(a=1)

    def put(self, number: int) -> None:
        self.held.label = number

    def get(self) -> int:
        return self.held.label


class DoublingList(list):  # type: ignore[type-arg]
    def append(self, value: Any) -> None:
        super().append(value * 2)

    def extend(self, values: Any) -> None:
        super().extend([value * 2 for value in values])


class InListSubclass(Hidden):
    def put(self, number: int) -> None:
        self.held = DoublingList()
        self.held.append(number)

    def get(self) -> int:
        return int(self.held[0])


class InOrderedDicts(Hidden):
    def make(self) -> None:
        self.orders = collections.OrderedDict(a=0, b=1)
        self.counts = collections.Counter(a=1)
        self.chain = collections.ChainMap({"a": 0}, {"a": 3})

    def put(self, number: int) -> None:
        self.orders.move_to_end("ab"[number % 2])
        self.counts["b"] = number
        self.chain["a"] = number

    def get(self) -> int:
        return list(self.orders).index("a") + self.counts["b"] + self.chain["a"]


class InDefaultDict(Hidden):
    def make(self) -> None:
        self.held = collections.defaultdict(lambda: 7)

    def put(self, number: int) -> None:
        self.held["a"] = number

    def get(self) -> int:
        return self.held["a"]


class InDeque(Hidden):
    def make(self) -> None:
        self.held: Any = collections.deque([0], 3)

    def put(self, number: int) -> None:
        self.held.append(number)

    def get(self) -> int:
        return sum(self.held) + len(self.held)


class InSetOfNumbers(Hidden):
    """Pops of a set that has grown and shrunk."""

    def put(self, number: int) -> None:
        self.held = set(range(number % 700))
        self.held.difference_update(range(5, 400))
        self.held |= {number, 8 * number, 64 * number}

    def get(self) -> int:
        return next(iter(self.held)) + 2 * list(self.held)[-1]


class InSetOfPairs(Hidden):
    def put(self, number: int) -> None:
        self.held = {(number, 1), (2, number)}

    def get(self) -> int:
        return next(iter(self.held))[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int


class Pair(NamedTuple):
    x: int
    y: Any


class InDataclass(Hidden):
    def put(self, number: int) -> None:
        self.held = Pair(number, [Point(number)])

    def get(self) -> int:
        return self.held.x + int(self.held.y[0].x)


class InIterator(Hidden):
    times = TIMES

    def make(self) -> None:
        self.items = iter([1, 4, 1, 5, 9, 2, 6] * 99)

    def put(self, number: int) -> None:
        self.number = next(self.items)

    def get(self) -> int:
        return self.number


class InCycle(InIterator):
    def make(self) -> None:
        self.items: Any = itertools.cycle([3, 1, 4, 1, 5])


class InCount(InIterator):
    def make(self) -> None:
        self.items: Any = zip(itertools.count(5, 3), itertools.count(1))

    def put(self, number: int) -> None:
        self.number = sum(next(self.items))


class InGenerator(InIterator):
    def make(self) -> None:
        self.items = (i * i % 101 for i in range(999))


class InCoroutine(InIterator):
    def make(self) -> None:
        async def count() -> None:
            for i in range(999):
                await _value(i * 7 % 103)

        self.running: Any = count()

    def put(self, number: int) -> None:
        self.number = self.running.send(None)


@types.coroutine
def _value(number: int) -> Any:
    yield number


class InRandomSubclass(Hidden):
    class Numbers(random.Random):
        offset = 0

    def make(self) -> None:
        self.numbers = self.Numbers(3)

    def put(self, number: int) -> None:
        self.numbers.offset = number

    def get(self) -> int:
        return self.numbers.offset


class InSharedGenerator(Hidden):
    """A helper draws from the environment's generator, and so does a second one of its own."""

    def put(self, number: int) -> None:
        self.node = Node(self.np_random)
        self.own = getattr(self, "own", None) or np.random.default_rng(3)
        self.also = [self.own]
        self.number = int(self.node.owner.integers(1000) + self.also[0].integers(1000))

    def get(self) -> int:
        return self.number


class InSpawned(Hidden):
    def put(self, number: int) -> None:
        self.number = int(self.np_random.spawn(1)[0].integers(1000))

    def get(self) -> int:
        return self.number


EMPTY = object()
WALL = Node("wall")
TILES = [Node("grass"), Node("water")]


class InIdentity(Hidden):
    """What is in its cells is compared by ``is``."""

    def put(self, number: int) -> None:
        self.cells = [EMPTY, WALL, *TILES][number % 4 :]

    def get(self) -> int:
        found = [EMPTY, WALL, *TILES]
        return next((i for i, each in enumerate(found) if self.cells[0] is each), 50)


class Forgetful:
    """Its pickle leaves out what it takes for a cache."""

    def __init__(self) -> None:
        self.number = 0

    def __getstate__(self) -> Any:
        return {key: value for key, value in vars(self).items() if key != "number"}

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state, number=0)


class InForgetful(Hidden):
    thing: type = Forgetful

    def make(self) -> None:
        self.held = self.thing()

    def put(self, number: int) -> None:
        self.held.number = number

    def get(self) -> int:
        return int(self.held.number)


class Rebuilt:
    """Its pickle makes a new one."""

    number = 0

    def __reduce__(self) -> Any:
        return Rebuilt, ()


class InRebuilt(InForgetful):
    thing = Rebuilt


class Constructed(gym.utils.EzPickle):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0


class InConstructed(InForgetful):
    thing = Constructed


class Single:
    """There is only one."""

    number = 0
    held: ClassVar[Any] = None

    def __new__(cls) -> Any:
        if cls.held is None:
            cls.held = super().__new__(cls)
        return cls.held


class InSingle(InForgetful):
    thing = Single


class WithSlots:
    __slots__ = ("__dict__", "number")

    def __init__(self) -> None:
        self.number = 0


class InObjectWithSlots(InForgetful):
    thing = WithSlots


class InWeakref(Hidden):
    def make(self) -> None:
        self.node = Node(None)
        self.link = weakref.ref(self.node)

    def put(self, number: int) -> None:
        self.node.number = number

    def get(self) -> int:
        held = self.link()
        return held.number if held is not None else -1


class InThread(Hidden):
    def make(self) -> None:
        self.wanted: list[int] = [0]
        self.lock = threading.Lock()

    def put(self, number: int) -> None:
        worker = threading.Thread(target=self.wanted.__setitem__, args=(0, number))
        worker.start()
        worker.join()

    def get(self) -> int:
        with self.lock:
            return self.wanted[0]


class InDatabase(Hidden):
    def make(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.database.execute("create table held (number)")

    def put(self, number: int) -> None:
        self.database.execute("delete from held")
        self.database.execute("insert into held values (?)", (number,))

    def get(self) -> int:
        return int(self.database.execute("select number from held").fetchone()[0])


class InOpenFile(Hidden):
    def make(self) -> None:
        self.file = tempfile.TemporaryFile("w+")  # noqa: SIM115

    def put(self, number: int) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.file.write(str(number))

    def get(self) -> int:
        self.file.seek(0)
        return int(self.file.read())


class IsDict(Hidden, dict):  # type: ignore[type-arg]
    """An environment that is a dict itself."""

    __hash__ = object.__hash__

    def put(self, number: int) -> None:
        self["number"] = number

    def get(self) -> int:
        return int(self["number"])


class InError(Hidden):
    def put(self, number: int) -> None:
        self.error = ValueError("number", number)
        self.error.detail = [number]  # type: ignore[attr-defined]

    def get(self) -> int:
        return self.error.args[1] + self.error.detail[0]  # type: ignore[attr-defined]


class InModule(Hidden):
    def make(self) -> None:
        self.tool = types.ModuleType("made")

    def put(self, number: int) -> None:
        self.tool.number = number  # type: ignore[attr-defined]

    def get(self) -> int:
        return int(self.tool.number)  # type: ignore[attr-defined]


# --- environments in environments -----------------------------------------------------------------


class InnerWorld(gym.Env[Any, Any]):
    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)
    number = 0


class InInnerEnvironment(Hidden):
    """An adapter with an environment in an attribute that no wrapper has."""

    def make(self) -> None:
        self.simulator = InnerWorld()

    def put(self, number: int) -> None:
        self.simulator.number = number

    def get(self) -> int:
        return self.simulator.number


class InWrappedEnvironment(InInnerEnvironment):
    """An adapter with an environment in the attribute of wrappers."""

    def make(self) -> None:
        self.env = self.simulator = InnerWorld()


class InOtherEnvironments(InInnerEnvironment):
    """It changes the environment in it for another."""

    def make(self) -> None:
        self.worlds = [InnerWorld(), InnerWorld(), InnerWorld()]

    def put(self, number: int) -> None:
        self.env = self.simulator = self.worlds[number % 3]
        self.env.number = number


class Suite:
    """A simulator in the manner of dm_control: ``physics``, ``task``, time steps."""

    class Physics:
        def __init__(self) -> None:
            self.data = types.SimpleNamespace(qpos=np.zeros(2), time=0.0)

        def step(self, control: float) -> None:
            self.data.qpos += (control, self.data.time)
            self.data.time += 0.25

    def __init__(self) -> None:
        self.physics = self.Physics()
        self.random = np.random.RandomState(4)

    def step(self, action: int) -> int:
        self.physics.step(action + self.random.uniform())
        return int(self.physics.data.qpos.sum() * 1000)


class InSuite(Hidden):
    times = TIMES

    def make(self) -> None:
        self.env, self.number = Suite(), 0

    def put(self, number: int) -> None:
        self.number = self.env.step(number % 3)

    def get(self) -> int:
        return self.number


class InSimulation(Hidden, needs="simpy"):
    """Processes of SimPy, which are generators."""

    times = TIMES

    def make(self) -> None:
        import simpy

        self.env = simpy.Environment()
        self.store = simpy.Container(self.env, 1000)
        self.env.process(self.produce())

    def produce(self) -> Any:
        while True:
            yield self.env.timeout(1)
            yield self.store.put(2)

    def put(self, number: int) -> None:
        self.env.run(until=self.env.now + 1 + number % 3)

    def get(self) -> int:
        return int(self.store.level + 10 * self.env.now)


class InRect(Hidden, needs="pygame"):
    times = TIMES

    def make(self) -> None:
        import pygame

        self.rect, self.speed = pygame.Rect(0, 0, 2, 2), pygame.Vector2(0, 0)

    def put(self, number: int) -> None:
        self.rect.x, self.speed.x = number, number / 2

    def get(self) -> int:
        return int(self.rect.x + self.speed.x)


class InSurface(Hidden, needs="pygame"):
    def make(self) -> None:
        import pygame

        self.screen = pygame.Surface((4, 4))

    def put(self, number: int) -> None:
        self.screen.set_at((1, 1), (number % 256, 0, 0))

    def get(self) -> int:
        return int(self.screen.get_at((1, 1))[0])


class InMask(Hidden, needs="pygame"):
    def make(self) -> None:
        import pygame

        self.clock = pygame.time.Clock()
        self.mask = pygame.mask.Mask((100, 100))

    def put(self, number: int) -> None:
        self.mask.clear()
        self.mask.set_at((number % 100, number // 100))

    def get(self) -> int:
        x, y = next((x, y) for x in range(100) for y in range(100) if self.mask.get_at((x, y)))
        return x + 100 * y


class InTensors(Hidden, needs="torch"):
    def make(self) -> None:
        import torch

        self.tensor = torch.zeros(4)
        self.part = self.tensor[1:]
        self.array = self.tensor.numpy()

    def put(self, number: int) -> None:
        self.tensor[2] = number

    def get(self) -> int:
        return int(self.part[1]) + int(self.array[2])


class InNetwork(Hidden, needs="torch"):
    def make(self) -> None:
        import torch

        self.network = torch.nn.Linear(1, 1)
        self.numbers = torch.Generator().manual_seed(3)

    def put(self, number: int) -> None:
        import torch

        with torch.no_grad():
            self.network.bias[0] = float(torch.randint(1000, (), generator=self.numbers)) + number

    def get(self) -> int:
        return int(self.network.bias[0])


# --- wrappers -------------------------------------------------------------------------------------


class Shown(Hidden):
    """Hides nothing: it is for wrappers that do."""

    times = ("step",)

    def put(self, number: int) -> None:
        self.number = number

    def get(self) -> int:
        return self.number


class _Wrapping(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps a number as ``Hidden`` does, and adds it to the reward."""

    times: tuple[str, ...] = ("step", "late", "episodes")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        HIDING[cls.__name__] = cls  # type: ignore[assignment]

    def __init__(self, env: Any, when: str = "step") -> None:
        super().__init__(env)
        self.when, self.count = when, 0
        self.make()
        self.put(1)

    def make(self) -> None:
        """Make what the number is kept in."""

    def put(self, number: int) -> None:
        raise NotImplementedError

    def get(self) -> int:
        raise NotImplementedError

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        self.count += 1
        if {"late": self.count % 9 == 0, "episodes": self.count > 26}.get(self.when, True):
            self.put((self.get() * 3 + int(action) + 1) % 9973)
        return observation, float(reward) + self.get(), *rest


class WrapperWithGame(_Wrapping):
    def make(self) -> None:
        self.envs, self.spec_held = [Game()], Game()

    def put(self, number: int) -> None:
        self.envs[0].pos = self.spec_held.pos = number

    def get(self) -> int:
        return self.envs[0].pos + self.spec_held.pos


class WrapperWithMetadata(_Wrapping):
    def put(self, number: int) -> None:
        self.metadata = {"number": number}

    def get(self) -> int:
        return int(self.metadata["number"])


class WrapperWithKeptArguments(_Wrapping, gym.utils.RecordConstructorArgs):
    """Changes what Gymnasium keeps of its construction."""

    def make(self) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, when=self.when)

    def put(self, number: int) -> None:
        self.held = {**self._saved_kwargs, "number": number}
        self._cached_spec = self._cached_spec

    def get(self) -> int:
        return int(self.held["number"])


class WrapperWithLambda(_Wrapping):
    """Like TransformReward, with a function that counts."""

    def make(self) -> None:
        counted = [0]
        self.func, self.tell = lambda: counted[0], counted.__setitem__

    def put(self, number: int) -> None:
        self.tell(0, number)

    def get(self) -> int:
        return self.func()


class WrapperOfTwo(_Wrapping):
    """Steps a second environment beside the first."""

    def make(self) -> None:
        self.shadow = InnerWorld()

    def put(self, number: int) -> None:
        self.shadow.number = number

    def get(self) -> int:
        return self.shadow.number


class WrapperThatReplaces(_Wrapping):
    """Puts another environment into itself, as a curriculum does."""

    def make(self) -> None:
        self.levels = [self.env, Shown(), Shown()]
        for level in self.levels[1:]:
            level.reset(seed=4)

    def put(self, number: int) -> None:
        self.number = number
        if self.count in (15, 30):
            self.env = self.levels[self.count // 15]

    def get(self) -> int:
        return self.number


class WrapperOfTheClass(_Wrapping):
    held: ClassVar[Any] = {"number": 0}

    def put(self, number: int) -> None:
        self.held["number"] = number

    def get(self) -> int:
        return int(self.held["number"])


for _name, _class in HIDING.items():
    if issubclass(_class, gym.Env) and not issubclass(_class, gym.Wrapper):
        gym.register(f"nasty/{_name}-v0", f"{__name__}:{_name}")


CASES = [(name, when) for name, kind in HIDING.items() for when in kind.times]
"""All environments: a class, and when its number changes."""
