"""The demo: a repository that lasts as long as it is served, with a simulation to look at."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from simgit.errors import NotFound
from simgit.live.tracker import Tracker
from simgit.repository import Repository

RUN: Final = "pendulum"
STEPS: Final = 10_000
"""Steps of the demo's simulation: some minutes at its pace, with a question after ten seconds."""
_NEEDED: Final = ("gymnasium", "pygame")
_STOP_SECONDS: Final = 3.0


@contextmanager
def demo() -> Iterator[Repository]:
    """Yield a new repository in a temporary directory, in which a pendulum swings.

    At the end whatever this process has started in it is stopped, and the directory is removed.

    Raises:
        NotFound: Gymnasium's classic control is not installed.
    """
    if any(find_spec(each) is None for each in _NEEDED):
        raise NotFound("the demo needs a pendulum: pip install 'gymnasium[classic-control]'")
    with (
        tempfile.TemporaryDirectory(prefix="simgit-demo-", ignore_cleanup_errors=True) as folder,
        Repository.init(folder) as repo,
    ):
        tracker = Tracker(folder, workers=0)
        try:
            tracker.start("demo", RUN, config={"steps": STEPS}, seed=1, folder=folder)
            yield repo
        finally:
            tracker.close(stop=True, timeout=_STOP_SECONDS)
