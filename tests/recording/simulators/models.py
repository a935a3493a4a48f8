"""Models of three libraries and one of its own, written as their users write them, with hooks."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np

# --- one's own: a queue in slotted time, saved as plain data ------------------------------------


class Queue:
    """A single server in slotted time; its state is a list, two counts and a generator."""

    def __init__(self, seed: int = 0, options: dict[str, Any] | None = None) -> None:
        self.random = random.Random(seed)
        self.rate = (options or {}).get("rate", 0.4)
        self.waiting: deque[int] = deque()
        self.now = self.served = 0

    def advance(self, action: Any) -> float:
        self.now += 1
        if self.random.random() < self.rate:
            self.waiting.append(self.now)
        for _ in range(min(int(action or 0), len(self.waiting))):
            self.waiting.popleft()
            self.served += 1
        return -float(len(self.waiting))


def new_queue(seed: int = 0, options: dict[str, Any] | None = None) -> Queue:
    return Queue(seed, options)


def advance_queue(queue: Queue, action: Any) -> dict[str, Any]:
    return {"reward": queue.advance(action)}


def observe_queue(queue: Queue) -> dict[str, Any]:
    ages = np.array([queue.now - each for each in queue.waiting][:4] + [0] * 4)[:4]
    return {"observation": {"waiting": len(queue.waiting), "ages": ages}, "time": queue.now}


def save_queue(queue: Queue) -> dict[str, Any]:
    return {
        "random": queue.random.getstate(), "rate": queue.rate, "waiting": list(queue.waiting),
        "now": queue.now, "served": queue.served,
    }  # fmt: skip


def load_queue(data: dict[str, Any]) -> Queue:
    queue = Queue()
    queue.random.setstate(data["random"])
    queue.rate, queue.waiting = data["rate"], deque(data["waiting"])
    queue.now, queue.served = data["now"], data["served"]
    return queue


def load_queue_badly(data: dict[str, Any]) -> Queue:
    """Forgets the generator."""
    queue = load_queue(data)
    queue.random = random.Random(1)
    return queue


QUEUE = {"rebuild": new_queue, "advance": advance_queue, "observe": observe_queue}
SAVED = {**QUEUE, "save": save_queue, "load": load_queue}


# --- SimPy: processes are generators, which nothing can save ------------------------------------


class Bank:
    """Customers, clerks and a vault, in SimPy."""

    def __init__(self, seed: int = 0, options: dict[str, Any] | None = None) -> None:
        import simpy

        self.random = np.random.default_rng(seed)
        self.env = simpy.Environment()
        self.clerks = simpy.PriorityResource(self.env, capacity=(options or {}).get("clerks", 2))
        self.vault = simpy.Container(self.env, capacity=500.0, init=100.0)
        self.waits: list[float] = []
        self.env.process(self.arrivals())
        self.env.process(self.van())

    def arrivals(self) -> Any:
        while True:
            yield self.env.timeout(self.random.exponential(0.7))
            self.env.process(self.customer(self.env.now))

    def customer(self, came: float) -> Any:
        import simpy

        with self.clerks.request(priority=int(self.random.integers(3))) as turn:
            found = yield turn | self.env.timeout(self.random.uniform(3, 9))
            if turn not in found:
                return  # went away
            self.waits.append(self.env.now - came)
            try:
                yield self.env.timeout(self.random.gamma(2.0, 0.6))
                amount = float(self.random.uniform(-20, 25))
                yield self.vault.put(amount) if amount > 0 else self.vault.get(max(0.01, -amount))
            except simpy.Interrupt:
                return

    def van(self) -> Any:
        while True:
            yield self.env.timeout(25)
            if self.vault.level > 200:
                yield self.vault.get(100)

    def observe(self) -> dict[str, Any]:
        return {
            "observation": {
                "queue": len(self.clerks.queue), "busy": self.clerks.count,
                "vault": float(self.vault.level), "served": len(self.waits),
            },
            "reward": -float(len(self.clerks.queue)), "time": self.env.now,
        }  # fmt: skip


def advance_bank(bank: Bank, action: Any) -> None:
    """Run to the next event's time, or for a while if the action says so."""
    if action is not None:
        bank.clerks._capacity = int(action)
    bank.env.run(until=bank.env.now + 1.5)


