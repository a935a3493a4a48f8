"""A simulator that is no Gymnasium environment: a bank in SimPy, recorded, branched and verified.

python examples/record_simpy.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import simpy

import simgit

MINUTES, BRANCH = 480, 120


class Bank:
    """Customers and clerks; nothing of simgit is in it."""

    def __init__(self, seed: int) -> None:
        self.random, self.env = Random(seed), simpy.Environment()
        self.clerks, self.served = 1, 0
        self.queue: list[float] = []
        self.env.process(self.customers())
        self.env.process(self.counter())

    def customers(self) -> Iterator[simpy.Event]:
        while True:
            yield self.env.timeout(self.random.expovariate(0.75))
            self.queue.append(self.env.now)

    def counter(self) -> Iterator[simpy.Event]:
        while True:
            for _ in range(min(self.clerks, len(self.queue))):
                self.queue.pop(0)
                self.served += 1
            yield self.env.timeout(2)


def advance(bank: Bank, clerks: int) -> None:
    """Let a minute pass with so many clerks."""
    bank.clerks = clerks
    bank.env.run(until=bank.env.now + 1)


def observe(bank: Bank) -> dict[str, Any]:
    """Return what is recorded of each minute."""
    seen = {"waiting": len(bank.queue), "served": bank.served}
    return {"observation": seen, "reward": -float(len(bank.queue)), "time": float(bank.env.now)}


HOOKS: dict[str, Any] = {"rebuild": Bank, "advance": advance, "observe": observe}


def main() -> None:
    """Simulate a day with one clerk, and the same day with a second one from ten o'clock on."""
    with simgit.Repository.init(sys.argv[1] if len(sys.argv) > 1 else "record-simpy") as repo:
        with repo.recorder("one-clerk", **HOOKS) as recorder:
            recorder.reset(seed=7)
            for _ in range(MINUTES):
                recorder.step(1)
        repo.branch("two-clerks", f"one-clerk@t={BRANCH}", overrides={"clerks": 2})
        with repo.recorder("two-clerks", **HOOKS) as recorder:  # here it is 10:00, after comparing
            while recorder.position <= MINUTES:
                recorder.step(2)
        for name in ("one-clerk", "two-clerks"):
            waiting = repo[name].observations["waiting"]
            print(f"{name:<11} {waiting[BRANCH]} wait at the branch, {waiting[-1]} in the evening")
            print(f"            {repo.verify_simulator(name, **HOOKS).verdict.result}")
        print(f"served at noon: {repo.simulator('two-clerks@t=240', **HOOKS).served}")


if __name__ == "__main__":
    main()
