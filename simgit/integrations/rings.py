"""The replay buffers of several libraries in one form: columns of rows, slot by slot.

Nothing of these libraries is imported: a buffer is known by what it has.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from simgit.errors import InvalidInput
from simgit.integrations.values import KIND, decode, encode, is_tensor

AnyArray = np.ndarray[Any, Any]
Element = Callable[..., Any]
"""Makes an element of a deque from its fields."""
BLOCK: Final = 1024
"""The slots of a block, which are hashed together."""


_NONE: Final = "none"
"""The column of a buffer that has none yet."""


class Ring:
    """The columns of a buffer. Row ``lane * slots + slot`` is what a slot holds of a lane.

    Attributes:
        columns: arrays of shape (slots, lanes, …), by name.
        count: the slots in use, from the first on; the newest is the one before ``position``.
        position: the slot that is written next.
        bounds: the least and greatest actions, if the buffer scales actions to -1 … 1.
        rest: everything else that the buffer holds, as plain data.
    """

    def __init__(
        self,
        columns: dict[str, AnyArray],
        count: int,
        position: int,
        bounds: Any = None,
        rest: Any = None,
    ) -> None:
        self.columns = columns
        self.slots, self.lanes = next(iter(columns.values())).shape[:2]
        self.rows = self.slots * self.lanes
        self.count = count
        self.position = position
        self.bounds = bounds
        self.rest = rest

    @property
    def held(self) -> npt.NDArray[np.bool_]:
        """A mask of the rows in use."""
        found: npt.NDArray[np.bool_] = np.tile(np.arange(self.slots) < self.count, self.lanes)
        return found

    def take(self, column: AnyArray, rows: npt.NDArray[np.int64]) -> AnyArray:
        """Return some rows of a column, a copy of shape (n, …)."""
        lane, slot = np.divmod(rows, self.slots)
        found: AnyArray = column[slot, lane]
        return found

    def blocks(self) -> range:
        """Return the numbers of the blocks in use."""
        return range(-(-self.count // BLOCK))

    def block(self, column: AnyArray, number: int) -> AnyArray:
        """Return the slots in use of a block of a column."""
        return column[number * BLOCK : min((number + 1) * BLOCK, self.count)]

    def rows_in(self, blocks: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the rows in use of some blocks, in order."""
        slots = [np.arange(each * BLOCK, min((each + 1) * BLOCK, self.count)) for each in blocks]
        inside = np.concatenate(slots) if slots else np.zeros(0, np.int64)
        lanes = np.arange(self.lanes)[:, None] * self.slots
        found: npt.NDArray[np.int64] = (lanes + inside).ravel().astype(np.int64)
        return found


class Holder(Protocol):
    """A buffer of some library."""

    def ring(self) -> Ring:
        """Return its content; the arrays may be the buffer's own."""
        ...

    def empty(self, data: Mapping[str, Any]) -> Ring:
        """Return a ring for the content of a checkpoint, with zeros in its rows."""
        ...

    def put(self, ring: Ring) -> None:
        """Take over the content of a ring of ``empty``."""
        ...


def holder_of(buffer: Any, element: Element | None = None) -> Holder:
    """Return a buffer as a ``Holder``.

    Raises:
        InvalidInput: it is a buffer of an unknown kind.
    """
    if is_array_buffer(buffer):
        return _ArrayBuffer(buffer)
    if is_torchrl_buffer(buffer):
        return _TorchRLBuffer(buffer)
    if type(buffer) in (deque, list):
        return _Elements(buffer, element)
    raise InvalidInput(
        f"cannot refer to a replay buffer of type '{type(buffer).__name__}': it must be one of "
        "Stable-Baselines3, CleanRL or TorchRL, a deque or a list"
    )


def is_array_buffer(buffer: Any) -> bool:
    """Return True for a replay buffer in the form of Stable-Baselines3, as CleanRL's is."""
    names = ("observations", "actions", "rewards", "dones", "pos", "full", "buffer_size", "n_envs")
    return all(hasattr(buffer, name) for name in names)


def is_torchrl_buffer(buffer: Any) -> bool:
    """Return True for a replay buffer of TorchRL."""
    names = ("_storage", "_writer", "_sampler", "state_dict", "load_state_dict", "extend")
    return all(hasattr(buffer, name) for name in names)


def bounds_of(space: Any) -> Any:
    """Return the bounds of a box of actions of which Stable-Baselines3 stores -1 … 1."""
    low, high = getattr(space, "low", None), getattr(space, "high", None)
    if not isinstance(low, np.ndarray) or not isinstance(high, np.ndarray):
        return None
    return (low, high) if np.isfinite(low).all() and np.isfinite(high).all() else None


