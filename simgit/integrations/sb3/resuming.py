"""Resuming and branching a training from its checkpoints, exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from simgit.errors import InvalidInput, NotFound, shown
from simgit.gym.recording.session import open_repository
from simgit.gym.restoring.recorded_path import RecordedPath
from simgit.gym.restoring.restore import settled
from simgit.gym.spec.permit import Trust
from simgit.integrations.objects import say_settings
from simgit.integrations.sb3 import checkpoints, settings, wrappers
from simgit.integrations.sb3.callback import Restart, SimgitCallback
from simgit.integrations.sb3.checkpoints import StoredCheckpoint
from simgit.integrations.sb3.lanes import LaneRestorer, LearnerLane
from simgit.integrations.sb3.other_callbacks import everything
from simgit.integrations.sb3.wrappers import name_of_class
from simgit.objects.arguments import checked
from simgit.objects.oid import Oid
from simgit.repository import Repository

Make = Callable[[Any, dict[str, Any]], Any]
"""Makes the model from the vector of restored environments and the overrides of its branch."""


@checked
def resume(
    repo: Repository | str | Path,
    run: str,
    *,
    at: str | int | None = None,
    make: Callable[[Any, dict[str, Any]], Any] | None = None,
    env: Callable[[int], Any] | None = None,
    trust: Trust = None,
) -> tuple[Any, int]:
    """Return the model of a training at a checkpoint, and the timesteps that are left.

    ``model.learn(left, reset_num_timesteps=False)`` continues as if it had not been interrupted:
    what was recorded after the checkpoint is compared, step by step and checkpoint by checkpoint,
    then recorded anew. Checkpoints go on being written.

    Args:
        repo: the repository.
        run: the name that ``record`` was given; or the run of a single environment.
        at: timesteps ("57000" or "@57_000"): from the newest checkpoint up to there; None for the
            newest of all.
        make: makes the model from the vector of environments and the overrides of the branch, in
            the same wrappers; None makes it from what was recorded.
        env: makes the environment of a lane, for those that cannot be made from their spec.
        trust: see ``simgit.gym.restore``.

    Raises:
        NotFound: there is no such run, or it has no checkpoint.
        InvalidInput: the model or its environments differ from the recorded ones.
        Untrusted, Divergence, Conflict: see ``Recorder.resume``.
    """
    if isinstance(env, type):
        raise InvalidInput(
            f"env must be a function of a lane's number, such as lambda lane: {env.__name__}()",
            path="env",
        )
    opened = open_repository(repo)
    first = checkpoints.first_run(opened, run)
    until = None if at is None else timesteps(at)
    found, data = _newest(opened, first, until)
    names = checkpoints.lane_runs(opened, first, len(data["lanes"]))
    lanes = [
        LearnerLane(name, each["step"], each["oid"], each["monitor"], each["options"])
        for name, each in zip(names, data["lanes"], strict=True)
    ]
    changes = _changes(opened, names, found, data)
    overrides = {name: value for _, each in changes for name, value in each.items()}
    settings.check_changes(data, overrides)
    envs = _vector(opened, lanes, data["vector"], env, trust)
    try:
        model = _make(make, envs, settings.made_with(data, overrides), data)
        checkpoints.check(model, data)
        settings.say_differences(model, data["arguments"], overrides)
        now = checkpoints.surroundings(model)
        say_settings(data.get("torch", now), now)
        checkpoints.put_back(model, data, opened)  # it may be evaluated before it learns
    except BaseException:
        envs.close()
        raise
    later = [
        each for each in checkpoints.checkpoints(opened, first)
        if each.step > found.step or (each.step == found.step and each != found)
    ]  # fmt: skip
    known = {
        (each.timesteps, each.is_end): checkpoints.part(opened, each.oid, "learner", "digest")
        for each in later
    }
    callback = SimgitCallback(int(opened.config(first).get("training", {}).get("every", 10_000)))
    callback.restart(Restart(data, found.is_end, changes, known))
    model._setup_learn = partial(_setup, model, callback)
    return model, max(0, int(data["total"]) - int(data["timesteps"]))


@checked
def branch(
    repo: Repository | str | Path,
    run: str,
    revision: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    make: Callable[[Any, dict[str, Any]], Any] | None = None,
    env: Callable[[int], Any] | None = None,
    trust: Trust = None,
) -> tuple[Any, int]:
    """Branch a training off at any timestep, and return its model like ``resume``.

    The new runs share the recorded states up to there; the overrides hold from there on.

    Args:
        repo: the repository.
        run: the new name; its runs are ``run/0``, ``run/1``, … as those of the training.
        revision: the training and the timesteps, ``"ppo@57_000"``; without them its newest
            checkpoint.
        overrides: settings that change, such as ``{"learning_rate": 1e-3}``.
        make: see ``resume``.
        env: see ``resume``.
        trust: see ``resume``.

    Raises:
        AlreadyExists: there is a run of this name.
        NotFound, InvalidInput, Untrusted, Divergence, Conflict: see ``resume``.
    """
    opened = open_repository(repo)
    base, _, when = revision.partition("@")
    first = checkpoints.first_run(opened, base)
    until = timesteps(when) if when else None
    found, data = _newest(opened, first, until)
    names = checkpoints.lane_runs(opened, first, len(data["lanes"]))
    more = 0 if until is None else (until - found.timesteps) // len(names)
    steps = [
        checkpoints.step_at(opened, name, each["step"], more)
        for name, each in zip(names, data["lanes"], strict=True)
    ]
    settings.check_changes(data, overrides or {})
    changed = {f"agent.{name}": value for name, value in (overrides or {}).items()}
    new = [run if name == base else f"{run}/{name.rpartition('/')[2]}" for name in names]
    with opened.transaction("branch", run, revision):
        for name, origin, step in zip(new, names, steps, strict=True):
            opened.branch(name, f"{origin}@{step}", overrides=changed)
    try:
        return resume(opened, run, make=make, env=env, trust=trust)
    except BaseException:  # the same call is made again, once its cause is mended
        with opened.transaction("branch failed", run):
            for name in new:
                opened.delete_run(name)
        raise


def timesteps(text: str | int) -> int:
    """Return the timesteps that a text such as "@57_000" says.

    Raises:
        InvalidInput: it is no number, or negative.
    """
    try:
        found = int(str(text).removeprefix("@"))
    except ValueError:
        found = -1
    if found < 0:
        raise InvalidInput(f"timesteps must be a number like '@57_000', got {shown(text)}")
    return found


def _newest(
    repo: Repository, first: str, until: int | None
) -> tuple[StoredCheckpoint, Mapping[str, Any]]:
    """Return the newest checkpoint of which every lane has its state, up to some timesteps.

    Raises:
        NotFound: there is none.
    """
    for found in checkpoints.checkpoints(repo, first):
        if until is not None and found.timesteps > until:
            continue
        data = checkpoints.load(repo, found)
        names = checkpoints.lane_runs(repo, first, len(data["lanes"]))
        if all(_has(repo, n, each) for n, each in zip(names, data["lanes"], strict=True)):
            return found, data
    upto = "" if until is None else f" up to {until} timesteps"
    raise NotFound(f"run '{first}' has no checkpoint of Stable-Baselines3{upto}", name=first)


def _has(repo: Repository, run: str, lane: Mapping[str, Any]) -> bool:
    step = repo.runs[run].step
    if step is None or step < lane["step"]:
        return False
    return repo.resolve(f"{run}@{lane['step']}") == Oid(lane["oid"])


def _changes(
    repo: Repository, names: list[str], found: StoredCheckpoint, data: Mapping[str, Any]
) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the settings that change after a checkpoint, with the timesteps where they do."""
    changes: list[tuple[int, Mapping[str, Any]]] = []
    for info in repo.lineage(names[0]):
        if info.branch_point is None:
            continue
        step = repo.state(info.branch_point).step
        agent = info.overrides.get("agent")
        changed = {key: each for key, each in dict(agent or {}).items() if key != "name"}
        if not changed or step < found.step:
            continue  # the checkpoint has it already
        more = checkpoints.actions_between(repo, names[0], found.step, step)
        changes.append((int(data["timesteps"]) + more * len(names), changed))
    return changes[::-1]


