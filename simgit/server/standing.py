"""Levels of simulations for viewers: their progress, their questions, the lines of their logs.

It comes from the simulations themselves, each of which is asked only while somebody wants to know.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from simgit.live.inquiries import Inquiries
from simgit.live.processes import log_path
from simgit.process import now
from simgit.refs.simulations import SimulationEvent, SimulationRecord
from simgit.repository.jsonable import stamp
from simgit.server.levels import Level, level

PERIOD: Final = 0.2
"""Seconds between two questions to a simulation."""
HURRY: Final = 2.0
"""Seconds for which a simulation whose states somebody watches is told to flush more often."""
KINDS: Final = ("progress", "question", "line")


class Standing:
    """The levels of simulations; one thread looks at them.

    Attributes:
        levels: by name, of those that somebody wants to know.
    """

    def __init__(self, directory: Path | None) -> None:
        """Begin with no connection; no simulation runs in a repository without a directory."""
        self._directory = directory
        self._inquiries = Inquiries()
        self._records: Mapping[str, SimulationRecord] = {}
        self._runs: dict[str, str] = {}
        self._next = 0.0
        self._asked: dict[str, tuple[str, list[int]]] = {}
        self._answers: deque[SimulationEvent] = deque()
        self.levels: dict[str, Level] = {}

    def look(
        self, records: Mapping[str, SimulationRecord], wants: Callable[[str, str], bool]
    ) -> bool:
        """Take what simulations have answered, and ask again; return True if a level changed.

        Args:
            records: the records of those that have not ended.
            wants: returns whether somebody wants to know the events of a kind of a run.
        """
        before, found = self.levels, dict(self.levels)
        for path, status in self._inquiries.answers().items():
            if (run := self._runs.get(path)) is not None:
                with suppress(KeyError, TypeError, ValueError):  # of another version
                    self._take(found, run, status)
        while self._answers:
            self._tell_answer(found, self._answers.popleft())
        if records is not self._records or time.monotonic() >= self._next:
            self._next = time.monotonic() + PERIOD
            self._ask(found, records, wants)
        self.levels = found
        return found != before

    def answered(self, event: SimulationEvent) -> None:
        """Note that somebody answered a question; from any thread."""
        self._answers.append(event)

    def close(self) -> None:
        """Close the connections, and forget all levels."""
        self._inquiries.close()
        self._answers.clear()
        self.levels, self._records, self._runs, self._asked = {}, {}, {}, {}

    def _ask(
        self,
        found: dict[str, Level],
        records: Mapping[str, SimulationRecord],
        wants: Callable[[str, str], bool],
    ) -> None:
        for run in self._records.keys() - records.keys():
            self._end(found, run, self._records[run])
        self._records, self._runs = records, {}
        for run, record in records.items():
            if wants("line", run):
                self._measure(found, run, record)
            is_watched = wants("run", run)
            if record.socket is None or not (is_watched or any(wants(k, run) for k in KINDS[:2])):
                continue
            self._runs[record.socket] = run
            ask = {"do": "watching", "seconds": HURRY} if is_watched else {"do": "status"}
            self._inquiries.ask(record.socket, ask)
        self._inquiries.keep({*self._runs})

    def _end(self, found: dict[str, Level], run: str, record: SimulationRecord) -> None:
        """Tell where its last line ends, and that it does and asks nothing any more."""
        found.pop(f"progress/{run}", None)
        self._take_questions(found, run, [])
        if f"line/{run}" in found:
            self._measure(found, run, record)

    def _take(self, found: dict[str, Level], run: str, status: Mapping[str, Any]) -> None:
        if (progress := status.get("progress")) is not None:
            record = {key: progress[key] for key in ("done", "total", "stage", "left")}
            stored = (progress["done"], progress["total"], progress["stage"])
            self._put(found, f"progress/{run}", stored, {"run": run, **record})
        self._take_questions(found, run, status.get("questions", []))

    def _take_questions(self, found: dict[str, Level], run: str, asked: list[Any]) -> None:
        name = f"question/{run}"
        there = found.get(name)
        key = (self._records[run].execution, [each["number"] for each in asked])
        is_answered = there is not None and type(there.stored) is int
        if (there is None and not asked) or (
            is_answered and (not asked or key == self._asked.get(run))
        ):
            return  # nothing was asked; or who has answered is told, and this was said before
        if asked:
            self._asked[run] = key
        questions = [
            {key: each[key] for key in ("number", "text", "form")} | {"until": _until(each["left"])}
            for each in asked
        ]
        record = {"run": run, "questions": questions, "answered": None}
        self._put(found, name, key, record)

    def _measure(self, found: dict[str, Level], run: str, record: SimulationRecord) -> None:
        assert self._directory is not None
        with suppress(OSError):  # it has begun nothing yet
            size = log_path(self._directory, record.execution).stat().st_size
            if size or f"line/{run}" in found:
                told = {"run": run, "execution": record.execution, "end": size}
                self._put(found, f"line/{run}", (record.execution, size), told)

    def _tell_answer(self, found: dict[str, Level], event: SimulationEvent) -> None:
        answer = {key: event.data.get(key) for key in ("question", "value", "by")}
        record = {"run": event.run, "questions": [], "answered": answer}
        with suppress(ValueError):
            self._put(found, f"question/{event.run}", event.number, record)

    @staticmethod
    def _put(found: dict[str, Level], name: str, stored: Any, record: Mapping[str, Any]) -> None:
        there = found.get(name)
        if there is None or there.stored != stored:
            found[name] = level(name, stored, record)


def _until(left: float | None) -> str | None:
    return None if left is None else stamp(now() + round(left * 1e9))
