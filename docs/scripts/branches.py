"""Draw the picture of the README from runs that are recorded for it.

``python docs/scripts/branches.py`` records CartPole, goes back to step 30, branches off there with
another policy, and writes docs/images/branches.svg. Every state that is drawn is a recorded one;
poles lean twice as much as they did, so that it can be seen.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import gymnasium

import simgit
from simgit.gym import Recorder

PICTURE = Path(__file__).resolve().parents[1] / "images/branches.svg"
WIDTH, HEIGHT, LEFT, CELL, TILE = 960, 318, 24, 92, 74
SEED, BRANCH, EVERY = 12, 30, 10
ROWS = {"main": (70, "#1f6fb2"), "careful": (210, "#c2570c")}


def simple(observation: Any) -> int:
    """Push where the pole leans, however fast it moves: it swings further each time."""
    return int(observation[2] > 0)


def careful(observation: Any) -> int:
    """Push where the pole is about to fall."""
    return int(observation[2] + 0.3 * observation[3] + 0.05 * observation[1] > 0)


def drive(env: Recorder, policy: Any, until: int) -> None:
    """Take steps until the pole has fallen."""
    over = False
    while not over and env.step_count < until:
        _, _, over, _, _ = env.step(policy(env.observation))


def record(repo: simgit.Repository) -> None:
    """Record a run that falls, and one that branches off it and does not."""
    with Recorder(gymnasium.make("CartPole-v1"), repo, "main") as env:
        env.reset(seed=SEED)
        drive(env, simple, 100)
    with Recorder.branch(repo, "careful", f"main@{BRANCH}", overrides={"policy": "careful"}) as env:
        drive(env, careful, 80)


def steps(repo: simgit.Repository, run: str, first: int) -> list[int]:
    """Return the steps that are drawn: every tenth, and the last."""
    last = repo.runs[run].step
    return [*range(first, last, EVERY), last]


def tile(state: simgit.State, x: float, y: float, colour: str) -> str:
    """Return a state as the cart and the pole that it is."""
    position, angle = float(state.observation[0]), 2 * float(state.observation[2])
    cart, floor = x + TILE / 2 + position * 30, y + TILE - 16
    tip_x, tip_y = cart + 40 * math.sin(angle), floor - 8 - 40 * math.cos(angle)
    fallen = " fallen" if state.terminated else ""
    return (
        f'<rect x="{x}" y="{y}" width="{TILE}" height="{TILE}" rx="6" class="tile{fallen}" '
        f'stroke="{colour}"/>'
        f'<path d="M{x + 8} {floor + 5} h{TILE - 16}" stroke="#c8ced4"/>'
        f'<rect x="{cart - 10:.1f}" y="{floor - 8}" width="20" height="10" rx="2" fill="#39434d"/>'
        f'<path d="M{cart:.1f} {floor - 8} L{tip_x:.1f} {tip_y:.1f}" stroke="{colour}" '
        'stroke-width="4" stroke-linecap="round"/>'
        f'<text x="{x + TILE / 2}" y="{y + TILE + 15}" class="oid">{state.oid.short(8)}</text>'
    )


def picture(repo: simgit.Repository) -> str:
    """Return the SVG: a row a run, the states in the order of their steps."""
    found = [HEAD]
    for run, (y, colour) in ROWS.items():
        first = 0 if run == "main" else BRANCH + EVERY
        drawn = steps(repo, run, first)
        for step in drawn:
            x = LEFT + CELL * math.ceil(step / EVERY)
            if step == BRANCH + EVERY and run != "main":
                from_x, from_y = LEFT + CELL * BRANCH // EVERY + TILE / 2, ROWS["main"][0]
                found.append(
                    f'<path d="M{from_x} {from_y + TILE + 22} V{y + TILE / 2 - 8} q0 8 8 8 H{x - 6}'
                    f' m-6 -4 l6 4 l-6 4" class="line" stroke="{colour}"/>'
                )
            elif step:
                found.append(
                    f'<path d="M{x - CELL + TILE + 3} {y + TILE / 2} H{x - 5} m-6 -4 l6 4 l-6 4" '
                    f'class="line" stroke="{colour}"/>'
                )
            found.append(tile(repo.state(f"{run}@{step}"), x, y, colour))
            found.append(f'<text x="{x + TILE / 2}" y="{y - 8}" class="step">step {step}</text>')
        end = repo.runs[run]
        what = "the pole has fallen" if repo.state(run).terminated else "still up"
        x = LEFT + CELL * math.ceil(drawn[-1] / EVERY) + TILE + 12
        found.append(f'<text x="{x}" y="{y + 30}" class="run" fill="{colour}">{run}</text>')
        found.append(f'<text x="{x}" y="{y + 48}" class="what">{what},</text>')
        found.append(f'<text x="{x}" y="{y + 64}" class="what">return {end.return_:g}</text>')
    for y, line in zip((232, 250), COMMAND, strict=True):
        found.append(f'<text x="{LEFT}" y="{y}" class="code" xml:space="preserve">{line}</text>')
    found.append(f'<text x="{LEFT}" y="28" class="title">{TITLE}</text>')
    return "\n".join([*found, "</svg>\n"])


COMMAND = ("$ simgit checkout -b careful \\", f"      main@{BRANCH} --set …")
TITLE = "Every state is stored. Go back to any of them, and try something else from there."
HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">
<title>A recorded run of CartPole, and a branch off its step {BRANCH}</title>
<style>
text {{ font-family: system-ui, sans-serif; fill: #39434d }}
.oid {{ font: 11.5px ui-monospace, monospace; text-anchor: middle; fill: #6a7580 }}
.step {{ font-size: 11.5px; text-anchor: middle; fill: #6a7580 }}
.run {{ font-size: 16px; font-weight: 600 }} .what {{ font-size: 12.5px }}
.title {{ font-size: 16px; font-weight: 600 }} .code {{ font: 13px ui-monospace, monospace }}
.tile {{ fill: #f7f9fb; stroke-width: 1.5 }} .fallen {{ fill: #fbe9e7 }}
.line {{ fill: none; stroke-width: 2 }}
</style>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"""


def main() -> None:
    """Record the runs in a scratch directory, and draw them."""
    with tempfile.TemporaryDirectory() as scratch, simgit.Repository.init(scratch) as repo:
        record(repo)
        PICTURE.write_text(picture(repo), encoding="utf-8")


if __name__ == "__main__":
    main()
