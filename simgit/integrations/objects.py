"""Objects of a training loop, saved as plain data and restored in place.

A module is its parameters, buffers, modes and what changed in its attributes; an optimizer its
state and the settings that changed; any other object its ``state_dict``, or its attributes if they
can be stored. What can be neither is refused by name. In place, since others refer to them.
"""

from __future__ import annotations

import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from functools import cache, partial
from pathlib import PurePath
from typing import Any, Final

import numpy as np
import torch

from simgit.errors import IntegrityError, InvalidInput, SimgitError, warn
from simgit.integrations.replay import Replay
from simgit.integrations.rings import is_array_buffer, is_torchrl_buffer
from simgit.integrations.values import (
    KIND,
    decode,
    encode,
    is_random,
    is_tensor,
    put_random,
    tensor_of,
)
from simgit.objects.oid import Oid
from simgit.repository import Repository

_COMPILED: Final = "_orig_mod"
_NO_STATE: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
CODE: Final = (*_NO_STATE, types.MethodType)
"""Functions, classes and modules: what has no state of its own."""
_PARALLEL: Final = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
_INTERNAL: Final = frozenset(vars(torch.nn.Module()))
_FIXED: Final = (
    torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format, complex, slice, range,
    frozenset, np.dtype, Enum, PurePath,
)  # fmt: skip
"""Values of a module that have no form and cannot change."""


@cache
def _of_every_optimizer() -> frozenset[str]:
    """Return the attributes of torch's own; to make the first one takes torch seconds."""
    return frozenset(vars(torch.optim.SGD([torch.zeros(1)])))


