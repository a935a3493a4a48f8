"""Four workers explore a maze together, as Go-Explore does: each continues from what all found.

python examples/explore.py [DIRECTORY]
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np

import simgit

WORKERS, TRIES, STEPS, SIZE = 4, 8, 80, 17
MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def moved(place: tuple[int, int], action: int) -> tuple[int, int]:
    """Return the next place in a maze of walls, each with a gap at one of its ends."""
    x, y = (a + b for a, b in zip(place, MOVES[action], strict=True))
    is_wall = x % 4 == 3 and y != (SIZE - 1) * (x // 4 % 2 == 0)
    return (x, y) if 0 <= x < SIZE and 0 <= y < SIZE and not is_wall else place


def archive(repo: simgit.Repository) -> dict[tuple[int, int], list[str]]:
    """Fetch what all workers have pushed; return revisions of each place that one was at."""
    with repo.remote("origin") as remote:
        remote.fetch(["explore/*"])
    found: dict[tuple[int, int], list[str]] = {}
    for run in repo.remote_runs():
        for step, (x, y) in enumerate(repo[run].observations.tolist()):
            found.setdefault((x, y), []).append(f"{run}@{step}")
    return found


def explore() -> None:
    """Go back to a place that was seen seldom, again and again, and walk at random from there."""
    with simgit.worker.open() as work:  # 'simgit worker run' says which one, and where
        chance = random.Random(work.name)
        for number in range(len(work.resumed), TRIES):
            found = archive(work.repository)
            place = chance.choices([*found], [1 / len(seen) for seen in found.values()])[0]
            work.repository.branch(work.run(f"try-{number}"), chance.choice(found[place]))
            with work.recorder(f"try-{number}") as recorder:
                for _ in range(STEPS):
                    action = chance.randrange(4)
                    place = moved(place, action)
                    recorder.append(np.array(place), action, float(sum(place)) / SIZE)
            work.push()


def main(directory: str) -> None:
    """Record the first state, start the workers, and look at what came of it."""
    remote = str(Path(f"{directory}-remote").resolve())
    with simgit.worker.open(remote, "explore/start") as work, work.recorder() as recorder:
        recorder.append(np.array([0, 0]))
    command = [sys.executable, "-m", "simgit", "worker", "run", "--remote", remote,
               "--name", "explore/{index}"]  # fmt: skip
    program = ["--", sys.executable, __file__, "--worker"]
    workers = [subprocess.Popen([*command, "--index", str(i), *program]) for i in range(WORKERS)]
    assert [each.wait() for each in workers] == [0] * WORKERS
    with simgit.Repository.clone(remote, directory) as repo:
        seen = Counter(tuple(each) for run in repo.runs for each in repo[run].observations.tolist())
        print(f"{len(repo.runs)} runs; {len(seen)} places, the farthest {max(seen, key=sum)}")
    subprocess.run([sys.executable, "-m", "simgit", "-C", directory, "tree"], check=True)


if __name__ == "__main__":
    explore() if "--worker" in sys.argv else main((*sys.argv[1:], "explore")[0])
