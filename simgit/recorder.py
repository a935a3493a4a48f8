"""Buffered writing of runs: ``append`` only keeps a copy, a flush names and stores the states.

A flush is one transaction with the run's ref. It happens every ``flush_every`` states, every
``flush_seconds``, past ``flush_bytes``, at an episode's end if asked for, and at close; in a
background thread if asked for.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic as _clock
from types import TracebackType
from typing import Any, Final

import numpy as np

from simgit.arrays import MAX_NDIM, storable_dtype
from simgit.errors import AlreadyExists, Conflict, InvalidInput, SimgitError
from simgit.freeze import freeze, freeze_key
from simgit.odb import ObjectDatabase
from simgit.oid import Oid
from simgit.refs import MAX_NAME, Refs, RunRef, moved, now, this_writer
from simgit.schema import exact_cast
from simgit.segment.rows import ABSENT, ArrayColumn, Column, Columns, DenseColumn
from simgit.segment.states import Batch, Tip
from simgit.storage.base import WriteTxn
from simgit.writing import (
    FIELDS,
    freeze_files,
    freeze_flag,
    freeze_message,
    freeze_reset,
    freeze_reward,
    pending_tip,
    prepare,
    store,
)

_PLAIN: Final = frozenset((int, float, bool, np.int64, np.int32, np.float32, np.float64, np.bool_))
_QUEUE: Final = 16
"""Flushes that may wait for the background thread before ``append`` waits for it."""


@dataclass(frozen=True)
class FlushPolicy:
    """When a recorder flushes by itself."""

    every: int = 16384
    seconds: float | None = 10.0
    bytes: int = 64 << 20
    episodes: bool = False


class Lane:
    """One run that is being written: where it stands, and how its ref moves."""

    def __init__(
        self, odb: ObjectDatabase, refs: Refs, name: str, ref: RunRef, tip: Tip | None, origin: Oid
    ) -> None:
        self.odb = odb
        self.refs = refs
        self.base = self.name = name
        self.ref = ref
        self.tip = tip
        self.origin = origin

    def write(self, txn: WriteTxn, batches: list[Batch]) -> Conflict | None:
        """Store prepared states and move the run's ref.

        If the ref was moved by somebody else, the states go to a new run, and the conflict that
        says so is returned: raised, it would take them back.
        """
        message = f"record: {sum(len(batch.oids) for batch in batches)} states"
        self.tip = store(self.odb, txn, batches, (self.tip,) if self.tip else ())
        current = self.refs.run(txn, self.name) if self.refs.has_run(txn, self.name) else None
        if current is not None and current.oid == self.ref.oid and current.status != "completed":
            # its configuration or status may have been changed meanwhile
            new = moved(current, self.tip)
            self.refs.update_run(txn, self.name, current, new, message)
            self.ref = new
            return None
        return self._divert(txn, message)

    def _divert(self, txn: WriteTxn, message: str) -> Conflict:
        assert self.tip is not None
        old = self.name
        ref = replace(self.ref, status="active", created=now(), ended=None, writer=this_writer())
        self.ref = moved(ref, self.tip)
        for name in conflict_names(self.base):
            try:
                self.refs.create_run(txn, name, self.ref, f"{message} (conflict with '{old}')")
            except AlreadyExists:
                continue
            self.name = name
            break
        return Conflict(
            f"run '{old}' was moved by another writer; what was not flushed is in '{self.name}'",
            name=old,
            diverted=self.name,
        )

    def claim(self, txn: WriteTxn) -> None:
        """Note in the run's ref that this process writes it."""
        new = replace(self.ref, status="active", ended=None, writer=this_writer())
        self.refs.update_run(txn, self.name, self.ref, new, None)
        self.ref = new

    def release(self, txn: WriteTxn, status: str) -> None:
        """Note in the run's ref that it is no longer written, and how it ended."""
        if not self.refs.has_run(txn, self.name):
            return
        current = self.refs.run(txn, self.name)
        if current.oid != self.ref.oid or current.writer != self.ref.writer:
            return  # somebody else goes on with it
        ended = now() if status in ("completed", "failed", "crashed") else None
        self.refs.update_run(
            txn, self.name, current, replace(current, status=status, ended=ended, writer=None), None
        )


