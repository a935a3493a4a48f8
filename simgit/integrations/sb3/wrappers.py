"""The wrappers of a vector environment: VecNormalize, VecFrameStack, VecMonitor and others.

Their state is their attributes, whoever wrote the wrapper; running means and stacked observations
are objects within, which are restored in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from stable_baselines3.common import vec_env
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from simgit.errors import InvalidInput
from simgit.gym.drivers.plain import decode
from simgit.integrations.objects import CODE, Objects
from simgit.integrations.sb3.pieces import encoded, learns, name_of, put_learner

_NOT_KEPT: Final = frozenset({
    "venv", "num_envs", "observation_space", "action_space", "class_attributes", "render_mode",
    "reset_infos", "_seeds", "_options", "metadata", "obs_spaces", "results_writer", "t_start",
    "actions", "stacked_observation_space",
})  # fmt: skip
_INSIDE: Final = (RunningMeanStd, StackedObservations)
_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "VecNormalize": ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon",
                     "norm_obs_keys"),
    "VecFrameStack": ("n_stack",),
    "VecMonitor": ("info_keywords",),
    "VecTransposeImage": ("skip",),
    "VecExtractDictObs": ("key",),
}  # fmt: skip
"""The wrappers that can be made anew without the user's function, and their arguments."""


def stack(venv: Any) -> Iterator[Any]:
    """Yield the wrappers of a vector, the outermost first."""
    while isinstance(venv, vec_env.VecEnvWrapper):
        yield venv
        venv = venv.venv


def capture(venv: Any) -> list[dict[str, Any]]:
    """Return the state of each wrapper, the outermost first.

    Raises:
        InvalidInput: an attribute cannot be stored, so that it would continue otherwise.
    """
    return [{"kind": name_of(each), "state": _state(each, name_of(each))} for each in stack(venv)]


def _state(holder: Any, what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(holder).items():
        if name in _NOT_KEPT or isinstance(value, CODE):
            continue
        if learns(value):
            found[name] = {"learner": Objects({}).saved(value, f"{what}.{name}")}
        elif isinstance(value, _INSIDE):
            found[name] = {"inside": _state(value, what)}
        elif isinstance(value, dict) and any(isinstance(each, _INSIDE) for each in value.values()):
            found[name] = {"each": {key: _state(each, what) for key, each in value.items()}}
        else:
            found[name] = {"value": encoded(value, f"'{what}' with attribute '{name}'")}
    return found


def put_back(venv: Any, data: list[Mapping[str, Any]]) -> None:
    """Put the state of the wrappers back, in place; nothing is seeded at the next reset.

    Raises:
        InvalidInput: the vector has other wrappers.
    """
    check(venv, data)
    for each, recorded in zip(stack(venv), data, strict=True):
        _put(each, recorded["state"])
    base = venv.unwrapped
    base._reset_seeds()
    base._reset_options()


def _put(holder: Any, state: Mapping[str, Any]) -> None:
    for name, part in state.items():
        if "learner" in part:
            put_learner(getattr(holder, name), part["learner"], name)
        elif "inside" in part:
            _put(getattr(holder, name), part["inside"])
        elif "each" in part:
            for key, each in part["each"].items():
                _put(getattr(holder, name)[key], each)
        elif not callable(getattr(holder, name, None)):  # data take the place of data only
            setattr(holder, name, decode(part["value"]))


def check(venv: Any, data: list[Mapping[str, Any]]) -> None:
    """Check that a vector has the recorded wrappers.

    Raises:
        InvalidInput: it has others.
    """
    present = [name_of(each) for each in stack(venv)]
    recorded = [each["kind"] for each in data]
    if present != recorded:
        raise InvalidInput(
            f"the vector is wrapped in {_names(present)}, at the checkpoint in {_names(recorded)}: "
            "wrap it in the same way",
            path="make",
        )


def _names(kinds: list[str]) -> str:
    return ", ".join(kind.rpartition(".")[2] for kind in kinds) or "nothing"


def rebuild(venv: Any, data: list[Mapping[str, Any]]) -> Any:
    """Return a vector in new wrappers like the recorded ones.

    Raises:
        InvalidInput: a wrapper is not one of Stable-Baselines3's.
    """
    for each in reversed(data):
        name = each["kind"].rpartition(".")[2]
        kind = getattr(vec_env, name, None)
        if name not in _ARGUMENTS or kind is None or each["kind"] != name_of_class(kind):
            raise InvalidInput(f"wrapper '{name}' cannot be made from the recording: pass make=")
        given = {
            key: decode(each["state"][key]["value"])
            for key in _ARGUMENTS[name]
            if key in each["state"]
        }
        if name == "VecFrameStack":
            inside = each["state"]["stacked_obs"]["inside"]
            if "channels_first" not in inside:
                raise InvalidInput("a VecFrameStack of a dict must be made by make=")
            given["n_stack"] = decode(inside["n_stack"]["value"])
            is_first = decode(inside["channels_first"]["value"])
            given["channels_order"] = "first" if is_first else "last"
        venv = kind(venv, **given)
    return venv


def name_of_class(kind: type) -> str:
    """Return the name of a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"
