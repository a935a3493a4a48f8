"""Sim-Arena's log: ``step.jsonl`` in all its schemas, with the checkpoints beside it.

All processes append to one file, over the years with more and more keys. A run here is a process
there, as far as times and arguments tell. Its loop observes first: the action of a line was chosen
after the observation of that line, and the reward of a line belongs to the action of the line
before, to which the learner there credits it too. So the action moves down by a line, as states
here hold the action that led to them; ``info`` has the line's own keys as they were.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
from simgit.datasets.formats.lines import JsonLine, LineReader
from simgit.datasets.formats.text_values import nanoseconds
from simgit.errors import InvalidInput, SimgitError, plural
from simgit.refs.names import usable_name

_LOG: Final = "step.jsonl"
_NEEDED: Final = ("timestamp", "obs", "action", "reward")
_PROBED: Final = ("timestamp", "sim_name", "trace_in", "obs", "reward")
_SECOND: Final = 1_000_000_000
_PART: Final = 8 << 20
"""The most bytes of original lines in one attachment."""
_LARGEST: Final = 1 << 30
"""The most bytes of a file that is attached."""
_BLOCK: Final = 1024
_TOTALS: Final = re.compile(rb'"total_rewards":\s*([-+\w.]+),\s*"total_steps":\s*(\d+)\s*\}\s*$')
_KEPT: Final = re.compile(r"(checkpoint_.*\.(pt|json))|train\.log|command\.txt|.*\.png")
GUESSED: Final = {
    "run": "lines without a long pause between them, with the same keys, namespace, policy and "
    "duration",
    "episode": "lines of which each continues the trace that the one before wrote",
}
"""How runs and episodes are told apart: the log has no mark of either."""


class SimArena(ImportOnly):
    """The format of Sim-Arena's logs."""

    name = "sim-arena"
    summary = "Sim-Arena's step.jsonl with its checkpoints; import only"

    def probe(self, source: Source) -> bool:
        """Return True for a directory with ``step.jsonl``, or a file that begins with a step."""
        path = _log_of(source.path)
        if path is None:
            return False
        with path.open("rb") as opened:
            first = opened.readline(1 << 20)
        if first.startswith(b'{"simgit"'):
            return False
        try:
            found = json.loads(first)
        except (ValueError, RecursionError):
            return path.name == _LOG
        return isinstance(found, dict) and all(name in found for name in _PROBED)

    def read(self, source: Source) -> Contents:
        """Return a run for each process that wrote to the log."""
        source.check_options("keep-lines", "action")
        if source.options.get("action", "map") not in ("map", "index"):
            raise InvalidInput("option 'action' must be 'map' or 'index'", option="action")
        path = _log_of(source.path)
        if path is None:
            raise InvalidInput(f"'{source.text}' has no {_LOG}", path=source.text)
        contents = Contents(())
        key = "action_idx" if source.options.get("action") == "index" else "action"
        reading = _Reading(path, contents.notes, "keep-lines" in source.options, key)
        contents.runs = reading.runs(_files_beside(source.path, path))
        return contents


def _log_of(path: Path) -> Path | None:
    """Return the log that a path is, or has in it."""
    places = (path, path / _LOG, path / "runs" / _LOG)
    found = (each for each in places if each.is_file() and each.suffix == ".jsonl")
    return next((each for each in found if each == path or is_own_file(each, path)), None)


def _files_beside(given: Path, log: Path) -> list[tuple[int, Path]]:
    """Return checkpoints, logs and pictures of trainings with their times, the oldest first."""
    above = {given, log.parent, log.parent.parent} if given.is_dir() else {log.parent}
    folders = {each / "checkpoints" for each in above} | {log.parent}
    found = {
        path
        for folder in folders
        if folder.is_dir() and (folder == log.parent or not folder.is_symlink())
        for path in [*folder.glob("*"), *folder.glob("*/*")]
        if _KEPT.fullmatch(path.name) and is_own_file(path, folder)
    }
    return sorted((path.stat().st_mtime_ns, path) for path in found)


