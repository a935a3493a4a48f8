"""A simulator that is no Gymnasium environment: a bank in SimPy, recorded and branched.

python examples/record_simpy.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random

import simpy

import simgit

MINUTES, BRANCH = 480, 120
State = dict[str, int]


def bank(clerks: int, seed: int) -> Iterator[tuple[State, float]]:
    """Yield the state and the reward of every minute; what is sent back changes the clerks."""
    random, env = Random(seed), simpy.Environment()
    queue: list[float] = []
    served = [0]

    def customers() -> Iterator[simpy.Event]:
        while True:
            yield env.timeout(random.expovariate(0.75))
            queue.append(env.now)

    def counter() -> Iterator[simpy.Event]:
        while True:
            for _ in range(min(clerks, len(queue))):
                queue.pop(0)
                served[0] += 1
            yield env.timeout(2)

    env.process(customers())
    env.process(counter())
    for minute in range(1, MINUTES + 1):
        env.run(until=minute)
        change = yield {"waiting": len(queue), "served": served[0]}, -float(len(queue))
        clerks = clerks if change is None else change


def record(repo: simgit.Repository, run: str, first: int, later: int) -> None:
    """Record a run; the part that it shares with its parent is simulated again and compared."""
    there = repo[run] if run in repo.runs else None
    simulation, clerks = bank(first, seed=7), first
    with repo.recorder(run) as recorder:
        if there is None:
            recorder.append({"waiting": 0, "served": 0}, reset={"seed": 7})
        state, reward = next(simulation)
        for minute in range(1, MINUTES + 1):
            if there is not None and minute < len(there):
                assert there[minute].observation == state, f"minute {minute} differs"
            else:
                recorder.append(state, clerks, reward, minute == MINUTES)
            if minute < MINUTES:
                clerks = first if minute < BRANCH else later
                state, reward = simulation.send(clerks)


def main() -> None:
    """Simulate a day with one clerk, and the same day with a second one from ten o'clock on."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "record-simpy"
    with simgit.Repository.init(directory) as repo:
        record(repo, "one-clerk", 1, 1)
        repo.branch("two-clerks", f"one-clerk@{BRANCH}", overrides={"clerks": 2})
        record(repo, "two-clerks", 1, 2)
        for name in ("one-clerk", "two-clerks"):
            waiting = repo[name].observations["waiting"]
            print(f"{name:<11} {waiting[BRANCH]} wait at the branch, {waiting[-1]} in the evening")
        print(f"shared: {repo.merge_base('one-clerk', 'two-clerks').short(8)}")


if __name__ == "__main__":
    main()
