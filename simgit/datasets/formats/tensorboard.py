"""TensorBoard: a directory of event files for each run, written and read by hand.

Out: returns and lengths of episodes, their means over a hundred episodes, the series of the run,
its configuration under HPARAMS, and images with the option ``frames``. The directory is added to:
a second export, and ``follow``, write only what is new. A branch is a run of its own that begins
with the curve of its parent.

In: each directory with event files becomes a run of one state, with the numbers as its series and
the hyperparameters as its configuration. A second import, and ``follow``, add a state with what is
new: an attachment of the newest state says how far each file was read.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from simgit.datasets.curves import TaggedCurve, curves_of
from simgit.datasets.event_files import (
    EventFile,
    LoggedPoint,
    image_event,
    scalar_events,
    settings_event,
    version_event,
)
from simgit.datasets.event_records import records
from simgit.datasets.formats.base import Contents, Source, SourceRun, state_columns
from simgit.datasets.formats.exported_runs import ExportedRun
from simgit.datasets.formats.selection import Export, check_options
from simgit.datasets.series import NAME, discarded
from simgit.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageError,
    plural,
    reason,
    warn,
)
from simgit.history.trajectory import Trajectory
from simgit.odb.location import Location
from simgit.odb.segments.times import time_of
from simgit.plot.notebook import images, png
from simgit.refs.names import fold, more_names, usable_name
from simgit.refs.run_config import flat, nested

MARK: Final = "tfevents"
"""What TensorBoard looks for in the name of a file."""
OWN: Final = ".simgit"
"""The end of the name of a file that an export wrote."""
FILES: Final = "event-files"
"""The name of the attachment that says how far the files were read."""
_MOST_FILES: Final = 100_000
_BATCH: Final = 4096


class _RunFile:
    """The event file of one exported run."""

    def __init__(self, directory: Path, run: ExportedRun, settings: dict[str, Any]) -> None:
        """Find what is written already, or begin the file.

        Raises:
            AlreadyExists: another program's event files are there.
        """
        self.name = run.name
        self.place: Location = run.place
        self.path = directory / f"events.out.{MARK}.0000000000{OWN}"
        self.counts: dict[str, int] = {}
        self.last: dict[str, tuple[int, float]] = {}
        self.images = -1
        directory.mkdir(parents=True, exist_ok=True)
        others = [each for each in directory.glob(f"*{MARK}*") if each != self.path]
        if others:
            raise AlreadyExists(
                f"'{directory}' has event files of another program; name a new directory",
                path=directory,
            )
        if self.path.exists():
            self._resume()
        else:
            begin = [version_event(time.time())]
            begin += [settings_event(settings, time.time())] if settings else []
            self.path.write_bytes(records(begin))

    def _resume(self) -> None:
        """Count what was written; cut off a record that is not whole."""
        file = EventFile(self.path)
        for each in file.points():
            if isinstance(each, LoggedPoint):
                self.counts[each.tag] = self.counts.get(each.tag, 0) + 1
                self.last[each.tag] = (each.step, each.value)
        self.images = file.newest_image
        if file.damaged or file.broken:
            raise IntegrityError(
                f"'{self.path}' is damaged; delete it and export again", path=self.path
            )
        if file.rest:
            with self.path.open("r+b") as opened:
                opened.truncate(file.at)

    def add(self, curves: Sequence[TaggedCurve]) -> int:
        """Append the points that are new; return how many.

        Raises:
            AlreadyExists: the file has other points of this run.
        """
        new: list[bytes] = []
        for tag, steps, times, values in curves:
            done = self.counts.get(tag, 0)
            if done:
                narrow = float(np.float32(values[done - 1])) if done <= len(values) else None
                step, value = self.last[tag]
                if narrow is None or (
                    (int(steps[done - 1]), narrow) != (step, value) and narrow == narrow
                ):
                    raise AlreadyExists(
                        f"'{self.path}' has another history of run '{self.name}'; delete it and "
                        "export again",
                        path=self.path,
                    )
            if done < len(steps):
                part = slice(done, None)
                new += scalar_events(
                    tag,
                    steps[part].tolist(),
                    times[part].tolist(),
                    values[part],  # type: ignore[arg-type]
                )
                self.counts[tag] = len(steps)
                with np.errstate(all="ignore"):
                    self.last[tag] = (int(steps[-1]), float(np.float32(values[-1])))
        self.write(new)
        return len(new)

    def write(self, events: Sequence[bytes]) -> None:
        """Append events."""
        if events:
            with self.path.open("ab") as file:
                for at in range(0, len(events), _BATCH):
                    file.write(records(events[at : at + _BATCH]))


class _Format:
    name = "tensorboard"
    summary = "TensorBoard's event files, a directory for each run"
    in_place = True

    def probe(self, source: Source) -> bool:
        """Return True for an event file, or a directory with some, or to be followed."""
        is_waited_for = source.path.is_dir() and source.options.get("follow") == "true"
        return is_waited_for or next(event_files(source.path), None) is not None

    # --- out ---

    def write(self, export: Export, target: Path) -> None:
        """Write the curves of the exported runs; with ``follow``, until they have ended.

        Raises:
            InvalidInput: an option, ``fields`` or ``where`` cannot be met.
            AlreadyExists: the directory has other event files.
            StorageError: it cannot be written.
        """
        try:
            self._write(export, target)
        except OSError as error:
            raise StorageError(f"cannot write '{target}': {reason(error)}", path=target) from error

    def _write(self, export: Export, target: Path) -> None:
        if export.where is not None or export.fields is not None:
            raise InvalidInput("event files have whole runs: --where and --fields cannot be used")
        every = _number(export.options, "every", 2.0)
        frames = int(_number(export.options, "frames", 0))
        check_options(export.options, ("every", "frames", "follow"))
        follow = _is_followed(export.options)
        files: dict[str, _RunFile] = {}
        points = _add(export, target, files, frames)
        while follow and not _have_ended(export):
            try:
                time.sleep(every)
                newer = Export(export.odb, export.refs, [run.name for run in export.runs])
                points += _add(newer, target, files, frames)
            except KeyboardInterrupt:
                break
        export.tell(export.count, 0)
        export.notes.append(
            f"{plural(points, 'point')} of curves; states are not among what event files hold"
        )

    # --- in ---

    def read(self, source: Source) -> Contents:
        """Return a run for each directory that has event files; with ``follow``, what comes too."""
        source.check_options("follow", "every")
        every = _number(source.options, "every", 2.0)
        if not source.path.exists():
            raise NotFound(f"'{source.text}' not found", path=source.text)
        contents = Contents(())
        reader = _Reader(source, contents.notes, _is_followed(source.options))
        contents.runs = reader.runs()
        if reader.is_followed:
            contents.later = reader.later(every)
        return contents


FORMAT: Final = _Format()


def _add(export: Export, target: Path, files: dict[str, _RunFile], frames: int) -> int:
    points = 0
    for run in export.runs:
        if run.name not in files:
            settings = flat(export.config(run))
            files[run.name] = _RunFile(target / run.name, run, settings)
        with export.odb.read() as txn:
            curves = curves_of(export.odb, txn, run.place)
        points += files[run.name].add(curves)
        if frames:
            _add_frames(export, run, files[run.name], frames)
    return points


def _add_frames(export: Export, run: ExportedRun, file: _RunFile, every: int) -> None:
    """Add the images among the observations of every so many states."""
    first = (file.images // every + 1) * every
    whole = Trajectory(export.odb, run.place, 0, run.place.step + 1)
    for step in range(first, run.place.step + 1, every):
        part = whole[step : step + 1]
        value = _only(part.column("observation")) if part.has("observation") else None
        with export.odb.read() as txn:
            at = time_of(txn, export.odb.states.ancestor(txn, run.place, step)) or 0
        for path, pixels in images(value):
            tag = f"observation/{path}" if path else "observation"
            file.write([image_event(tag, step, at / 1e9, png(pixels), pixels.shape)])
        file.images = step


def _only(column: Any) -> Any:
    """Return the value of a column of one state."""
    if isinstance(column, dict):
        return {key: _only(below) for key, below in column.items()}
    return tuple(map(_only, column)) if isinstance(column, tuple) else column[0]


def _have_ended(export: Export) -> bool:
    """Return True if no exported run can get more states."""
    with export.odb.read() as txn:
        refs = [export.refs.run(txn, run.name) for run in export.runs if run.ref is not None]
    return all(ref.shown_status in ("completed", "failed", "crashed") for ref in refs)


def _number(options: Any, name: str, default: float) -> float:
    """Return a number among the options of the format.

    Raises:
        InvalidInput: it is not a number.
    """
    text = options.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InvalidInput(f"option '{name}' must be a number of 0 or more, got '{text}'")
    return value


def _is_followed(options: Mapping[str, str]) -> bool:
    """Return the option ``follow``.

    Raises:
        InvalidInput: it is neither true nor false.
    """
    text = options.get("follow", "false")
    if text not in ("true", "false"):
        raise InvalidInput(f"option 'follow' must be true or false, got '{text}'")
    return text == "true"


def event_files(path: Path) -> Iterator[Path]:
    """Yield the event files at a path; links are not followed, and hidden files no event files.

    Raises:
        InvalidInput: there are too many files.
    """
    found = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    for number, each in enumerate(found):
        if number > _MOST_FILES:
            raise InvalidInput(f"'{path}' has more than {_MOST_FILES} files", path=path)
        is_named = MARK in each.name and not each.name.startswith(".")  # rsync's are to be renamed
        if is_named and each.is_file() and not each.is_symlink():
            yield each


class _Reader:
    """The runs of the event files at a path: at first all of them, later what is new."""

    def __init__(self, source: Source, notes: list[str], is_followed: bool) -> None:
        self.source = source
        self.notes = notes
        self.is_followed = is_followed
        self._folders: dict[Path, _Folder] = {}
        self._told: set[str] = set()

    def runs(self) -> Iterator[SourceRun]:
        """Yield the run of each directory; later, of those with something new."""
        root = self.source.path
        by_folder: dict[Path, list[Path]] = {}
        for path in sorted(event_files(root)):
            by_folder.setdefault(path.parent, []).append(path)
        for place, paths in sorted(by_folder.items()):
            is_first = place not in self._folders
            if is_first:
                own = root.resolve()
                text = str(place.relative_to(root)) if root.is_dir() else own.stem
                folder = _Folder(self._free_name(usable_name(own.name if text == "." else text)))
                self._folders[place] = folder
            if (run := self._run(place, paths, is_first)) is not None:
                yield run

    def later(self, every: float) -> Generator[Contents, None, None]:
        """Yield what came, again and again; at the end note what was left out."""
        try:
            while True:
                time.sleep(every)
                yield Contents(self.runs())
        finally:
            for folder in self._folders.values():
                self.notes += folder.troubles()

    def _free_name(self, name: str) -> str:
        taken = {fold(each.name) for each in self._folders.values()}
        return next(each for each in chain((name,), more_names(name)) if fold(each) not in taken)

    def _run(self, place: Path, paths: Sequence[Path], is_first: bool) -> SourceRun | None:
        folder = self._folders[place]
        stored = self.source.stored(folder.name, FILES)
        if is_first:
            if stored is not None and not folder.resume(stored.data, paths):
                if self.is_followed:
                    raise AlreadyExists(
                        f"run '{folder.name}' exists, and was not imported from '{place}'; import "
                        "under a prefix (--prefix)",
                        name=folder.name,
                    )
                stored = None
        elif folder.marks is not None and (stored is None or stored.data != folder.marks):
            raise Conflict(
                f"run '{folder.name}' was moved by another writer, or is completed; '{place}' is "
                "not followed any more",
                name=folder.name,
            )
        news = folder.read(paths, self.is_followed)
        if self.is_followed:  # notes come at the end, which may be in a week
            self._tell_of_media(folder)
        self.notes += news.notes
        if not self.is_followed:
            self.notes += folder.troubles()
        count = sum(len(each["step"]) for each in news.series.values())
        is_new = count > 0 or bool(news.settings) or (news.restart is not None and bool(stored))
        if not is_new and self.is_followed and (stored is None or not is_first):
            return None
        if not is_new and stored is not None:
            return SourceRun(folder.name, after=stored.oid)
        folder.marks = folder.new_marks()
        info: dict[str, Any] = {"points": count, "tags": sorted(news.series)}
        info["hash"] = _hash(news.series, folder.marks)
        if stored is not None and news.settings:
            info["hparams"] = news.settings
            self.notes.append(
                f"run '{folder.name}': later hyperparameters are 'info.hparams' of a state"
            )
        step = 0 if stored is None else stored.step + 1
        attachments = [(step, NAME, news.series)] if news.series else []
        times = (each["time"] for each in news.series.values())
        first = min(
            (at.min() for all in times if (at := all[(all > 0) & (all < 9e9)]).size), default=0
        )
        return SourceRun(
            folder.name, state_columns([{"info": info, "message": "event files"}]),
            status="paused", config={} if stored else _nested(news.settings, self.notes),
            created=int(first * 1e9) or None,
            attachments=[*attachments, (step, FILES, folder.marks)],
            after=None if stored is None else stored.oid,
            restart=None if stored is None else news.restart,
        )  # fmt: skip

    def _tell_of_media(self, folder: _Folder) -> None:
        """Warn once for each kind of media that files which are followed have."""
        found = folder.left_out() & _MEDIA.keys()
        if new := sorted(_MEDIA[kind] for kind in found - self._told):
            warn(
                f"{' and '.join(new)} of the event files of '{folder.name}' are left out: only "
                "numbers are imported; in a simulation, 'control.tensorboard' attaches them"
            )
        self._told |= found


_MEDIA: Final = {"audio": "sounds", "image": "images", "text": "texts"}


def _hash(series: dict[str, dict[str, Any]], marks: dict[str, Any]) -> str:
    """Return what tells a state from those of other files: what is attached depends on it alone."""
    found = hashlib.blake2b(repr(marks).encode(errors="surrogatepass"), digest_size=16)
    for tag, columns in sorted(series.items()):
        found.update(repr((tag, [array.dtype.str for array in columns.values()])).encode())
        for column in columns.values():
            found.update(column.tobytes())
    return found.hexdigest()


class _News(NamedTuple):
    """The news in the event files of a directory.

    Attributes:
        series: the points, as the attachment has them, without those that a restart discarded.
        settings: the hyperparameters.
        restart: the step from which on points that were read before are discarded; None for none.
        notes: what was discarded.
    """

    series: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    restart: int | None
    notes: list[str]


class _Folder:
    """The event files of a directory, as far as they were read.

    Attributes:
        name: the name of its run.
        marks: how far that was when it was stored last; None before.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.marks: Any = None
        self._files: dict[str, EventFile] = {}
        self._plugins: dict[str, str] = {}
        self._troubles: list[str] = []

    def new_marks(self) -> dict[str, Any]:
        """Return how far each file was read, as ``resume`` takes it."""
        files = {name: [file.at, file.ends] for name, file in sorted(self._files.items())}
        return {"files": files, "plugins": dict(self._plugins)}

    def resume(self, marks: Any, paths: Sequence[Path]) -> bool:
        """Continue where an import ended; return False if that did not read these files."""
        try:
            for path in paths:
                if path.name in marks["files"]:
                    file = self._files[path.name] = EventFile(path, self._plugins)
                    file.at, file.ends = marks["files"][path.name]
            self._plugins.update(marks["plugins"])
            if any(file.at and file.is_same() for file in self._files.values()):
                self.marks = marks
                return True
        except (TypeError, KeyError, ValueError):  # another's attachment
            pass
        self._files, self._plugins = {}, {}
        return False

    def read(self, paths: Sequence[Path], lenient: bool = False) -> _News:
        """Read what is new in the files.

        Args:
            paths: the files, in the order of their times.
            lenient: True if what is no event file, or not yet, is left out.

        Raises:
            IntegrityError: one is no event file.
        """
        points: dict[str, _Points] = {}
        news = _News({}, {}, None, [])
        for path in paths:
            file = self._files.get(path.name)
            try:
                if file is None or not file.is_same():
                    if file is not None:
                        self._troubles += _troubles(file)
                        news.notes.append(f"'{path.name}' was replaced: the points it had are kept")
                    file = self._files[path.name] = EventFile(path, self._plugins)
                for each in file.points():
                    if isinstance(each, LoggedPoint):
                        if each.tag not in points:
                            points[each.tag] = _Points()
                        points[each.tag].add(each)
                        continue
                    lowest = each.step if news.restart is None else min(news.restart, each.step)
                    news = news._replace(restart=lowest)
                    if count := sum(found.cut(each.step) for found in points.values()):
                        news.notes.append(discarded(count, each.step))
            except (IntegrityError, FileNotFoundError):
                if not lenient:
                    raise
                continue
            news.settings.update(file.settings)
            file.settings = {}
        news.series.update({tag: found.columns() for tag, found in points.items() if found.step})
        return news

    def left_out(self) -> set[str]:
        """Return the kinds of values that were left out so far."""
        return {kind for file in self._files.values() for kind in file.left_out}

    def troubles(self) -> Iterator[str]:
        """Yield what of the files was not read."""
        yield from self._troubles
        for _, file in sorted(self._files.items()):
            yield from _troubles(file)


