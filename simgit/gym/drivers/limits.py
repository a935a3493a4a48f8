"""The errors of a driver that cannot serve an environment."""

from __future__ import annotations

from simgit.errors import InvalidInput


class NotPlain(Exception):
    """A value has no plain form."""


class CannotSnapshot(InvalidInput):
    """Some state of an environment cannot be captured: another driver has to serve it."""


class CannotRestore(InvalidInput):
    """A snapshot refers to what the environment, or this process, does not have.

    Another snapshot, or re-execution, has to serve.
    """
