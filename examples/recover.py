"""Nothing recorded is lost: a deleted run, and a writer that came second.

python examples/recover.py [DIRECTORY]
"""

from __future__ import annotations

import sys

import simgit


def main() -> None:
    """Delete a run and bring it back; write one run twice at once and keep both."""
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

        first, second = repo.recorder("trial"), repo.recorder("trial")
        first.append(100, 1, 1.0)
        second.append(100, 2, 2.0)
        first.close()
        try:
            second.close()
        except simgit.Conflict as conflict:
            print(f"conflict: {conflict}")

        for name in repo.runs:
            state = repo.state(name)
            print(f"{name:17} step {state.step}  action {state.action}  reward {state.reward}")


if __name__ == "__main__":
    main()
