"""Values of users' loops as data that a repository stores, and back without a pickle.

Arrays and plain values are stored as they are. Anything else is a dict whose entry ``$`` names its
kind: a tensor, a NumPy scalar, a tuple, a deque, a random generator, or a dict whose
keys are not all texts. Nothing that is read names a class to be made.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from simgit.errors import IntegrityError, InvalidInput
from simgit.gym.drivers.generators import decode_generator, encode_generator
from simgit.gym.drivers.limits import NotPlain

KIND: Final = "$"
_PLAIN: Final = (type(None), bool, int, float, str, bytes)
_DEPTH: Final = 60
_WORDS: Final = ("float8_e4m3fn", "float8_e5m2", "bfloat16")
"""Dtypes of torch that NumPy does not have, which are stored as the integers of their size."""


def encode(value: Any, path: str, depth: int = 0) -> Any:
    """Return a value as data that a repository stores; arrays are not copied.

    Args:
        value: the value.
        path: its name, for messages.
        depth: how deep it lies.

    Raises:
        InvalidInput: a part of it cannot be stored; the message names it.
    """
    if depth > _DEPTH:
        raise InvalidInput(f"cannot save '{path}': nested deeper than {_DEPTH} levels", path=path)
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or type(value) is not np.ndarray:
            raise _refused(path, value)
        return value
    if isinstance(value, np.generic) and value.dtype.kind in "biufcmMSU":
        return {KIND: "scalar", "data": np.asarray(value)}
    if isinstance(value, Mapping) and isinstance(value, dict):
        return _encode_dict(value, path, depth)
    if type(value) in (list, tuple, deque):
        items = [encode(each, f"{path}[{i}]", depth + 1) for i, each in enumerate(value)]
        if type(value) is list:
            return items
        more = {"maxlen": value.maxlen} if isinstance(value, deque) else {}
        return {KIND: type(value).__name__, "items": items, **more}
    if (found := _encode_random(value, path)) is not None:
        return found
    if is_tensor(value):
        return _encode_tensor(value, path)
    raise _refused(path, value)


def _refused(path: str, value: Any) -> InvalidInput:
    kind = type(value)
    return InvalidInput(
        f"cannot save '{path}': it is of type '{kind.__module__}.{kind.__qualname__}'; give it "
        "state_dict() and load_state_dict(), or leave it out",
        path=path,
    )


def _encode_dict(value: dict[Any, Any], path: str, depth: int) -> Any:
    if all(type(key) is str and key and "\0" not in key and key != KIND for key in value):
        return {key: encode(each, f"{path}.{key}", depth + 1) for key, each in value.items()}
    pairs = [
        [encode(key, f"a key of {path}", depth + 1), encode(each, f"{path}[{key!r}]", depth + 1)]
        for key, each in value.items()
    ]
    return {KIND: "dict", "items": pairs}


def _encode_random(value: Any, path: str) -> Any:
    """Return a random generator as data, None for anything else."""
    if isinstance(value, np.random.Generator):
        try:
            return {KIND: "generator", "data": encode_generator(value)}
        except NotPlain as error:
            raise InvalidInput(f"cannot save '{path}': {error}", path=path) from None
    if isinstance(value, np.random.RandomState):
        return {KIND: "random_state", "data": value.get_state(legacy=False)}
    if type(value) is random.Random:
        version, words, gauss = value.getstate()
        return {KIND: "random", "data": [version, np.array(words, np.uint32), gauss]}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Generator):
        return {KIND: "torch_generator", "data": value.get_state().numpy().copy()}
    return None


def put_random(target: Any, data: Mapping[str, Any], path: str) -> None:
    """Put the state of a generator back, in place.

    Raises:
        InvalidInput: it is of another kind than the one that was saved.
    """
    body = data.get("data")
    if isinstance(target, np.random.Generator) and data[KIND] == "generator":
        made = decode_generator(body)
        if type(made.bit_generator) is type(target.bit_generator):
            target.bit_generator.state = made.bit_generator.state
            seeds: Any = target.bit_generator.seed_seq
            drawn = getattr(made.bit_generator.seed_seq, "n_children_spawned", 0)
            if (more := drawn - getattr(seeds, "n_children_spawned", drawn)) > 0:
                seeds.spawn(more)  # so that its children are those that would have followed
            return
    elif isinstance(target, np.random.RandomState) and data[KIND] == "random_state":
        target.set_state(body)  # type: ignore[arg-type]
        return
    elif type(target) is random.Random and data[KIND] == "random" and body is not None:
        version, words, gauss = body
        target.setstate((version, tuple(np.asarray(words).tolist()), gauss))
        return
    elif data[KIND] == "torch_generator":
        import torch

        if isinstance(target, torch.Generator):
            target.set_state(torch.from_numpy(np.array(body)))
            return
    raise InvalidInput(
        f"'{path}' was saved as a {data[KIND]}, and is a {type(target).__name__}", path=path
    )


def is_random(value: Any) -> bool:
    """Return True for a random generator whose state can be put back in place."""
    return _encode_random(value, "generator") is not None


def is_tensor(value: Any) -> bool:
    """Return True for a tensor of torch, without loading torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _encode_tensor(value: Any, path: str) -> Any:
    import torch

    found = value.detach()
    if found.layout is not torch.strided or found.is_quantized or found.is_meta:
        raise InvalidInput(
            f"cannot save '{path}': a tensor that is sparse, quantized or without data", path=path
        )
    dtype = str(found.dtype).removeprefix("torch.")
    found = found.cpu().contiguous().resolve_conj().resolve_neg()
    if dtype in _WORDS:
        found = found.view(torch.int16 if found.element_size() == 2 else torch.uint8)
    return {KIND: "tensor", "dtype": dtype, "data": found.numpy()}


