from tests.support.unchecked import checked, unchecked

__all__ = ["checked", "unchecked"]
