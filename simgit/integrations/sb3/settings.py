"""The settings of a model: recorded, rebuilt from, and changed while it learns."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import numpy as np
import torch
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from simgit.errors import InvalidInput, NotFound, near_or_known, shown, warn
from simgit.gym.drivers.plain import decode
from simgit.integrations.sb3.pieces import encoded

ALGORITHMS: Final = {
    "A2C": "stable_baselines3.a2c.a2c",
    "DDPG": "stable_baselines3.ddpg.ddpg",
    "DQN": "stable_baselines3.dqn.dqn",
    "PPO": "stable_baselines3.ppo.ppo",
    "SAC": "stable_baselines3.sac.sac",
    "TD3": "stable_baselines3.td3.td3",
    "MaskablePPO": "sb3_contrib.ppo_mask.ppo_mask",
    "QRDQN": "sb3_contrib.qrdqn.qrdqn",
    "RecurrentPPO": "sb3_contrib.ppo_recurrent.ppo_recurrent",
    "TQC": "sb3_contrib.tqc.tqc",
}
"""The algorithms whose state is known, with their modules; also their subclasses."""
_FREE: Final = frozenset({
    "vf_coef", "max_grad_norm", "n_epochs", "batch_size", "target_kl", "normalize_advantage",
    "tau", "gradient_steps", "learning_starts", "target_update_interval", "policy_delay",
    "target_policy_noise", "target_noise_clip", "top_quantiles_to_drop_per_net", "target_entropy",
})  # fmt: skip
"""Settings that are read from the model each time they are used."""
_BUFFERED: Final = ("gamma", "gae_lambda")
_CLIPS: Final = ("clip_range", "clip_range_vf")
_EXPLORATION: Final = ("exploration_initial_eps", "exploration_final_eps", "exploration_fraction")
_BUFFER_CLASSES: Final = ("replay_buffer_class", "rollout_buffer_class")
_USUAL: Final = (
    "ReplayBuffer", "DictReplayBuffer", "NStepReplayBuffer", "RolloutBuffer", "DictRolloutBuffer",
    "RecurrentRolloutBuffer", "RecurrentDictRolloutBuffer", "MaskableRolloutBuffer",
    "MaskableDictRolloutBuffer",
)  # fmt: skip
"""Buffers that an algorithm chooses by itself."""
_CLASSES: Final = {"activation_fn": torch.nn, "optimizer_class": torch.optim}
"""Arguments of a policy that are classes of torch, stored by their names."""
_NOT_ARGUMENTS: Final = ("self", "env", "_init_setup_model", "use_rms_prop", "rms_prop_eps")
"""(The last two are in ``policy_kwargs`` afterwards.)"""


def algorithm(name: str) -> Any:
    """Return the class of an algorithm.

    Raises:
        NotFound: there is none of this name, or its package is not installed.
    """
    if name not in ALGORITHMS:
        raise NotFound(
            f"unknown algorithm 'sb3:{name}'{near_or_known(name, sorted(ALGORITHMS))}", name=name
        )
    try:
        return getattr(import_module(ALGORITHMS[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "sb3_contrib":
            raise
        raise NotFound(
            f"algorithm 'sb3:{name}' needs sb3-contrib: pip install 'simgit[sb3]'"
        ) from None


def check_algorithm(model: Any) -> None:
    """Check that the state of a model's algorithm is known.

    Raises:
        InvalidInput: it is not.
    """
    known = {f"{module}.{name}" for name, module in ALGORITHMS.items()}
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__}
    if known.isdisjoint(kinds):
        raise InvalidInput(
            f"algorithm '{type(model).__name__}' cannot be resumed exactly: its state is not known"
        )


def arguments(model: Any) -> tuple[dict[str, Any], str | None]:
    """Return the plain arguments that a model was made with, and the name of one that is not."""
    found, missing = {}, None
    for name in inspect.signature(type(model).__init__).parameters:
        if name in _NOT_ARGUMENTS:
            continue
        try:
            found[name] = encoded(_argument(model, name), f"'{name}'")
        except (InvalidInput, AttributeError):
            missing = missing or name
    return found, missing


def _argument(model: Any, name: str) -> Any:
    if name == "policy":
        names = [key for key, kind in model.policy_aliases.items() if kind is model.policy_class]
        if not names:
            raise InvalidInput("policy")
        return names[0]
    if name == "device":
        return model.device.type
    if name == "train_freq":
        return (model.train_freq.frequency, model.train_freq.unit.value)
    if name == "action_noise" and model.action_noise is not None:
        raise InvalidInput("action_noise")
    if name in _BUFFER_CLASSES:
        return _default(model, name)
    if name == "stats_window_size":
        return model._stats_window_size
    if name == "monitor_wrapper":
        return True
    value = getattr(model, name)
    if name in _CLIPS and value is not None:
        return constant(value)
    if name == "policy_kwargs":
        value = {key: _name(key, item) for key, item in value.items() if key != "use_sde"}
    if callable(value):
        raise InvalidInput(name)
    return value


def _name(key: str, value: Any) -> Any:
    known = key in _CLASSES and vars(_CLASSES[key]).get(getattr(value, "__name__", "")) is value
    return value.__name__ if known else value


def _class(key: str, value: Any) -> Any:
    found = vars(_CLASSES[key]).get(value) if key in _CLASSES and isinstance(value, str) else value
    if isinstance(value, str) and key in _CLASSES and not isinstance(found, type):
        raise InvalidInput(f"'{key}' {shown(value)} is no class of torch", path=key)
    return found


def _default(model: Any, name: str) -> None:
    kind = getattr(model, name)
    if kind is not None and kind.__name__ not in _USUAL:
        raise InvalidInput(name)


def constant(schedule: Any) -> float:
    """Return the value of a schedule that does not change.

    Raises:
        InvalidInput: it changes.
    """
    if isinstance(schedule, (int, float)):
        return float(schedule)
    inner = getattr(schedule, "value_schedule", schedule)
    if not isinstance(inner, ConstantSchedule):
        raise InvalidInput("a schedule that changes")
    return float(inner.val)


def rebuild(name: str, stored: Mapping[str, Any], missing: str | None, venv: Any) -> Any:
    """Return a new model like the recorded one.

    Raises:
        InvalidInput: it was made with something that is not plain data, or is of a class of the
            user's.
    """
    short = name.rpartition(".")[2]
    if ALGORITHMS.get(short) != name.rpartition(".")[0]:
        raise InvalidInput(f"algorithm '{short}' is not the library's: pass make=")
    if missing is not None:
        raise InvalidInput(f"'{missing}' of the model is not plain data: pass make=", path=missing)
    given = {key: decode(value) for key, value in stored.items() if key not in _BUFFER_CLASSES}
    policy = given.get("policy_kwargs") or {}
    given["policy_kwargs"] = {key: _class(key, value) for key, value in policy.items()}
    return algorithm(short)(env=venv, **given)


# --- schedules ------------------------------------------------------------------------------------


def schedules(model: Any) -> dict[str, Any]:
    """Return the value of each schedule now, and whether it is the same at all times.

    Raises:
        InvalidInput: a schedule has state of its own, which is not known.
    """
    found = {}
    for name in ("lr_schedule", *_CLIPS, "exploration_schedule"):
        schedule = getattr(model, name, None)
        if not callable(schedule):
            continue
        try:
            fixed: float | None = constant(schedule)
        except InvalidInput:
            fixed = None
        value, again = (float(schedule(model._current_progress_remaining)) for _ in range(2))
        if value != again:
            raise InvalidInput(
                f"schedule '{name}' has another value each time: it must depend on its argument "
                "alone",
                path=name,
            )
        found[name] = {"value": value, "constant": fixed}
    return found


def put_schedules(model: Any, data: Mapping[str, Any]) -> None:
    """Put constant schedules back, and compare the others, which the script makes.

    Raises:
        InvalidInput: a schedule has another value at this point.
    """
    if not callable(model.learning_rate):
        model._setup_lr_schedule()
    for name in _CLIPS:
        fixed = data.get(name, {}).get("constant")
        if fixed is not None:
            setattr(model, name, FloatSchedule(fixed))
    _set_exploration(model)
    present = schedules(model)
    for name, recorded in data.items():
        value = present.get(name, {}).get("value")
        if value != recorded["value"]:
            raise InvalidInput(
                f"schedule '{name}' is {shown(value)} at this step, at the checkpoint it was "
                f"{recorded['value']!r}: make the model with the same schedule",
                path=name,
            )


def say_differences(model: Any, data: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Warn of settings of a new model that the recorded ones replace."""
    present, _ = arguments(model)
    for name, stored in data.items():
        if name in overrides or name in ("seed", "verbose", "tensorboard_log", "device"):
            continue
        was = decode(stored)
        if name in present and not _same(decode(present[name]), was):
            warn(
                f"'{name}' was {shown(was)} and is made as {shown(decode(present[name]))}: the "
                "recorded one is used; branch with overrides= to change it"
            )


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(np.all(a == b))
    except ValueError:
        return False


