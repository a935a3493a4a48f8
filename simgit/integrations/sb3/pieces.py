"""The pieces of a learner as nested arrays and plain values, and back, in place.

Everything is put back into the objects that a model has: a running ``learn`` holds references to
its buffer, its action noise and its networks. Nothing is pickled, and nothing that is read is run.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
import torch
from stable_baselines3.common.noise import ActionNoise

from simgit.errors import InvalidInput, shown
from simgit.gym.drivers import randomness
from simgit.gym.drivers.limits import CannotSnapshot, NotPlain
from simgit.gym.drivers.plain import Encoder, decode
from simgit.integrations.objects import CODE, Objects
from simgit.integrations.replay import Replay

_NOT_KEPT: Final = (
    # other pieces
    "policy", "env", "replay_buffer", "rollout_buffer", "_vec_normalize_env", "action_noise",
    "*batch_norm_stats*", "log_ent_coef", "ent_coef_tensor", "_last_lstm_states",
    "observation_space", "action_space",
    # of the script, which makes the model
    "device", "verbose", "tensorboard_log", "seed", "n_envs", "train_freq", "*_class", "*_kwargs",
    "lr_schedule", "exploration_schedule", "clip_range*", "policy_aliases",
    # of this call of ``learn``
    "_logger", "_custom_logger", "start_time", "_total_timesteps", "_num_timesteps_at_start",
    "_setup_learn",
)  # fmt: skip
"""Attributes of a model that are not restored as such."""
SHAPE: Final = ("n_envs", "n_steps", "buffer_size", "optimize_memory_usage")
"""Attributes that decide the shape of what is restored: they must be the same."""
_BUFFERS: Final = (
    "stable_baselines3.common.buffers.ReplayBuffer",
    "stable_baselines3.common.buffers.DictReplayBuffer",
    "stable_baselines3.common.buffers.NStepReplayBuffer",
    "stable_baselines3.her.her_replay_buffer.HerReplayBuffer",
)
_LIBRARIES: Final = ("stable_baselines3.", "sb3_contrib.")
_DISTRIBUTIONS: Final = ("policy.action_dist", "policy.actor.action_dist")
_MATRICES: Final = ("exploration_mat", "exploration_matrices")


def encoded(value: Any, what: str) -> Any:
    """Return the plain form of a value.

    Raises:
        InvalidInput: it has none; ``what`` says whose it is.
    """
    try:
        return Encoder().encode(value)
    except (NotPlain, CannotSnapshot) as error:
        raise InvalidInput(
            f"{what} cannot be stored exactly: {error}", path=what.rpartition(" ")[2].strip("'")
        ) from None


def name_of(thing: Any) -> str:
    """Return the name of an object's class with its module."""
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


# --- networks and optimizers ----------------------------------------------------------------------


def parameters(model: Any) -> dict[str, Any]:
    """Return the state dicts of a model's networks and optimizers, as arrays by name."""
    return {
        name: _optimizer(state) if "param_groups" in state else _arrays(state, name)
        for name, state in model.get_parameters().items()
    }


def _arrays(state: Mapping[str, Any], what: str) -> dict[str, Any]:
    return {key: array_of(value, f"{what}.{key}") for key, value in state.items()}


def array_of(tensor: Any, what: str) -> Any:
    """Return a tensor as an array that shares its memory where it can.

    Raises:
        InvalidInput: it is no tensor, or of a dtype that NumPy does not have.
    """
    try:
        return tensor.detach().cpu().numpy()
    except (AttributeError, TypeError) as error:
        raise InvalidInput(f"'{what}' cannot be stored exactly: {error}", path=what) from None


def tensor_of(array: Any) -> torch.Tensor:
    """Return a stored array as a tensor with memory of its own."""
    return torch.from_numpy(np.array(array))


def _optimizer(state: Mapping[str, Any]) -> dict[str, Any]:
    moments = {
        str(number): {
            key: value.detach().cpu().numpy() if torch.is_tensor(value) else value
            for key, value in each.items()
        }
        for number, each in state["state"].items()
    }
    return {"state": moments, "groups": encoded(list(state["param_groups"]), "an optimizer")}