class Objects:
    """The objects of a loop by name."""

    def __init__(self, objects: Mapping[str, Any], warned: set[str] | None = None) -> None:
        """Take objects, and note what they are like before training.

        Args:
            objects: the objects.
            warned: the names of attributes that a warning was given of.

        Raises:
            InvalidInput: one of them is of a kind that cannot be saved.
        """
        self._objects = dict(objects)
        self._replays: dict[str, Replay] = {}
        self._given: dict[str, Any] = {}
        self._gradients: dict[int, _Gradients] = {}
        self._open: set[int] = set()
        self._warned: set[str] = set() if warned is None else warned
        self._repo: Repository | None = None
        self._tips: Sequence[Oid] = ()
        for name, value in self._objects.items():
            self._note(name, value)

    def save(self, repo: Repository, tips: Sequence[Oid]) -> dict[str, Any]:
        """Return all objects as plain data.

        Args:
            repo: the repository.
            tips: the newest state of each environment, for replay buffers.

        Raises:
            InvalidInput: a part cannot be stored; the message names it.
        """
        self._repo, self._tips = repo, tips
        return {name: self.saved(value, name) for name, value in self._objects.items()}

    def load(self, repo: Repository, data: Mapping[str, Any]) -> None:
        """Put back what ``save`` returned, in place.

        Raises:
            InvalidInput: an object is missing, or of another kind or shape.
            IntegrityError: the data are malformed.
        """
        self._repo = repo
        for name in sorted(data.keys() ^ self._objects.keys()):
            known = "the checkpoint has" if name in data else "the loop has"
            raise InvalidInput(f"{known} '{name}', which the other lacks", path=name)
        for name, value in self._objects.items():
            if self.loaded(value, data[name], name) is not value:
                raise InvalidInput(f"'{name}' cannot be restored in place", path=name)

    # --- before training ---

    def _note(self, name: str, value: Any) -> None:
        if isinstance(value, torch.nn.Module):
            for path, module in bare(value).named_modules():
                for key, each in self.attributes(module, f"{name}.{path}".rstrip(".")):
                    self._given[key] = _frozen(each)
        elif isinstance(value, torch.optim.Optimizer):
            self._given[name] = [encode(_settings(g), name) for g in value.param_groups]
            self._gradients[id(value)] = _Gradients(value)
        elif isinstance(value, torch.utils.data.DataLoader):
            raise InvalidInput(
                f"cannot save '{name}': iterate over it with the loop, which keeps its position",
                path=name,
            )
        for function, inner in _closed_over(value):
            self._given[f"{name}.{function}"] = inner

    def attributes(
        self, module: Any, path: str, skipped: Callable[[Any], bool] = lambda _: False
    ) -> Iterator[tuple[str, Any]]:
        """Yield the attributes of a module that can be stored, encoded; warn of others once.

        Args:
            module: the module.
            path: its name.
            skipped: returns True for values that are not asked for.
        """
        if _COMPILED in module._modules or isinstance(module, _PARALLEL):
            return
        is_torchs = type(module).__module__.startswith("torch.")
        for key, value in vars(module).items():
            if key in _INTERNAL or (is_torchs and key.startswith("_")):
                continue
            if isinstance(value, (*CODE, *_FIXED)) or _holds_parameters(value) or skipped(value):
                continue
            name = f"{path}.{key}"
            if is_tensor(value) and value.requires_grad and not value.is_leaf:
                continue  # a result of the last forward pass
            try:
                yield name, self.saved(value, name)
            except InvalidInput as error:
                if name not in self._warned:
                    self._warned.add(name)
                    warn(f"attribute left out: {error}")

    # --- values ---

    def saved(self, value: Any, path: str) -> Any:
        """Return a value as plain data.

        Raises:
            InvalidInput: it cannot be stored; the message names it.
        """
        if id(value) in self._open:
            raise InvalidInput(f"cannot save '{path}': it is what refers to it", path=path)
        self._open.add(id(value))
        try:
            return self._saved(value, path)
        finally:
            self._open.discard(id(value))

    def _saved(self, value: Any, path: str) -> Any:
        if isinstance(value, torch.nn.Module):
            return self._save_module(bare(value), path)
        if isinstance(value, torch.optim.Optimizer):
            return self._save_optimizer(value, path)
        if is_array_buffer(value) or is_torchrl_buffer(value) or _is_memory(value):
            return self._save_replay(value, path)
        if type(value) is dict and all(type(key) is str and key and key != KIND for key in value):
            return {key: self.saved(each, f"{path}.{key}") for key, each in value.items()}
        if type(value) is list:
            return [self.saved(each, f"{path}[{i}]") for i, each in enumerate(value)]
        if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
            self._check_closures(value, path)
            return {KIND: "state", "data": encode(value.state_dict(), path)}
        if _has_attributes(value):
            found = {
                key: self.saved(each, f"{path}.{key}")
                for key, each in vars(value).items()
                if not isinstance(each, _NO_STATE)
            }
            return {KIND: "object", "data": found}
        return encode(value, path)

    def loaded(self, value: Any, data: Any, path: str) -> Any:
        """Return the value that data say, which is the given one wherever it can be changed.

        Raises:
            InvalidInput: the given one is of another kind or shape.
            IntegrityError: the data are malformed.
        """
        kind = data.get(KIND) if isinstance(data, Mapping) else None
        try:
            if kind == "module" and isinstance(value, torch.nn.Module):
                self._load_module(bare(value), data, path)
            elif kind == "optimizer" and isinstance(value, torch.optim.Optimizer):
                self._load_optimizer(value, data, path)
            elif kind == "replay":
                assert self._repo is not None
                self._replay(value, path).load(self._repo, data["data"])
            elif kind == "state":
                value.load_state_dict(decode(data["data"]))
            elif kind == "object" and _has_attributes(value):
                for key, each in data["data"].items():
                    setattr(value, key, self.loaded(vars(value).get(key), each, f"{path}.{key}"))
            elif kind is not None and is_random(value):
                put_random(value, data, path)
            else:
                return self._loaded_plain(value, data, path)
        except SimgitError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise IntegrityError(f"cannot restore '{path}': {error}") from None
        return value

    def _loaded_plain(self, value: Any, data: Any, path: str) -> Any:
        if isinstance(value, dict) and isinstance(data, Mapping):
            if KIND not in data:
                found = {
                    key: self.loaded(value.get(key), each, f"{path}.{key}")
                    for key, each in data.items()
                }
            else:
                found = decode(data)
            if isinstance(found, dict):
                value.clear()
                value.update(found)
                return value
        if type(value) is list and isinstance(data, list):
            if len(value) == len(data):
                pairs = enumerate(zip(value, data, strict=True))
                value[:] = [self.loaded(*pair, f"{path}[{i}]") for i, pair in pairs]
            else:
                value[:] = decode(data)
            return value
        if is_tensor(value):
            made = tensor_of(data, value.device) if isinstance(data, Mapping) else decode(data)
            if not is_tensor(made) or made.shape != value.shape or made.dtype != value.dtype:
                return made
            with torch.no_grad():
                value.copy_(made)
            return value
        made = decode(data)
        if isinstance(value, np.ndarray) and isinstance(made, np.ndarray):
            same = (value.shape, value.dtype) == (made.shape, made.dtype)
            if same and value.flags.writeable:
                value[...] = made
                return value
        if isinstance(value, deque) and isinstance(made, deque):
            value.clear()
            value.extend(made)
            return value
        return made

    # --- replay buffers ---

    def _replay(self, value: Any, path: str) -> Replay:
        if path not in self._replays:
            self._replays[path] = Replay(value)
        return self._replays[path]

    def _save_replay(self, value: Any, path: str) -> Any:
        assert self._repo is not None
        return {KIND: "replay", "data": self._replay(value, path).save(self._repo, self._tips)}

    # --- modules ---

    def _save_module(self, module: Any, path: str) -> Any:
        extra, changed = {}, {}
        for name, part in module.named_modules():
            if type(part).get_extra_state is not torch.nn.Module.get_extra_state:
                extra[_plain(name)] = encode(part.get_extra_state(), f"{path}.{name}")
            for key, each in self.attributes(part, f"{path}.{name}".rstrip(".")):
                if key not in self._given or not alike(self._given[key], each):
                    changed[key] = each
        return {
            KIND: "module",
            "tensors": {n: _array(t, f"{path}.{n}") for n, t in _tensors(module)},
            "eval": sorted(_plain(n) for n, part in module.named_modules() if not part.training),
            "frozen": sorted(n for n, p in _all_parameters(module) if not p.requires_grad),
            "gradients": self._free_gradients(module, path),
            "extra": extra,
            "attributes": changed,
        }  # fmt: skip

    def _free_gradients(self, module: Any, path: str) -> dict[str, Any]:
        """Return the gradients of parameters of which no optimizer that was named has charge."""
        held = [each for each in self._objects.values() if isinstance(each, torch.optim.Optimizer)]
        led = {id(parameter) for each in held for parameter in _parameters(each)}
        return {
            name: _array(parameter.grad, f"{path}.{name}.grad")
            for name, parameter in _all_parameters(module)
            if parameter.grad is not None and id(parameter) not in led
        }

    def _load_module(self, module: Any, data: Mapping[str, Any], path: str) -> None:
        held = dict(_tensors(module))
        for name in sorted(held.keys() ^ data["tensors"].keys()):
            where = "the checkpoint" if name in held else "this module"
            raise InvalidInput(f"'{path}.{name}' is not in {where}", path=f"{path}.{name}")
        for name, target in held.items():
            _copy(target, data["tensors"][name], f"{path}.{name}")
        for name, parameter in _all_parameters(module) if "frozen" in data else ():
            parameter.requires_grad_(name not in data["frozen"])
            if name in data["gradients"]:
                parameter.grad = _tensor(data["gradients"][name], parameter.device)
        parts = {_plain(name): part for name, part in module.named_modules()}
        for name, part in parts.items():
            part.training = name not in data["eval"]
            for key, each in data["attributes"].items():
                above, _, attribute = key.rpartition(".")
                if above == f"{path}.{name}".rstrip("."):
                    now = self.loaded(vars(part).get(attribute), each, key)
                    setattr(part, attribute, now)
            if name in data["extra"]:
                part.set_extra_state(decode(data["extra"][name]))

    # --- optimizers ---

    def _save_optimizer(self, optimizer: Any, path: str) -> Any:
        state: dict[str, Any] = {}
        waiting: dict[str, Any] = {}
        noted = self._gradients.get(id(optimizer))
        for number, parameter in enumerate(_parameters(optimizer)):
            held = optimizer.state.get(parameter)
            if held:
                state[str(number)] = {
                    str(key): self._save_moment(each, parameter, f"{path}.{number}.{key}")
                    for key, each in held.items()
                }
            if parameter.grad is not None and (noted is None or noted.is_needed(parameter)):
                waiting[str(number)] = _array(parameter.grad, f"{path}.{number}.grad")
        groups = [encode(_settings(g), path) for g in optimizer.param_groups]
        return {
            KIND: "optimizer", "state": state, "groups": groups,
            "given": self._given.get(path), "gradients": waiting,
            "attributes": dict(self._own_attributes(optimizer, path)),
        }  # fmt: skip

    def _own_attributes(self, optimizer: Any, path: str) -> Iterator[tuple[str, Any]]:
        """Yield what an optimizer of a user's class has beside its state."""
        if type(optimizer).__module__.startswith("torch."):
            return
        for key, value in vars(optimizer).items():
            if key not in _of_every_optimizer() and not isinstance(value, CODE):
                yield key, self.saved(value, f"{path}.{key}")

    def _save_moment(self, value: Any, parameter: Any, path: str) -> Any:
        if is_tensor(value) and value.device == parameter.device and value.ndim:
            return _array(value, path)
        return self.saved(value, path)

    def _load_optimizer(self, optimizer: Any, data: Mapping[str, Any], path: str) -> None:
        parameters = _parameters(optimizer)
        groups, given = data["groups"], data["given"]
        if len(groups) != len(optimizer.param_groups):
            raise InvalidInput(f"'{path}' has another number of groups of parameters", path=path)
        if any(int(number) >= len(parameters) for number in data["state"]):
            raise InvalidInput(f"'{path}' has another number of parameters", path=path)
        for number, parameter in enumerate(parameters):
            held, stored = optimizer.state.get(parameter), data["state"].get(str(number))
            if stored is None:
                optimizer.state.pop(parameter, None)
            else:
                optimizer.state[parameter] = {
                    key: self._load_moment((held or {}).get(key), each, parameter, f"{path}.{key}")
                    for key, each in stored.items()
                }
            grad = data["gradients"].get(str(number))
            parameter.grad = None if grad is None else _tensor(grad, parameter.device)
        for key, each in data.get("attributes", {}).items():
            now = self.loaded(vars(optimizer).get(key), each, f"{path}.{key}")
            setattr(optimizer, key, now)
        mine = self._given.get(path)
        if given is None or mine is None:  # of an object: not known before training
            given = mine = [{} for _ in groups]
        for group, now, before, own in zip(
            optimizer.param_groups, groups, given, mine, strict=True
        ):
            for key, each in now.items():
                if alike(before.get(key), own.get(key)):
                    group[key] = self.loaded(group.get(key), each, f"{path}.{key}")
                else:  # as in a branch with other settings
                    warn(
                        f"'{path}' was made with {key} {decode(before.get(key))} and is made with "
                        f"{decode(own.get(key))} now, which is used"
                    )

    def _load_moment(self, held: Any, data: Any, parameter: Any, path: str) -> Any:
        if isinstance(data, (np.ndarray, np.generic)):
            return _tensor(data, parameter.device)
        return self.loaded(None if is_tensor(held) else held, data, path)

    def _check_closures(self, value: Any, path: str) -> None:
        """Refuse functions whose surroundings changed, since these are not saved.

        Raises:
            InvalidInput: a function of a scheduler closes over something that has changed.
        """
        for function, inner in _closed_over(value):
            for name, each in inner.items():
                before = self._given.get(f"{path}.{function}", inner)
                if not alike(before.get(name), each):
                    raise InvalidInput(
                        f"cannot save '{path}.{function}': it uses '{name}', which changes and is "
                        "not saved; make it an object with attributes and __call__",
                        path=f"{path}.{function}",
                    )