class _ArrayBuffer:
    """A buffer of NumPy arrays of shape (slots, lanes, …), and counters."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def _columns(self) -> dict[str, AnyArray]:
        found = {}
        for name, value in sorted(vars(self._buffer).items()):
            inner = value.items() if isinstance(value, dict) else [("", value)]
            for key, column in inner:
                if isinstance(column, np.ndarray) and not column.dtype.hasobject:
                    shape = (self._buffer.buffer_size, self._buffer.n_envs)
                    if column.shape[:2] == shape:
                        found[f"{name}.{key}" if key else name] = column
        return found

    def _rest(self) -> dict[str, Any]:
        """Return the other arrays, such as the starts of episodes in a buffer with hindsight."""
        columns = {name.partition(".")[0] for name in self._columns()}
        found: dict[str, Any] = {}
        for name, value in vars(self._buffer).items():
            if name in columns or not isinstance(value, np.ndarray):
                continue
            if not value.dtype.hasobject:
                found[name] = value.copy()
            elif any(value.ravel()):  # infos, which are empty if they are not asked for
                items = [encode(each, f"replay.{name}") for each in value.ravel().tolist()]
                found[name] = {"shape": list(value.shape), "items": items}
        return found

    def ring(self) -> Ring:
        buffer = self._buffer
        # the slot after the newest holds its next observation, if these are not kept apart
        count = buffer.buffer_size if buffer.full else buffer.pos
        count += bool(getattr(buffer, "optimize_memory_usage", False)) and not buffer.full
        return self._ring(count, int(buffer.pos), {"full": bool(buffer.full), **self._rest()})

    def _ring(self, count: int, position: int, rest: Any) -> Ring:
        bounds = bounds_of(getattr(self._buffer, "action_space", None))
        return Ring(self._columns(), count, position, bounds, rest)

    def empty(self, data: Mapping[str, Any]) -> Ring:
        ring = self._ring(int(data["count"]), int(data["position"]), data["rest"])
        for column in ring.columns.values():
            column[...] = 0
        return ring

    def put(self, ring: Ring) -> None:
        self._buffer.pos, self._buffer.full = ring.position, bool(ring.rest["full"])
        for name, value in ring.rest.items():
            held = vars(self._buffer).get(name)
            if isinstance(held, np.ndarray) and held.dtype.hasobject:
                items = [decode(each) for each in value["items"]]
                for at, item in zip(np.ndindex(*held.shape), items, strict=True):
                    held[at] = item
            elif isinstance(held, np.ndarray):
                held[...] = value


class _TorchRLBuffer:
    """A buffer of TorchRL, by its ``state_dict``."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def _parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tensors of the storage, and everything else."""
        held = getattr(self._buffer._storage, "_storage", None)
        if held is None:
            return {}, {}
        if not hasattr(held, "named_apply"):
            raise InvalidInput(
                "cannot refer to this replay buffer of TorchRL: it must have a storage of tensors"
            )
        tensors = {}
        for key, value in held.items(include_nested=True, leaves_only=True):
            names = (key,) if isinstance(key, str) else key
            if not is_tensor(value) or any("." in name for name in names):
                raise InvalidInput(f"cannot save 'replay.{'.'.join(names)}' of TorchRL's buffer")
            tensors[".".join(names)] = value
        rest = dict(self._buffer.state_dict())
        storage = {k: v for k, v in rest.pop("_storage", {}).items() if k != "_storage"}
        return tensors, {**rest, "_storage": storage}

    def ring(self) -> Ring:
        tensors, rest = self._parts()
        if not tensors:
            return Ring({_NONE: np.zeros((0, 1), np.uint8)}, 0, 0, rest={"dtypes": {}})
        columns = {
            name: np.expand_dims(encode(value, f"replay.{name}")["data"], 1)
            for name, value in tensors.items()
        }
        count = len(self._buffer)
        position = int(rest["_writer"].get("_cursor", count)) % len(next(iter(columns.values())))
        dtypes = {name: str(value.dtype).removeprefix("torch.") for name, value in tensors.items()}
        kept = {"state": encode(rest, "replay"), "dtypes": dtypes}
        return Ring(columns, count, position, rest=kept)

    def empty(self, data: Mapping[str, Any]) -> Ring:
        capacity = getattr(self._buffer._storage, "max_size", None)
        if data["slots"] and capacity is not None and capacity != data["slots"]:
            raise InvalidInput(
                f"the checkpoint's replay buffer has slots {data['slots']}, this one has {capacity}"
            )
        columns = {
            name: np.zeros((data["slots"], data["lanes"], *shape), np.dtype(dtype))
            for name, (_, dtype, shape) in data["columns"].items()
        }
        return Ring(columns, int(data["count"]), int(data["position"]), rest=data["rest"])

    def put(self, ring: Ring) -> None:
        if not ring.rest["dtypes"]:
            if len(self._buffer):
                self._buffer.empty()
            return
        state, dtypes = decode(ring.rest["state"]), ring.rest["dtypes"]
        nested: dict[str, Any] = {}
        for name, column in ring.columns.items():
            *above, last = name.split(".")
            inner = nested
            for each in above:
                inner = inner.setdefault(each, {})
            body = {KIND: "tensor", "dtype": dtypes[name], "data": column[:, 0]}
            inner[last] = decode(body)
        held = importlib.import_module("tensordict").TensorDict(nested, [ring.slots])
        state["_storage"]["_storage"] = held.state_dict()
        self._buffer.load_state_dict(state)


