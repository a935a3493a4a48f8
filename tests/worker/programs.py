"""Programs that tests start as processes: workers that are killed, and claimers that race."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

import simgit


def count(url: str, name: str, total: str, directory: str = "") -> None:
    """Record the states of a counter up to a total, on two runs; print each that is stored."""
    options = {"directory": directory} if directory else {}
    with simgit.worker.open(url, name, push_seconds=0.1, **options) as work:
        for run in ("a", "b"):
            before = work.resumed.get(f"{name}/{run}")
            start = 0 if before is None else before.step + 1
            number = int(name.rpartition("/")[2])
            with work.recorder(run, flush_every=25, flush_seconds=None) as recorder:
                for i in range(start, int(total)):
                    recorder.append(np.array([number, ord(run), i]), i % 4, float(i))
                    time.sleep(0.001)
                    if i % 60 == 59:
                        work.checkpoint(recorder, "agent", {"i": i})


def busy(url: str, name: str, seconds: str, how: str = "plain") -> None:
    """Record without end, and tell how far it is, until a signal ends it."""
    if how == "handler":
        import signal

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    with (
        simgit.worker.open(url, name, push_seconds=1000.0, grace=float(seconds)) as work,
        work.recorder(flush_seconds=None) as recorder,
    ):
        i = 0
        recorder.append(np.array([-1, -1]), 0, 0.0)
        print("ready", work.directory, flush=True)
        while True:
            recorder.append(np.array([i, 3]), i % 4, float(i))
            i += 1
            if i % 100 == 0:
                print(i, flush=True)


def play(url: str, name: str, seconds: str) -> None:
    """Record an environment without end; it is never closed."""
    import gymnasium

    from simgit.gym import Recorder

    with simgit.worker.open(url, name, push_seconds=1000.0, grace=float(seconds)) as work:
        env = Recorder(
            gymnasium.make("CartPole-v1"), work.repository, work.run(), self_check=False,
            flush_seconds=None,
        )  # fmt: skip
        env.reset(seed=1)
        print("ready", work.directory, flush=True)
        for i in range(1, 1 << 30):
            if any(env.step(i % 2)[2:4]):
                env.reset()
            if i % 100 == 0:
                print(i, flush=True)


def grab(url: str, name: str, interval: str, folder: str, how: str) -> None:
    """Claim until it is given; then hold a file that nobody else may have, and end as told."""
    while (held := simgit.worker.claim(url, name, interval=float(interval))) is None:
        time.sleep(0.02)
    mark = Path(folder) / "inside"
    handle = os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)  # raises where another is inside
    os.write(handle, str(os.getpid()).encode())
    with (Path(folder) / "order").open("a") as order:
        order.write(f"{os.getpid()}\n")
    print("inside", flush=True)
    if how == "hang":
        time.sleep(1000)
    time.sleep(0.1)
    assert held.is_held
    mark.unlink()
    held.release()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
