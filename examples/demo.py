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
    with repo.recorder(run, config={"gain": gain}) as recorder:
        if start is None:
            recorder.append({"angle": pendulum.angle, "speed": 0.0}, reset={"seed": 3})
        else:
            pendulum.angle, pendulum.speed = start.observation["angle"], start.observation["speed"]
        fallen, step = False, start.step if start else 0
        while not fallen and step < 400:
            push = -gain * (pendulum.angle + 0.3 * pendulum.speed)
            reward, fallen = pendulum.step(push)
            observation = {"angle": pendulum.angle, "speed": pendulum.speed}
            recorder.append(observation, push, reward, fallen, False, {})
            step += 1


def main() -> None:
    """Record, branch, compare, and say what to look at next."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    shutil.rmtree(directory, ignore_errors=True)
    with simgit.Repository.init(directory) as repo:
        balance(repo, "main", gain=7.0, start=None)
        # the gain is too small: the pendulum falls. Go back to step 50 and push harder
        repo.branch("harder", "main@50")
        balance(repo, "harder", gain=15.0, start=repo.state("main@50"))
        report(repo, directory)


def report(repo: simgit.Repository, directory: Path) -> None:
    """Print both runs, where they part, and what to try next."""
    print("run       steps   return  ending")
    for run in repo.runs():
        ending = "fell" if repo.state(run.name).terminated else "still stands"
        print(f"{run.name:8} {run.step:6} {run.return_:8.2f}  {ending}")

    diff = repo.diff_runs("main", "harder")
    fork = repo.state(repo.merge_base("main", "harder"))
    print(f"\nThey share the states up to step {fork.step} ({fork.oid.short()}).")
    print(f"Step {diff.first_step} is the first that differs:")
    for run in ("main", "harder"):
        print(f"  {run:8} push {repo.state(f'{run}@{diff.first_step}').action:+.3f}")
    print(f"\nAll of it is in {directory}, {repo.size() // 1024} KiB. Now try:")
    command = "simgit" if shutil.which("simgit") else Path(sys.executable).parent / "simgit"
    print(f"  cd {directory}")
    for arguments in ("log --graph --simplify --oneline --all", "diff main harder", "show main@50"):
        print(f"  {command} {arguments}")


if __name__ == "__main__":
    main()
