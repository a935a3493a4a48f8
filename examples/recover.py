"""Nothing recorded is lost: a deleted run comes back, and a second writer is refused.

python examples/recover.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import simgit


def main() -> None:
    """Delete a run and bring it back; refuse a second writer, which takes a run of its own."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "recover"
    with simgit.Repository.init(directory) as repo:
        with repo.recorder("trial") as recorder:
            recorder.append(0, reset={"seed": 1})
            for t in range(1, 100):
                recorder.append(t, 1, 0.5)
        before = repo.resolve("trial")

        repo.delete_run("trial")
        last = repo.reflog("trial")[0]
        print(f"{last.message}: it was at {last.old.short()}")
        repo.branch("trial", last.old)
        assert repo.resolve("trial") == before

        first = repo.recorder("trial")
        try:
            repo.recorder("trial")  # on_conflict="branch" would record to a run of its own
        except simgit.Conflict as conflict:
            print(f"conflict: {conflict}")
        repo.branch("trial.2", "trial")
        second = repo.recorder("trial.2")
        first.append(100, 1, 1.0)
        second.append(100, 2, 2.0)
        first.close()
        second.close()

        for name in repo.runs:
            state = repo.state(name)
            print(f"{name:17} step {state.step}  action {state.action}  reward {state.reward}")


if __name__ == "__main__":
    main()
