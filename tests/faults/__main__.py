"""The full sweeps: ``make faults``, or ``python -m tests.faults [PART…]``.

Each part is a row of units that depend on their number alone. What is done is noted in a file
after every unit, so that a sweep that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import clocks, copies, damage, examples, fuzz, io_errors, kills, loop, planted, power


@dataclass(frozen=True)
class Part:
    """A sweep: how many units it has, and what one does: count things, and list what is wrong."""

    units: int
    unit: Callable[[int, Path], tuple[Counter[str], list[str]]]


def _tally(tally: kills.Tally) -> tuple[Counter[str], list[str]]:
    return Counter({"kills": tally.kills}), tally.failures


def _copies(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    return copies.sweep(directory, copies.AT_ONCE, number), []


def _power(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    count, failures = power.sweep(directory, number, torn=4)
    return Counter({"cuts": count}), failures


def _loop(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    if not loop.available(directory):
        return Counter({"skipped": 1}), []
    cuts, failures = loop.sweep(directory, number)
    return Counter({"cuts": cuts}), failures


def _io_errors(number: int, directory: Path) -> tuple[Counter[str], list[str]]:
    failures = io_errors.sweep(directory, number)
    return Counter({"sweeps": 1}), failures


PARTS = {
    "kills": Part(1400, lambda n, d: _tally(kills.session(n, d))),
    "kills-at-random-times": Part(250, lambda n, d: _tally(kills.session(n, d, True))),
    "four-writers": Part(150, lambda n, d: _tally(kills.many(n, d))),
    "power": Part(20, _power),
    "loop": Part(40, _loop),
    "io-errors": Part(4, _io_errors),
    "copies": Part(60, _copies),
    "damage": Part(200, lambda n, d: damage.sweep(d, 200, n)),
    "damage-in-place": Part(50, lambda n, d: damage.sweep(d, 200, n, in_place=True)),
    "clocks": Part(400, lambda n, d: (Counter({"sessions": 1}), clocks.session(n, d))),
    "planted": Part(len(planted.FAULTS), planted.unit),
    "fuzz": Part(60, fuzz.unit),
    "examples": Part(examples.SEEDS * len(examples.folders()), examples.unit),
}


def main(arguments: list[str]) -> int:
    """Run parts; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument(
        "--state", type=Path, default=Path("build/faults.json"), help="what is done"
    )
    parser.add_argument("--units", type=int, default=1 << 30, help="of each part at most so many")
    given = parser.parse_args(arguments)
    given.state.parent.mkdir(parents=True, exist_ok=True)
    state = json.loads(given.state.read_text()) if given.state.exists() else {}
    for name in given.parts or PARTS:
        _run(name, PARTS[name], state.setdefault(name, _fresh()), given, state)
    return int(any(part["failures"] for part in state.values()))


def _fresh() -> dict[str, Any]:
    return {"next": 0, "seconds": 0.0, "counts": {}, "failures": []}


def _run(name: str, part: Part, done: dict[str, Any], given: Any, state: dict[str, Any]) -> None:
    with TemporaryDirectory() as place:
        while done["next"] < min(part.units, given.units):
            begun = time.monotonic()
            counts, failures = part.unit(done["next"], _directory(Path(place), name, done["next"]))
            done["counts"] = dict(Counter(done["counts"]) + counts)
            done["failures"] += failures
            done["seconds"] += time.monotonic() - begun
            done["next"] += 1
            given.state.write_text(json.dumps(state, indent=1))
    shown = ", ".join(f"{count} {what}" for what, count in sorted(done["counts"].items()))
    print(f"{name}: {shown}; {done['seconds']:.0f} s; {len(done['failures'])} failures", flush=True)
    for failure in done["failures"]:
        print(failure, flush=True)


SHARED = ("clocks", "kills", "kills-at-random-times", "four-writers", "damage", "damage-in-place")
"""Parts whose units use again what the ones before have made."""


def _directory(place: Path, name: str, number: int) -> Path:
    found = place if name in SHARED else place / str(number)
    found.mkdir(exist_ok=True)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
