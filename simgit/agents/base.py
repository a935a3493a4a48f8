"""The interface of an agent: five methods, and a checkpoint of plain data that holds all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, SimgitError, near_or_known, shown

Vector = npt.NDArray[np.float32]
"""An observation: shape (size,), finite."""
Checkpoint = dict[str, Any]
"""Nested dicts and lists of plain values and arrays: it can be stored, compared and sent."""
S = TypeVar("S")


@runtime_checkable
class Agent(Protocol):
    """Chooses actions by number, and may learn from the results.

    The loop calls ``act``, steps the environment, then ``observe``, then ``update``. Equal seeds
    and equal observations give equal actions; ``load`` of ``state`` continues exactly, at any step
    of an episode.
    """

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, plain values."""

    def act(self, observation: Vector, *, explore: bool) -> int:
        """Return an action's number; without exploring the agent does not change."""

    def observe(
        self,
        observation: Vector,
        action: int,
        reward: float,
        next_observation: Vector,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Take in one step. Only ``terminated`` means that no more reward can follow."""

    def update(self) -> dict[str, float]:
        """Learn from the observed steps; return metrics by name."""

    def state(self) -> Checkpoint:
        """Return a complete checkpoint, independent of later changes of the agent."""

    def load(self, data: Mapping[str, Any]) -> None:
        """Load a checkpoint; the agent keeps its own settings.

        Raises:
            InvalidInput: the checkpoint is of another kind of agent, or of other shapes.
        """


def build(settings: type[S], given: Mapping[str, Any]) -> S:
    """Build a dataclass of settings from plain values.

    Raises:
        InvalidInput: a setting is unknown, or its type differs from the default's.
    """
    known = {field.name: field.default for field in fields(settings)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in known:
            near = near_or_known(name, known)
            raise InvalidInput(f"unknown setting '{name}'{near}", path=name)
        if not _alike(value, known[name]):
            raise InvalidInput(
                f"setting '{name}' must be like its default {known[name]!r}, got {shown(value)}",
                path=name,
            )
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
    """Raise InvalidInput for a setting out of its range."""
    if not low <= value <= high:
        least = f"from {low:g} to {high:g}" if high != float("inf") else f"at least {low:g}"
        raise InvalidInput(f"setting '{name}' must be {least}, got {value:g}", path=name)


def check_kind(data: Mapping[str, Any], kind: str, version: int, **shape: int) -> None:
    """Check kind, version and shape of a checkpoint; InvalidInput if they differ."""
    if data.get("kind") != kind:
        raise InvalidInput(f"the checkpoint is of agent '{data.get('kind')}', not of '{kind}'")
    if data.get("version") != version:
        raise InvalidInput(
            f"the version of a checkpoint of '{kind}' must be {version}, "
            f"got '{data.get('version')}'"
        )
    for name, size in shape.items():
        if data.get(name) != size:
            what = name.replace("_", " ")
            raise InvalidInput(
                f"the checkpoint has {what} {data.get(name)}, this agent {size}", path=name
            )


def check_settings(data: Mapping[str, Any], own: Mapping[str, Any], *names: str) -> None:
    """Check that a checkpoint has the agent's settings of a shape; InvalidInput if one differs."""
    for name in names:
        theirs = data["settings"].get(name, own[name])
        if theirs != own[name]:
            raise InvalidInput(
                f"the checkpoint has setting '{name}' {shown(theirs)}, this agent {own[name]}",
                path=name,
            )


@contextmanager
def loading(kind: str) -> Iterator[None]:
    """Turn errors while a checkpoint is loaded into InvalidInput."""
    try:
        yield
    except SimgitError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"malformed checkpoint of '{kind}': {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message."""
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def generator(seed: int, stream: int) -> np.random.Generator:
    """Return one of an agent's independent random generators."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, stream])))


def rng_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state of a random generator as plain data."""
    return dict(rng.bit_generator.state)


def set_rng(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Set the state of a random generator; InvalidInput if it is malformed."""
    try:
        rng.bit_generator.state = dict(state)
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInput(f"malformed state of a random generator: {error}", path="rng") from None