def conflict_names(name: str) -> Iterator[str]:
    """Yield the names for what could not be written to a run, the first that is free is taken."""
    base = name.encode()[: MAX_NAME - 24].decode(errors="ignore").rstrip("./")
    return (f"{base}.conflict-{number}" for number in itertools.count(1))


class _Writer:
    """Flushes columns of lanes, here or in a background thread."""

    def __init__(self, odb: ObjectDatabase, background: bool) -> None:
        self.odb = odb
        self.error: BaseException | None = None
        self._queue: queue.Queue[list[tuple[Lane, Columns]] | None] = queue.Queue(_QUEUE)
        self._backlog: list[list[tuple[Lane, Columns]]] = []
        self._thread: threading.Thread | None = None
        if background:
            self._thread = threading.Thread(target=self._work, name="simgit-flush", daemon=True)
            self._thread.start()

    @property
    def waiting(self) -> bool:
        """Whether something that could not be stored waits to be tried again."""
        return bool(self._backlog)

    def submit(self, work: list[tuple[Lane, Columns]]) -> None:
        """Store the columns of lanes in one transaction, now or soon."""
        if self._thread is None:
            self._store(work)
        else:
            self._queue.put(work)  # first: what was taken from the buffer must not be lost
            self.check()

    def check(self) -> None:
        """Raise what went wrong in the background, once."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def drain(self) -> None:
        """Wait until everything that was submitted is stored."""
        if self._thread is not None:
            self._queue.join()
        self.check()

    def stop(self) -> None:
        """End the background thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                self._store(work)
            except BaseException as error:
                self.error = self.error or error
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _store(self, work: list[tuple[Lane, Columns]]) -> None:
        """Store what waits, oldest first; what cannot be stored now is kept for the next flush."""
        if work:
            self._backlog.append(work)
        while self._backlog:
            self._store_one(self._backlog[0])

    def _store_one(self, work: list[tuple[Lane, Columns]]) -> None:
        saved = [(lane, lane.name, lane.ref, lane.tip) for lane, _ in work]
        conflict = None
        try:
            prepared = _prepare_all(work)  # before the transaction: others can write meanwhile
            with self.odb.write() as txn, self.odb.states.together(txn):
                for lane, batches in prepared:
                    conflict = lane.write(txn, batches) or conflict
        except BaseException:
            for lane, name, ref, tip in saved:
                lane.name, lane.ref, lane.tip = name, ref, tip
            raise
        self._backlog.pop(0)
        if conflict is not None:
            raise conflict


def _prepare_all(work: list[tuple[Lane, Columns]]) -> list[tuple[Lane, list[Batch]]]:
    """Name the states of all lanes; a lane may come several times."""
    tips: dict[int, Tip | None] = {}
    prepared = []
    for lane, columns in work:
        tip = tips.get(id(lane), lane.tip)
        batches = prepare(columns, (tip,) if tip else (), lane.origin)
        tips[id(lane)] = pending_tip(batches[-1])
        prepared.append((lane, batches))
    return prepared