def _vector(
    repo: Repository,
    lanes: list[LearnerLane],
    kind: str,
    env: Callable[[int], Any] | None,
    trust: Trust,
) -> Any:
    """Return the vector of restored environments.

    Raises:
        InvalidInput: it was of a kind that cannot be made.
    """
    if kind == name_of_class(DummyVecEnv):
        made: Any = DummyVecEnv
        agreed = trust
    elif kind == name_of_class(SubprocVecEnv):
        made = SubprocVecEnv
        paths = [RecordedPath(repo, f"{each.run}@{each.step}") for each in lanes]
        agreed = settled(paths, trust, makes=env is None)  # other processes cannot ask
    else:
        raise InvalidInput(f"vector '{kind.rpartition('.')[2]}' cannot be restored")
    return made([LaneRestorer(repo, lane, env, i, agreed) for i, lane in enumerate(lanes)])


def _make(
    make: Make | None, envs: Any, overrides: dict[str, Any], data: Mapping[str, Any]
) -> Any:  # fmt: skip
    if make is not None:
        model = make(envs, overrides)
        if getattr(model, "env", None) is None or model.env.unwrapped is not envs:
            raise InvalidInput("make() must return a model of the environments that it was given")
        return model
    wrapped = wrappers.rebuild(envs, data["wrappers"])
    return settings.rebuild(data["algorithm"], data["arguments"], data["missing"], wrapped)


def _setup(
    model: Any,
    callback: SimgitCallback,
    total_timesteps: int,
    given: Any = None,
    reset_num_timesteps: bool = True,
    *more: Any,
    **named: Any,
) -> Any:
    """Set up the first ``learn`` of a resumed model.

    Raises:
        InvalidInput: it would begin anew.
    """
    given = named.pop("callback", given)
    if named.pop("reset_num_timesteps", reset_num_timesteps):
        raise InvalidInput(
            "a resumed model continues: call learn(left, reset_num_timesteps=False)",
            path="reset_num_timesteps",
        )
    del model._setup_learn
    own = _own_of(given)
    if own is not None:
        own.restart(callback._restart)  # type: ignore[arg-type]
    else:  # where it was among them: those before it act before a checkpoint
        assert callback._restart is not None
        listed = given.callbacks if type(given) is CallbackList else given
        callbacks = [*listed] if isinstance(listed, list) else [] if given is None else [given]
        callbacks = [e if isinstance(e, BaseCallback) else ConvertCallback(e) for e in callbacks]
        callbacks.insert(int(callback._restart.data.get("place", len(callbacks))), callback)
        given = callbacks
    return model._setup_learn(total_timesteps, given, False, *more, **named)


def _own_of(given: Any) -> SimgitCallback | None:
    """Return the first of simgit's callbacks among those of a script, at any depth."""
    for root in given if isinstance(given, list) else [given]:
        for each in everything(root):
            if isinstance(each, SimgitCallback):
                return each
    return None
