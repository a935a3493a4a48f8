"""Locations of states."""

from __future__ import annotations

from typing import NamedTuple


class Location(NamedTuple):
    """The location of a state: its line, and its step."""

    line: int
    step: int
