"""``python tests/learning --output docs/learning.md``: train everything, and write the page.

Rows are kept in a file as they come, and not done again: an interrupted measurement goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.learning.budgets import BUDGETS
from tests.learning.page import page
from tests.learning.work import generalist, scenario


def main() -> None:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many for each scenario")
    parser.add_argument("--generalists", type=int, default=3, help="how many of these")
    parser.add_argument("--only", nargs="*", help="scenarios, or 'generalist'")
    parser.add_argument("--results", type=Path, default=Path("learning.jsonl"))
    parser.add_argument("--output", type=Path, help="the page to write")
    given = parser.parse_args()
    tasks = [("generalist", seed) for seed in range(given.generalists)]
    tasks = [(name, seed) for seed in range(given.seeds) for name in BUDGETS] + tasks
    wanted = [task for task in tasks if not given.only or task[0] in given.only]
    rows = _read(given.results)
    known = {(row["name"], row["seed"]) for row in rows}
    with given.results.open("a") as file:
        for name, seed in wanted:
            if (name, seed) in known:
                continue
            row = generalist(seed) if name == "generalist" else scenario(name, seed)
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            shown = {k: v for k, v in row.items() if k not in ("lengths", "returns", "points")}
            print(shown, row.get("points", [""])[-1], flush=True)
    if given.output is not None:
        given.output.write_text(page(rows, given.output.parent / "images"))


def _read(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
