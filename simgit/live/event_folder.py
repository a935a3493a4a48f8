"""TensorBoard's event files that somebody writes while a simulation runs, as states of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from simgit.datasets.event_files import EventFile, LoggedMedia, LoggedPoint, SessionStart
from simgit.datasets.formats.tensorboard import event_files
from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.refs.attachments import check_attachment
from simgit.repository import Repository

Logged = LoggedPoint | LoggedMedia
LAST: Final = "event-steps"
"""The attachment that says up to which global step each tag was recorded."""


class EventFolder:
    """The event files of a folder and of those below it, read as far as they are written."""

    def __init__(self, folder: Path, since: float) -> None:
        """Read nothing yet; files that were written last before a time are left out."""
        self._folder = folder
        self._since = since
        self._files: dict[Path, EventFile] = {}
        self._plugins: dict[Path, dict[str, str]] = {}
        self._media: list[LoggedMedia] = []

    def read(self) -> list[Logged]:
        """Return what has come since, in the order of the files."""
        found: list[Logged] = []
        for path in sorted(event_files(self._folder)):
            with suppress(OSError, IntegrityError):  # it is not an event file yet, or not any more
                file = self._files.get(path)
                if file is None and path.stat().st_mtime < self._since:
                    continue
                if file is None or not file.is_same():
                    plugins = self._plugins.setdefault(path.parent, {})
                    file = self._files[path] = EventFile(path, plugins, self._media)
                # a restart says nothing here: what it discards was recorded already
                found += [each for each in file.points() if not isinstance(each, SessionStart)]
            found += self._media
            self._media.clear()
        return found


class MetricsOfEvents:
    """The states of a metrics run that are made of what was logged, one for each global step."""

    def __init__(self, repo: Repository, run: str, recorder: Any) -> None:
        """Find what is recorded already."""
        self._recorder = recorder
        self._last: dict[str, int] = {}
        self._waiting: dict[int, list[Logged]] = {}
        newest = repo.history_attachments(run, LAST) if repo.runs[run].oid else []
        with suppress(NotFound, AttributeError, TypeError, ValueError):
            for each in newest[:1]:
                kept = repo.attachment(each.state, each.name)
                self._last = {str(tag): int(step) for tag, step in kept.items()}

    def record(self, news: Iterable[Logged], step: int) -> None:
        """Record all global steps but the greatest, of which more may come.

        Args:
            news: what was logged.
            step: the newest step of the simulation's run.
        """
        for each in news:
            if each.step > self._last.get(each.tag, -1):
                self._waiting.setdefault(each.step, []).append(each)
        self._append(sorted(self._waiting)[:-1], step)

    def finish(self, step: int) -> None:
        """Record the greatest global step too."""
        self._append(sorted(self._waiting), step)

    def _append(self, steps: list[int], step: int) -> None:
        for number in steps:
            logged = self._waiting.pop(number)
            points = {each.tag: each.value for each in logged if isinstance(each, LoggedPoint)}
            times = [each.time for each in logged if each.time == each.time]
            info = {**_nested(points), "global_step": number, "step": step}
            self._recorder.append(info={**info, "time": max(times)} if times else info)
            for each in logged:
                if isinstance(each, LoggedMedia):
                    self._recorder.attach(_attachment(each), each.data)
                self._last[each.tag] = max(number, self._last.get(each.tag, -1))
        if steps:
            self._recorder.attach(LAST, dict(self._last))


def _attachment(media: LoggedMedia) -> str:
    """Return the name of an attachment: the tag with dots, quoted if that is no name."""
    name = media.tag.replace("/", ".") + media.suffix
    try:
        check_attachment(name)
    except InvalidInput:
        return quote(media.tag, safe="") + media.suffix
    return name


def _nested(points: Mapping[str, float]) -> dict[str, Any]:
    """Return numbers by the parts of their tags; those that contradict others by whole tags."""
    found: dict[str, Any] = {}
    for tag, value in points.items():
        *above, last = tag.split("/")
        place: Any = found
        for part in above:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if isinstance(place, dict) and not isinstance(place.get(last), dict):
            place[last] = value
        else:
            found[tag] = value
    return found
