"""A plain model of datasets: lists of states and dicts, no arrays, no blocks, no ranges."""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import simgit


@dataclass
class Episode:
    """The states of one episode in one run, the first ``shared`` of which another one has too."""

    run: str
    number: int
    states: list[Any]
    shared: int = 0

    @property
    def return_(self) -> float:
        return sum(state.reward or 0.0 for state in self.states)

    @property
    def length(self) -> int:
        return len(self.states) - 1

    @property
    def terminated(self) -> bool:
        return any(state.terminated for state in self.states)


def episodes(repo: simgit.Repository, sources: list[str]) -> list[Episode]:
    """Return the episodes of some revisions, each state with the run that recorded it first."""
    seen: set[bytes] = set()
    found: list[Episode] = []

    def order(source: str) -> tuple[int, int]:
        point = repo.runs[source.partition("@")[0]].branch_point
        own = 0 if point is None else repo.state(point).step + 1
        return repo.trajectory(source).start, own

    for source in sorted(sources, key=order):
        states = list(repo.trajectory(source))
        cut: list[Episode] = []
        for state in states:
            if state.reset is not None or not cut or state.step == 0:
                cut.append(Episode(state.run or "", state.episode, []))
            cut[-1].states.append(state)
        for each in cut:
            each.shared = sum(state.oid in seen for state in each.states)
            if each.shared < len(each.states):
                found.append(each)
        seen |= {state.oid for state in states}
    return found


def transitions(
    chosen: list[Episode], n_step: int = 1, gamma: float = 1.0, holds: Any = None
) -> list[dict[str, Any]]:
    """Return the transitions of episodes, over up to ``n_step`` steps."""
    found = []
    for each in chosen:
        states = each.states
        for t in range(len(states) - 1):
            last = min(t + n_step, len(states) - 1)
            if last < each.shared or (holds is not None and not holds(states[t + 1])):
                continue
            steps = states[t + 1 : last + 1]
            found.append({
                "observations": states[t].observation, "actions": steps[0].action,
                "rewards": sum(gamma**k * one.reward for k, one in enumerate(steps)),
                "next_observations": steps[-1].observation, "terminations": steps[-1].terminated,
                "truncations": steps[-1].truncated,
                "discounts": 0.0 if steps[-1].terminated else gamma ** len(steps),
            })  # fmt: skip
    return found


def sequences(
    chosen: list[Episode], length: int, stride: int, pad: bool, burn_in: int
) -> list[list[tuple[Any, Any] | None]]:
    """Return sequences as lists of (state before, state after), None where there is no step."""
    found = []
    for each in chosen:
        steps = list(zip(each.states, each.states[1:], strict=False))
        for start in range(0, len(steps), stride):
            row: list[tuple[Any, Any] | None] = [
                steps[t] if 0 <= t < len(steps) else None
                for t in range(start - burn_in, start + length)
            ]
            if (not pad and start + length > len(steps)) or start + length < each.shared:
                continue
            if min(start + length, len(steps)) < each.shared:
                continue
            found.append(row)
    return found


def share(oid: bytes, seed: int, depth: int = 0) -> float:
    """Return where in 0 to 1 an episode falls that begins with a state."""
    digest = blake2b(oid, digest_size=8, key=f"{seed}/{depth}".encode()).digest()
    return int.from_bytes(digest, "big") / 2.0**64


def grow(repo: simgit.Repository, run: str, states: int, random: random.Random) -> None:
    """Record states of short episodes, going on where the run is."""
    known = run in repo.runs
    goes_on = known and not _ended(repo.state(run))
    with repo.recorder(
        run,
        config={"lr": 0.1 if run == "main" else random.choice([0.1, 0.5])} if not known else None,
    ) as recorder:
        for _ in range(states):
            if not goes_on:
                recorder.append(_observation(random), reset={"seed": random.randrange(99)})
                goes_on = True
                continue
            end = random.choice(["terminated", "truncated", "", "", "", ""])
            recorder.append(
                _observation(random), random.randrange(3), random.randrange(-4, 5) / 2,
                end == "terminated", end == "truncated", {"lives": random.randrange(3)},
            )  # fmt: skip
            goes_on = not end


def _ended(state: Any) -> bool:
    return bool(state.terminated or state.truncated)


def _observation(random: random.Random) -> dict[str, Any]:
    import numpy as np

    return {"pos": np.float32([random.random(), random.random()]), "n": random.randrange(1000)}


def forest(seed: int) -> simgit.Repository:
    """Return a repository with a run, and branches of it and of each other."""
    rng = random.Random(seed)
    repo = simgit.Repository.init(":memory:")
    grow(repo, "main", rng.randrange(1, 40), rng)
    names = ["main"]
    for number in range(rng.randrange(3)):
        name = f"b{number}"
        above = rng.choice(names)
        step = rng.randrange(repo.state(above).step + 1)
        repo.branch(name, f"{above}@{step}", overrides={"lr": rng.choice([0.1, 0.5])})
        names.append(name)
        grow(repo, name, rng.randrange(25), rng)
        if rng.random() < 0.5:
            grow(repo, rng.choice(names), rng.randrange(1, 15), rng)
    return repo
