"""What an agent is: five methods, and a checkpoint of plain data that holds all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, SimgitError

Vector = npt.NDArray[np.float32]
"""An observation: shape (size,), finite."""
Checkpoint = dict[str, Any]
"""Nested dicts and lists of plain values and arrays: it can be stored, compared and sent."""
S = TypeVar("S")


@runtime_checkable
class Agent(Protocol):
    """Chooses actions by number, and may learn from what comes of them.

    The loop calls ``act``, steps the environment, then ``observe``, then ``update``. Equal seeds
    and equal observations give equal actions; ``load`` of ``state`` goes on exactly, wherever in
    an episode that was.
    """

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, plain values."""

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return an action's number; without exploring nothing in the agent changes."""

    def observe(
        self,
        observation: Vector,
        action: int,
        reward: float,
        next_observation: Vector,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Take in one step. Only ``terminated`` means that nothing is to be had any more."""

    def update(self) -> dict[str, float]:
        """Learn from what was taken in; return what there is to say about it, by name."""

    def state(self) -> Checkpoint:
        """Return a complete checkpoint; later changes of the agent do not reach it."""

    def load(self, data: Mapping[str, Any]) -> None:
        """Become the agent of a checkpoint, with the settings that this one was made with.

        Raises:
            InvalidInput: it is of another kind of agent, or of other shapes.
        """


def build(settings: type[S], given: Mapping[str, Any]) -> S:
    """Build a dataclass of settings from plain values.

    Raises:
        InvalidInput: a setting is unknown, or of another type than its default.
    """
    known = {field.name: field.default for field in fields(settings)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in known:
            raise InvalidInput(f"no setting '{name}' (there are: {', '.join(known)})", path=name)
        if not _alike(value, known[name]):
            raise InvalidInput(f"bad {name} '{value}', expected as in '{known[name]}'", path=name)
    return settings(**{n: tuple(v) if isinstance(v, list) else v for n, v in given.items()})


def _alike(value: Any, default: Any) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float)) and value == value and abs(value) != float("inf")
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and all(type(v) is int and v > 0 for v in value)
    return isinstance(value, type(default))


def plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as plain values, tuples as lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}


def check(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise InvalidInput for a setting that is out of its range."""
    if not low <= value <= high:
        most = f" to {high:g}" if high != float("inf") else " or more"
        raise InvalidInput(f"bad {name} '{value:g}', expected {low:g}{most}", path=name)


def check_kind(data: Mapping[str, Any], kind: str, version: int, **shape: int) -> None:
    """Check that a checkpoint is of this kind of agent, version and shape; else InvalidInput."""
    if data.get("kind") != kind:
        raise InvalidInput(f"a checkpoint of '{data.get('kind')}' is none of '{kind}'")
    if data.get("version") != version:
        raise InvalidInput(f"unknown version '{data.get('version')}' of a checkpoint of '{kind}'")
    for name, size in shape.items():
        if data.get(name) != size:
            what = name.replace("_", " ")
            raise InvalidInput(f"the checkpoint has {what} {data.get(name)}, not {size}", path=name)


@contextmanager
def loading(kind: str) -> Iterator[None]:
    """Tell what is wrong with a checkpoint that is gone through, as InvalidInput."""
    try:
        yield
    except SimgitError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"bad checkpoint of '{kind}': {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the beginning of what an exception says."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def generator(seed: int, stream: int) -> np.random.Generator:
    """Return one of an agent's independent streams of random numbers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return where a generator stands, as plain data."""
    return dict(rng.bit_generator.state)


def set_rng(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Put a generator where another one stood; InvalidInput if it is no such state."""
    try:
        rng.bit_generator.state = dict(state)
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInput(f"bad state of a random generator: {error}", path="rng") from None
