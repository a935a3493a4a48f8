"""Run the cases and print one table: simgit, its target, its peers, and the verdict."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from . import page
from .case import Bench, Case, Figures, Outcome, measure
from .cases import chosen
from .measure import affinity, pin

HEAD = ("name", "what", "unit", "target", "simgit", "git", "SQLite", "LMDB", "others", "verdict")
PEERS = ("git", "SQLite", "LMDB")
WORDS = {"name", "what", "unit", "others", "verdict"}


@dataclass
class Line:
    """One measured case."""

    case: Case
    outcomes: dict[str, Outcome]

    @property
    def figures(self) -> Figures:
        """Return the medians of the sides that were measured."""
        found = {name: outcome.median for name, outcome in self.outcomes.items()}
        return {name: median for name, median in found.items() if median is not None}

    @property
    def bound(self) -> float | None:
        """Return the target as a number, where there is one."""
        return self.case.target.value(self.figures) if self.case.target else None

    def verdict(self) -> str:
        """Say whether the target is met, and simgit's figure as a multiple of it."""
        mine = self.figures.get("simgit")
        if mine is None or self.bound is None or self.case.target is None:
            return ""
        word = "met" if self.case.target.met(mine, self.bound) else "MISSED"
        return f"{word}, {mine / self.bound:.2f} ×" if self.bound else word

    def target(self) -> str:
        """Return the target as the table shows it."""
        if self.case.target is None or self.bound is None:
            return ""
        return ("≥ " if self.case.target.at_least else "≤ ") + number(self.bound)

    def cell(self, side: str) -> str:
        """Return one side's figure, or in a word why there is none."""
        outcome = self.outcomes.get(side)
        if outcome is None:
            return ""
        if outcome.median is None:
            return outcome.problem.partition(":")[0]
        return number(outcome.median)

    def others(self) -> str:
        """Return the figures of the sides that have no column of their own."""
        rest = [name for name in self.outcomes if name not in ("simgit", *PEERS)]
        return ", ".join(f"{name} {self.cell(name)}" for name in rest)

    def cells(self) -> tuple[str, ...]:
        """Return the row of the table."""
        peers = [self.cell(peer) for peer in PEERS]
        simgit = self.cell("simgit")
        head = (self.case.name, self.case.what, self.case.unit, self.target(), simgit)
        return (*head, *peers, self.others(), self.verdict())


def number(value: float) -> str:
    """Return three significant digits, thousands apart."""
    if abs(value) >= 100:
        digits = 10 ** max(0, len(str(int(abs(value)))) - 3)
        return f"{round(value / digits) * digits:,}".replace(",", " ")
    return f"{value:.3g}"


def measured(cases: list[Case], bench: Bench) -> list[Line]:
    """Measure the cases one after another, with a line of progress for each."""
    lines = []
    for case in cases:
        if case.full_only and bench.quick:
            continue
        start = time.perf_counter()
        line = Line(case, {name: measure(side, bench) for name, side in case.sides.items()})
        lines.append(line)
        print(f"{case.name:24} {time.perf_counter() - start:6.1f} s", file=sys.stderr)
    return lines


def text(rows: list[tuple[str, ...]]) -> str:
    """Align the rows in columns: words to the left, figures to the right."""
    table = [HEAD, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(HEAD))]
    rule = tuple("─" * width for width in widths)
    return "\n".join(_aligned(row, widths) for row in (HEAD, rule, *rows))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.ljust(width) if name in WORDS else cell.rjust(width)
        for cell, width, name in zip(row, widths, HEAD, strict=True)
    ]
    return "  ".join(cells).rstrip()


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Return the rows as a Markdown table."""
    rule = tuple("---" if name in WORDS else "--:" for name in HEAD)
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEAD, rule, *rows))


def remarks(lines: list[Line]) -> list[str]:
    """Return each distinct note once, with the rows that it belongs to, and all failures."""
    notes: dict[str, list[str]] = {}
    for line in lines:
        if line.case.note:
            notes.setdefault(line.case.note, []).append(line.case.name)
    found = [f"{', '.join(names)}: {note}." for note, names in notes.items()]
    for line in lines:
        for side, outcome in line.outcomes.items():
            if outcome.problem.startswith("failed"):
                found.append(f"{line.case.name}, {side} {outcome.problem}")
    return found


def about(quick: bool, seconds: float) -> list[str]:
    """Say how the figures came about."""
    sizes = "sizes a tenth of what the rows say (--quick), " if quick else ""
    cores = f"pinned to {len(affinity())} core" if affinity() else "not pinned"
    how = f"{sizes}medians of up to 5 runs, {cores}, {seconds:.0f} s in all"
    return [*page.machine(), how, f"made by `{page.command()}`"]


def as_json(lines: list[Line], notes: list[str]) -> str:
    """Return everything measured, every single run included."""
    rows = [
        {
            "name": line.case.name,
            "what": line.case.what,
            "unit": line.case.unit,
            "target": line.bound,
            "verdict": line.verdict(),
            "sides": {name: vars(outcome) for name, outcome in line.outcomes.items()},
        }
        for line in lines
    ]
    return json.dumps({"about": notes, "rows": rows}, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Run ``python tests/benchmarks [options]``."""
    options = _parser().parse_args(arguments)
    if options.core >= 0:
        pin({options.core})
    bench = Bench(options.quick, options.directory)
    start = time.perf_counter()
    try:
        lines = measured(chosen(options.only), bench)
    finally:
        bench.close()
    _show(lines, about(options.quick, time.perf_counter() - start), options)
    return 0


def _show(lines: list[Line], notes: list[str], options: argparse.Namespace) -> None:
    rows = [line.cells() for line in lines]
    print(text(rows), "", *notes, "", *map(_wrapped, remarks(lines)), sep="\n")
    if options.json:
        options.json.write_text(as_json(lines, notes), encoding="utf-8")
    if options.output:
        bullets = "\n".join(f"- {note}" for note in [*notes, *remarks(lines)])
        page.put(options.output, options.section, f"{markdown(rows)}\n\n{bullets}")


def _wrapped(remark: str) -> str:
    return textwrap.fill(remark, 120, subsequent_indent="    ")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tests/benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases that begin so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every single figure")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the table in a Markdown page")
    parser.add_argument("--section", default="table", help="the section of that page (table)")
    parser.add_argument("--directory", type=Path, help="where the stores are made (a real disk)")
    last = max(affinity(), default=os.cpu_count() or 1)
    parser.add_argument("--core", type=int, default=last, help="run on this core; -1: on all")
    return parser
