"""TensorBoard: a directory of event files for each run, written and read by hand.

Out: returns and lengths of episodes, their means over a hundred episodes, the series of the run,
its configuration under HPARAMS, and images with the option ``frames``. The directory is added to:
a second export, and ``follow``, write only what is new. A branch is a run of its own that begins
with the curve of its parent.

In: each directory with event files becomes a run of one state, with the numbers as its series and
the hyperparameters as its configuration.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.datasets.curves import TaggedCurve, curves_of
from simgit.datasets.event_files import (
    EventFile,
    image_event,
    scalar_events,
    settings_event,
    version_event,
)
from simgit.datasets.event_records import records
from simgit.datasets.formats.base import Contents, Source, SourceRun, state_columns
from simgit.datasets.formats.exported_runs import ExportedRun
from simgit.datasets.formats.selection import Export
from simgit.datasets.series import NAME
from simgit.errors import AlreadyExists, IntegrityError, InvalidInput, plural
from simgit.history.trajectory import Trajectory
from simgit.odb.location import Location
from simgit.odb.segments.times import time_of
from simgit.plot.notebook import images, png
from simgit.refs.names import usable_name
from simgit.refs.run_config import flat, nested

MARK: Final = "tfevents"
"""What TensorBoard looks for in the name of a file."""
OWN: Final = ".simgit"
"""The end of the name of a file that an export wrote."""
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
        for tag, step, _, value in file.points():
            self.counts[tag] = self.counts.get(tag, 0) + 1
            self.last[tag] = (step, value)
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
        """Return True for an event file, or a directory with some."""
        return next(_event_files(source.path), None) is not None

    # --- out ---

    def write(self, export: Export, target: Path) -> None:
        """Write the curves of the exported runs; with ``follow``, until they have ended.

        Raises:
            InvalidInput: an option, ``fields`` or ``where`` cannot be met.
            AlreadyExists: the directory has other event files.
        """
        if export.where is not None or export.fields is not None:
            raise InvalidInput("event files have whole runs: --where and --fields cannot be used")
        every = _number(export.options, "every", 2.0)
        frames = int(_number(export.options, "frames", 0))
        follow = export.options.get("follow", "false") == "true"
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
        """Return a run for each directory that has event files."""
        by_folder: dict[Path, list[Path]] = {}
        for path in _event_files(source.path):
            by_folder.setdefault(path.parent, []).append(path)
        contents = Contents(())
        contents.runs = self._runs(source.path, by_folder, contents.notes)
        return contents

    def _runs(
        self, root: Path, by_folder: dict[Path, list[Path]], notes: list[str]
    ) -> Iterator[SourceRun]:
        for folder, files in sorted(by_folder.items()):
            text = str(folder.relative_to(root)) if root.is_dir() else "."
            name = usable_name(root.resolve().stem if text == "." else text)
            yield _imported(name, sorted(files), notes)


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


def _event_files(path: Path) -> Iterator[Path]:
    """Yield the event files at a path; links are not followed.

    Raises:
        InvalidInput: there are too many files.
    """
    found = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    for number, each in enumerate(found):
        if number > _MOST_FILES:
            raise InvalidInput(f"'{path}' has more than {_MOST_FILES} files", path=path)
        if MARK in each.name and each.is_file() and not each.is_symlink():
            yield each


def _imported(name: str, files: Sequence[Path], notes: list[str]) -> SourceRun:
    """Return the run of some event files, in the order of their names."""
    series, settings = read_series(files, notes)
    times = [at for each in series.values() for at in each["time"].tolist() if 0 < at < 9e9]
    count = sum(len(each["step"]) for each in series.values())
    state = {"info": {"points": count, "tags": sorted(series)}, "message": "event files"}
    return SourceRun(
        name, state_columns([state]), config=_nested(settings, notes),
        created=int(min(times) * 1e9) if times else None,
        ended=int(max(times) * 1e9) if times else None,
        attachments=[(0, NAME, series)] if series else [],
    )  # fmt: skip


def read_series(
    files: Sequence[Path], notes: list[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the series in event files, as the attachment has them, and their hyperparameters.

    Args:
        files: the files, in the order of their times.
        notes: gets a line for all that is damaged or left out.
    """
    points: dict[str, list[tuple[int, float, float]]] = {}
    settings: dict[str, Any] = {}
    for path in files:
        file = EventFile(path)
        for tag, *point in file.points():
            points.setdefault(tag, []).append(tuple(point))  # type: ignore[arg-type]
        settings |= file.settings
        notes += _troubles(file)
    series = {
        tag: {
            "step": np.array([step for step, _, _ in found], np.int64),
            "time": np.array([at for _, at, _ in found], np.float64),
            "value": _narrowed(np.array([value for *_, value in found], np.float64)),
        }
        for tag, found in points.items()
    }
    return series, settings


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
