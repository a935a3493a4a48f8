"""Recordings here are checked only where a test asks for it."""

from tests.support.unchecked import checked, unchecked, without_torch

__all__ = ["checked", "unchecked", "without_torch"]
