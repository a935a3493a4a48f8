"""A registry of named functions: actions, rewards, state vectors, scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from simgit.errors import AlreadyExists, NotFound, near_or_known

F = TypeVar("F", bound=Callable[..., object])


class Registry(Generic[F]):
    """Functions by name, in the order in which they were registered."""

    def __init__(self, what: str) -> None:
        """Start empty; ``what`` is the noun for errors: 'action', 'reward'."""
        self._what = what
        self._functions: dict[str, F] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Return a decorator that registers a function; raises AlreadyExists for a taken name."""

        def add(function: F) -> F:
            if name in self._functions:
                raise AlreadyExists(f"{self._what} '{name}' is already registered")
            self._functions[name] = function
            return function

        return add

    def get(self, name: str) -> F:
        """Return a function by name; raises NotFound, which names the nearest, or all."""
        if name not in self._functions:
            raise NotFound(f"no {self._what} '{name}'{near_or_known(name, self._functions)}")
        return self._functions[name]

    def names(self) -> tuple[str, ...]:
        """Return all names in order."""
        return tuple(self._functions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)
