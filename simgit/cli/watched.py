"""Commands that record are simulations: people watch, pause and stop them from elsewhere."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from simgit.live.attached import controlled

if TYPE_CHECKING:
    from simgit.cli.app import App
    from simgit.live import Control
    from simgit.repository import Repository


class Watched:
    """A command as a simulation of the run that it records."""

    def __init__(self, app: App, repo: Repository, kind: str, unit: str, tell: Any) -> None:
        """Take what it does: ``kind`` is shown as its type, ``unit`` is what ``tell`` counts."""
        self._repo, self._kind, self._unit, self._tell = repo, kind, unit, tell
        words = ["simgit", *(app.words or sys.argv[1:])]
        self._again = f"start it again with: {shlex.join(words)}"
        self._control: Control | None = None

    def tell(self, done: int, total: int | None) -> None:
        """Show how far it is, here and to whoever looks."""
        self._tell(done, total)
        if self._control is not None:
            self._control.progress(done, total, self._unit)

    @contextmanager
    def recording(self, recorder: Any) -> Iterator[None]:
        """Be one while a ``simgit.gym.Recorder`` records, which looks at each step."""
        with controlled(
            self._repo, recorder.run, recorder, self._kind, again=self._again, looks=True
        ) as self._control:
            yield

    @contextmanager
    def of_run(self, run: str) -> Iterator[Callable[[], None]]:
        """Be one while other processes record; what is returned looks."""
        with controlled(self._repo, run, None, self._kind, again=self._again) as self._control:
            yield (lambda: None) if self._control is None else self._control.check
