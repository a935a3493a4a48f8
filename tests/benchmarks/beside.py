"""The table of the README: ``python tests/benchmarks beside [--output README.md]``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from . import page
from .case import Bench
from .cases_beside import CASES, SIDES
from .measure import affinity, pin
from .table import Line, measured, remarks

NAMES = {"seed": "relational seed"}


def main(arguments: list[str]) -> int:
    """Measure the four rows, print them, and put them into a page if one is named."""
    parser = argparse.ArgumentParser("tests/benchmarks beside", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page to put the table in")
    options = parser.parse_args(arguments)
    pin({max(affinity(), default=0)})
    bench = Bench(options.quick)
    try:
        lines = measured(CASES, bench)
    finally:
        bench.close()
    text = f"{markdown(lines)}\n\n{about(lines)}"
    print(text)
    if options.output:
        page.put(options.output, "beside", text)
    return 0


def markdown(lines: list[Line]) -> str:
    """Return the rows as a Markdown table, simgit's figures in bold."""
    head = ["", *(NAMES.get(side, side) for side in SIDES)]
    rows = [head, ["---", *["--:"] * len(SIDES)]]
    for line in lines:
        figures = [line.cell(side) for side in SIDES]
        rows.append([f"{line.case.what}, {line.case.unit}", f"**{figures[0]}**", *figures[1:]])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def about(lines: list[Line]) -> str:
    """Say what was measured, on what, and by which command."""
    notes = [note.partition(": ")[2] for note in remarks(lines)]
    said = [note[0].upper() + note[1:] for note in notes]
    where = f"Measured on {page.machine()[0]}, one core, at a load of {os.getloadavg()[0]:.0f}"
    where += f" (compare the columns), by `{page.command()}`."
    return " ".join([*said, where])
