"""Named functions that grow by one decorator: actions, rewards, state vectors, scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from simgit.errors import AlreadyExists, NotFound

F = TypeVar("F", bound=Callable[..., object])


class Registry(Generic[F]):
    """Functions by name, in the order in which they were registered."""

    def __init__(self, what: str) -> None:
        """``what`` is the noun that errors use: 'action', 'reward'."""
        self._what = what
        self._functions: dict[str, F] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Decorate a function to be found under the name; AlreadyExists if it is taken."""

        def add(function: F) -> F:
            if name in self._functions:
                raise AlreadyExists(f"{self._what} '{name}' is registered already")
            self._functions[name] = function
            return function

        return add

    def get(self, name: str) -> F:
        """Return the function; NotFound names those that exist."""
        if name not in self._functions:
            known = ", ".join(self._functions)
            raise NotFound(f"no {self._what} '{name}' (there are: {known})")
        return self._functions[name]

    def names(self) -> tuple[str, ...]:
        """Return all names in order."""
        return tuple(self._functions)

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)