def put_parameters(model: Any, data: Mapping[str, Any]) -> None:
    """Put the state dicts back.

    Raises:
        InvalidInput: the model has other networks, or of other shapes.
    """
    check_parameters(model, data)
    found = {}
    for name, state in data.items():
        if "groups" in state:
            moments = {
                int(number): {
                    key: tensor_of(value) if isinstance(value, (np.ndarray, np.generic)) else value
                    for key, value in each.items()
                }
                for number, each in state["state"].items()
            }
            found[name] = {"state": moments, "param_groups": decode(state["groups"])}
        else:
            found[name] = {key: tensor_of(value) for key, value in state.items()}
    try:
        model.set_parameters(found, exact_match=True, device=model.device)
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InvalidInput(f"the checkpoint does not fit the model: {first}") from None


def check_parameters(model: Any, data: Mapping[str, Any]) -> None:
    """Check that a model has the networks of a checkpoint.

    Raises:
        InvalidInput: it has others, or of other shapes.
    """
    present = model.get_parameters()
    if present.keys() != data.keys():
        raise InvalidInput(
            f"the model has {', '.join(sorted(present))}, the checkpoint "
            f"{', '.join(sorted(data))}: make the model as it was"
        )
    for name, state in present.items():
        if "param_groups" in state:
            continue
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        recorded = {key: tuple(np.shape(value)) for key, value in data[name].items()}
        for key in [*shapes, *recorded]:
            if shapes.get(key) != recorded.get(key):
                raise InvalidInput(
                    f"'{name}.{key}' has shape {shapes.get(key, 'none')}, in the checkpoint "
                    f"{recorded.get(key, 'none')}: make the model with the same networks",
                    path=f"{name}.{key}",
                )


def tensors(model: Any) -> dict[str, Any]:
    """Return the tensors of a model beside its networks (an entropy coefficient), by name."""
    names = model._get_torch_save_params()[1]
    found = {name: _attribute(model, name) for name in names}
    return {name: array_of(value, name) for name, value in found.items() if value is not None}


def put_tensors(model: Any, data: Mapping[str, Any]) -> None:
    """Put these tensors back in place: an optimizer refers to them.

    Raises:
        InvalidInput: the model has others.
    """
    if tensors(model).keys() != data.keys():
        raise InvalidInput(
            f"the model has {sorted(tensors(model)) or 'no tensors'} beside its networks, the "
            f"checkpoint {sorted(data)}: ent_coef was another",
            path="ent_coef",
        )
    for name, value in data.items():
        _attribute(model, name).data.copy_(tensor_of(value))


def _attribute(model: Any, path: str) -> Any:
    for name in path.split("."):
        model = getattr(model, name, None)
    return model


def matrices(model: Any) -> dict[str, Any]:
    """Return the exploration matrices of gSDE, by the place of their distribution."""
    if not model.use_sde:
        return {}
    return {
        f"{place}.{name}": array_of(getattr(_attribute(model, place), name), name)
        for place in _DISTRIBUTIONS
        for name in _MATRICES
        if torch.is_tensor(getattr(_attribute(model, place), name, None))
    }


def put_matrices(model: Any, data: Mapping[str, Any]) -> None:
    """Put the exploration matrices back."""
    for path, value in data.items():
        place, _, name = path.rpartition(".")
        if place in _DISTRIBUTIONS and name in _MATRICES:
            setattr(_attribute(model, place), name, tensor_of(value).to(model.device))


# --- what else a model holds ----------------------------------------------------------------------


def attributes(model: Any) -> dict[str, Any]:
    """Return the counters, settings and last observations of a model, in plain forms.

    Raises:
        InvalidInput: an attribute cannot be stored, so that the model would continue otherwise.
    """
    found = {}
    for name, value in vars(model).items():
        if _is_kept(name, value):
            plain = dict(value) if type(value) is OrderedDict else value
            found[name] = encoded(plain, f"attribute '{name}'")
    return found


def _is_kept(name: str, value: Any) -> bool:
    if any(fnmatchcase(name, each) for each in _NOT_KEPT) or isinstance(value, CODE):
        return False
    return not learns(value) and not (name == "learning_rate" and callable(value))


