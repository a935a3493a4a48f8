"""Live clusters of this user: which ones may be written to, and what was left on them.

Both are kept in the user's own configuration, not in a repository: a copy of one would bring
permission to write to the cluster of whoever opens it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from simgit.kube.live import opened
from simgit.storage.allowed_clusters import check_allowed
from simgit.storage.trust import config_directory

_LEFTOVERS: Final = "live-leftovers"


def leftovers() -> Path | None:
    """Return the file that names what is left on clusters; None without a configuration."""
    directory = config_directory()
    return None if directory is None else directory / _LEFTOVERS


def prepare() -> None:
    """Let drivers be opened, for clusters that this user allowed."""
    opened.prepare(check_allowed, leftovers())
