"""Named places at which a test can end, fail or delay the process; ``simgit.testing.failpoints``
arms them.

They stand in every path that changes something, once a transaction, ref, segment or file, and
never once a state. Passing one that is not armed is a call and a comparison.
"""

from __future__ import annotations

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def fail_point(name: str) -> None:
    """Do nothing, unless a test wants to know or to interfere."""
    if _hook is not None:
        _hook(name)


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Have a function called with the name of every point that is passed; None ends it."""
    global _hook
    _hook = hook
