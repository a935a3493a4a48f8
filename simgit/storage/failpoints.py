"""Named points at which a test can end, fail or delay the process.

``simgit.testing.failpoints`` arms them. Every path that changes something has one for each
transaction, ref, segment or file, never for each state. Passing one that is not armed costs a call
and a comparison.
"""

from __future__ import annotations

from collections.abc import Callable

_hook: Callable[[str], None] | None = None


def fail_point(name: str) -> None:
    """Call the hook of a test, if one is set."""
    if _hook is not None:
        _hook(name)


def set_hook(hook: Callable[[str], None] | None) -> None:
    """Set the function to call with the name of every point that is passed; None for none."""
    global _hook
    _hook = hook