@dataclass
class _Process:
    """The run that is being read, with the times and places of its lines."""

    run: SourceRun
    times: array[int] = field(default_factory=lambda: array("q"))
    parts: list[tuple[int, int, int]] = field(default_factory=list)
    """Steps, and the bytes of the file up to them: where they begin, and how many."""


class _Reading:
    """One log, while it is read."""

    def __init__(self, path: Path, notes: list[str], keep: bool, action: str) -> None:
        self._path = path
        self._keep = keep
        self._action = action
        self._lines = LineReader(path, _fault)
        self._unknown = self._count = self._copies = self._without = 0
        self._begun: set[str] = set()
        self._total = 0.0
        self.notes = notes

    def runs(self, files: list[tuple[int, Path]]) -> Iterator[SourceRun]:
        """Yield a run for each process."""
        names: set[str] = set()
        rest = iter(self._lines)
        ahead = next(rest, None)
        while ahead is not None:
            first = ahead
            began = nanoseconds(first.value["timestamp"]) or 0
            self._copies += (simulation := str(first.value.get("sim_name"))) in self._begun
            self._begun.add(simulation)
            name = _name(first, names)
            run = SourceRun(
                name,
                spec={"source": SimArena.name, "loop": "observe-first"},
                config=_settings(first.value),
                metadata={"guessed": GUESSED, "first_line": first.number},
                created=began,
            )
            process = _Process(run)
            self._ahead: JsonLine | None = first
            run.blocks = state_columns(self._states(first, rest, process), _BLOCK)
            run.attachments = self._attachments(process, files)
            yield run
            ahead = self._ahead
        self._finish(bool(names))

    # --- states ---

    def _states(
        self, first: JsonLine, rest: Iterator[JsonLine], process: _Process
    ) -> Iterator[dict[str, Any]]:
        """Yield the states of one process, and keep the first line of the next."""
        before: JsonLine | None = None
        line: JsonLine | None = first
        while line is not None:
            state = self._state(line, before)
            self._note_place(process, line)
            yield state
            before, line = line, next(rest, None)
            self._ahead = line
            if line is None:
                process.run.status = "paused"  # the log may grow
            elif not _same_process(before, line):
                line = None
        process.run.ended = process.times[-1]

    def _note_place(self, process: _Process, line: JsonLine) -> None:
        process.times.append(nanoseconds(line.value["timestamp"]) or 0)
        step = len(process.times) - 1
        if self._keep:
            start, size = line.start, line.size
            if process.parts and process.parts[-1][2] + line.stop - start < _PART:
                _, start, _ = process.parts.pop()
                size = line.stop - start
            process.parts.append((step, start, size))

    def _state(self, line: JsonLine, before: JsonLine | None) -> dict[str, Any]:
        """Return the state of a line, given the one before it of the same process."""
        record = line.value
        continues = before is not None and _continues(before.value, record)
        info = {key: value for key, value in record.items() if key not in ("obs", "reward")}
        observation = record["obs"]
        if isinstance(observation, dict) and observation and not any(observation.values()):
            # a timeout or an error of the API was logged as zeros as well
            info["validity"] = "unknown"
            self._unknown += 1
        state: dict[str, Any] = {"observation": observation, "info": info}
        if isinstance(record["reward"], (int, float)):
            state["reward"] = float(record["reward"])
            self._total += state["reward"]
        if continues:
            assert before is not None
            state["action"] = before.value.get(self._action)
            self._without += state["action"] is None
        else:
            state["reset"] = True
        self._count += 1
        if isinstance(record.get("at_target"), bool):
            state["terminated"] = record["at_target"]
        return state

    # --- what is attached, and what is told ---

    def _attachments(
        self, process: _Process, files: list[tuple[int, Path]]
    ) -> Iterator[Attachment]:
        """Yield original lines and files at the states that they belong to."""
        with self._path.open("rb") as opened:
            for step, start, size in process.parts:
                opened.seek(start)
                yield step, "lines", opened.read(size)
        ahead = None if self._ahead is None else nanoseconds(self._ahead.value["timestamp"])
        while files and (ahead is None or files[0][0] < ahead):
            time, path = files.pop(0)
            step = max(0, bisect_right(process.times, time) - 1)
            data = self._load(path)
            if data is not None:
                yield step, usable_name(f"{path.parent.name}.{path.name}"), data

    def _load(self, path: Path) -> Any:
        """Return what a file holds: arrays and values of a checkpoint, bytes of all others."""
        try:
            if path.stat().st_size > _LARGEST:
                raise InvalidInput(f"larger than {_LARGEST} bytes")
            if path.suffix not in (".pt", ".json"):
                return path.read_bytes()
            from simgit.agents.checkpoint import read_checkpoint

            return read_checkpoint(path)  # of a .pt only what needs no code
        except (SimgitError, OSError) as error:
            self.notes.append(f"'{path.name}' not imported: {error}")
            return None

    def _finish(self, has_runs: bool) -> None:
        notes = self.notes
        if self._lines.faults:
            notes.append(
                f"{plural(len(self._lines.faults), 'line')} not imported: "
                + "; ".join(self._lines.faults[:3])
            )
        if has_runs:
            notes.append(
                "runs and episodes are guessed: the log has no mark of either (metadata 'guessed')"
            )
        if self._copies:
            notes.append(
                f"{plural(self._copies, 'run')} {'begin' if self._copies > 1 else 'begins'} with a "
                "line that stood there before: the log has copies of lines"
            )
        if self._without:
            notes.append(f"{plural(self._without, 'action')} without an index: left out")
        if self._unknown:
            notes.append(
                f"{plural(self._unknown, 'observation')} of zeros only: nobody knows whether that "
                "was seen or an error (info 'validity')"
            )
        self._compare(self._path.with_name("summary.json"))

    def _compare(self, summary: Path) -> None:
        """Note if the summary beside the log counted other steps; only its end is read."""
        if not is_own_file(summary, summary.parent):
            return
        with summary.open("rb") as opened:
            opened.seek(max(0, summary.stat().st_size - 4096))
            found = _TOTALS.search(opened.read())
        if found is None:
            self.notes.append("summary.json has no totals to compare with")
            return
        steps, reward = int(found[2]), float(found[1])
        if steps != self._count or abs(reward - self._total) > 1e-6 * max(1.0, abs(reward)):
            self.notes.append(
                f"summary.json counts {plural(steps, 'step')} with a reward of {reward:g} in all, "
                f"the log has {self._count} with {self._total:g}"
            )