class _Base:
    """What recorders of one run and of many have in common: when to flush, and how they end."""

    def __init__(
        self, odb: ObjectDatabase, lanes: list[Lane], policy: FlushPolicy, background: bool
    ):
        self._odb = odb
        self._lanes = lanes
        self._policy = policy
        self._writer = _Writer(odb, background)
        self._set_due()
        self._closed = False

    def _take(self) -> list[tuple[Lane, Columns]]:
        """Return what is buffered, and forget it."""
        raise NotImplementedError

    def flush(self) -> None:
        """Store what is buffered, durably.

        Raises:
            Conflict: another writer moved the run; the states are in a run named after it.
        """
        self._start_flush()
        self._writer.drain()

    def _set_due(self) -> None:
        seconds = self._policy.seconds
        self._due_at = math.inf if seconds is None else _clock() + seconds

    def _start_flush(self) -> None:
        self._set_due()
        work = self._take()
        if work or self._writer.waiting:
            self._writer.submit(work)

    def close(self, status: str = "active") -> None:
        """Flush, and release the run; ``status`` says how it stands then. Closing twice is fine.

        Raises:
            Conflict: see ``flush``.
            Storage: the states could not be stored; the recorder stays open, with all of them.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        except Conflict:
            self._end(status)
            raise
        except BaseException:
            self._closed = not self._writer.waiting  # what could not be stored can be tried again
            if self._closed:
                self._end(status)
            raise
        self._end(status)

    def _end(self, status: str) -> None:
        self._writer.stop()
        with self._odb.write() as txn:
            for lane in self._lanes:
                lane.release(txn, status)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close("paused" if issubclass(kind, KeyboardInterrupt) else "failed")
        except SimgitError as second:
            # the block's own error is the one to see; what the flush says is added to it
            assert error is not None
            error.add_note(f"simgit: {second}")

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidInput("the recorder is closed")


class Recorder(_Base):
    """Writes one run. ``append`` buffers; see the module for when states are stored.

    Use it as a context manager: an exception in the block marks the run failed, with everything
    that was appended stored.
    """

    def __init__(
        self, odb: ObjectDatabase, lane: Lane, policy: FlushPolicy, background: bool
    ) -> None:
        super().__init__(odb, [lane], policy, background)
        self._rows: list[tuple[Any, ...]] = []
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
        self._rows.append(row)
        if (
            len(self._rows) >= self._every
            or _clock() >= self._due_at
            or self._bytes > self._policy.bytes
            or ((terminated or truncated) and self._policy.episodes)
        ):
            self._start_flush()

    def _other_array(self, observation: Any) -> Any:
        """Begin a stretch of arrays of one form, or leave the one that was begun."""
        dtype = storable_dtype(observation.dtype, "observation")
        if self._rows or dtype != observation.dtype or observation.ndim > MAX_NDIM:
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

    def _take(self) -> list[tuple[Lane, Columns]]:
        rows, self._rows, self._bytes = self._rows, [], 0
        if not rows:
            return []
        columns: dict[str, Column] = {}
        for name, values in zip(FIELDS, map(list, zip(*rows, strict=True)), strict=True):
            if any(value is not None for value in values):
                columns[name] = values
        if self._dtype is not None:
            self._take_arrays(columns)
        return [(self._lanes[0], columns)]

    def _take_arrays(self, columns: dict[str, Column]) -> None:
        """Make one column of arrays of one form, if every state has one."""
        raw = columns.get("observation")
        if not isinstance(raw, list):
            return
        assert self._dtype is not None
        if any(each is None for each in raw):
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


class LaneRecorder(_Base):
    """Writes many runs at once from batches of parallel environments."""

    def __init__(
        self, odb: ObjectDatabase, lanes: list[Lane], policy: FlushPolicy, background: bool
    ) -> None:
        super().__init__(odb, lanes, policy, background)
        self._batches: list[dict[str, Any]] = []
        self._states = 0
        self._bytes = 0

    def __enter__(self) -> LaneRecorder:
        return self

    @property
    def runs(self) -> list[str]:
        """The names of the runs that are written, in the order of the lanes."""
        return [lane.name for lane in self._lanes]

    def append_batch(
        self,
        observation: Any = None,
        action: Any = None,
        reward: Any = None,
        terminated: Any = None,
        truncated: Any = None,
        info: Any = None,
        *,
        reset: Any = None,
    ) -> None:
        """Buffer T states of each lane. What is passed is copied.

        Args:
            observation: an array of shape (lanes, T, …), or a dict of such arrays.
            action: an array of shape (lanes, T, …).
            reward: (lanes, T), real numbers.
            terminated: (lanes, T), bool.
            truncated: (lanes, T), bool.
            info: a dict of arrays of shape (lanes, T, …); an empty dict is recorded as such.
            reset: (lanes, T), bool: which states are a reset's. They have no action, reward or
                flags, whatever the other arrays hold there.

        Raises:
            InvalidInput: shapes do not agree, or a dtype has no encoding; nothing was buffered.
        """
        self._check_open()
        given = {
            "observation": observation, "action": action, "reward": reward,
            "terminated": terminated, "truncated": truncated, "info": info, "reset": reset,
        }  # fmt: skip
        batch = {
            name: _lane_arrays(value, name) for name, value in given.items() if value is not None
        }
        steps = self._check_shapes(batch)
        if not steps:
            return
        self._batches.append(batch)
        self._states += steps * len(self._lanes)
        due = _clock() >= self._due_at
        if due or self._states >= self._policy.every or self._bytes > self._policy.bytes:
            self._start_flush()

    def _check_shapes(self, batch: dict[str, Any]) -> int:
        shapes = set()
        for name, value in batch.items():
            for array in _leaves(value):
                if array.ndim < 2 or array.shape[0] != len(self._lanes):
                    raise InvalidInput(
                        f"{name}: an array of shape ({len(self._lanes)}, T, …) is needed, "
                        f"not {array.shape}",
                        path=name,
                    )
                shapes.add(array.shape[1])
                self._bytes += array.nbytes
        if len(shapes) != 1:
            raise InvalidInput(f"arrays of different numbers of steps: {sorted(shapes)}")
        return int(shapes.pop())

    def _take(self) -> list[tuple[Lane, Columns]]:
        batches, self._batches, self._states, self._bytes = self._batches, [], 0, 0
        work = []
        for stretch in _alike(batches):
            joined = {name: _join([b[name] for b in stretch]) for name in stretch[0]}
            for number, lane in enumerate(self._lanes):
                work.append((lane, _lane_columns(joined, number)))
        return work


def _lane_arrays(value: Any, name: str) -> Any:
    """Return a copy of arrays, or of a dict of arrays."""
    if isinstance(value, dict):
        return {
            freeze_key(key, name): _lane_arrays(item, f"{name}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise InvalidInput(f"{name}: cannot be read as an array: {error}", path=name) from None
    array = freeze(value, name)
    if not isinstance(array, np.ndarray):
        kind = type(value).__name__
        raise InvalidInput(f"{name}: an array is needed, not a value of type '{kind}'", path=name)
    if name == "reward":
        exact = None if array.dtype.kind not in "iuf" else exact_cast(array, np.dtype("<f8"))
        if exact is None:
            raise InvalidInput("reward: there are values without an exact float64", path=name)
        return exact
    if name in ("terminated", "truncated", "reset") and array.dtype != np.bool_:
        raise InvalidInput(f"{name}: an array of bools is needed, not of {array.dtype}", path=name)
    return array


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [value]


def _form(value: Any) -> Any:
    """Return what has to agree for batches to be joined."""
    if isinstance(value, dict):
        return {name: _form(item) for name, item in value.items()}
    return value.dtype, value.shape[2:]


def _alike(batches: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group consecutive batches of the same fields, dtypes and shapes."""
    groups: list[list[dict[str, Any]]] = []
    for batch in batches:
        if groups and _form(groups[-1][0]) == _form(batch):
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return groups


