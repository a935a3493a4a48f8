"""Kill a recording process with SIGKILL, resume, and get the run that an undisturbed one gives.

python examples/resume_after_kill.py [DIRECTORY]
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import gymnasium

import simgit
from simgit.gym import Recorder

STEPS = 300


def act(observation: Any) -> int:
    """Push against the swing of the pole."""
    return int(observation[2] + 0.5 * observation[3] > 0)


def simulate(env: Recorder, kill_at: int | None = None) -> None:
    """Act until the run has all its steps; the process may be killed on the way."""
    observation, newest = env.observation, env.repo.state(env.run)
    over = bool(newest.terminated or newest.truncated)  # it may have been killed between episodes
    while env.step_count < STEPS:
        if env.step_count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if over:
            observation, _ = env.reset()
            over = False
        else:
            observation, _, terminated, truncated, _ = env.step(act(observation))
            over = terminated or truncated
    env.close()


def start(directory: str, run: str, kill_at: int | None = None) -> None:
    """Begin a run; what is stored every 50 states survives anything."""
    env = Recorder(gymnasium.make("CartPole-v1"), directory, run, flush_every=50)
    env.reset(seed=5)
    simulate(env, kill_at)


def main() -> None:
    """Record a run in a process that dies, resume it, and compare with an undisturbed one."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "resume-after-kill"
    simgit.Repository.init(directory).close()
    start(directory, "undisturbed")

    child = os.fork()
    if child == 0:
        start(directory, "killed", kill_at=180)
    _, status = os.waitpid(child, 0)
    print(f"the process was ended by {signal.Signals(status).name}")

    with simgit.Repository.open(directory) as repo:
        info = repo.runs["killed"]
        print(f"the run is {info.status}, with {info.step} of 180 steps stored")
        simulate(Recorder.resume(repo, "killed"))
        assert repo.resolve("killed") == repo.resolve("undisturbed")
        print(f"resumed up to step {STEPS}, its state is {repo.resolve('killed').short()}:")
        print("the same as in the run that nothing happened to")


if __name__ == "__main__":
    main()
