"""Training and judging: one row of plain data for each training."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from typing import Any

from simgit import Repository
from simgit.kube.task.catalogue import Catalogue
from simgit.kube.task.scenarios import SCENARIOS, generate, scenario_name
from simgit.training import evaluate, train
from simgit.training.evaluation import environment_of
from tests.learning.budgets import (
    BUDGETS,
    GENERALIST,
    HELD_OUT_SEEDS,
    SEVERITIES,
    SLACK,
    TRAINING_SEEDS,
)

Row = dict[str, Any]


def scenario(name: str, seed: int) -> Row:
    """Train on a shipped scenario, every step recorded, and evaluate without exploring."""
    began = time.monotonic()
    with Repository.init(":memory:") as repo:
        budget = BUDGETS[name]
        arguments = {"trace": name, "reward": budget.reward}
        with train(repo, "a", budget.config(seed), arguments=arguments) as training:
            training.finish()
        seconds = time.monotonic() - began
        states = repo.trajectory("a")
        score = evaluate("a", *environment_of(repo, "a", {}), repo=repo).total
        return {
            "name": name, "seed": seed, "seconds": round(seconds, 1), "cpu": _cpu(),
            "steps": int(states.lengths.sum()), "solved": int(states.terminations.sum()),
            "lengths": states.lengths.tolist(), "returns": states.returns.round(4).tolist(),
            "taken": score.steps.mean if score.steps else None,
            "fewest": generate(name).steps,
        }  # fmt: skip


def _cpu() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1)


def generated(seeds: Sequence[int]) -> Catalogue:
    """Return traces of all scenarios and severities."""
    made = [generate(n, severity=k, seed=s) for n in SCENARIOS for k in SEVERITIES for s in seeds]
    return {scenario_name(each): each.trace for each in made}


def generalist(seed: int) -> Row:
    """Train one agent on generated scenarios; evaluate it on others as it learns."""
    began = time.monotonic()
    with Repository.init(":memory:") as repo:
        arguments = {"trace": generated(TRAINING_SEEDS)}
        with train(repo, "a", GENERALIST.config(seed), arguments=arguments) as training:
            points = []
            while training.remaining():
                training.episode()
                if training.done % GENERALIST.checkpoint == 0:
                    points.append({"episode": training.done, **judge(repo, str(repo.resolve("a")))})
        lengths = repo.trajectory("a").lengths
        seconds = time.monotonic() - began
        return {
            "name": "generalist", "seed": seed, "seconds": round(seconds, 1), "cpu": _cpu(),
            "steps": int(lengths.sum()), "points": points, "final": judge(repo, "a"),
        }  # fmt: skip


def judge(repo: Repository, subject: str) -> Row:
    """Return which of the held-out scenarios a run's best or a state's agent solves, by kind."""
    held_out = {"trace": generated(HELD_OUT_SEEDS)}
    found = evaluate(subject, "simgit/SimKube-v0", held_out, repo=repo)
    good: dict[str, int] = dict.fromkeys(SCENARIOS, 0)
    optimal = 0
    for score in found.scores:
        kind = next(name for name in SCENARIOS if score.name.startswith(name))
        assert score.fewest is not None
        good[kind] += bool(score.steps and score.steps.mean <= score.fewest + SLACK)
        optimal += bool(score.steps and score.steps.mean <= score.fewest)
    return {
        "good": sum(good.values()), "optimal": optimal, "of": len(found.scores), "by_kind": good,
    }  # fmt: skip