class _Elements:
    """A deque or list of tuples, lists or dicts of numbers and arrays, the newest at its end."""

    def __init__(self, buffer: Any, element: Element | None) -> None:
        self._buffer = buffer
        self._element = element

    def _fields(self, element: Any) -> dict[str, Any]:
        if isinstance(element, dict):
            return {str(name): value for name, value in element.items()}
        if isinstance(element, (tuple, list)):
            names = getattr(element, "_fields", range(len(element)))
            return {str(name): value for name, value in zip(names, element, strict=True)}
        if self._element is not None and hasattr(element, "__dataclass_fields__"):
            return {name: getattr(element, name) for name in element.__dataclass_fields__}
        raise _odd(element)

    def ring(self) -> Ring:
        if not self._buffer:
            rest = {"kind": "tuple", "fields": {}}
            return Ring({_NONE: np.zeros((0, 1), np.uint8)}, 0, 0, rest=rest)
        first = self._buffer[0]
        kind = "tuple" if isinstance(first, tuple) else type(first).__name__
        if self._element is not None:
            kind = "element"
        elif type(first) not in (tuple, list, dict):
            raise _odd(first)
        rows = [self._fields(each) for each in self._buffer]
        columns, fields = {}, {}
        for name in rows[0]:
            values = [row.get(name) for row in rows]
            columns[name], fields[name] = _column(values, f"replay.{name}")
        rest = {"kind": kind, "fields": fields}
        return Ring(columns, len(rows), 0, rest=rest)

    def empty(self, data: Mapping[str, Any]) -> Ring:
        columns = {
            name: np.zeros((data["slots"], 1, *shape), np.dtype(dtype))
            for name, (_, dtype, shape) in data["columns"].items()
        }
        return Ring(columns, int(data["count"]), 0, rest=data["rest"])

    def put(self, ring: Ring) -> None:
        kind, fields = ring.rest["kind"], ring.rest["fields"]
        self._buffer.clear()
        for slot in range(ring.count):
            row = {name: _item(ring.columns[name][slot, 0], how) for name, how in fields.items()}
            self._buffer.append(self._made(kind, row))

    def _made(self, kind: str, row: dict[str, Any]) -> Any:
        if kind == "dict":
            return row
        if kind == "element":
            if self._element is None:
                raise InvalidInput(
                    "the checkpoint's replay buffer has elements of a class: name it with element="
                )
            return self._element(*row.values())
        return tuple(row.values()) if kind == "tuple" else list(row.values())


def _odd(element: Any) -> InvalidInput:
    return InvalidInput(
        f"cannot refer to a replay buffer with an element of type '{type(element).__name__}': "
        "elements must be tuples, lists or dicts, or made by element="
    )


def _column(values: list[Any], path: str) -> tuple[AnyArray, str]:
    """Return the values of one field as a column, and how they are held.

    Raises:
        InvalidInput: they are not numbers or arrays of one kind and shape.
    """
    kinds = {type(value) for value in values}
    how = next(iter(kinds)).__name__
    if is_tensor(values[0]):
        how = str(values[0].dtype).removeprefix("torch.")
        values = [encode(value, path)["data"] for value in values]
        how = f"tensor {how}"
    arrays = [np.asarray(value) for value in values]
    alike = {(array.dtype, array.shape) for array in arrays}
    if len(kinds) != 1 or len(alike) != 1 or arrays[0].dtype.kind not in "biufc":
        raise InvalidInput(
            f"cannot save '{path}': all its values must be numbers or arrays of one type and shape",
            path=path,
        )
    return np.stack(arrays)[:, None], how


def _item(value: Any, how: str) -> Any:
    if how.startswith("tensor "):
        return decode({KIND: "tensor", "dtype": how[7:], "data": np.asarray(value)})
    if how in ("bool", "int", "float", "complex"):
        return value.item()
    return np.array(value) if how == "ndarray" else value
