"""Spaces of Gymnasium as Minari writes them, from a recorded spec or from the data; and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from simgit.objects.arrays import AnyArray


def minari_space(recorded: Any, data: Any) -> dict[str, Any]:
    """Return a space in Minari's form.

    Args:
        recorded: the space in a spec, None if it has none.
        data: arrays of the space's values, with a leading axis, nested as they are.
    """
    found = _recorded(recorded) if isinstance(recorded, Mapping) else None
    return found if found is not None else _of_data(data)


def _recorded(space: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a recorded space, None if Minari has none like it."""
    kind = space.get("type")
    dtype = np.dtype(space["dtype"]).name if isinstance(space.get("dtype"), str) else "float32"
    try:
        if kind == "Box":
            shape = tuple(space["shape"])
            low, high = (
                np.broadcast_to(np.asarray(space[k], dtype), shape) for k in ("low", "high")
            )
            return {"type": "Box", "dtype": dtype, "shape": list(shape), "low": low.tolist(),
                    "high": high.tolist()}  # fmt: skip
        if kind == "Discrete":
            return {"type": "Discrete", "dtype": "int64", "start": int(space.get("start", 0)),
                    "n": int(space["n"])}  # fmt: skip
        if kind == "MultiBinary":
            n = space["n"]
            return {"type": "MultiBinary", "n": _plain(n)}
        if kind == "MultiDiscrete":
            nvec = np.asarray(space["nvec"])
            start = np.asarray(space.get("start", np.zeros_like(nvec)))
            return {"type": "MultiDiscrete", "dtype": dtype, "nvec": nvec.tolist(),
                    "start": start.tolist()}  # fmt: skip
        if kind == "Text":
            return {"type": "Text", "max_length": int(space["max_length"]),
                    "min_length": int(space.get("min_length", 1)),
                    "charset": str(space.get("charset") or space.get("characters"))}  # fmt: skip
        return _container(kind, space)
    except (KeyError, TypeError, ValueError):
        return None


def _container(kind: Any, space: Mapping[str, Any]) -> dict[str, Any] | None:
    inner = space.get("spaces")
    if kind == "Dict" and isinstance(inner, (Mapping, list, tuple)):
        pairs = inner.items() if isinstance(inner, Mapping) else inner
        found = {str(name): _recorded(each) for name, each in pairs}
        return None if None in found.values() else {"type": "Dict", "subspaces": found}
    if kind == "Tuple" and isinstance(inner, (list, tuple)):
        below = [_recorded(each) for each in inner]
        return None if None in below else {"type": "Tuple", "subspaces": below}
    return None


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _of_data(data: Any) -> dict[str, Any]:
    if isinstance(data, dict):
        return {"type": "Dict", "subspaces": {n: _of_data(each) for n, each in data.items()}}
    if isinstance(data, tuple):
        return {"type": "Tuple", "subspaces": [_of_data(each) for each in data]}
    if isinstance(data, list):
        longest = max(map(len, data), default=1)
        letters = "".join(sorted(set("".join(data)))) or " "
        return {"type": "Text", "max_length": max(1, longest), "min_length": 0, "charset": letters}
    return _box(data)


def _box(data: AnyArray) -> dict[str, Any]:
    dtype = data.dtype if data.dtype.kind != "c" else np.dtype("float64")
    low: Any = False if dtype.kind == "b" else -np.inf
    high: Any = True if dtype.kind == "b" else np.inf
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    shape = data.shape[1:]
    bounds = {"low": np.full(shape, low, dtype), "high": np.full(shape, high, dtype)}
    found = {name: bound.tolist() for name, bound in bounds.items()}
    return {"type": "Box", "dtype": dtype.name, "shape": list(shape), **found}


def space_text(space: Mapping[str, Any]) -> str:
    """Return a space as Minari's metadata have it."""
    return json.dumps(space)
