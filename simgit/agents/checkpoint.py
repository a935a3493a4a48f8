"""Checkpoints as files: portable JSON, or tensors for torch."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from simgit.agents.base import Checkpoint
from simgit.errors import InvalidInput, NotFound

_ARRAY: Final = "array"


def to_json(data: Mapping[str, Any]) -> str:
    """Return a checkpoint as JSON, exactly: arrays as dtype, shape and base64 of their bytes.

    Raises:
        InvalidInput: a value is neither plain nor an array.
    """
    return json.dumps(_plain(data), allow_nan=False, sort_keys=True, indent=1)


def from_json(text: str | bytes) -> Checkpoint:
    """Return the checkpoint that ``to_json`` wrote.

    Raises:
        InvalidInput: it is not a checkpoint.
    """
    try:
        found = _data(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput(f"not a checkpoint: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput("not a checkpoint: expected an object")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        content = base64.b64encode(array.tobytes()).decode()
        return {_ARRAY: [array.dtype.str, list(array.shape), content]}
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput("a checkpoint must hold finite numbers, got one that is not")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InvalidInput(f"a checkpoint cannot hold a value of type '{type(value).__name__}'")


def _data(value: Any) -> Any:
    if isinstance(value, list):
        return [_data(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_ARRAY}:
        dtype, shape, content = value[_ARRAY]
        kind = np.dtype(dtype)
        if kind.kind not in "biuf":
            raise ValueError(f"an array of '{dtype}'")
        return np.frombuffer(base64.b64decode(content, validate=True), kind).reshape(shape).copy()
    return {key: _data(item) for key, item in value.items()}


def write_checkpoint(data: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint: JSON for a ``.json`` name, tensors for ``.pt``.

    Under another name torch agents are written as tensors, all others as JSON.

    Raises:
        NotFound: torch is needed and not installed.
    """
    if path.suffix == ".json" or (path.suffix != ".pt" and data.get("kind") != "dqn"):
        path.write_text(to_json(data) + "\n")
    else:
        _torch().save_pt(data, path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint from a file of either form; nothing in it is executed.

    Raises:
        NotFound: no such file, or torch is needed and not installed.
        InvalidInput: it is not a checkpoint.
    """
    if not path.is_file():
        raise NotFound(f"file '{path}' not found")
    content = path.read_bytes()
    if content.lstrip()[:1] == b"{":
        return from_json(content)
    found: Checkpoint = _torch().load_pt(path)
    return found


def _torch() -> Any:
    try:
        from simgit.agents import dqn
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise NotFound("checkpoints of tensors need torch: pip install 'simgit[torch]'") from None
    return dqn
