"""The recorder of one run: ``append`` only keeps a copy, a flush hashes and stores the states."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Final

import numpy as np

from simgit.errors import InvalidInput
from simgit.objects.arguments import check_argument, checked
from simgit.objects.arrays import MAX_NDIM, storable_dtype
from simgit.objects.coerce import coerce
from simgit.objects.columns import ABSENT, FIELDS, ArrayColumn, Column, Columns
from simgit.objects.oid import Oid
from simgit.objects.simplify import Simplifier
from simgit.odb.clock import with_time
from simgit.odb.database import ObjectDatabase
from simgit.recording.flush import Attached, FlushPolicy, RecorderBase, RunWriter, Work, coerce_data
from simgit.recording.lane_rows import EMPTY
from simgit.recording.states import (
    coerce_files,
    coerce_flag,
    coerce_info,
    coerce_message,
    coerce_reset,
    coerce_reward,
    simplified_fields,
)
from simgit.refs.attachments import attachable
from simgit.refs.run_config import merge

_PLAIN: Final = frozenset((int, float, bool, np.int64, np.int32, np.float32, np.float64, np.bool_))


class RunRecorder(RecorderBase):
    """A writer of one run: ``append`` buffers, a flush stores (see ``simgit.recording.flush``).

    Use it as a context manager: an exception in the block marks the run failed, with everything
    that was appended stored.
    """

    def __init__(
        self, odb: ObjectDatabase, lane: RunWriter, policy: FlushPolicy, background: bool
    ) -> None:
        super().__init__(odb, [lane], policy, background)
        self._begin()
        self.simplifier = Simplifier()
        """Takes the values that have no encoding; refuses those without a form."""
        self._attached: list[Attached] = []
        self._notes: dict[str, Any] = {}
        self._has_states = lane.tip is not None
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()
        self._every, self._most = policy.every, policy.bytes

    def _begin(self) -> None:
        """Begin to buffer: a list for each field that most states have, the others by row."""
        self._observations: list[Any] = []
        self._actions: list[Any] = []
        self._rewards: list[Any] = []
        self._terminated: list[Any] = []
        self._truncated: list[Any] = []
        self._infos: list[Any] = []
        # by the number of the row, which counts those that were taken too
        self._rare: dict[str, dict[int, Any]] = {}
        self._taken = 0
        self._bytes = 0

    def __enter__(self) -> RunRecorder:
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
        """The number of buffered states."""
        return len(self._observations)

    @property
    def appended(self) -> int:
        """The number of states that were appended since the recorder was opened."""
        return self._taken + len(self._observations)

    def append(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        time: Any = None,
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
            reward: the reward that it earned, a real number or an array of one.
            terminated: Gymnasium's flag.
            truncated: Gymnasium's flag.
            info: the environment's info, a mapping.
            time: the simulator's clock, a finite number; it is stored as ``info.time``.
            reset: True, or a map with ``seed`` and ``options``, if this is a reset's state.
            files: the oid of a stored tree of files.
            message: a remark.
            attachments: data to bind to the state, by name; see ``attach``.

        Raises:
            InvalidInput: some value cannot be recorded; nothing was buffered.
            Conflict: an automatic flush met another writer; see ``flush``.
        """
        if self._closed:
            self._check_open()
        if time is not None:
            info = with_time(info, time)
        rare = None
        try:
            if action is not None and type(action) not in _PLAIN:
                action = coerce(action, "action")
            if type(reward) is not float and reward is not None:
                reward = coerce_reward(reward)
            if type(terminated) is not bool and terminated is not None:
                terminated = coerce_flag(terminated, "terminated")
            if type(truncated) is not bool and truncated is not None:
                truncated = coerce_flag(truncated, "truncated")
            if info is not None:
                info = EMPTY if type(info) is dict and not info else coerce_info(info)
            if reset is not None or files is not None or message is not None:
                rare = _coerce_rare(reset, files, message)
            if type(observation) is np.ndarray:
                if observation.dtype is self._dtype and observation.shape == self._shape:
                    observation = observation.tobytes()
                    self._bytes += len(observation)
                else:
                    observation = self._other_array(observation)
            elif observation is not None:
                observation = self._other(observation)
        except Exception:  # also of what a user's class does
            given = (observation, action, reward, terminated, truncated, info)
            fields = simplified_fields(
                self.simplifier, dict(zip(FIELDS, given, strict=False)) | {"reset": reset}
            )
            fields = {name: each for name, each in fields.items() if each is not ABSENT}
            observation, action, reward, terminated, truncated, info = (
                fields.pop(name, None) for name in FIELDS[: len(given)]
            )
            rare = fields | _coerce_rare(None, files, message)
            if observation is not None:
                observation = self._other(observation)
        if (
            observation is None
            and not rare
            and all(each is None for each in (action, reward, terminated, truncated, info))
        ):
            raise InvalidInput(
                "cannot record a state without fields; pass an observation, for instance"
            )
        try:
            if rare or attachments:
                self._keep_rare(rare, attachments)
            self._observations.append(observation)
            self._actions.append(action)
            self._rewards.append(reward)
            self._terminated.append(terminated)
            self._truncated.append(truncated)
            self._infos.append(info)
        except BaseException:
            self._even_out()  # Ctrl-C comes between any two of them
            raise
        if (
            len(self._observations) >= self._every
            or self._bytes > self._most
            or ((terminated or truncated) and self._policy.episodes)
        ):
            self._start_flush()

    @checked
    def attach(
        self, name: str, data: Any = ABSENT, *, path: str | PathLike[str] | None = None
    ) -> None:
        """Bind data to the newest state without changing its name. What is passed is copied.

        It is stored in the transaction that stores the state, or, if that was flushed already,
        with the next flush.

        Args:
            name: what ``Repository.attachment`` finds it by; the last one of a name counts.
            data: bytes, an array, a plain value, or nested dicts, lists and tuples of these (a
                checkpoint: stored as its difference to the last one of this name). A text that
                names a file is refused.
            path: the file whose content is attached, instead of ``data``.

        Raises:
            NotFound: the file does not exist.
            InvalidInput: the name is not allowed, some part of the data cannot be stored, or there
                is no state yet.
        """
        self._check_open()
        if not self._has_states and not self.pending:
            raise InvalidInput(
                f"cannot attach '{name}': the run has no state yet; append one first", name=name
            )
        self._attach(-1, {name: attachable(name, data, path)})
        if self._bytes > self._most:
            self._start_flush()

    def note(self, metadata: Mapping[str, Any]) -> None:
        """Add to the run's metadata, map by map, in the transaction of the next flush."""
        self._check_open()
        with self._lock:
            merge(self._notes, metadata)

    def _take_notes(self) -> dict[str, Any]:
        """Return what is to be noted, and forget it; the lock is held."""
        notes, self._notes = self._notes, {}
        return notes

    def _keep_rare(
        self, fields: Mapping[str, Any] | None, attachments: Mapping[str, Any] | None
    ) -> None:
        """Keep the fields that few states have, for the state that is appended next."""
        if attachments:
            check_argument("attachments", attachments, "Mapping[str, Any]")
            self._attach(0, attachments)
        with self._lock:
            row = self._taken + len(self._observations)
            for name, value in (fields or {}).items():
                self._rare.setdefault(name, {})[row] = value

    def _even_out(self) -> None:
        """Drop the fields of a state that was not appended as a whole."""
        with self._lock:
            lists = self._lists()
            count = min(map(len, lists))
            for each in lists:
                del each[count:]
            row = self._taken + count
            for found in self._rare.values():
                found.pop(row, None)
            self._attached = [each for each in self._attached if each[0] < row]

    def _lists(self) -> list[list[Any]]:
        """Return the buffers of the first six fields, in the order in which they are appended."""
        return [
            self._observations, self._actions, self._rewards, self._terminated, self._truncated,
            self._infos,
        ]  # fmt: skip

    def _attach(self, offset: int, data: Mapping[str, Any]) -> None:
        """Keep data of the state that is appended next, or with -1 of the newest one."""
        planned = [(name, coerce_data(name, each)) for name, each in data.items()]
        with self._lock:
            row = self._taken + self.pending + offset
            self._attached += [(row, name, each) for name, each in planned]
            self._bytes += sum(each.size for _, each in planned)

    def _other_array(self, observation: Any) -> Any:
        """Begin a run of arrays of one form, or end the one that was begun."""
        dtype = storable_dtype(observation.dtype, "observation")
        plain = dtype == observation.dtype and dtype.kind != "b"
        if self._observations or not plain or observation.ndim > MAX_NDIM:
            return self._other(observation)
        with self._lock:  # nothing is buffered, but a flush could be about to read what was
            self._dtype, self._shape = observation.dtype, observation.shape
        self._bytes += observation.nbytes
        return observation.tobytes()

    def _other(self, observation: Any) -> Any:
        coerced = coerce(observation, "observation")
        if self._dtype is not None:
            with self._lock:
                self._observations[:] = [
                    _array(each, self._dtype, self._shape) for each in self._observations
                ]
                self._dtype = None
        self._bytes += _size(coerced)
        return coerced

    def _take(self) -> list[Work]:
        """Return the whole states of the buffer, and remove them.

        This thread may be another one than that which appends, or have come between two lines of
        ``append``. So the lists stay the same objects, of which the beginning is removed.
        """
        with self._lock:
            lists = self._lists()
            count = len(lists[-1])  # those of a state that is being appended are longer
            first = self._taken
            values = [each[:count] for each in lists]
            attached, notes = self._take_attached(count), self._take_notes()
            self._has_states = self._has_states or count > 0
            for each in lists:
                del each[:count]
            rare = {
                name: {row - first: rows.pop(row) for row in list(rows) if row < self._taken}
                for name, rows in self._rare.items()
            }
            self._bytes = 0
            dtype, shape = self._dtype, self._shape
        if not count and not attached and not notes:
            return []
        return [Work(self._lanes[0], _columns(values, rare, dtype, shape), attached, notes)]

    def _take_attached(self, count: int) -> list[Attached]:
        """Count so many states as taken, and return what is attached to them; the lock is held."""
        first, self._taken = self._taken, self._taken + count
        kept = self._attached
        self._attached = [each for each in kept if each[0] >= self._taken]
        return [(row - first, name, data) for row, name, data in kept if row < self._taken]


