"""A shop in salabim, whose time goes from event to event; a plot and a condition over it.

python examples/record_salabim.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import salabim

import simgit


class Shop:
    """Customers queue for one clerk."""

    def __init__(self, seed: int) -> None:
        self.env = salabim.Environment(random_seed=seed, yieldless=False)
        self.line = salabim.Queue("line", env=self.env)
        self.served = 0
        self.clerk = Clerk(env=self.env, shop=self)
        Source(env=self.env, shop=self)


class Customer(salabim.Component):
    def setup(self, shop: Shop) -> None:
        self.shop = shop

    def process(self) -> Iterator[Any]:
        self.enter(self.shop.line)
        if self.shop.clerk.ispassive():
            self.shop.clerk.activate()
        yield self.passivate()


class Source(Customer):
    def process(self) -> Iterator[Any]:
        while True:
            Customer(env=self.env, shop=self.shop)
            yield self.hold(salabim.Exponential(2, env=self.env).sample())


class Clerk(Customer):
    def process(self) -> Iterator[Any]:
        while True:
            while not self.shop.line:
                yield self.passivate()
            customer = self.shop.line.pop()
            yield self.hold(salabim.Uniform(0.5, 3, env=self.env).sample())
            customer.activate()
            self.shop.served += 1


def observe(shop: Shop) -> dict[str, Any]:
    line = len(shop.line)
    return {"observation": {"line": line, "served": shop.served}, "time": float(shop.env.now())}


MOVES: dict[str, Any] = {"advance": lambda shop, _: shop.env.step(), "observe": observe}
HOOKS: dict[str, Any] = {**MOVES, "rebuild": Shop}


def main() -> None:
    """Record each event of a morning, and go back to the first long queue."""
    with simgit.Repository.init(sys.argv[1] if len(sys.argv) > 1 else "record-salabim") as repo:
        with repo.recorder("main", **HOOKS) as recorder:
            recorder.reset(seed=5)
            while recorder.step()["time"] < 200:
                pass
        long = next(repo.log("main", where="observation.line >= 4 and time > 20", reverse=True))
        shop = repo.simulator(long.oid, **HOOKS)
        print(f"{len(shop.line)} wait at {long.clock:.1f}, {shop.served} are served")
        print(repo.verify_simulator("main", **HOOKS).verdict.result)


if __name__ == "__main__":
    main()
