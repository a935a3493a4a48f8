"""The recorder of one run: ``append`` only keeps a copy, a flush names and stores the states."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic as _clock
from typing import Any, Final

import numpy as np

from simgit.arrays import MAX_NDIM, storable_dtype
from simgit.errors import InvalidInput
from simgit.flushing import Attached, FlushPolicy, Lane, RecorderBase, Work, freeze_data
from simgit.freeze import freeze
from simgit.odb import ObjectDatabase
from simgit.oid import Oid
from simgit.segment.batches import ABSENT, ArrayColumn, Column, Columns
from simgit.writing import (
    FIELDS,
    freeze_files,
    freeze_flag,
    freeze_message,
    freeze_reset,
    freeze_reward,
)

_PLAIN: Final = frozenset((int, float, bool, np.int64, np.int32, np.float32, np.float64, np.bool_))

_NOTHING: Final = {type(None)}


class Recorder(RecorderBase):
    """Writes one run. ``append`` buffers; see the module for when states are stored.

    Use it as a context manager: an exception in the block marks the run failed, with everything
    that was appended stored.
    """

    def __init__(
        self, odb: ObjectDatabase, lane: Lane, policy: FlushPolicy, background: bool
    ) -> None:
        super().__init__(odb, [lane], policy, background)
        self._rows: list[tuple[Any, ...]] = []
        self._attached: list[Attached] = []
        self._has_states = lane.tip is not None
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()
        self._bytes = 0
        self._every = policy.every

    def __enter__(self) -> Recorder:
        return self

    @property
    def run(self) -> str:
        """The name of the run that is written (another one after a conflict)."""
        return self._lanes[0].name

    @property
    def tip(self) -> Oid | None:
        """The oid of the newest flushed state."""
        tip = self._lanes[0].tip
        return tip.oid if tip else None

    @property
    def pending(self) -> int:
        """How many states are buffered."""
        return len(self._rows)

    def append(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        reset: Any = None,
        files: Oid | None = None,
        message: str | None = None,
        attachments: Mapping[str, Any] | None = None,
    ) -> None:
        """Buffer one state. What is passed is copied; None means that the state has no such field.

        Args:
            observation: what the environment returned: an array, a scalar, nested dicts, tuples,
                lists; anything with ``__array__`` or DLPack counts as an array.
            action: the action that led here.
            reward: the reward that it earned, a real number.
            terminated: Gymnasium's flag.
            truncated: Gymnasium's flag.
            info: the environment's info.
            reset: True, or a map with ``seed`` and ``options``, if this is a reset's state.
            files: the oid of a stored tree of files.
            message: a remark.
            attachments: data to bind to the state, by name; see ``attach``.

        Raises:
            InvalidInput: some value has no encoding; nothing was buffered.
            Conflict: an automatic flush met another writer; see ``flush``.
        """
        if self._closed:
            self._check_open()
        if type(observation) is np.ndarray:
            if observation.dtype is self._dtype and observation.shape == self._shape:
                observation = observation.tobytes()
                self._bytes += len(observation)
            else:
                observation = self._other_array(observation)
        elif observation is not None:
            observation = self._other(observation)
        if action is not None and type(action) not in _PLAIN:
            action = freeze(action, "action")
        if type(reward) is not float and reward is not None:
            reward = freeze_reward(reward)
        if type(terminated) is not bool and terminated is not None:
            terminated = freeze_flag(terminated, "terminated")
        if type(truncated) is not bool and truncated is not None:
            truncated = freeze_flag(truncated, "truncated")
        if info is not None:
            info = {} if type(info) is dict and not info else freeze(info, "info")
        if reset is not None:
            reset = freeze_reset(reset)
        if files is not None:
            files = Oid(freeze_files(files))
        if message is not None:
            message = freeze_message(message)
        row = (observation, action, reward, terminated, truncated, info, reset, files, message)
        if observation is None and all(each is None or each is ABSENT for each in row):
            raise InvalidInput("a state without any field cannot be recorded")
        if attachments:
            self._attach(len(self._rows), attachments)
        self._rows.append(row)
        if (
            len(self._rows) >= self._every
            or _clock() >= self._due_at
            or self._bytes > self._policy.bytes
            or ((terminated or truncated) and self._policy.episodes)
        ):
            self._start_flush()

    def attach(self, name: str, data: Any) -> None:
        """Bind data to the newest state without changing its name. What is passed is copied.

        It is stored in the transaction that stores the state, or, if that was flushed already,
        with the next flush.

        Args:
            name: what ``Repository.attachment`` finds it by; the last one of a name counts.
            data: bytes, an array, a plain value, or nested dicts, lists and tuples of these (a
                checkpoint: stored as its difference to the last one of this name).

        Raises:
            InvalidInput: the name is not allowed, some part of the data has no encoding, or there
                is no state yet.
        """
        self._check_open()
        if not self._rows and not self._has_states:
            raise InvalidInput(f"there is no state yet to attach '{name}' to", name=name)
        self._attach(len(self._rows) - 1, {name: data})
        if self._bytes > self._policy.bytes:
            self._start_flush()

    def _attach(self, row: int, data: Mapping[str, Any]) -> None:
        planned = [(row, name, freeze_data(name, each)) for name, each in data.items()]
        self._attached += planned
        self._bytes += sum(each.size for _, _, each in planned)

    def _other_array(self, observation: Any) -> Any:
        """Begin a stretch of arrays of one form, or leave the one that was begun."""
        dtype = storable_dtype(observation.dtype, "observation")
        plain = dtype == observation.dtype and dtype.kind != "b"
        if self._rows or not plain or observation.ndim > MAX_NDIM:
            return self._other(observation)
        self._dtype, self._shape = observation.dtype, observation.shape
        self._bytes += observation.nbytes
        return observation.tobytes()

    def _other(self, observation: Any) -> Any:
        frozen = freeze(observation, "observation")
        if self._dtype is not None:
            self._rows = [(self._array(row[0]), *row[1:]) for row in self._rows]
            self._dtype = None
        self._bytes += _size(frozen)
        return frozen

    def _array(self, raw: Any) -> Any:
        if raw is None:
            return None
        return np.frombuffer(raw, self._dtype).reshape(self._shape)

    def _take(self) -> list[Work]:
        rows, self._rows, self._bytes = self._rows, [], 0
        attached, self._attached = self._attached, []
        if not rows and not attached:
            return []
        self._has_states = True
        return [Work(self._lanes[0], self._columns(rows), attached)]

    def _columns(self, rows: list[tuple[Any, ...]]) -> Columns:
        columns: dict[str, Column] = {}
        for name, values in zip(FIELDS, map(list, zip(*rows, strict=True)), strict=False):
            if set(map(type, values)) != _NOTHING:
                columns[name] = values
        if self._dtype is not None:
            self._take_arrays(columns)
        return columns

    def _take_arrays(self, columns: dict[str, Column]) -> None:
        """Make one column of arrays of one form, if every state has one."""
        raw = columns.get("observation")
        if not isinstance(raw, list):
            return
        assert self._dtype is not None
        if set(map(type, raw)) != {bytes}:
            columns["observation"] = list(map(self._array, raw))
        else:
            columns["observation"] = ArrayColumn(self._dtype, self._shape, raw)


def _size(frozen: Any) -> int:
    """Return about how many bytes a frozen value takes."""
    if isinstance(frozen, dict):
        return 64 + sum(map(_size, frozen.values()))
    if isinstance(frozen, (list, tuple)):
        return 64 + sum(map(_size, frozen))
    return len(frozen) if isinstance(frozen, (bytes, str)) else getattr(frozen, "nbytes", 64)
