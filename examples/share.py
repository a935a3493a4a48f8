"""Share a repository by copying it: consistent while it is written, and names stay equal.

python examples/share.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import simgit


def walk(repo: simgit.Repository, run: str, steps: int, stride: int) -> None:
    """Record a walk along a line."""
    start = repo.state(run).observation if run in repo.runs else 0
    with repo.recorder(run) as recorder:
        if start == 0:
            recorder.append(0, reset={"seed": 1})
        for step in range(1, steps + 1):
            recorder.append(start + stride * step, stride, float(stride))


def main() -> None:
    """Copy a repository while a recorder is open, continue both, and compare."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "share"
    with simgit.Repository.init(directory) as ours:
        walk(ours, "main", 1000, stride=1)
        with ours.recorder("busy") as recorder:  # whoever copies need not wait for it
            recorder.append(0, reset={"seed": 2})
            theirs = simgit.Repository.clone(directory, f"{directory}-copy")
        with theirs:
            shared = ours.resolve("main@500")
            assert theirs.resolve("main@500") == shared, "a state's name depends on content alone"
            print(f"main@500 is {shared.short()} in both; {theirs.runs['main'].step} steps copied")

            for name, repo in (("ours", ours), ("theirs", theirs)):
                repo.branch("long-strides", shared)
                walk(repo, "long-strides", 10, stride=3)
                print(f"{name:6} long-strides is {repo.resolve('long-strides').short()}")
            assert ours.resolve("long-strides") == theirs.resolve("long-strides")
            print("the same work, done in two places, has the same names")


if __name__ == "__main__":
    main()