def torch_settings() -> dict[str, Any]:
    """Return what results may depend on besides the saved state."""
    return {
        "version": str(torch.__version__), "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }  # fmt: skip


def say_settings(was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn of settings that are not those of a checkpoint."""
    if was != now:
        differs = ", ".join(f"{key} {was.get(key)}" for key in now if was.get(key) != now[key])
        warn(f"the checkpoint was made with other versions or settings: {differs}")


def bare(module: Any) -> Any:
    """Return the module inside those that compile, or distribute, another one."""
    while True:
        inner = getattr(module, _COMPILED, None)
        if inner is None and isinstance(module, _PARALLEL):
            inner = module.module
        if inner is None:
            return module
        module = inner


def alike(one: Any, other: Any) -> bool:
    """Return True if two encoded values are the same to the last bit."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        pair = np.asarray(one), np.asarray(other)
        if (pair[0].dtype, pair[0].shape) != (pair[1].dtype, pair[1].shape):
            return False
        return pair[0].tobytes() == pair[1].tobytes()
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _frozen(value: Any) -> Any:
    """Return a copy of an encoded value."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: _frozen(each) for key, each in value.items()}
    return [_frozen(each) for each in value] if isinstance(value, list) else value


def _is_memory(value: Any) -> bool:
    """Return True for a deque of transitions."""
    return type(value) is deque and bool(value) and type(value[0]) in (tuple, list, dict)


def _has_attributes(value: Any) -> bool:
    """Return True for an object of a user's class that is nothing but its attributes."""
    if isinstance(value, (*CODE, np.ndarray, np.generic, Mapping, list, tuple, set, deque)):
        return False
    known = is_tensor(value) or is_random(value) or type(value).__module__ == "builtins"
    return not known and hasattr(value, "__dict__") and not hasattr(value, "__slots__")


def _plain(name: str) -> str:
    """Return a parameter's name without the marks of compiled and distributed modules."""
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def _all_parameters(module: Any) -> list[tuple[str, Any]]:
    found = module.named_parameters(remove_duplicate=False)
    return [(_plain(name), parameter) for name, parameter in found]


def _holds_parameters(value: Any) -> bool:
    """Return True for a list of a module's own parameters, as recurrent layers have them."""
    kinds = (torch.nn.Parameter, weakref.ReferenceType)
    return isinstance(value, list) and any(isinstance(each, kinds) for each in value)


def _tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield all parameters and buffers by name, those that ``state_dict`` leaves out too."""
    yield from _all_parameters(module)
    for name, value in module.named_buffers(remove_duplicate=False):
        yield _plain(name), value


def _array(value: Any, path: str) -> Any:
    """Return a tensor as an array if NumPy has its dtype, else encoded.

    Raises:
        InvalidInput: it cannot be stored.
    """
    try:
        found = encode(value, path)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidInput(f"cannot save '{path}': {error}", path=path) from None
    return found["data"] if found["dtype"] == str(found["data"].dtype) else found


def _tensor(data: Any, device: Any) -> Any:
    if isinstance(data, (np.ndarray, np.generic)):
        return torch.from_numpy(np.array(data)).to(device)
    return tensor_of(data, device)


def _copy(target: Any, data: Any, path: str) -> None:
    """Copy stored elements into a tensor.

    Raises:
        InvalidInput: it has another shape or dtype.
    """
    source = _tensor(data, "cpu")
    if source.shape != target.shape or source.dtype != target.dtype:
        raise InvalidInput(
            f"'{path}' was saved as {source.dtype} of shape {tuple(source.shape)}, it is "
            f"{target.dtype} of shape {tuple(target.shape)}",
            path=path,
        )
    with torch.no_grad():
        target.copy_(source)


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    # names are those of parameters, if the optimizer was given them
    return {key: each for key, each in group.items() if key not in ("params", "param_names")}


class _Gradients:
    """Which gradients of an optimizer its next step may still need.

    Those that a step used are not, once two steps have shown that each has tensors of its own:
    ``zero_grad`` sets them to None in between, before anything is added.
    """

    def __init__(self, optimizer: Any) -> None:
        self._used: dict[int, tuple[Any, int]] = {}
        self._steps = 0
        self._is_kept = False
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _before(self, optimizer: Any, *_: Any) -> None:
        self._steps += 1
        for parameter in _parameters(optimizer):
            found, _version = self._used.get(id(parameter), (lambda: None, 0))
            self._is_kept |= parameter.grad is not None and found() is parameter.grad

    def _after(self, optimizer: Any, *_: Any) -> None:
        self._used = {
            id(each): (weakref.ref(each.grad), each.grad._version)
            for each in _parameters(optimizer)
            if each.grad is not None
        }

    def is_needed(self, parameter: Any) -> bool:
        """Return True unless the gradient is of no use any more."""
        found, version = self._used.get(id(parameter), (lambda: None, 0))
        is_used = found() is parameter.grad and parameter.grad._version == version
        return self._is_kept or self._steps < 2 or not is_used


def _closed_over(value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the functions of a scheduler with what they close over, if it can be stored."""
    functions = getattr(value, "lr_lambdas", None)
    for i, function in enumerate(functions if isinstance(functions, list) else ()):
        found: dict[str, Any] = {}
        for name, held in _surroundings(function):
            with suppress(SimgitError):
                attributes = vars(held) if _has_attributes(held) else held
                found[name] = _frozen(encode(attributes, name))
        yield f"lr_lambdas[{i}]", found


def _surroundings(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield by name what a function closes over, has as defaults, or is bound to."""
    if isinstance(function, partial):
        yield from [(str(i), each) for i, each in enumerate(function.args)]
        yield from function.keywords.items()
        function = function.func
    if isinstance(function, types.MethodType):
        yield "self", function.__self__
        function = function.__func__
    if isinstance(function, types.FunctionType):
        yield from [(f"default {i}", each) for i, each in enumerate(function.__defaults__ or ())]
        for name, cell in zip(
            function.__code__.co_freevars, function.__closure__ or (), strict=True
        ):
            with suppress(ValueError):
                yield name, cell.cell_contents
