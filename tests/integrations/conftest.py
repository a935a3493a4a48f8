from tests.support.unchecked import unchecked  # noqa: F401
