"""What a case is: one row of the table, its target, and how each side is measured."""

from __future__ import annotations

import contextlib
import gc
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Figures = dict[str, float]
Measure = Callable[["Bench"], float]


class NotBuilt(Exception):
    """The part of simgit that a case measures does not exist yet."""


class Bench:
    """Scratch space, sizes, and what several cases share and only one needs to build."""

    def __init__(self, quick: bool = False, directory: Path | None = None) -> None:
        self.quick = quick
        self.path = Path(tempfile.mkdtemp(prefix="simgit-bench-", dir=directory))
        self._kept: dict[str, Any] = {}

    def size(self, full: int, quick: int) -> int:
        """Return the size that this run of the suite uses."""
        return quick if self.quick else full

    def keep(self, name: str, build: Callable[[], T]) -> T:
        """Return what ``build`` returned the first time that this name was asked for."""
        if name not in self._kept:
            self._kept[name] = build()
        kept: T = self._kept[name]
        return kept

    def folder(self, name: str) -> Path:
        """Return a directory of this name that stays until the end of the run."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return path

    def forget(self, *names: str) -> None:
        """Drop what was kept under these names, to give its memory back."""
        for name in names:
            self._kept.pop(name, None)
        gc.collect()

    def close(self) -> None:
        """Close what is open and remove everything from the disk."""
        for kept in self._kept.values():
            with contextlib.suppress(Exception):
                getattr(kept, "close", lambda: None)()
        shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True)
class Target:
    """A bound on simgit's figure; it may depend on what the peers reached in the same run."""

    bound: float | Callable[[Figures], float]
    at_least: bool

    def value(self, peers: Figures) -> float | None:
        """Return the bound as a number, or None if the peer that it needs was not measured."""
        try:
            return self.bound(peers) if callable(self.bound) else self.bound
        except KeyError:
            return None

    def met(self, figure: float, bound: float) -> bool:
        """Say whether a figure keeps to the bound."""
        return figure >= bound if self.at_least else figure <= bound


def at_least(bound: float) -> Target:
    """Ask for this much or more."""
    return Target(bound, at_least=True)


def at_most(bound: float | Callable[[Figures], float]) -> Target:
    """Ask for this much or less."""
    return Target(bound, at_least=False)


@dataclass
class Side:
    """How one side of a case is measured, and how often."""

    measure: Measure
    repeat: int


@dataclass
class Case:
    """One row: simgit's figure, its target, and its peers' figures."""

    name: str
    what: str
    unit: str
    target: Target | None = None
    note: str = ""
    full_only: bool = False
    sides: dict[str, Side] = field(default_factory=dict)

    def side(self, name: str, repeat: int = 3) -> Callable[[Measure], Measure]:
        """Register the measurement of one side: ``simgit`` or a peer's name."""

        def register(measure: Measure) -> Measure:
            self.sides[name] = Side(measure, repeat)
            return measure

        return register


def row_of(
    figures: Callable[[Bench], Figures], figure: str, name: str, what: str, unit: str, bound: float,
    note: str = "",
) -> Case:  # fmt: skip
    """Return a row that shows one of the figures that are measured together."""
    case = Case(name, what, unit, at_most(bound), note)
    case.side("simgit", repeat=1)(lambda bench: figures(bench)[figure])
    return case


@dataclass
class Outcome:
    """What measuring one side gave: its figures, or why there are none."""

    figures: list[float] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0

    @property
    def median(self) -> float | None:
        """Return the median of the runs, or None if there were none."""
        ordered = sorted(self.figures)
        middle = len(ordered) // 2
        if not ordered:
            return None
        return (ordered[middle] + ordered[~middle]) / 2


def measure(side: Side, bench: Bench) -> Outcome:
    """Measure one side as often as it asks for; a failure becomes a word in the table."""
    outcome, start = Outcome(), time.perf_counter()
    try:
        for _ in range(side.repeat):
            outcome.figures.append(side.measure(bench))
    except NotBuilt:
        outcome.problem = "not built"
    except Exception as error:
        outcome.problem = f"failed: {type(error).__name__}: {error}"
    outcome.seconds = time.perf_counter() - start
    return outcome
