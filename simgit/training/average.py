"""The federated mean of several agents (FedAvg, McMahan et al., AISTATS 2017) as a merge of runs.

Networks and tables are averaged, with weights if wanted, or joined by a rule that a few broken
agents cannot pull away (Yin et al., ICML 2018). Counters and random generators are the first
agent's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput, shown
from simgit.objects.coerce import check_number
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.training.checkpoints import AGENT, load

NETWORKS: Final = ("online", "target")
"""The parts of a checkpoint of ``dqn`` that are averaged, besides the optimiser's moments."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Averaging:
    """The rules by which several agents become one.

    Attributes:
        rule: ``mean``; ``median``, of each number; or ``trimmed(0.1)``, the mean of each number
            without that share of the greatest and of the smallest ones, rounded down.
        moments: of the optimiser: ``mean`` of those agents that have any, ``first`` agent's, or
            ``reset`` to none.
        replay: the replay buffer: that of the ``first`` agent, or ``none``.
    """

    rule: str = "mean"
    moments: str = "mean"
    replay: str = "first"

    def __post_init__(self) -> None:
        """Check the words; raise InvalidInput for others."""
        _trimmed_share(self.rule)
        for name, words in (("moments", ("mean", "first", "reset")), ("replay", ("first", "none"))):
            if (value := getattr(self, name)) not in words:
                allowed = ", ".join(f"'{each}'" for each in words)
                raise InvalidInput(
                    f"{name} must be one of {allowed}, got {shown(value)}", path=name
                )

    def join(self, values: Sequence[Any], weights: Floats) -> Floats:
        """Return the joint array of arrays of one shape, (n, …) to (…), with weights (n,).

        Weights count for ``mean`` only. Equal arrays give the same array, to the bit.
        """
        stacked = np.stack([np.asarray(each, np.float64) for each in values])
        if self.rule == "median":
            return np.asarray(np.median(stacked, axis=0))
        if self.rule != "mean":
            cut = int(_trimmed_share(self.rule) * len(stacked) + 1e-9)  # 0.29 * 100 is below 29
            stacked = np.sort(stacked, axis=0)[cut : len(stacked) - cut]
            weights = np.ones(len(stacked))
        first = stacked[0]  # to which equal ones have the difference 0, however many there are
        found: Floats = first + np.tensordot(weights / weights.sum(), stacked - first, axes=1)
        return found


def _trimmed_share(rule: Any) -> float:
    """Return the share of values that a rule leaves out at each end; 0 for the others."""
    if rule in ("mean", "median"):
        return 0.0
    found = re.fullmatch(r"trimmed\((0?\.[0-9]+)\)", rule) if isinstance(rule, str) else None
    if found is None or not 0 < float(found[1]) < 0.5:
        raise InvalidInput(
            "the rule must be 'mean', 'median' or 'trimmed(0.1)', with a share below 0.5, "
            f"got {shown(rule)}",
            path="rule",
        )
    return float(found[1])


