"""The interfaces of a snapshot driver, and of an engine for one kind of environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from simgit.errors import InvalidInput

VERSION: Final = 2
"""The version of the format of snapshots. (Version 1 left attributes out by their names.)"""
READABLE: Final = (1, 2)
Snapshot = dict[str, Any]
Where = Literal["any", "end", "root", "never"]


class Driver:
    """Takes snapshots of an environment with all its wrappers, and puts them back.

    Attributes:
        name: the name stored with each snapshot.
        needs_trust: True if its snapshots hold pickles, which run code when they are loaded.
        where: the states at which a snapshot is of use: any, only those that end an episode and
            the root, only the root, or none.
        lead: the number of steps that have to be re-executed, from an earlier snapshot, before
            the snapshot is restored; 0 for a snapshot that is complete by itself. The state of
            a reset never needs a lead.
    """

    name: str = "none"
    needs_trust: bool = False
    where: Where = "never"
    lead: int = 0

    def snapshot(self, env: Any) -> Snapshot | None:
        """Return the state of an environment as nested plain data, a copy; None without one.

        The environment is not changed. ``env`` may be wrapped.

        Raises:
            CannotSnapshot: some part of it cannot be stored.
        """
        return None

    def restore(self, env: Any, data: Mapping[str, Any]) -> None:
        """Put an environment that was made in the same way into the state of a snapshot.

        With ``where == "end"`` that is the state before the next reset. The snapshot may be in its
        stored form (see ``stored_form``).

        Raises:
            InvalidInput: the snapshot is of another driver, or of another environment.
        """
        raise InvalidInput(f"driver '{self.name}' has no snapshots", driver=self.name)

    def reseed(self, env: Any, seed: int | None = None) -> None:
        """Reseed the random generators of an environment; its other state is kept.

        Args:
            env: the environment.
            seed: the seed; None for a fresh one.
        """
        from simgit.gym.drivers import randomness

        randomness.reseed(env, seed)


class Engine:
    """Captures state outside the attributes of an unwrapped environment, in a library's own form.

    Attributes:
        name: the driver's name.
        owned: attributes that this engine captures, or that hold its objects.
        lead: see ``Driver``.
    """

    name: ClassVar[str] = "generic"
    owned: ClassVar[frozenset[str]] = frozenset()
    has_attributes: ClassVar[bool] = True
    """True if the attributes that are not ``owned`` are part of the state."""

    def accepts(self, core: Any) -> bool:
        """Return True if this engine serves an unwrapped environment."""
        raise NotImplementedError

    def lead(self, core: Any) -> int:
        """Return the number of steps to re-execute before a snapshot; see ``Driver``."""
        return 0

    def capture(self, core: Any) -> Any:
        """Return the state outside the attributes as nested plain data, a copy."""
        return None

    def apply(self, core: Any, data: Any) -> None:
        """Put that state back."""

    def reseed(self, core: Any, seed: int) -> None:
        """Reseed the library's own random generators."""


def needs_trust(data: Mapping[str, Any]) -> bool:
    """Return True if loading a snapshot would run a pickle."""
    return data.get("form") == "pickle"