class _Points:
    """The points of a tag while files are read: 24 bytes each."""

    def __init__(self) -> None:
        self.step, self.time, self.value = array("q"), array("d"), array("d")

    def add(self, point: LoggedPoint) -> None:
        self.step.append(point.step)
        self.time.append(point.time)
        self.value.append(point.value)

    def cut(self, step: int) -> int:
        """Remove the points at a step or later; return how many."""
        keep = np.array(self.step) < step
        for column in (self.step, self.time, self.value):
            column[:] = array(column.typecode, np.array(column)[keep].tobytes())
        return int(np.count_nonzero(~keep))

    def columns(self) -> dict[str, Any]:
        """Return the points as the attachment has them."""
        return {
            "step": np.array(self.step, np.int64),
            "time": np.array(self.time, np.float64),
            "value": _narrowed(np.array(self.value, np.float64)),
        }


def read_series(
    files: Sequence[Path], notes: list[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the series in event files, as the attachment has them, and their hyperparameters.

    Args:
        files: the files of a directory, in the order of their times.
        notes: gets a line for all that is damaged, discarded or left out.
    """
    folder = _Folder()
    news = folder.read(files)
    notes += news.notes
    notes += folder.troubles()
    return news.series, news.settings


def _narrowed(values: Any) -> Any:
    """Return float32 values where that loses nothing, as most event files have them."""
    with np.errstate(all="ignore"):
        narrow = values.astype(np.float32)
    same = (narrow == values) | (values != values)
    return narrow if same.all() else values


def _nested(settings: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return settings as a configuration; where names contradict each other, by whole names."""
    try:
        return nested(settings)
    except InvalidInput as error:
        notes.append(f"hyperparameters are kept under 'hparams': {error}")
        return {"hparams": settings}


def _troubles(file: EventFile) -> Iterator[str]:
    """Yield what of an event file was not read."""
    where = f"'{file.path.name}'"
    for kind, count in sorted(file.left_out.items()):
        yield f"{where}: {plural(count, kind)} left out"
    if file.damaged:
        yield f"{where}: {plural(file.damaged, 'damaged record')} left out"
    if file.broken:
        rest = plural(file.rest, "byte")
        yield f"{where}: damaged at byte {file.at}; the {rest} from there on are left out"
    elif file.rest:
        yield f"{where}: the last record is cut off; {plural(file.rest, 'byte')} left out"