def average(
    checkpoints: Sequence[Mapping[str, Any]],
    averaging: Averaging | None = None,
    weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the mean of checkpoints of agents of one kind, shape and network settings.

    Args:
        checkpoints: one or more; see ``Agent.state``.
        averaging: how they become one.
        weights: the weight of each, at least 0 and not all 0 (default: all are equal). Only the
            rule ``mean`` takes any.

    Raises:
        InvalidInput: there are none, or the agents differ in kind or shape, do not learn, have
            numbers that are not finite, or cannot be weighted.
    """
    how = averaging or Averaging()
    if not checkpoints:
        raise InvalidInput("there are no agents to average", path="checkpoints")
    given = _weights(weights, len(checkpoints), how)
    first = checkpoints[0]
    kind = first.get("kind")
    if kind not in ("dqn", "greedy"):
        raise InvalidInput(f"cannot average agents of kind '{kind}': they do not learn")
    for other in checkpoints[1:]:
        if other.get("kind") != kind:
            raise InvalidInput(f"cannot average agents of kind '{kind}' and '{other.get('kind')}'")
    if kind == "greedy":
        return _mean_table(checkpoints, how, given)
    means = {name: _mean([c[name] for c in checkpoints], name, how, given) for name in NETWORKS}
    found = {**first, **means, "optimizer": _moments(checkpoints, how, given)}
    if how.replay == "none":
        found["replay"] = {
            name: np.zeros_like(value) if isinstance(value, np.ndarray) else 0
            for name, value in first["replay"].items()
        }
    return found


def _weights(given: Sequence[float] | None, count: int, how: Averaging) -> Floats:
    if given is None:
        return np.ones(count)
    if how.rule != "mean":
        raise InvalidInput(f"the rule '{how.rule}' takes no weights", path="weights")
    if len(given) != count:
        raise InvalidInput(f"there are {count} agents, but {len(given)} weights", path="weights")
    found = np.array([check_number(each, "weights", 0) for each in given], np.float64)
    if not math.isfinite(found.sum()) or found.sum() <= 0:
        raise InvalidInput("the weights of agents must be finite, and not all 0", path="weights")
    return found


def _moments(checkpoints: Sequence[Mapping[str, Any]], how: Averaging, weights: Floats) -> Any:
    """Return the optimiser's moments; an agent that has not learned yet has none to join."""
    if how.moments == "reset":
        return {}
    if how.moments == "first":
        return checkpoints[0]["optimizer"]
    having = [i for i, each in enumerate(checkpoints) if each["optimizer"] and weights[i] > 0]
    if not having:
        return checkpoints[0]["optimizer"]
    of_those = [checkpoints[i]["optimizer"] for i in having]
    return _mean(of_those, "optimizer", how, weights[having])


def _mean(values: Sequence[Any], path: str, how: Averaging, weights: Floats) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        for each in values:
            if not isinstance(each, Mapping) or set(each) != set(first):
                other = set(each) if isinstance(each, Mapping) else set()
                names = ", ".join(f"'{path}.{name}'" for name in sorted(other ^ set(first)))
                raise InvalidInput(
                    f"cannot average agents whose '{path}' differ in their parts: {names}",
                    path=path,
                )
        return {
            key: _mean([v[key] for v in values], f"{path}.{key}", how, weights) for key in first
        }
    if isinstance(first, np.ndarray):
        for each in values:
            if np.shape(each) != first.shape:
                raise InvalidInput(
                    f"cannot average agents whose '{path}' differ in shape: {first.shape} and "
                    f"{np.shape(each)}",
                    path=path,
                )
            if not np.isfinite(each).all():
                raise InvalidInput(
                    f"cannot average agents: '{path}' of one has infinite values or NaN", path=path
                )
        return how.join(values, weights).astype(first.dtype)
    return first


def _mean_table(
    checkpoints: Sequence[Mapping[str, Any]], how: Averaging, weights: Floats
) -> dict[str, Any]:
    """Return the first checkpoint with the cells of all tables, each row the mean of its rows."""
    known: dict[tuple[int, ...], tuple[list[Any], list[float]]] = {}
    first = checkpoints[0]
    for each, weight in zip(checkpoints, weights.tolist(), strict=True):
        same = all(each[name] == first[name] for name in ("observation_size", "actions"))
        if not same or each["settings"]["resolution"] != first["settings"]["resolution"]:
            raise InvalidInput("cannot average tables of different kinds, shapes or resolutions")
        if not np.isfinite(each["values"]).all():
            raise InvalidInput(
                "cannot average agents: 'values' of one has infinite values or NaN", path="values"
            )
        for cell, row in zip(np.asarray(each["cells"]).tolist(), each["values"], strict=True):
            rows, theirs = known.setdefault(tuple(cell), ([], []))
            rows.append(row)
            theirs.append(weight)
    known = {cell: each for cell, each in known.items() if sum(each[1]) > 0}
    cells = np.array(list(known), np.int64).reshape(-1, first["observation_size"])
    values = [how.join(rows, np.array(theirs)) for rows, theirs in known.values()]
    table = np.array(values, np.float64).reshape(-1, first["actions"])
    return {**first, "cells": cells, "values": table}


def merge(
    repo: Repository,
    name: str,
    revisions: Sequence[str],
    averaging: Averaging | None = None,
    weights: Sequence[float] | None = None,
) -> Oid:
    """Create a run that continues from the mean of the agents of several runs.

    Its newest state has theirs as parents, and the mean as its checkpoint; ``resume`` trains it
    further, with the configuration of the first.

    Args:
        repo: the repository of the runs.
        name: the name of the new run.
        revisions: two or more runs or states, each with a checkpoint in its history.
        averaging: how the agents become one.
        weights: the weight of each (default: all are equal).

    Raises:
        InvalidInput: there are fewer than two, or their agents cannot be averaged.
        NotFound: a revision has no checkpoint.
    """
    if len(revisions) < 2:
        raise InvalidInput("averaging needs at least two agents")
    mean = average([load(repo, revision) for revision in revisions], averaging, weights)
    repo.branch(name, revisions[0])
    message = f"{(averaging or Averaging()).rule} of " + ", ".join(revisions)
    oid = repo.commit(run=name, parents=revisions[1:], message=message)
    repo.attach(oid, AGENT, mean)
    return oid
