"""Locations of states."""

from __future__ import annotations

from typing import Final, NamedTuple

LIMIT: Final = 1 << 62
"""No step, generation, episode, depth or number of a line is as great: what is has been forged."""


class Location(NamedTuple):
    """The location of a state: its line, and its step."""

    line: int
    step: int