# --- changes --------------------------------------------------------------------------------------


def check_changes(data: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """Check that settings can be changed while the model of a checkpoint learns.

    Raises:
        InvalidInput: one cannot, or its value is of another type.
    """
    known = _FREE | {"learning_rate", "ent_coef", *_BUFFERED, *_CLIPS, *_EXPLORATION}
    had = {"learning_rate", *data["arguments"], *data["schedules"]}
    for name, value in overrides.items():
        if name not in known & had:
            kind = data["algorithm"].rpartition(".")[2]
            raise InvalidInput(
                f"'{name}' of a {kind} cannot be changed in a branch"
                f"{near_or_known(name, sorted(known & had))}",
                path=name,
            )
        if not isinstance(value, (int, float)):
            raise InvalidInput(f"'{name}' must be a number, got {shown(value)}", path=name)
        if name == "ent_coef" and "log_ent_coef" in data["tensors"]:
            raise InvalidInput("'ent_coef' is learned here: it cannot be changed", path=name)
        old = decode(data["arguments"].get(name))
        if type(old) in (int, bool) and type(value) is not type(old):
            raise InvalidInput(f"'{name}' must be like {old!r}, got {shown(value)}", path=name)


def made_with(data: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that a model is made with, before it is put back and changed.

    Where the checkpoint has a schedule that moves, the script's own is needed up to the branch.
    """
    moving = {
        "learning_rate" if name == "lr_schedule" else name
        for name, each in data["schedules"].items()
        if each["constant"] is None and name != "exploration_schedule"
    }
    return {name: value for name, value in overrides.items() if name not in moving}


def change(model: Any, overrides: Mapping[str, Any]) -> None:
    """Change settings of a model, for what it does from here on; see ``check_changes``."""
    for name, value in overrides.items():
        if name == "learning_rate":
            model.learning_rate = float(value)
            model._setup_lr_schedule()
        elif name in _CLIPS:
            setattr(model, name, FloatSchedule(float(value)))
        else:
            setattr(model, name, value)
        if name in _BUFFERED:
            for holder in ("rollout_buffer", "replay_buffer"):
                if hasattr(getattr(model, holder, None), name):
                    setattr(getattr(model, holder), name, value)
        if name == "ent_coef" and torch.is_tensor(getattr(model, "ent_coef_tensor", None)):
            model.ent_coef_tensor.data.fill_(float(value))
    if any(name in _EXPLORATION for name in overrides):
        _set_exploration(model)


def _set_exploration(model: Any) -> None:
    if hasattr(model, "exploration_schedule"):
        model.exploration_schedule = LinearSchedule(*(getattr(model, n) for n in _EXPLORATION))


def plain(model: Any) -> dict[str, Any]:
    """Return the settings of a model as the configuration of its runs."""
    found: dict[str, Any] = {"name": f"sb3:{type(model).__name__}"}
    for name, value in arguments(model)[0].items():
        given = decode(value)
        if isinstance(given, (bool, int, float, str)) and name not in ("device", "verbose"):
            found[name] = given
    return found