def _fault(value: Any) -> str | None:
    """Return why a line is no step of Sim-Arena, None if it is one."""
    if not isinstance(value, dict):
        return "no object"
    missing = [name for name in _NEEDED if name not in value]
    if missing:
        return f"without '{missing[0]}'"
    if isinstance(value["reward"], int) and abs(value["reward"]) >= 1 << 1023:
        return "with a reward out of range"
    return None if nanoseconds(value["timestamp"]) is not None else "without a valid timestamp"


def _continues(before: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    """Return True if a line continues the episode of the one before it."""
    if before.get("at_target") is True:
        return False
    return before.get("trace_out") is not None and record.get("trace_in") == before["trace_out"]


def _arguments(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record), *(str(record.get(key)) for key in ("namespace", "policy", "duration_s"))


def _same_process(line: JsonLine, following: JsonLine) -> bool:
    """Return True if a line was written by the process that wrote the one before."""
    if _arguments(line.value) != _arguments(following.value):
        return False
    duration = line.value.get("duration_s")
    longest = 600 + 3 * (duration if isinstance(duration, (int, float)) else 0)
    pause = (nanoseconds(following.value["timestamp"]) or 0) - (
        nanoseconds(line.value["timestamp"]) or 0
    )
    return -_SECOND <= pause <= longest * _SECOND


def _name(line: JsonLine, taken: set[str]) -> str:
    """Return the name of the run that begins with a line: its time, to the second."""
    time = re.sub(r"[^0-9T]", "", str(line.value["timestamp"])[:19])
    name = base = usable_name(f"sim-arena/{time}")
    number = 1
    while name in taken:
        number += 1
        name = f"{base}.{number}"
    taken.add(name)
    return name


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("namespace", "policy", "duration_s")
    return {key: record[key] for key in keys if record.get(key) is not None}


FORMAT: Final = SimArena()
