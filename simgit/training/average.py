"""The federated mean of several agents (FedAvg, McMahan et al., AISTATS 2017) as a merge of runs.

Networks, tables and optimisers are averaged; the replay buffer, counters and random generators are
the first agent's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput
from simgit.objects.oid import Oid
from simgit.repository import Repository
from simgit.training.checkpoints import AGENT, load

_AVERAGED: Final = {"dqn": ("online", "target", "optimizer")}


def average(checkpoints: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of checkpoints of agents of one kind, shape and network settings.

    Raises:
        InvalidInput: the agents differ in kind or shape, or do not learn.
    """
    first, *others = checkpoints
    kind = first.get("kind")
    if kind == "greedy":
        return _mean_table(checkpoints)
    if kind not in _AVERAGED:
        raise InvalidInput(f"cannot average agents of kind '{kind}': they do not learn")
    for other in others:
        if other.get("kind") != kind:
            raise InvalidInput(f"cannot average agents of kind '{kind}' and '{other.get('kind')}'")
    means = {name: _mean([each[name] for each in checkpoints], name) for name in _AVERAGED[kind]}
    return {**first, **means}


def _mean(values: Sequence[Any], path: str) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        if any(not isinstance(each, Mapping) or set(each) != set(first) for each in values):
            raise InvalidInput(f"cannot average agents whose '{path}' differ in their parts")
        return {key: _mean([each[key] for each in values], f"{path}.{key}") for key in first}
    if isinstance(first, np.ndarray):
        if any(np.shape(each) != first.shape for each in values):
            raise InvalidInput(f"cannot average agents whose '{path}' differ in shape", path=path)
        return np.mean(np.stack(values), axis=0, dtype=np.float64).astype(first.dtype)
    return first


def _mean_table(checkpoints: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first checkpoint with the cells of all tables, each row the mean of its rows."""
    known: dict[tuple[int, ...], list[Any]] = {}
    first = checkpoints[0]
    for each in checkpoints:
        same = each.get("kind") == "greedy" and all(
            each[name] == first[name] for name in ("observation_size", "actions")
        )
        if not same or each["settings"]["resolution"] != first["settings"]["resolution"]:
            raise InvalidInput("cannot average tables of different kinds, shapes or resolutions")
        for cell, row in zip(np.asarray(each["cells"]).tolist(), each["values"], strict=True):
            known.setdefault(tuple(cell), []).append(row)
    cells = np.array(list(known), np.int64).reshape(-1, first["observation_size"])
    values = [np.mean(rows, axis=0) for rows in known.values()]
    table = np.array(values, np.float64).reshape(-1, first["actions"])
    return {**first, "cells": cells, "values": table}


def merge(repo: Repository, name: str, revisions: Sequence[str]) -> Oid:
    """Create a run that continues from the mean of the agents of several runs.

    Its newest state has theirs as parents, and the mean as its checkpoint; ``resume`` trains it
    further, with the configuration of the first.

    Args:
        repo: the repository of the runs.
        name: the name of the new run.
        revisions: two or more runs or states, each with a checkpoint in its history.

    Raises:
        InvalidInput: there are fewer than two, or their agents cannot be averaged.
        NotFound: a revision has no checkpoint.
    """
    if len(revisions) < 2:
        raise InvalidInput("averaging needs at least two agents")
    mean = average([load(repo, revision) for revision in revisions])
    repo.branch(name, revisions[0])
    message = "mean of " + ", ".join(revisions)
    oid = repo.commit(run=name, parents=revisions[1:], message=message)
    repo.attach(oid, AGENT, mean)
    return oid
