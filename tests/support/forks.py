"""Other processes that need not import anything anew."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_a_fork(act: Callable[[], object]) -> int:
    """Do something in a forked child, which then ends as usual; return its exit code."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