def put_attributes(model: Any, data: Mapping[str, Any]) -> None:
    """Put attributes back."""
    for name, value in data.items():
        held = vars(model).get(name)
        if _is_kept(name, held):
            found = decode(value)  # arrays are replaced: a wrapper may hold the last observations
            is_array = isinstance(found, (np.ndarray, dict))
            vars(model)[name] = found if is_array else put(held, found)


def put(held: Any, value: Any) -> Any:
    """Return a value, in the object that is held if that can take it: others may refer to it."""
    if type(held) is not type(value):
        return value
    if isinstance(held, (dict, set)):
        held.clear()
        held.update(value)
    elif isinstance(held, (list, deque)):
        if getattr(held, "maxlen", None) != getattr(value, "maxlen", None):
            return value
        held.clear()
        held.extend(value)
    elif isinstance(held, np.ndarray) and (held.shape, held.dtype) == (value.shape, value.dtype):
        held[...] = value
    elif isinstance(held, np.random.Generator):
        held.bit_generator.state = value.bit_generator.state
    else:
        return value
    return held


# --- what learns beside a model's own networks ----------------------------------------------------


def learns(value: Any) -> bool:
    """Return True for a module, an optimizer, or what else saves itself like these."""
    has_state = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
    return has_state and not isinstance(value, CODE)


def learners(model: Any, said: set[str]) -> dict[str, Any]:
    """Return the modules and optimizers that only a subclass of the model knows, by attribute.

    Raises:
        InvalidInput: one cannot be stored.
    """
    return {
        name: Objects({}, said).saved(value, name)
        for name, value in vars(model).items()
        if learns(value) and not _is_covered(model, name, value)
    }


def _is_covered(model: Any, name: str, value: Any) -> bool:
    """Return True for what ``parameters`` has."""
    inside = isinstance(value, torch.nn.Module) and any(value is e for e in model.policy.modules())
    return inside or name in model._get_torch_save_params()[0]


def put_learner(held: Any, data: Any, name: str) -> None:
    """Put a module or an optimizer back in place."""
    Objects({}).loaded(held, data, name)


def own_parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a policy that are of classes of the user's, by name."""
    for name, part in model.policy.named_modules():
        if not type(part).__module__.startswith((*_LIBRARIES, "torch.")):
            yield name, part


def policy(model: Any, said: set[str]) -> dict[str, Any]:
    """Return what the user's parts of a policy have beside their ``state_dict``.

    Raises:
        InvalidInput: an array cannot be stored.
    """
    objects, found = Objects({}, said), {}
    for path, part in own_parts(model):
        found[path or "."] = {
            "buffers": {
                name: array_of(part._buffers[name], f"policy.{path}.{name}")
                for name in sorted(part._non_persistent_buffers_set)
                if part._buffers[name] is not None
            },
            "attributes": {
                name.rpartition(".")[2]: value
                for name, value in objects.attributes(part, f"policy.{path}", skipped=_of_library)
            },
        }
    return found


def _of_library(value: Any) -> bool:
    kind = type(value).__module__
    is_known = kind.startswith((*_LIBRARIES, "gymnasium."))
    return is_known or isinstance(value, (torch.optim.Optimizer, torch.distributions.Distribution))


def put_policy(model: Any, data: Mapping[str, Any]) -> None:
    """Put back what the user's parts of a policy have beside their ``state_dict``."""
    objects = Objects({})
    for path, part in own_parts(model):
        body = data.get(path or ".", {"buffers": {}, "attributes": {}})
        for name, value in body["buffers"].items():
            part._buffers[name].copy_(tensor_of(value))
        for name, value in body["attributes"].items():
            now = objects.loaded(vars(part).get(name), value, f"policy.{path}.{name}")
            setattr(part, name, now)


def lstm(model: Any) -> list[Any] | None:
    """Return the last hidden states of a recurrent policy, None without one."""
    states = vars(model).get("_last_lstm_states")
    if states is None:
        return None
    return [[array_of(each, "_last_lstm_states") for each in pair] for pair in states]


