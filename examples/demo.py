"""Record a small simulation, go back to a step, try something else, and compare.

python examples/demo.py [DIRECTORY]
"""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import simgit


class Pendulum:
    """A pendulum to be kept upright by pushes to the left or right; half a page of physics."""

    def __init__(self, seed: int) -> None:
        self.angle = 0.02 + 0.01 * (seed % 7)
        self.speed = 0.0

    def step(self, push: float) -> tuple[float, bool]:
        """Advance by 20 ms; return the reward and whether the pendulum has fallen."""
        self.speed += 0.02 * (9.8 * math.sin(self.angle) + push)
        self.angle += 0.02 * self.speed
        return 1.0 - abs(self.angle), abs(self.angle) > 0.5


def balance(repo: simgit.Repository, run: str, gain: float, start: simgit.State | None) -> None:
    """Control the pendulum on a run, from its beginning or from a recorded state."""
    pendulum = Pendulum(seed=3)
    with repo.recorder(run) as recorder:
        if start is None:
            recorder.append({"angle": pendulum.angle, "speed": 0.0}, reset={"seed": 3})
        else:
            pendulum.angle, pendulum.speed = start.observation["angle"], start.observation["speed"]
        fallen, steps = False, 0
        while not fallen and steps < 400:
            push = -gain * (pendulum.angle + 0.3 * pendulum.speed)
            reward, fallen = pendulum.step(push)
            observation = {"angle": pendulum.angle, "speed": pendulum.speed}
            recorder.append(observation, push, reward, fallen, False, {})
            steps += 1


def main() -> None:
    """Record, branch, compare, and say what to look at next."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    shutil.rmtree(directory, ignore_errors=True)
    with simgit.Repository.init(directory) as repo:
        balance(repo, "main", gain=9.0, start=None)
        # the gain is too small: the pendulum falls. Go back to step 50 and push harder
        repo.branch("harder", "main@50", overrides={"gain": 15.0})
        balance(repo, "harder", gain=15.0, start=repo.state("main@50"))
        for run in repo.runs():
            last = repo.state(run.name)
            ending = "fell" if last.terminated else "stands"
            print(f"{run.name:8} {last.step:4} steps  return {run.return_:7.2f}  {ending}")
        print(repo.diff("main", "harder"))
        print(f"\nNow try:\n  cd {directory}\n  simgit log --oneline -n 5")
        print("  simgit log --graph\n  simgit diff main harder\n  simgit show main@50")


if __name__ == "__main__":
    main()