def _columns(
    lists: list[list[Any]],
    rare: Mapping[str, Mapping[int, Any]],
    dtype: np.dtype[Any] | None,
    shape: tuple[int, ...],
) -> Columns:
    """Return states as columns, without those that no state has."""
    found = zip(FIELDS, lists, strict=False)
    columns: dict[str, Column] = {
        name: values for name, values in found if any(each is not None for each in values)
    }
    for name in FIELDS:
        if rare.get(name):
            columns[name] = _spread(rare[name], len(lists[0]))
    raw = columns.get("observation")
    if dtype is not None and isinstance(raw, list):
        if set(map(type, raw)) == {bytes}:
            columns["observation"] = ArrayColumn(dtype, shape, raw)
        else:
            columns["observation"] = [_array(each, dtype, shape) for each in raw]
    return columns


def _array(raw: Any, dtype: np.dtype[Any] | None, shape: tuple[int, ...]) -> Any:
    """Return an observation that was kept as its bytes."""
    return None if raw is None else np.frombuffer(raw, dtype).reshape(shape)


def _coerce_rare(reset: Any, files: Any, message: Any) -> dict[str, Any]:
    """Return those of the rare fields that this state has."""
    given = {
        "reset": coerce_reset(reset),
        "files": None if files is None else Oid(coerce_files(files)),
        "message": None if message is None else coerce_message(message),
    }
    return {name: each for name, each in given.items() if each is not None and each is not ABSENT}


def _spread(found: Mapping[int, Any], count: int) -> list[Any]:
    """Return a column of ``count`` rows with the values that some of them have."""
    column: list[Any] = [None] * count
    for row, value in found.items():
        column[row] = value
    return column


def _size(coerced: Any) -> int:
    """Return about how many bytes a coerced value takes."""
    if isinstance(coerced, dict):
        return 64 + sum(map(_size, coerced.values()))
    if isinstance(coerced, (list, tuple)):
        return 64 + sum(map(_size, coerced))
    return len(coerced) if isinstance(coerced, (bytes, str)) else getattr(coerced, "nbytes", 64)
