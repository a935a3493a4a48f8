"""The specs of the lanes of a vector environment, as those of single environments."""

from __future__ import annotations

from typing import Any

from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper

from simgit.gym.spec import spaces
from simgit.gym.spec.entry_points import public_path
from simgit.gym.spec.spec import (
    OBSERVERS,
    Data,
    class_path,
    describe,
    encodable,
    left_out,
    registered,
)


def describe_lanes(env: VectorEnv[Any, Any, Any]) -> list[Data]:
    """Return the spec of each lane of a vector environment.

    A lane has the spec of the same environment alone, where it is an environment of its own.
    """
    core = env.unwrapped
    if isinstance(core, SyncVectorEnv):
        lanes = [describe(each) for each in core.envs]
    elif isinstance(core, AsyncVectorEnv):
        lanes = [_from_spec(spec, core) for spec in core.get_attr("spec")]
    else:
        lanes = [_native(core, i) for i in range(env.num_envs)]
    above = [public_path(class_path(layer)) for layer in _vector_layers(env)]
    if above:
        spaces_now = _single_spaces(env)
        lanes = [{**lane, **spaces_now, "vector_wrappers": above} for lane in lanes]
    return lanes


def lanes_left_out(env: VectorEnv[Any, Any, Any]) -> list[list[str]]:
    """Return for each lane the classes of wrappers that its spec lacks, see ``spec.left_out``.

    The spec of an environment in another process has them, or says that it lacks their arguments.
    """
    core = env.unwrapped
    if isinstance(core, SyncVectorEnv):
        return [left_out(each) for each in core.envs]
    return [[]] * env.num_envs


def _from_spec(spec: EnvSpec | None, core: Any) -> Data:
    """Describe an environment in another process by its EnvSpec."""
    if spec is None:
        return {**_native(core, None), **_single_spaces(core)}
    wrappers = [
        {
            "name": each.name,
            "entry_point": public_path(each.entry_point),
            **({"kwargs": None} if each.kwargs is None else encodable(each.kwargs)),
        }
        for each in spec.additional_wrappers
        if each.entry_point not in OBSERVERS
    ]
    return {"environment": registered(spec), "wrappers": wrappers, **_single_spaces(core)}


def _native(core: Any, lane: int | None) -> Data:
    """Describe a lane that is not an environment of its own."""
    spec = core.spec
    known = (
        {"id": None, "entry_point": public_path(class_path(core)), "kwargs": None}
        if spec is None
        else {**registered(spec), "entry_point": public_path(class_path(core))}
    )
    environment = {**known, "lane": lane, "lanes": core.num_envs}
    return {"environment": environment, "wrappers": [], **_single_spaces(core)}


def _single_spaces(env: Any) -> Data:
    return {
        "observation_space": spaces.encode(env.single_observation_space),
        "action_space": spaces.encode(env.single_action_space),
    }


def _vector_layers(env: Any) -> list[Any]:
    """Return the vector wrappers that change something, the outermost first."""
    found = []
    while isinstance(env, VectorWrapper):
        if not getattr(type(env), "is_observer", False):
            found.append(env)
        env = env.env
    return found
