"""Where a state lies."""

from __future__ import annotations

from typing import NamedTuple


class Location(NamedTuple):
    """Where a state lies: its line, and its step."""

    line: int
    step: int
