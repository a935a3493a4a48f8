"""Agents in mesa: saved as plain data, resumed, and put back at any step.

python examples/record_mesa.py [DIRECTORY]
"""

from __future__ import annotations

import sys
from typing import Any

import mesa
import numpy as np

import simgit


class Person(mesa.Agent):
    """Walks about on a ring of places, and gives a coin to whom it meets."""

    def __init__(self, model: mesa.Model, place: int, wealth: int = 1) -> None:
        super().__init__(model)
        self.place, self.wealth = place, wealth

    def step(self) -> None:
        self.place = (self.place + self.random.choice((-1, 0, 1))) % 30
        here = [each for each in self.model.agents if each.place == self.place and each is not self]
        if here and self.wealth:
            self.wealth -= 1
            self.random.choice(here).wealth += 1


class Market(mesa.Model):
    def __init__(self, seed: int, people: int = 20) -> None:
        super().__init__(seed=seed)
        Person.create_agents(self, people, [self.random.randrange(30) for _ in range(people)])

    def step(self) -> None:
        self.agents.shuffle_do("step")


def observe(market: Market) -> dict[str, Any]:
    wealth = np.array([each.wealth for each in market.agents])
    return {"observation": wealth, "time": float(market.steps), "reward": -float(wealth.std())}


def save(market: Market) -> dict[str, Any]:
    people = [(each.place, each.wealth) for each in market.agents]
    return {"people": people, "steps": market.steps, "random": market.random.getstate()}


def load(data: dict[str, Any]) -> Market:
    market = Market(0, people=0)
    for place, wealth in data["people"]:
        Person(market, place, wealth)
    market.steps = data["steps"]
    market.random.setstate(data["random"])
    return market


MOVES: dict[str, Any] = {"advance": lambda market, _: market.step(), "observe": observe}
HOOKS: dict[str, Any] = {**MOVES, "rebuild": Market, "save": save, "load": load}


def main() -> None:
    """Record in two sessions, and look at a step between."""
    with simgit.Repository.init(sys.argv[1] if len(sys.argv) > 1 else "record-mesa") as repo:
        for stop in (70, 150):
            with repo.recorder("main", snapshots=20, **HOOKS) as recorder:
                print(f"goes on after {recorder.position} states")
                if not recorder.position:
                    recorder.reset(seed=3)
                while recorder.position <= stop:
                    recorder.step()
        found = repo.verify_simulator("main", **HOOKS)
        print(f"{found.verdict.result}: {found.verdict.details['snapshots']['checked']} snapshots")
        print(f"at time 99: {observe(repo.simulator('main@t=99', **HOOKS))['observation']}")


if __name__ == "__main__":
    main()
