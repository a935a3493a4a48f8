"""docs/learning.md: what was measured, as a table and as curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simgit.analysis import band
from simgit.kube.task.scenarios import generate
from simgit.plot import Band, Curve, learning_curve, smooth
from tests.learning.budgets import (
    BUDGETS,
    GENERALIST,
    HELD_OUT_SEEDS,
    SEVERITIES,
    SLACK,
    TRAINING_SEEDS,
)
from tests.learning.work import Row

_WINDOW = 5


def page(rows: Sequence[Row], images: Path) -> str:
    """Return the page; its pictures are written to ``images``."""
    parts = [_INTRODUCTION, _table(rows), _CURVES]
    for name in BUDGETS:
        found = [row for row in rows if row["name"] == name]
        if found:
            _scenario_picture(name, found, images / f"learning-{name}.svg")
            parts.append(f"![{name}: length of episodes](images/learning-{name}.svg)\n")
    return "\n".join([*parts, *_generalist(rows, images)])


_INTRODUCTION = """\
# Whether agents learn

After this page you know which scenarios the agents solve, how many episodes that takes, and whether one agent can solve them all.

`make learning` trains everything on this page, records each step, and writes the page: ten seeds of each scenario, and three agents for all scenarios. A seed that is missing below has not been measured yet. The code is in `tests/learning`. The tests of every change repeat the first row with two seeds.

## Each scenario that ships

A DQN with the flags shown and otherwise the defaults: 7 actions, reward `shaped`, target 3, at most 100 steps an episode. *Good* seeds are those whose trained agent, as `simgit evaluate RUN` evaluates it, without exploring, solves the scenario in the fewest possible steps. The last state of a network need not be its best, because the policy varies to the end. So each checkpoint is tried, and a run is evaluated by its best one. Seconds are wall-clock time, mean of the seeds, on a machine that also did other work.
"""

_CURVES = """
Length of episodes while exploring: mean over seeds with its 95 % interval, smoothed over five episodes. 100 is the limit.
"""


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| scenario | flags | fewest steps | good seeds | steps taken by each | steps trained | seconds |",
        "|---|---|--:|--:|---|--:|--:|",
    ]
    for name, budget in BUDGETS.items():
        found = sorted((row for row in rows if row["name"] == name), key=lambda row: row["seed"])
        if not found:
            continue
        fewest = generate(name).steps
        good = sum(row["taken"] == fewest for row in found)
        taken = " ".join("–" if row["taken"] is None else f"{row['taken']:g}" for row in found)
        steps = np.mean([row["steps"] for row in found])
        seconds = np.mean([row["seconds"] for row in found])
        lines.append(
            f"| {name} | `{budget.flags}` | {fewest} | {good} of {len(found)} | {taken} | "
            f"{steps:.0f} | {seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _scenario_picture(name: str, rows: Sequence[Row], path: Path) -> None:
    curves = [
        Curve(f"seed {row['seed']}", np.arange(1.0, len(row["lengths"]) + 1),
              smooth(np.asarray(row["lengths"], np.float64), _WINDOW))
        for row in rows
    ]  # fmt: skip
    shown: list[Curve | Band] = [band(name, curves)] if len(curves) > 1 else list(curves)
    title = f"{name}: {generate(name).steps} steps would do"
    learning_curve({"length (steps)": shown}, title=title).save(path)


def _generalist(rows: Sequence[Row], images: Path) -> list[str]:
    found = [row for row in rows if row["name"] == "generalist"]
    if not found:
        return []
    curves = [
        Curve(
            f"seed {row['seed']}",
            np.array([point["episode"] for point in row["points"]], np.float64),
            np.array([100 * point["good"] / point["of"] for point in row["points"]]),
        )
        for row in found
    ]
    picture = learning_curve({"held-out solved (%)": curves}, title="One agent for all scenarios")
    picture.save(images / "learning-generalist.svg")
    lines = [_text(), "| seed | solved within two steps | in the fewest | episodes | steps | seconds |",
             "|--:|--:|--:|--:|--:|--:|"]  # fmt: skip
    for row in found:
        last = row["final"]
        lines.append(
            f"| {row['seed']} | {last['good']} of {last['of']} ({100 * last['good'] / last['of']:.1f} %) "
            f"| {last['optimal']} | {row['points'][-1]['episode']} | {row['steps']} | {row['seconds']:.0f} |"
        )
    picture_line = "![One agent for all scenarios: held-out solved](images/learning-generalist.svg)"
    return [*lines, "", picture_line, ""]


def _text() -> str:
    first, last = SEVERITIES[0], SEVERITIES[-1]
    return f"""\
## One agent for all scenarios

One constant action would solve some of the scenarios above. Here one agent meets all seven kinds at severities {first} to {last}, generated with seeds {TRAINING_SEEDS[0]} to {TRAINING_SEEDS[-1]}; it is judged on {7 * len(SEVERITIES) * len(HELD_OUT_SEEDS)} others, generated with seeds {" and ".join(map(str, HELD_OUT_SEEDS))}, which start at other requests. It has to see from its five numbers what is wrong, and to stop when that is repaired. A scenario counts as solved within {SLACK} steps more than the fewest.

```sh
simgit trace generate --all --severities {first}..{last} --seeds {TRAINING_SEEDS[0]}..{TRAINING_SEEDS[-1]} --out training
simgit trace generate --all --severities {first}..{last} --seeds {HELD_OUT_SEEDS[0]}..{HELD_OUT_SEEDS[-1]} --out held-out
simgit train --traces training --agent dqn {GENERALIST.flags} --run train/general
simgit evaluate train/general --traces held-out
```
"""
