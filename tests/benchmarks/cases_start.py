"""The start of the program: whole processes, as a ratio to importing what it is built on."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from . import subject
from .case import Bench, Case, at_most
from .measure import run, seconds

IMPORTS = "import numpy, click, lmdb, blake3, zstandard, msgpack"
ROUNDS = 15
READING = {
    "log": ("log", "-n", "10"),
    "status": ("status",),
    "branch": ("branch",),
    "show": ("show",),
    "diff": ("diff", "main~1", "main"),
}
"""Commands that read a repository."""
ALONE = {"version": ("--version",), "help": ("--help",), "completion": ("log", "--one")}
"""What needs neither NumPy nor a store; a completion is asked for in the environment."""


def _command(name: str, path: Path) -> tuple[list[str], dict[str, str]]:
    environment = dict(subject.environment())
    if name == "imports":
        return [sys.executable, "-c", IMPORTS], environment
    if name == "python":
        return [sys.executable, "-c", "pass"], environment
    if name == "completion":
        environment |= {"_SIMGIT_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
        return subject.program(), environment | {"COMP_WORDS": "simgit log --one"}
    words = ("-C", str(path), *READING[name]) if name in READING else ALONE[name]
    return subject.program(*words), environment


def _measured(bench: Bench) -> dict[str, float]:
    """Return seconds by command; all take turns, so that a busy machine is busy for all."""
    path = subject.recorded(bench, bench.size(10_000, 1_000))
    commands = {name: _command(name, path) for name in (*READING, *ALONE, "imports", "python")}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(bench.size(ROUNDS, 5)):
        for name, (command, environment) in commands.items():
            taken[name].append(seconds(lambda c=command, e=environment: run(c, env=e)))
    return {name: statistics.median(times) for name, times in taken.items()}


def _case(name: str, bound: float) -> Case:
    words = " ".join(READING.get(name) or ALONE[name])
    case = Case(
        f"start-{name}",
        f"{'completion of ' if name == 'completion' else ''}{words}, whole process, "
        "against importing numpy, click, lmdb, blake3, zstandard, msgpack",
        "ratio",
        at_most(bound),
    )

    @case.side("simgit", repeat=1)
    def _(bench: Bench) -> float:
        found = bench.keep("start", lambda: _measured(bench))
        return found[name] / found["imports"]

    @case.side("imports, ms", repeat=1)
    def _(bench: Bench) -> float:
        return bench.keep("start", lambda: _measured(bench))["imports"] * 1e3

    return case


CASES = [
    *(_case(name, 1.15) for name in READING),
    *(_case(name, 0.35) for name in ALONE),
]
