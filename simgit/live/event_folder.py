"""TensorBoard's event files that somebody writes while a simulation runs, as states of metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from blake3 import blake3

from simgit.datasets.event_files import EventFile, LoggedMedia, LoggedPoint, SessionStart
from simgit.datasets.formats.tensorboard import event_files
from simgit.errors import IntegrityError, NotFound
from simgit.refs.attachments import is_attachment_name
from simgit.refs.names import MAX_NAME
from simgit.repository import Repository

Logged = LoggedPoint | LoggedMedia
News = tuple[str, list[Logged]]
"""A file, and what was logged in it."""
Spans = dict[str, tuple[int, int]]
"""The first and the last global step of each tag."""
LAST: Final = "event-steps"
"""The attachment that says which global steps of each tag were recorded, by rounds."""
OWN: Final = ("step", "global_step", "time")
"""The keys of the metrics that are no tags."""


class EventFolder:
    """The event files of a folder and of those below it, read as far as they are written."""

    def __init__(self, folder: Path, since: float) -> None:
        """Read nothing yet.

        Args:
            folder: the folder, which need not exist yet.
            since: files that are there and were written last before this time, in seconds since
                1970, are left out until somebody writes to them.
        """
        self._folder = folder
        self._old: dict[Path, tuple[int, int]] = {}
        for path in event_files(folder):
            with suppress(OSError):
                if path.stat().st_mtime < since:
                    self._old[path] = _written(path)
        self._files: dict[Path, EventFile] = {}
        self._plugins: dict[Path, dict[str, str]] = {}
        self._media: list[LoggedMedia] = []

    def read(self) -> list[News]:
        """Return what has come since, by files in their order."""
        found: list[News] = []
        for path in sorted(event_files(self._folder)):
            points: list[Logged] = []
            with suppress(OSError, IntegrityError):  # it is not an event file yet, or not any more
                file = self._files.get(path)
                if file is None and path in self._old and _written(path) == self._old[path]:
                    continue
                if file is None or not file.is_same():
                    plugins = self._plugins.setdefault(path.parent, {})
                    file = self._files[path] = EventFile(path, plugins, self._media)
                for each in file.points():
                    # a restart says nothing here: what it discards was recorded already
                    if not isinstance(each, SessionStart):
                        points.append(each)
            if points or self._media:
                found.append((str(path), [*points, *self._media]))
            self._media.clear()
        return found


def _written(path: Path) -> tuple[int, int]:
    """Return what changes when somebody writes to a file, whatever the clock says."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