def put_lstm(model: Any, data: Any) -> None:
    """Put the hidden states back, into a tuple of the same kind."""
    states = vars(model).get("_last_lstm_states")
    if data is None or states is None:
        return
    pairs = [tuple(tensor_of(each).to(model.device) for each in pair) for pair in data]
    model._last_lstm_states = type(states)(*pairs)


def random(model: Any) -> dict[str, Any]:
    """Return all random generators that a learner draws from."""
    spaces = randomness.capture_spaces(randomness.all_spaces([model]))
    return {"globals": randomness.capture_globals(), "spaces": spaces}


def put_random(model: Any, data: Mapping[str, Any]) -> None:
    """Put the random generators back."""
    randomness.apply_spaces([model], dict(data["spaces"]))
    randomness.apply_globals(data["globals"])


def noise(found: Any) -> dict[str, Any] | None:
    """Return the state of an action noise, None without one.

    Raises:
        InvalidInput: it holds what cannot be stored.
    """
    if found is None:
        return None
    each = getattr(found, "noises", None)
    state = {
        name: encoded(value, f"attribute '{name}' of the action noise")
        for name, value in vars(found).items()
        if name not in ("_noises", "_base_noise")
        and not isinstance(value, CODE)
        and not isinstance(value, ActionNoise)
    }
    inner = {
        name: noise(value)
        for name, value in vars(found).items()
        if isinstance(value, ActionNoise) and name != "_base_noise"
    }
    data = {"kind": name_of(found), "state": state, "inner": inner}
    return data if each is None else {**data, "each": [noise(one) for one in each]}


def put_noise(found: Any, data: Mapping[str, Any] | None) -> None:
    """Put the state of an action noise back into the object that ``learn`` holds.

    Raises:
        InvalidInput: the model has another action noise.
    """
    kind = None if found is None else name_of(found)
    recorded = None if data is None else data["kind"]
    if kind != recorded:
        raise InvalidInput(
            f"the action noise is {shown(kind)}, in the checkpoint {shown(recorded)}: make the "
            "model with the same",
            path="action_noise",
        )
    if data is None:
        return
    vars(found).update({name: decode(value) for name, value in data["state"].items()})
    for name, state in data.get("inner", {}).items():
        put_noise(vars(found).get(name), state)
    for one, state in zip(getattr(found, "noises", ()), data.get("each", ()), strict=True):
        put_noise(one, state)


# --- the replay buffer ---------------------------------------------------------------------------


def replay_of(model: Any) -> Replay | None:
    """Return what stores and restores a model's replay buffer; None without one.

    Raises:
        InvalidInput: it is of a class whose state is not known.
    """
    rollouts = getattr(model, "rollout_buffer", None)
    if rollouts is not None and not name_of(rollouts).startswith(_LIBRARIES):
        raise InvalidInput(
            f"rollout buffer '{name_of(rollouts)}' is not one of Stable-Baselines3's: what it "
            "keeps from one rollout to the next is not known"
        )
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return None
    kind = name_of(buffer)
    if kind not in _BUFFERS:
        raise InvalidInput(f"replay buffer '{kind}' is not one of Stable-Baselines3's")
    return Replay(buffer)


# --- the whole ------------------------------------------------------------------------------------


def digest(data: Any) -> bytes:
    """Return a hash of nested arrays and plain values, the same for equal bits."""
    hashed = hashlib.blake2b(digest_size=16)
    _hash(hashed, data)
    return hashed.digest()


def _hash(hashed: Any, data: Any) -> None:
    if isinstance(data, Mapping):
        for key in sorted(data, key=str):
            hashed.update(f"{{{key}".encode())
            _hash(hashed, data[key])
    elif isinstance(data, (list, tuple)):
        hashed.update(b"[%d" % len(data))
        for each in data:
            _hash(hashed, each)
    elif isinstance(data, (np.ndarray, np.generic)):
        array = np.ascontiguousarray(data)
        hashed.update(f"#{array.dtype.str}{np.shape(data)}".encode())
        hashed.update(array.tobytes())
    else:
        hashed.update(repr(data).encode())
