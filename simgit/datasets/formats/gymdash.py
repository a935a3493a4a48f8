"""GymDash's projects: simulations and their statuses from SQLite, curves from event files.

GymDash records no states. A run here has one for the start of a simulation, and one for each status
that it posted; the curves of its event files are the attachment ``series`` of the last one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from simgit.datasets.formats.base import (
    Attachment,
    Contents,
    ImportOnly,
    Source,
    SourceRun,
    is_own_file,
    state_columns,
)
from simgit.datasets.formats.tables import SqliteTables, is_sqlite
from simgit.datasets.formats.tensorboard import MARK, read_series
from simgit.datasets.formats.text_values import nanoseconds
from simgit.datasets.series import NAME
from simgit.errors import InvalidInput, plural, visible
from simgit.refs.names import usable_name

_DATABASE: Final = Path("db") / "simulations.db"
_CODES: Final = {0: "success", 1: "fail", 2: "info"}
_SUBCODES: Final = {0: "none", 1: "error", 2: "stopped"}
_COLUMNS: Final = (
    "sim_id", "name", "created", "started", "ended", "is_done", "cancelled", "failed",
    "force_stopped", "config", "start_kwargs", "sim_type_name", "sim_module_name",
)  # fmt: skip
_STATUS: Final = (
    "SELECT time, code, subcode, details, error_trace FROM sim_status WHERE sim_id = ? ORDER BY id"
)


class GymDash(ImportOnly):
    """The format of GymDash's project folders, and of the database in them."""

    name = "gymdash"
    summary = "GymDash's projects: database and event files; import only"

    def probe(self, source: Source) -> bool:
        """Return True for a project folder, or its database."""
        path = _database_of(source)
        if path is None:
            return False
        tables = SqliteTables(path)
        try:
            return set(_COLUMNS) <= set(tables.columns("simulations"))
        finally:
            tables.close()

    def read(self, source: Source) -> Contents:
        """Return a run for each simulation."""
        source.check_options()
        path = _database_of(source)
        if path is None:
            raise InvalidInput(f"'{source.text}' has no {_DATABASE}", path=source.text)
        contents = Contents(())
        contents.runs = _runs(path, contents.notes)
        return contents


def _database_of(source: Source) -> Path | None:
    path = source.path / _DATABASE
    if is_own_file(path, source.path):
        return path
    return source.path if is_sqlite(source.head()) else None


def _runs(path: Path, notes: list[str]) -> Iterator[SourceRun]:
    tables = SqliteTables(path)
    folder = path.parent.parent / "sims"
    taken: set[str] = set()
    try:
        names = ", ".join(_COLUMNS)
        for values in tables.rows(f"SELECT {names} FROM simulations ORDER BY created, sim_id"):
            row = dict(zip(_COLUMNS, values, strict=True))
            statuses = list(tables.rows(_STATUS, (row["sim_id"],)))
            yield _run(row, statuses, _place(folder, str(row["sim_id"]), notes), taken, notes)
        known = "SELECT sim_id FROM simulations"
        query = f"SELECT count(*) FROM sim_status WHERE sim_id NOT IN ({known})"
        ((lost,),) = tables.rows(query)
        if lost:
            notes.append(f"statuses of simulations that are not there: {lost}; not imported")
    finally:
        tables.close()


def _place(folder: Path, name: str, notes: list[str]) -> Path | None:
    """Return the folder of a simulation; None if it lies elsewhere, or there is none."""
    place = folder / name
    if place.resolve() != folder.parent.resolve() / folder.name / place.name:
        notes.append(f"files of simulation '{visible(name)}' lie outside of 'sims'; not imported")
        return None
    return place if place.is_dir() else None


def _run(
    row: Mapping[str, Any],
    statuses: list[Any],
    folder: Path | None,
    taken: set[str],
    notes: list[str],
) -> SourceRun:
    name = usable_name(str(row["name"] or "simulation"))
    if name.casefold() in taken:
        name = usable_name(f"{name}-{str(row['sim_id'])[:8]}")
    taken.add(name.casefold())
    config = _decoded(row["config"], name, notes)
    started = _decoded(row["start_kwargs"], name, notes)
    kwargs = config.get("kwargs")
    settings = {**(kwargs if isinstance(kwargs, dict) else {}), **started}
    more = {key: row[key] for key in _COLUMNS if key not in ("config", "start_kwargs")}
    return SourceRun(
        name,
        state_columns(_states(row, statuses)),
        spec={"source": GymDash.name, "sim_key": config.get("sim_key")},
        config=_undotted(settings, name, notes),
        metadata={
            "simulation": {key: value for key, value in more.items() if value is not None},
            "config": {key: value for key, value in config.items() if key != "kwargs"},
        },
        status=_status(row),
        created=nanoseconds(row["created"]),
        ended=nanoseconds(row["ended"]),
        attachments=() if folder is None else _series(name, folder, len(statuses), notes),
    )


def _states(row: Mapping[str, Any], statuses: list[Any]) -> Iterator[dict[str, Any]]:
    yield {
        "reset": True,
        "message": f"simulation '{row['name']}' ({row['sim_type_name']})",
        "info": {"sim_id": str(row["sim_id"]), "time": str(row["started"] or row["created"])},
    }
    for time, code, subcode, details, trace in statuses:
        info = {
            "code": _CODES.get(code, str(code)),
            "subcode": _SUBCODES.get(subcode, str(subcode)),
            "time": str(time),
        }
        if trace:
            info["error_trace"] = str(trace)
        yield {"message": str(details or info["code"]), "info": info}


def _status(row: Mapping[str, Any]) -> str:
    if row["failed"] or row["cancelled"]:
        return "failed"
    if row["force_stopped"]:
        return "crashed"
    return "completed" if row["is_done"] else "paused"


def _decoded(text: Any, name: str, notes: list[str]) -> dict[str, Any]:
    """Return a column of JSON; a map without settings if it has none."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, TypeError, RecursionError) as error:
        notes.append(f"run '{name}' without its settings: malformed JSON: {error}")
        return {}
    return found if isinstance(found, dict) else {}


def _undotted(settings: Mapping[str, Any], name: str, notes: list[str]) -> dict[str, Any]:
    """Return settings with names that mean no path: a dot in one would."""
    found = {}
    for key, value in settings.items():
        plain = key.replace(".", "_") or "_"
        if plain != key:
            notes.append(f"run '{name}': setting '{key}' is called '{plain}' here")
        found[plain] = value
    return found


def _series(name: str, folder: Path, last: int, notes: list[str]) -> Iterator[Attachment]:
    """Yield the curves of a simulation's event files, and note what is not imported."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    events = [path for path in files if MARK in path.name]
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(events, key=lambda path: (path.stat().st_mtime_ns, path)):
        by_folder.setdefault(path.parent, []).append(path)
    series: dict[str, Any] = {}
    for place, paths in sorted(by_folder.items()):
        troubles: list[str] = []
        found, _ = read_series(paths, troubles)
        notes += [f"run '{name}': {trouble}" for trouble in troubles]
        prefix = f"{place.relative_to(folder)}/" if len(by_folder) > 1 else ""
        series |= {prefix + tag: curve for tag, curve in found.items()}
    if series:
        yield last, NAME, series
    if rest := len(files) - len(events):
        notes.append(f"run '{name}': {plural(rest, 'file')} not imported (media, checkpoints)")


FORMAT: Final = GymDash()