class MetricsOfEvents:
    """The states of a metrics run that are made of what was logged, one for each global step.

    Global steps that begin again, in the same file or in another one, are another round: its states
    are its own, and come after those of the round before.
    """

    def __init__(self, repo: Repository, run: str, recorder: Any) -> None:
        """Find what is recorded already."""
        self._recorder = recorder
        self._waiting: dict[tuple[int, int], list[Logged]] = {}
        self._round_of: dict[str, int] = {}
        self._known: set[tuple[str, str]] = set()
        self._spans: list[Spans] = []
        """Those of this execution, by round."""
        newest = repo.history_attachments(run, LAST) if repo.runs[run].oid else []
        self._recorded: list[Spans] = []
        with suppress(NotFound):
            for each in newest[:1]:
                self._recorded = _rounds(repo.attachment(each.state, each.name))
        """Those of the executions before this one, which are not recorded again."""
        self._all = [dict(each) for each in self._recorded]

    def record(self, news: Iterable[News], step: int) -> None:
        """Record all global steps but the greatest, of which more may come.

        Args:
            news: what was logged, by files.
            step: the newest step of the simulation's run.
        """
        for file, logged in news:
            for each in logged:
                number = self._round(file, each)
                if each.step > self._limit(number, each.tag):
                    self._waiting.setdefault((number, each.step), []).append(each)
        waiting = sorted(self._waiting)
        self._append([each for each in waiting if each != waiting[-1]], step)

    def finish(self, step: int) -> None:
        """Record the greatest global step too."""
        self._append(sorted(self._waiting), step)

    def _round(self, file: str, logged: Logged) -> int:
        """Return the round that something belongs to, and note that it is there."""
        if not self._spans:
            self._spans = [{} for _ in range(self._first_round(logged) + 1)]
        number = self._round_of.get(file, len(self._spans) - 1)
        first, last = self._spans[number].get(logged.tag, (logged.step, logged.step - 1))
        is_new = (file, logged.tag) not in self._known
        if logged.step <= last if is_new else logged.step <= first < last:
            self._spans.append({})
            number = len(self._spans) - 1
        self._round_of[file] = number
        self._known.add((file, logged.tag))
        _widen(self._spans[number], logged.tag, logged.step)
        return number

    def _first_round(self, logged: Logged) -> int:
        """Return the round in which this execution begins: the first, or the newest recorded."""
        span = self._recorded[0].get(logged.tag) if self._recorded else None
        return 0 if span is None or logged.step <= span[0] else len(self._recorded) - 1

    def _limit(self, number: int, tag: str) -> float:
        """Return the greatest global step of a tag that was recorded before, in a round."""
        spans = self._recorded[number] if number < len(self._recorded) else {}
        return spans[tag][1] if tag in spans else float("-inf")

    def _append(self, places: list[tuple[int, int]], step: int) -> None:
        for place in places:
            number, at = place
            logged = self._waiting.pop(place)
            points = {each.tag: each.value for each in logged if isinstance(each, LoggedPoint)}
            times = [each.time for each in logged if each.time == each.time]
            info = {**nested_tags(points), "global_step": at, "step": step}
            self._recorder.append(info={**info, "time": max(times)} if times else info)
            self._all += [{} for _ in range(number + 1 - len(self._all))]
            for each in logged:
                if isinstance(each, LoggedMedia):
                    self._recorder.attach(_attachment(each), each.data)
                _widen(self._all[number], each.tag, at)
        if places:
            kept = {str(i): {t: [*s] for t, s in each.items()} for i, each in enumerate(self._all)}
            self._recorder.attach(LAST, kept)


def _widen(spans: Spans, tag: str, step: int) -> None:
    first, last = spans.get(tag, (step, step))
    spans[tag] = min(first, step), max(last, step)


def _rounds(kept: Any) -> list[Spans]:
    """Return what an attachment says was recorded; an earlier version had one round, of numbers."""
    try:
        if all(isinstance(each, int) for each in kept.values()):
            return [{str(tag): (0, int(step)) for tag, step in kept.items()}]
        rounds = [kept[str(number)] for number in range(len(kept))]
        return [{str(t): (int(s[0]), int(s[1])) for t, s in each.items()} for each in rounds]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return []  # it is somebody else's


def _attachment(media: LoggedMedia) -> str:
    """Return the name of an attachment: the tag with dots, quoted if that is no name."""
    return usable_name(media.tag.replace("/", "."), media.suffix, media.tag)


def usable_name(stem: str, suffix: str, whole: str | None = None) -> str:
    """Return a name for an attachment: as it is if it can be one, or else quoted.

    One that is too long is cut, and ends with a hash.

    Args:
        stem: the name without its suffix.
        suffix: the suffix.
        whole: what is quoted instead of the stem.
    """
    quoted = quote(stem if whole is None else whole, safe="")
    end = f"-{blake3(quoted.encode()).hexdigest(8)}{suffix}"
    names = stem + suffix, quoted + suffix, quoted[: MAX_NAME - len(end)] + end
    return next((each for each in names if is_attachment_name(each)), names[-1])


def nested_tags(points: Mapping[str, float]) -> dict[str, Any]:
    """Return numbers by the parts of their tags, without ever using a key of the metrics' own.

    A tag whose first part is such a key, or which is the beginning of another, is a key as it is,
    with a slash before it unless it has one inside: no part of a tag has one, so it is free.
    """
    found: dict[str, Any] = {}
    groups = {tag[:at] for tag in points for at, each in enumerate(tag) if each == "/"}
    for tag, value in points.items():
        *above, last = tag.split("/")
        place = found
        if tag.partition("/")[0] in OWN or tag in groups:
            above, last = [], tag if tag.find("/") > 0 else f"/{tag}"
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return found
