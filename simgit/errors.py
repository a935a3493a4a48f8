"""The error tree: one branch for each thing that a handler would do differently.

The attributes carry the data and the message is built from them, in git's manner: lower case,
no full stop, what went wrong first, the subject in single quotes.
Every error survives pickling, so that worker processes can raise it across their border.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def shown(value: object) -> str:
    """Return a value as a message shows it: short, whatever it is."""
    try:
        text = repr(value.item() if getattr(value, "shape", None) == () else value)  # type: ignore[attr-defined]
    except Exception:  # an integer of thousands of digits, or what the value's own class raises
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def reason(error: OSError) -> str:
    """Return what the operating system says, as a message continues with it."""
    return (error.strerror or str(error)).lower()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'status'?`` for the nearest known word; '' if none is near."""
    near = nearest(word, known)
    return "" if near is None else f"; did you mean '{near}'?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that somebody meant who typed another, or None.

    Near is a word that takes at most one change for three letters, capitals aside; that begins with
    what was typed; or that is a longer name with it as its last part (``lr`` of ``agent.lr``).
    """
    if len(word) < 2:
        return None
    found, best = None, len(word) + 1
    for each in known:
        changes = _changes(word.lower(), each.lower(), max(1, len(word) // 3))
        if changes is None and (each.startswith(word) or each.endswith((f".{word}", f"/{word}"))):
            changes = len(word)
        if changes is not None and changes < best:
            found, best = each, changes
    return found


def _changes(a: str, b: str, most: int) -> int | None:
    """Return how many letters were changed, missing, added or swapped; None if more than ``most``.

    This is the optimal string alignment distance.
    """
    if abs(len(a) - len(b)) > most:
        return None
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, above, row = row, before, [i]
        for j, y in enumerate(b, 1):
            steps = [before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)]
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                steps.append(above[j - 2] + 1)
            row.append(min(steps))
    return row[-1] if row[-1] <= most else None


class SimgitError(Exception):
    """Base of every error that simgit raises on purpose."""

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.__dict__.update(data)

    def __str__(self) -> str:
        """Return the bare message (a KeyError would print it in quotes)."""
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the message, then put the attributes back."""
        return _rebuild, (type(self), self.message, self.__dict__)


def _rebuild(cls: type[SimgitError], message: str, data: dict[str, Any]) -> SimgitError:
    error = cls.__new__(cls, message)
    Exception.__init__(error, message)
    error.__dict__.update(data)
    return error


class NotFound(SimgitError, KeyError):
    """What was named does not exist."""


class AlreadyExists(SimgitError):
    """What was to be created exists already."""


class InvalidInput(SimgitError, ValueError):
    """The caller's value has no defined meaning or encoding; ``path`` names the place inside it."""


class Conflict(SimgitError):
    """A ref moved since it was read, or local changes (``files``) would be overwritten."""


class IntegrityError(SimgitError):
    """Bytes that were read do not match their checksum, their name or their format."""


class FormatError(SimgitError):
    """The repository was written by a newer version of simgit."""


class StorageError(SimgitError):
    """The storage failed: full, locked, read-only, or an I/O error."""


class StorageFullError(StorageError):
    """There is no space left; what was there can be read, and gc makes room."""


class Divergence(SimgitError):
    """A replay differs from what was recorded; ``step`` and ``field`` say where."""


class ClusterError(SimgitError):
    """A cluster is unreachable, failed or timed out."""


class SimgitWarning(UserWarning):
    """Base of every warning that simgit gives."""


class EnvironmentChanged(SimgitWarning):
    """A package has another version than it had when a run was recorded."""


class Unverified(SimgitWarning):
    """A run was branched of which it is not known that its environment can be taken up exactly."""