def decode(data: Any, device: Any = None) -> Any:
    """Return the value that ``encode`` made data of, a copy.

    Args:
        data: the data.
        device: torch's device of the tensors in it; the CPU if None.

    Raises:
        IntegrityError: the data are malformed.
    """
    if isinstance(data, (np.ndarray, np.generic)):
        return np.array(data)  # one of no dimensions is read as a scalar
    if isinstance(data, (list, tuple)):
        return [decode(each, device) for each in data]
    if not isinstance(data, Mapping):
        return data
    if KIND not in data:
        return {key: decode(each, device) for key, each in data.items()}
    kind = data[KIND]
    try:
        if kind == "tensor":
            return tensor_of(data, device)
        if kind == "scalar":
            return np.asarray(data["data"])[()]
        if kind == "dict":
            return {decode(key): decode(each, device) for key, each in data["items"]}
        if kind in ("tuple", "deque"):
            items = [decode(each, device) for each in data["items"]]
            return tuple(items) if kind == "tuple" else deque(items, data["maxlen"])
        made = _new_random(kind)
        put_random(made, data, str(kind))
    except InvalidInput as error:
        raise IntegrityError(f"malformed checkpoint: {error}") from None
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise IntegrityError(f"malformed checkpoint: {error!r}") from None
    return made


def _new_random(kind: Any) -> Any:
    if kind == "generator":
        return np.random.default_rng(0)
    if kind == "random_state":
        return np.random.RandomState(0)
    if kind == "random":
        return random.Random(0)
    if kind == "torch_generator":
        import torch

        return torch.Generator()
    raise ValueError(f"a value of unknown kind '{kind}'")


def tensor_of(data: Mapping[str, Any], device: Any = None) -> Any:
    """Return a tensor of its own memory; see ``decode``."""
    import torch

    name, made = data["dtype"], torch.from_numpy(np.array(data["data"]))
    if name in _WORDS:
        made = made.view(getattr(torch, name))
    if str(made.dtype) != f"torch.{name}":
        raise ValueError(f"a tensor of '{name}' whose data are of {made.dtype}")
    return made if device is None else made.to(device)
