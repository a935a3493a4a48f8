"""Checkpoints of a learner: attachments of the newest state of its first lane.

One holds the whole learner at the start of a rollout, and names the state of every lane there.
docs/sb3.md has its format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import numpy as np
import stable_baselines3

from simgit.errors import IntegrityError, InvalidInput, NotFound
from simgit.integrations.objects import torch_settings
from simgit.integrations.replay import Replay
from simgit.integrations.sb3 import other_callbacks, pieces, settings, wrappers
from simgit.integrations.sb3.lanes import LearnerLane
from simgit.objects.oid import Oid
from simgit.odb import trees
from simgit.repository import Repository

NAME: Final = "sb3"
"""The name of the attachment; of other runs through the same state ``sb3.1``, ``sb3.2``, …"""
VERSION: Final = 1
_DIGESTED: Final = ("parameters", "tensors", "random")


def surroundings(model: Any) -> dict[str, Any]:
    """Return what results may depend on besides a checkpoint: versions, threads, the device."""
    library = {"stable_baselines3": stable_baselines3.__version__}
    return torch_settings() | library | {"device": model.device.type}


def capture(
    model: Any, root: Any, repo: Repository, lanes: list[LearnerLane], replay: Replay | None,
    said: set[str],
) -> dict[str, Any]:  # fmt: skip
    """Return a checkpoint of a learner at the start of a rollout.

    Args:
        model: the model.
        root: the callback that ``learn`` was given.
        repo: the repository of the lanes.
        lanes: the lanes, whose states are stored.
        replay: what stores the model's replay buffer; see ``pieces.replay_of``.
        said: what was warned of; see ``other_callbacks``.

    Raises:
        InvalidInput: a part of it cannot be stored exactly.
    """
    given, missing = settings.arguments(model)
    data = {
        "version": VERSION,
        "algorithm": pieces.name_of(model),
        "timesteps": int(model.num_timesteps),
        "total": int(model._total_timesteps),
        "lanes": [each.plain() for each in lanes],
        "vector": pieces.name_of(model.env.unwrapped),
        "shape": {name: getattr(model, name) for name in pieces.SHAPE if hasattr(model, name)},
        "arguments": given,
        "missing": missing,
        "schedules": settings.schedules(model),
        **_decisive(model),
        "matrices": pieces.matrices(model),
        "attributes": pieces.attributes(model),
        "learners": pieces.learners(model, said),
        "policy": pieces.policy(model, said),
        "lstm": pieces.lstm(model),
        "noise": pieces.noise(model.action_noise),
        "replay": None if replay is None else replay.save(repo, [Oid(each.oid) for each in lanes]),
        "wrappers": wrappers.capture(model.env),
        "callbacks": other_callbacks.capture(root, said),
        "place": other_callbacks.place(root),
        "log": _log(model),
        "torch": surroundings(model),
    }
    return {**data, "digest": digest(data)}


def _decisive(model: Any) -> dict[str, Any]:
    return {
        "parameters": pieces.parameters(model),
        "tensors": pieces.tensors(model),
        "random": pieces.random(model),
    }


def digest(data: Mapping[str, Any]) -> bytes:
    """Return the hash of what decides how a learner continues, the same for equal bits."""
    return pieces.digest({name: data[name] for name in _DIGESTED})


def digest_of(model: Any) -> bytes:
    """Return the digest that a checkpoint of a model would have now."""
    return digest(_decisive(model))


def _log(model: Any) -> list[dict[str, Any]]:
    """Return the half-filled means of the logger: only the log depends on them."""
    found = []
    for name in ("name_to_value", "name_to_count"):
        values = getattr(model.logger, name)
        found.append({
            str(key): value for key, value in values.items() if isinstance(value, (int, float))
        })  # fmt: skip
    return found


def put_back(
    model: Any,
    data: Mapping[str, Any],
    repo: Repository,
    root: Any = None,
    *,
    draws: bool = False,
) -> Replay | None:
    """Put a learner into the state of a checkpoint, in the objects that ``learn`` holds.

    Args:
        model: the model.
        data: the checkpoint.
        repo: its repository.
        root: the callback that ``learn`` was given; None outside of it.
        draws: let gSDE draw its matrices: the checkpoint is of the end of ``learn``, and the next
            rollout has not begun.

    Returns:
        What stores the model's replay buffer from here on.

    Raises:
        InvalidInput: the model is another one.
        Divergence: the replay buffer is not what the recorded states say.
    """
    check(model, data)
    pieces.put_parameters(model, data["parameters"])
    pieces.put_tensors(model, data["tensors"])
    pieces.put_attributes(model, data["attributes"])
    for name, each in data.get("learners", {}).items():
        pieces.put_learner(vars(model).get(name), each, name)
    pieces.put_policy(model, data.get("policy", {}))
    settings.put_schedules(model, data["schedules"])
    pieces.put_lstm(model, data["lstm"])
    replay = pieces.replay_of(model)
    if (replay is None) != (data["replay"] is None):
        raise InvalidInput("the model or the checkpoint has no replay buffer", path="replay_buffer")
    if replay is not None:
        replay.load(repo, data["replay"])
    pieces.put_matrices(model, data["matrices"])
    wrappers.put_back(model.env, data["wrappers"])
    if root is not None:
        pieces.put_noise(model.action_noise, data["noise"])  # which ``learn`` makes and resets
        for name, values in zip(("name_to_value", "name_to_count"), data["log"], strict=True):
            getattr(model.logger, name).update(values)
        other_callbacks.put_back(root, data["callbacks"])
    pieces.put_random(model, data["random"])  # last: what is above may draw
    if draws and model.use_sde:
        holder = model.policy if hasattr(model, "rollout_buffer") else model.actor
        holder.reset_noise(model.n_envs)
    return replay


def check(model: Any, data: Mapping[str, Any]) -> None:
    """Check that a model can take a checkpoint, before anything is changed.

    Raises:
        InvalidInput: it is of another algorithm, or of other shapes.
    """
    kind = pieces.name_of(model)
    if kind != data["algorithm"]:
        raise InvalidInput(
            f"the checkpoint is of '{data['algorithm'].rpartition('.')[2]}', the model is a "
            f"'{type(model).__name__}'"
        )
    for name, recorded in data["shape"].items():
        present = getattr(model, name, None)
        if present != recorded:
            raise InvalidInput(
                f"the model has {name}={present}, the checkpoint {name}={recorded}: make it with "
                "the same",
                path=name,
            )
    pieces.check_parameters(model, data["parameters"])
    wrappers.check(model.env, data["wrappers"])


# --- in a repository ------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint in a repository: its oid, the step of its state in the first lane, and when."""

    oid: Oid
    step: int
    timesteps: int
    is_end: bool


