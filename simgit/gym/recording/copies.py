"""Copies of a recording environment: they are of the environment alone."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any

from simgit.errors import InvalidInput


class CopiesEnvironment:
    """A wrapper of whose copies nothing is recorded, and that is not pickled."""

    def __copy__(self) -> Any:
        """Return a copy of the environment alone: what happens in it is not recorded."""
        return copy(self.env)  # type: ignore[attr-defined]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return a copy of the environment alone: what happens in it is not recorded."""
        return deepcopy(self.env, memo)  # type: ignore[attr-defined]

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"a {type(self).__name__} cannot be pickled: make it in the process that records, from "
            "a path or a Repository"
        )
