"""The golden repositories are recorded without the process that checks a recording."""

from tests.support.unchecked import checked, unchecked

__all__ = ["checked", "unchecked"]