def _join(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {name: _join([value[name] for value in values]) for name in values[0]}
    return values[0] if len(values) == 1 else np.concatenate(values, axis=1)


def _lane_columns(joined: dict[str, Any], number: int) -> Columns:
    """Return the columns of one lane."""
    reset = joined["reset"][number] if "reset" in joined else None
    stepped = None if reset is None or not reset.any() else np.flatnonzero(~reset)
    columns: dict[str, Column] = {}
    for name, value in joined.items():
        if name == "reset":
            if reset is not None and stepped is not None:
                columns["reset"] = [{} if mark else ABSENT for mark in reset.tolist()]
            continue
        only = stepped if name in ("action", "reward", "terminated", "truncated") else None
        if isinstance(value, dict) or value.dtype.kind in "SU":
            columns[name] = _value_column(value, number, _steps(joined))
            if only is not None and reset is not None:
                pairs = zip(columns[name], reset.tolist(), strict=True)  # type: ignore[arg-type]
                columns[name] = [ABSENT if mark else each for each, mark in pairs]
        else:
            columns[name] = DenseColumn(value[number], only)
    return columns


def _steps(joined: dict[str, Any]) -> int:
    return next(int(leaf.shape[1]) for value in joined.values() for leaf in _leaves(value))


def _value_column(value: Any, number: int, steps: int) -> list[Any]:
    """Return a column of one value a state: dicts, strings, NumPy scalars or arrays."""
    if not isinstance(value, dict):
        each = value[number]
        # a single string is Python's own, as it is where states are appended one by one
        return each.tolist() if each.ndim == 1 and each.dtype.kind in "SU" else list(each)
    if not value:
        return [{} for _ in range(steps)]
    columns = {key: _value_column(item, number, steps) for key, item in value.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
