"""Recordings here are checked only where a test asks for it."""

from tests.support.unchecked import checked, unchecked

__all__ = ["checked", "unchecked"]