BANK = {"rebuild": Bank, "advance": advance_bank, "observe": Bank.observe}


# --- mesa: agents on a grid, saved as arrays ----------------------------------------------------


def _mesa_classes() -> Any:
    import mesa

    class Person(mesa.Agent):
        def __init__(self, model: Any, wealth: int = 1) -> None:
            super().__init__(model)
            self.wealth = wealth

        def step(self) -> None:
            neighbours = self.model.grid.get_neighborhood(
                self.pos, moore=True, include_center=False
            )
            self.model.grid.move_agent(self, self.random.choice(neighbours))
            others = [
                a for a in self.model.grid.get_cell_list_contents([self.pos]) if a is not self
            ]
            if others and self.wealth:
                self.random.choice(others).wealth += 1
                self.wealth -= 1

    class Market(mesa.Model):
        def __init__(self, seed: int = 0, people: int = 12) -> None:
            super().__init__(seed=seed)
            self.grid = mesa.space.MultiGrid(5, 5, torus=True)
            for _ in range(people):
                at = self.random.randrange(5), self.random.randrange(5)
                self.grid.place_agent(Person(self), at)

        def step(self) -> None:
            self.agents.shuffle_do("step")

    return Person, Market


def new_market(seed: int = 0) -> Any:
    return _mesa_classes()[1](seed)


def advance_market(market: Any, action: Any) -> None:
    market.step()


def observe_market(market: Any) -> dict[str, Any]:
    people = sorted(market.agents, key=lambda each: each.unique_id)
    return {
        "observation": np.array([[*each.pos, each.wealth] for each in people]),
        "time": market.steps,
    }


def save_market(market: Any) -> dict[str, Any]:
    return {
        "people": [[each.unique_id, *each.pos, each.wealth] for each in market.agents],
        "cells": [
            [x, y, each.unique_id] for cell, (x, y) in market.grid.coord_iter() for each in cell
        ],
        "random": market.random.getstate(), "rng": market.rng.bit_generator.state,
        "steps": market.steps,
    }  # fmt: skip


def load_market(data: dict[str, Any]) -> Any:
    person, kind = _mesa_classes()
    market = kind(0, people=0)
    for number, _, _, wealth in data["people"]:
        each = person(market, wealth)
        each.unique_id = number
    by_number = {each.unique_id: each for each in market.agents}
    for x, y, number in data["cells"]:  # in the order in which they lie in their cells
        market.grid.place_agent(by_number[number], (x, y))
    market.random.setstate(data["random"])
    market.rng.bit_generator.state = data["rng"]
    market.steps = data["steps"]
    return market


MARKET = {
    "rebuild": new_market, "advance": advance_market, "observe": observe_market,
    "save": save_market, "load": load_market,
}  # fmt: skip


# --- salabim: components with a yieldless or generator process ----------------------------------


class Shop:
    """A salabim model: components arrive, queue and are served."""

    def __init__(self, seed: int = 0) -> None:
        import salabim

        self.env = env = salabim.Environment(random_seed=seed, yieldless=False, trace=False)
        shop = self
        self.line = salabim.Queue("line", env=env)
        self.served = 0

        class Customer(salabim.Component):
            def process(self) -> Any:
                self.enter(shop.line)
                if shop.clerk.ispassive():
                    shop.clerk.activate()
                yield self.passivate()

        class Source(salabim.Component):
            def process(self) -> Any:
                while True:
                    Customer(env=env)
                    yield self.hold(salabim.Exponential(2, env=env).sample())

        class Clerk(salabim.Component):
            def process(self) -> Any:
                while True:
                    while not shop.line:
                        yield self.passivate()
                    customer = shop.line.pop()
                    yield self.hold(salabim.Uniform(0.5, 3, env=env).sample())
                    customer.activate()
                    shop.served += 1

        self.clerk = Clerk(env=env)
        Source(env=env)


def advance_shop(shop: Shop, action: Any) -> None:
    shop.env.run(duration=2.0)


def observe_shop(shop: Shop) -> dict[str, Any]:
    line = len(shop.line)
    return {"observation": {"line": line, "served": shop.served}, "time": float(shop.env.now())}


SHOP = {"rebuild": Shop, "advance": advance_shop, "observe": observe_shop}
