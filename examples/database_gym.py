"""A database gym: indexes for SQLite, from a declared spec over a model to recorded decisions.

python examples/database_gym.py [DIRECTORY]
"""

from __future__ import annotations

import sqlite3
import sys
from random import Random
from typing import Any, TypedDict

import gymnasium
import numpy as np

import simgit
from simgit.gym import CollectionSpec, collect_once, drift

COLUMNS = {"customer": 400, "product": 60, "region": 4, "day": 30}  # with their numbers of values
Query = dict[str, Any]


class GymSpec(TypedDict):
    """The workloads that were seen, and the state of the database then: plain data."""

    historical_workloads: list[list[Query]]
    historical_state: dict[str, int]


def workloads(count: int, seed: int) -> list[list[Query]]:
    """Generate workloads, each with columns that it asks for more often than for others."""
    random, found = Random(seed), []
    for _ in range(count):
        weights = [random.random() ** 3 for _ in COLUMNS]
        columns = random.choices(list(COLUMNS), weights, k=8)
        found.append([{"where": name, "is": random.randrange(COLUMNS[name])} for name in columns])
    return found


class DbGym(gymnasium.Env[Any, Any]):
    """Chooses two indexes for a workload. The reward is the share of its cost that each saves.

    The cost is measured: the instructions of SQLite's virtual machine, the same each time.
    """

    def __init__(self, gym_spec: GymSpec, indexes: int = 2, every: int = 20) -> None:
        self.workloads, self.most, self.every = gym_spec["historical_workloads"], indexes, every
        self.action_space = gymnasium.spaces.Discrete(len(COLUMNS))
        self.observation_space = gymnasium.spaces.Box(0, 1, (2 * len(COLUMNS),), np.float64)
        self.database, self.ticks = sqlite3.connect(":memory:"), 0
        self.database.execute(f"create table orders ({' int, '.join(COLUMNS)} int, amount int)")
        state, insert = gym_spec["historical_state"], "insert into orders values (?, ?, ?, ?, ?)"
        random = Random(state["seed"])
        for _ in range(state["rows"]):
            row = [*map(random.randrange, COLUMNS.values()), random.randrange(100)]
            self.database.execute(insert, row)
        self.database.set_progress_handler(self._tick, every)

    def _tick(self) -> int:
        self.ticks += 1
        return 0

    def _cost(self) -> int:
        self.ticks = 0
        for query in self.workload:
            text = f"select sum(amount) from orders where {query['where']} = ?"
            self.database.execute(text, (query["is"],)).fetchall()
        return self.ticks * self.every

    def _observe(self) -> np.ndarray[Any, Any]:
        asked = [query["where"] for query in self.workload]
        shares = [asked.count(name) / len(asked) for name in COLUMNS]
        return np.array([*shares, *(float(name in self.indexed) for name in COLUMNS)])

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin with one of the workloads, and no index."""
        super().reset(seed=seed)
        self.workload = self.workloads[self.np_random.integers(len(self.workloads))]
        for name in COLUMNS:
            self.database.execute(f"drop index if exists by_{name}")
        self.indexed: list[str] = []
        self.start = self.cost = self._cost()
        return self._observe(), {"cost": self.cost, "sqlite": sqlite3.sqlite_version}

    def step(self, action: Any) -> Any:
        """Create an index, and run the workload."""
        self.indexed.append(name := list(COLUMNS)[action])
        self.database.execute(f"create index if not exists by_{name} on orders ({name})")
        before, self.cost = self.cost, self._cost()
        ended = len(self.indexed) == self.most
        return self._observe(), (before - self.cost) / self.start, ended, False, {"cost": self.cost}

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def missing(observations: Any) -> Any:
    """Return the share of the queries that ask for each column, 0 where it has its index."""
    shares, indexed = np.split(np.asarray(observations), 2, axis=-1)
    return shares * (1 - indexed)


def fit(states: simgit.Trajectory) -> Any:
    """Fit for each index how much it saves of the queries that ask for its column."""
    acted = np.flatnonzero(~states.episode_starts)
    actions = states.actions[acted]  # each led from the state before it to its own
    asked = missing(states.observations[acted - 1])[np.arange(len(acted)), actions]
    sums = [np.bincount(actions, asked * each) for each in (states.rewards[acted], asked)]
    return {"saved": sums[0] / sums[1]}


class Linear:
    """The model: it picks the index that is expected to save most."""

    def __init__(self, data: Any) -> None:
        self.saved = data["saved"]

    def initialize(self, observations: Any, info: Any) -> None:
        """Check that observations are like those that the model was trained on."""
        assert missing(observations).shape == self.saved.shape

    def pick_action(self, action_space: Any, observations: Any) -> Any:
        """Return the best action."""
        return action_space.dtype.type(np.argmax(self.saved * missing(observations)))


def load_model(repo: simgit.Repository, run: str) -> Linear:
    """Return the model of a data set, trained if it is not there."""
    return Linear(repo.derived(run, "model", fit).data)


gymnasium.register("dbgym/DbGym-v0", entry_point=DbGym)
STATE = {"rows": 1500, "seed": 15721}


def main() -> None:
    """Collect, train, decide; then show what came from what, and replay the decisions."""
    quick: Any = {"snapshots": None, "self_check": False}  # all steps are replayed below
    with simgit.Repository.init(sys.argv[1] if len(sys.argv) > 1 else "database-gym") as repo:
        seen = {"gym_spec": GymSpec(historical_workloads=workloads(40, 1), historical_state=STATE)}
        spec = CollectionSpec("dbgym/DbGym-v0", seen, seeds=range(30), episodes=5)
        data = collect_once(repo, spec, **quick)
        assert not collect_once(repo, spec, **quick).is_new  # the second time it is there
        model = repo.derived(data.run, "model", fit)

        new = {"gym_spec": GymSpec(historical_workloads=workloads(20, 2), historical_state=STATE)}
        space, linear = gymnasium.spaces.Discrete(len(COLUMNS)), Linear(model.data)
        asked: Any = {"seeds": range(10), "episodes": 3}
        chance = collect_once(repo, CollectionSpec("dbgym/DbGym-v0", new, **asked), **quick)
        asked |= {"policy": "linear", "made_from": {"model": model.oid}}
        decided = collect_once(
            repo, CollectionSpec("dbgym/DbGym-v0", new, **asked),
            act=lambda seen: linear.pick_action(space, seen), **quick,
        )  # fmt: skip
        print(f"cost saved by two indexes: {chance.returned:.0%} chosen at random, ", end="")
        print(f"{decided.returned:.0%} by the model")

        what: Any = decided.run
        while sources := repo.sources(what):  # each artefact names what it came from, by oid
            label, what = next(iter(sources.items()))
            print(f"from the {label} {what.short()}")
        print(*drift(repo, decided.run).lines(), sep="\n")


if __name__ == "__main__":
    main()
