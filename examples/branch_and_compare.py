"""Go back to one state, try three settings from there, and keep the best.

python examples/branch_and_compare.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import simgit


def drive(repo: simgit.Repository, run: str, throttle: float) -> None:
    """Go on with a run: a cart that is to stop at position 10."""
    state = repo.state(run)
    position, speed = state.observation["position"], state.observation["speed"]
    with repo.recorder(run) as recorder:
        for _ in range(50):
            push = throttle * (10.0 - position) - speed
            speed += 0.1 * push
            position += 0.1 * speed
            recorder.append({"position": position, "speed": speed}, push, -abs(10.0 - position))


def main() -> None:
    """Record the beginning, branch, drive, and tag the run with the highest return."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "branch-and-compare"
    with simgit.Repository.init(directory) as repo:
        repo.commit({"position": 0.0, "speed": 0.0}, reset={"seed": 1})
        drive(repo, "main", throttle=0.2)
        for throttle in (0.5, 1.0, 2.0):
            name = f"throttle-{throttle}"
            repo.branch(name, "main@10", overrides={"throttle": throttle})
            drive(repo, name, throttle)

        for run in repo.runs.values():
            print(f"{run.name:13} {run.step:4} steps  return {run.return_:8.2f}  {run.config}")
        best = max(repo.runs.values(), key=lambda run: run.return_ / (run.step or 1))
        repo.tag("best", best.name, message=f"throttle {best.config.get('throttle')}")
        print(f"best: {best.name}; it left main at step {repo.state(best.branch_point).step}")


if __name__ == "__main__":
    main()
