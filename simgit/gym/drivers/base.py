"""What every driver offers, and what an engine adds for environments of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from simgit.errors import InvalidInput

VERSION: Final = 1
"""The version of the form of snapshots."""
Snapshot = dict[str, Any]
Where = Literal["any", "end", "root", "never"]


class CannotSnapshot(InvalidInput):
    """Something in an environment cannot be taken out: another driver has to serve it."""


class Driver:
    """Takes snapshots of an environment with all its wrappers, and puts them back.

    Attributes:
        name: what is stored with each snapshot.
        needs_trust: whether its snapshots hold pickles, which run code when they are loaded.
        where: at which states a snapshot is of use: at any, only at those that end an episode and
            the root, only at the root, or never.
        lead: so many steps before a snapshot an earlier one has to be restored, and the actions
            between be executed again, for the restore to be exact; 0 for a snapshot that is
            complete by itself. The state of a reset never needs one.
    """

    name: str = "none"
    needs_trust: bool = False
    where: Where = "never"
    lead: int = 0

    def snapshot(self, env: Any) -> Snapshot | None:
        """Return the state of an environment as nested plain data of its own, None if none.

        The environment is only looked at. ``env`` may be wrapped.

        Raises:
            CannotSnapshot: some part of it has no form that could be stored.
        """
        return None

    def restore(self, env: Any, data: Mapping[str, Any]) -> None:
        """Put an environment that was made in the same way into the state of a snapshot.

        With ``where == "end"`` that is the state before the next reset. The snapshot may be as it
        was made or as it is stored (see ``packing``).

        Raises:
            InvalidInput: the snapshot is of another driver, or of another environment.
        """
        raise InvalidInput(f"driver '{self.name}' has no snapshots", driver=self.name)

    def reseed(self, env: Any, seed: int | None = None) -> None:
        """Give the environment new random numbers; its state stays.

        Args:
            env: the environment.
            seed: for the same numbers again; None for fresh ones.
        """
        from simgit.gym.drivers import randomness

        randomness.reseed(env, seed)


class Engine:
    """What lies outside the attributes of an unwrapped environment, in a library's own form.

    Attributes:
        name: the driver's name.
        owned: attributes that this engine takes care of, or that hold its objects.
        lead: see ``Driver``.
    """

    name: ClassVar[str] = "generic"
    owned: ClassVar[frozenset[str]] = frozenset()
    has_attributes: ClassVar[bool] = True
    """Whether the attributes that are not ``owned`` are part of the state."""

    def accepts(self, core: Any) -> bool:
        """Return whether this engine serves an unwrapped environment."""
        raise NotImplementedError

    def lead(self, core: Any) -> int:
        """Return how many steps before a snapshot an earlier one is needed; see ``Driver``."""
        return 0

    def capture(self, core: Any) -> Any:
        """Return what is not in the attributes, as nested plain data; a copy."""
        return None

    def apply(self, core: Any, data: Any) -> None:
        """Put it back."""

    def reseed(self, core: Any, seed: int) -> None:
        """Give random numbers of the library's own a new seed."""


def needs_trust(data: Mapping[str, Any]) -> bool:
    """Return whether loading a snapshot would run a pickle."""
    return data.get("form") == "pickle"