def first_run(repo: Repository, run: str) -> str:
    """Return the run of a training's first lane: the run of this name, or the one with '/0'.

    Raises:
        NotFound: there is neither.
    """
    for name in (run, f"{run}/0"):
        if name in repo.runs and repo.runs[name].oid is not None:
            return name
    raise NotFound(f"run '{run}' not found, nor '{run}/0'", name=run)


def lane_runs(repo: Repository, first: str, lanes: int) -> list[str]:
    """Return the runs of all lanes by that of the first.

    Raises:
        NotFound: one of them is missing.
    """
    if lanes == 1:
        return [first]
    base = first.removesuffix("/0")
    names = [f"{base}/{i}" for i in range(lanes)]
    missing = [name for name in names if name not in repo.runs]
    if base == first or missing:
        raise NotFound(f"run '{(missing or [base + '/1'])[0]}' not found: it is a lane of '{base}'")
    return names


def checkpoints(repo: Repository, run: str) -> Iterator[StoredCheckpoint]:
    """Yield the checkpoints of a run and of its parents up to where it left them, newest first."""
    writers: list[tuple[int, str]] = []
    for info in repo.lineage(run):
        left = -1 if info.branch_point is None else repo.state(info.branch_point).step
        writers.append((left, info.name))
    groups: dict[int, list[Any]] = {}
    for each in repo.history_attachments(run):
        if each.name == NAME or each.name.startswith(f"{NAME}."):
            groups.setdefault(each.step, []).append(each)
    for step in sorted(groups, reverse=True):
        writer = next((name for left, name in writers if step > left), writers[-1][1])
        marks = {each.name: part(repo, each.oid, "mark") for each in groups[step]}
        own = [name for name, found in marks.items() if found["run"] == writer]
        lost = [name for name, found in marks.items() if found["run"] not in repo.runs]
        name = own[0] if own else lost[0] if len(lost) == 1 else None
        if name is not None:
            oid = next(each.oid for each in groups[step] if each.name == name)
            found = marks[name]
            yield StoredCheckpoint(oid, step, found["timesteps"], found["end"])


def part(repo: Repository, oid: Oid, *names: str) -> Any:
    """Return a part of a checkpoint, without reading the others.

    Raises:
        IntegrityError: it has no such part.
    """
    kind = "tree"
    with repo.odb.read() as txn:
        for name in names:
            entries = {each.name: each for each in trees.load_tree(repo.odb, txn, oid).entries}
            if name not in entries:
                raise IntegrityError(f"checkpoint '{oid.short()}' has no '{name}'", oid=oid)
            kind, oid = entries[name].kind, entries[name].oid
        return trees.load_data(repo.odb, txn, kind, oid)


def load(repo: Repository, found: StoredCheckpoint) -> Mapping[str, Any]:
    """Return the learner of a checkpoint.

    Raises:
        InvalidInput: it was written by a later version.
    """
    data: Mapping[str, Any] = part(repo, found.oid, "learner")
    if data.get("version") != VERSION:
        raise InvalidInput(f"version {data.get('version')} of a checkpoint is not known: update")
    return data


def save(repo: Repository, run: str, state: Oid, data: Mapping[str, Any], *, is_end: bool) -> str:
    """Attach a checkpoint to a state of a run; return the name of the attachment.

    Another run's through the same state is kept: it may have learned otherwise there.
    """
    present = repo.attachments(state)
    names = (NAME if not i else f"{NAME}.{i}" for i in count())
    name = next(
        each
        for each in names
        if each not in present or part(repo, present[each][1], "mark")["run"] == run
    )
    marked = {"run": run, "timesteps": data["timesteps"], "end": is_end}
    states = [each["oid"] for each in data["lanes"]]  # which gc keeps as long as this is kept
    repo.attach(state, name, {"mark": marked, "learner": dict(data), "@states": states})
    return name


def step_at(repo: Repository, run: str, step: int, more: int) -> int:
    """Return the step of a lane's state ``more`` actions after another, with a reset after it.

    Raises:
        InvalidInput: the run ends before.
    """
    starts = repo.trajectory(run).episode_starts[step + 1 :]
    taken = np.cumsum(~starts)
    if more and (not len(taken) or taken[-1] < more):
        raise InvalidInput(f"run '{run}' ends before that step")
    return step + int(np.searchsorted(taken, more, side="right"))


def actions_between(repo: Repository, run: str, start: int, stop: int) -> int:
    """Return the number of actions from one state of a lane to another."""
    return int((~repo.trajectory(run).episode_starts[start + 1 : stop + 1]).sum())
