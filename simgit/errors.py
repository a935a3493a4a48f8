"""The error tree: one branch for each thing that a handler would do differently.

The attributes carry the data and the message is built from them, in git's manner: lower case,
no full stop, what went wrong first, the subject in single quotes.
Every error survives pickling, so that worker processes can raise it across their border.
"""

from __future__ import annotations

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
