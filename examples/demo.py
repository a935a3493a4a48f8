"""Record a small simulation, branch it and compare; then the main job: train an agent on SimKube.

python examples/demo.py [DIRECTORY]
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import simgit

RUN = "train/cpu-slight-dqn-1"


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
        report(repo)
    main_job(directory)


def report(repo: simgit.Repository) -> None:
    """Print both runs, and where they part."""
    print("run       steps   return  ending")
    for run in repo.runs.values():
        ending = "fell" if repo.state(run.name).terminated else "still stands"
        print(f"{run.name:8} {run.step:6} {run.return_:8.2f}  {ending}")

    diff = repo.diff_runs("main", "harder")
    fork = repo.state(repo.merge_base("main", "harder"))
    print(f"\nThey share the states up to step {fork.step} ({fork.oid.short()}).")
    print(f"Step {diff.first_step} is the first that differs:")
    for run in ("main", "harder"):
        print(f"  {run:8} push {repo.state(f'{run}@{diff.first_step}').action:+.3f}")


def main_job(directory: Path) -> None:
    """Train an agent to repair a workload whose pods do not fit their nodes, by the command line.

    Then branch it in the middle with another learning rate, continue there, and compare.
    """
    trace = Path(__file__).resolve().parents[1] / "traces" / "cpu-slight.sktrace"
    train = ["train", "--trace", str(trace), "--target", "3", "--agent", "dqn", "--episodes", "60"]
    simgit_(directory, *train, "--run", RUN)
    simgit_(directory, "branch", "high-lr", f"{RUN}@ep20", "--set", "lr=0.01")
    simgit_(directory, "train", "--resume", "--run", "high-lr")
    simgit_(directory, "diff", RUN, "high-lr")
    simgit_(directory, "plot", RUN, "high-lr", "--kind", "lengths")
    simgit_(directory, "evaluate", RUN, "--traces", str(trace.parent))
    command = "simgit" if shutil.which("simgit") else Path(sys.executable).parent / "simgit"
    print(f"\nAll of it is in {directory}. Now try:\n  cd {directory}")
    for text in ("tree", f"kube pods {RUN}@1", f"log --oneline -n 5 {RUN}", "show main@50"):
        print(f"  {command} {text}")


def simgit_(directory: Path, *arguments: str) -> None:
    """Show a command, and run it in the directory as a process of its own."""
    shown = " ".join(Path(word).name if word.startswith("/") else word for word in arguments)
    print(f"\n$ simgit {shown}", flush=True)
    command = [sys.executable, "-m", "simgit", "-C", str(directory), *arguments]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
