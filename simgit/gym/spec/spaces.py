"""Gymnasium's spaces as canonical data, and back: the spaces in a recorded run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces

from simgit.errors import InvalidInput

Space = spaces.Space[Any]
Data = dict[str, Any]
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
"""A memory address: it differs in each process."""


def encode(space: Space) -> Data:
    """Return a space as canonical data: the same space always gives the same data.

    A subclass is described as the space of Gymnasium that it extends. A space of another kind is
    described by its class and its text; ``decode`` refuses it.
    """
    for kind, encoder in _ENCODERS.items():
        if isinstance(space, kind):
            return {"type": kind.__name__, **encoder(space)}
    kind = type(space)
    text = _ADDRESS.sub("", str(space))
    return {"type": f"{kind.__module__}:{kind.__qualname__}", "text": text}


def decode(data: Data) -> Space:
    """Return the space that ``encode`` described, its random generator not seeded.

    Raises:
        InvalidInput: the data do not describe a space of this version of Gymnasium.
    """
    try:
        return _DECODERS[data["type"]](data)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        if isinstance(error, InvalidInput):
            raise
        name = data.get("type") if isinstance(data, dict) else data
        raise InvalidInput(
            f"cannot rebuild a space of type '{name}' with Gymnasium {gymnasium.__version__}"
        ) from None


def shown(data: Data) -> str:
    """Return the text by which Gymnasium shows a described space."""
    return str(data["text"]) if "text" in data else str(decode(data))


# --- each kind ---------------------------------------------------------------------------------


def _dtype(space: Space) -> str:
    assert space.dtype is not None
    return space.dtype.newbyteorder("<").str


def _bound(bound: np.ndarray[Any, Any]) -> Any:
    """Return a bound as one number where it is uniform: frames have 100 800 of them."""
    flat = np.ascontiguousarray(bound).reshape(-1)
    uniform = flat.size > 0 and flat.tobytes() == flat[:1].tobytes() * flat.size
    return flat[0] if uniform else np.array(bound)


def _box(space: spaces.Box) -> Data:
    return {
        "dtype": _dtype(space),
        "shape": list(space.shape),
        "low": _bound(space.low),
        "high": _bound(space.high),
    }


def _make_box(data: Data) -> Space:
    dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
    # given as arrays: Box adds to a scalar's bound where the dtype is an integer's
    low, high = (np.full(shape, data[name], dtype) for name in ("low", "high"))
    return spaces.Box(low, high, shape, dtype.type)


def _discrete(space: spaces.Discrete) -> Data:
    return {"n": int(space.n), "start": int(space.start), "dtype": _dtype(space)}


def _make_discrete(data: Data) -> Space:
    dtype = np.dtype(data["dtype"])
    # the default is not given: before Gymnasium 1.2 there is no such argument
    given: Data = {} if dtype == np.int64 else {"dtype": dtype.type}
    return spaces.Discrete(data["n"], start=data["start"], **given)


def _multi_binary(space: spaces.MultiBinary) -> Data:
    return {"n": space.n if isinstance(space.n, int) else list(space.n)}


def _make_multi_binary(data: Data) -> Space:
    return spaces.MultiBinary(data["n"])


def _multi_discrete(space: spaces.MultiDiscrete) -> Data:
    return {"dtype": _dtype(space), "nvec": np.array(space.nvec), "start": np.array(space.start)}


def _make_multi_discrete(data: Data) -> Space:
    dtype = np.dtype(data["dtype"]).type
    return spaces.MultiDiscrete(np.array(data["nvec"]), dtype, start=np.array(data["start"]))


def _text(space: spaces.Text) -> Data:
    characters = "".join(space.character_list)
    return {"min": space.min_length, "max": space.max_length, "characters": characters}


def _make_text(data: Data) -> Space:
    return spaces.Text(data["max"], min_length=data["min"], charset=data["characters"])


def _dict(space: spaces.Dict) -> Data:
    """Keep the order of the keys, which is the order of sampling and flattening."""
    return {"spaces": [[key, encode(each)] for key, each in space.spaces.items()]}


def _make_dict(data: Data) -> Space:
    return spaces.Dict([(key, decode(each)) for key, each in data["spaces"]])


def _several(space: spaces.Tuple[Any] | spaces.OneOf[Any]) -> Data:
    return {"spaces": [encode(each) for each in space.spaces]}


def _make_tuple(data: Data) -> Space:
    return spaces.Tuple([decode(each) for each in data["spaces"]])


def _make_one_of(data: Data) -> Space:
    return spaces.OneOf([decode(each) for each in data["spaces"]])


def _sequence(space: spaces.Sequence) -> Data:
    return {"space": encode(space.feature_space), "stack": bool(space.stack)}


def _make_sequence(data: Data) -> Space:
    return spaces.Sequence(decode(data["space"]), stack=data["stack"])


def _graph(space: spaces.Graph) -> Data:
    edge = space.edge_space
    return {"node": encode(space.node_space), "edge": None if edge is None else encode(edge)}


def _make_graph(data: Data) -> Space:
    edge = data["edge"]
    return spaces.Graph(decode(data["node"]), None if edge is None else decode(edge))


_ENCODERS: Final[dict[type, Callable[[Any], Data]]] = {
    spaces.Box: _box,
    spaces.Discrete: _discrete,
    spaces.MultiBinary: _multi_binary,
    spaces.MultiDiscrete: _multi_discrete,
    spaces.Text: _text,
    spaces.Dict: _dict,
    spaces.Tuple: _several,
    spaces.OneOf: _several,
    spaces.Sequence: _sequence,
    spaces.Graph: _graph,
}
_DECODERS: Final[dict[str, Callable[[Data], Space]]] = {
    "Box": _make_box,
    "Discrete": _make_discrete,
    "MultiBinary": _make_multi_binary,
    "MultiDiscrete": _make_multi_discrete,
    "Text": _make_text,
    "Dict": _make_dict,
    "Tuple": _make_tuple,
    "OneOf": _make_one_of,
    "Sequence": _make_sequence,
    "Graph": _make_graph,
}
